"""Where records come from: sources and their shards, streams and queues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from streamfn.core.policies import StartingPosition
from streamfn.core.records import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from typing_extensions import TypeIs

    from streamfn.core.events import EventShape
    from streamfn.core.leasing import Checkpoint


Clock: TypeAlias = Callable[[], float]
"""Epoch seconds. Delays and deadlines use the event loop's clock."""

Filter: TypeAlias = Callable[[Record], bool]
"""Whether a record is for the function. One that is not counts as done at once."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who reads a source, and from where the first time."""

    group: str
    """Readers of one group share the shards and the checkpoints."""
    starting_position: StartingPosition = StartingPosition.TRIM_HORIZON
    starting_at: float | None = None
    """Epoch seconds, with AT_TIMESTAMP."""


class Shard(Protocol):
    """A part of a source that one worker reads alone."""

    @property
    def id(self) -> str:
        """Unique in its source, and stable."""

    @property
    def shape(self) -> EventShape:
        """How records of this shard become an event."""

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        """Up to `limit` records, waiting at most `wait` seconds for the first; empty when none came.

        A cancelled read loses nothing. Raises ShardClosed at the shard's end, ShardLost when it is another's.
        """


class StreamShard(Shard, Protocol):
    """Ordered: records come in growing positions, and progress is one of them."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The last one committed when this shard was assigned; reading begins after it."""

    @property
    def note_limit(self) -> int:
        """Characters that a checkpoint's note may have."""

    @property
    def commit_interval(self) -> float:
        """Seconds that should lie between two commits; 0 where a commit is cheap. One that comes sooner is
        taken all the same.
        """

    @property
    def lag(self) -> int | None:
        """Records known to wait after those read; None when unknown."""

    @property
    def iterator_age(self) -> float | None:
        """Seconds by which what was read last is behind the newest record; None where the source does not
        tell.
        """

    async def commit(self, checkpoint: Checkpoint) -> None:
        """Durable when it returns. Raises ShardLost when the shard is no longer ours; then nothing was
        written.
        """

    async def close(self) -> None:
        """Gives the shard back: its worker has committed for the last time. Never raises."""


class QueueShard(Shard, Protocol):
    """Records are settled one by one; one that is not comes back after its visibility timeout.

    Settling a record whose delivery is over (it came back meanwhile) changes nothing and raises nothing.
    """

    @property
    def visibility_timeout(self) -> float:
        """Seconds for which a read hides its records."""

    @property
    def depth(self) -> int | None:
        """Records that wait in the queue; None when unknown."""

    async def ack(self, records: Sequence[Record]) -> None:
        """The records are done and never come again."""

    async def release(self, records: Sequence[Record], delay: float | None) -> None:
        """The records come again after `delay` seconds; None: when their visibility timeout is over.

        With delay 0 for records that were never delivered, the read does not count as a receive where the
        source can take it back.
        """

    async def extend(self, records: Sequence[Record], seconds: float) -> None:
        """Hides the records for that long from now on."""


class Reason(IntEnum):
    """Why a shard is taken away. One of higher rank overrides."""

    REQUESTED = 1
    """Somebody else is to have it: finish what is in flight, commit, close."""
    ENDED = 2
    LOST = 3
    """Somebody else has it: commit nothing."""


@dataclass(frozen=True, slots=True)
class Assigned:
    shard: StreamShard


@dataclass(frozen=True, slots=True)
class Revoked:
    shard_id: str
    reason: Reason


class StreamSource(Protocol):
    """A source of ordered shards."""

    @property
    def name(self) -> str:
        """What people call it: `kafka://host/topic`, `local:flights`."""

    def shards(
        self, subscription: Subscription
    ) -> AbstractAsyncContextManager[AsyncIterator[Assigned | Revoked]]:
        """The shards this reader has, as they come and go. A shard has one owner in its group at any time.

        Leaving the context gives up what is held. Raises SourceError where the source cannot be read.
        """

    async def check(self) -> None:
        """Proves that the source can be reached. Raises SourceError or ConfigurationError naming the fix."""


class QueueSource(Protocol):
    """A source of messages that any number of readers share."""

    @property
    def name(self) -> str:
        """What people call it."""

    def open(self) -> AbstractAsyncContextManager[QueueShard]:
        """A connection to read through: one for each poller."""

    async def check(self) -> None:
        """Proves that the source can be reached. Raises SourceError or ConfigurationError naming the fix."""


Source: TypeAlias = StreamSource | QueueSource


def is_queue(source: Source) -> TypeIs[QueueSource]:
    """Whether it is a queue. A source is known by what it can do: a stream has `shards`, a queue `open`."""
    return hasattr(source, "open")
