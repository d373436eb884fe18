"""What is asked of a source whose shards are shared by lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.events import EventShape
    from streamfn.core.leasing import Creation, ShardNode
    from streamfn.core.records import Record
    from streamfn.ports import Checkpoint, Lease


class ShardReader(Protocol):
    """A shard as its source reads it, from the checkpoint of the lease it was opened with."""

    @property
    def shape(self) -> EventShape: ...
    @property
    def lag(self) -> int | None: ...
    @property
    def iterator_age(self) -> float | None: ...

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        """As `Shard.read`. Raises ShardClosed when all the shard will ever have was read."""

    async def close(self) -> None:
        """Lets go of what it holds. Never raises."""


class Shardable(Protocol):
    """What a source tells `LeasedShards`. All three raise SourceError where the source cannot be read."""

    async def discover(self) -> Sequence[ShardNode]:
        """The shards the source has now, with those they came from."""

    async def begin(self, creation: Creation, at: float | None) -> Checkpoint:
        """The checkpoint that a shard's first lease begins with; `at` goes with AT_TIMESTAMP."""

    async def open(self, lease: Lease) -> ShardReader:
        """A reader of the lease's shard, after the lease's checkpoint. Tried again soon where it fails, and
        given up after the lease time.
        """
