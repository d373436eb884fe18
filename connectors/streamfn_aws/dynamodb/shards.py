"""A stream's shards, as they are shared by lease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from streamfn.core.events import DynamoDbShape
from streamfn.core.leasing import Creation, ShardNode
from streamfn.core.policies import StartingPosition
from streamfn.ports import Checkpoint, Clock, Lease
from streamfn_aws.dynamodb.polling import PollingReader
from streamfn_aws.dynamodb.start import Start
from streamfn_aws.dynamodb.stream import StreamShard
from streamfn_aws.errors import reading
from streamfn_aws.positions import TRIM_HORIZON, instant_position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn_aws.dynamodb.stream import Stream

_log = structlog.get_logger("streamfn.aws")


@dataclass(frozen=True, slots=True)
class Reading:
    """How shards are read."""

    poll_interval: float
    on_position_lost: str
    clock: Clock


class DynamoDbShards:
    """A stream as `LeasedShards` asks for it."""

    def __init__(self, name: str, stream: Stream, how: Reading) -> None:
        self._name = name
        self._stream = stream
        self._how = how
        self._shards: dict[str, StreamShard] = {}
        self._ends: dict[str, tuple[int, str]] = {}
        """Shards whose lease we made at their end: the instant, and an iterator that is there exactly."""
        self._was_enabled = True

    async def discover(self) -> Sequence[ShardNode]:
        """Shards live for some four hours, so children come and old ones go all the time."""
        with reading(self._name):
            self._shards = {shard.id: shard for shard in await self._stream.shards()}
        if self._was_enabled and not self._stream.enabled:
            _log.warning(
                "stream_disabled",
                stream=self._stream.arn,
                reason="what it has is read; one that is enabled again is another, read after a restart",
            )
        self._was_enabled = self._stream.enabled
        return [ShardNode(shard.id, shard.parents) for shard in self._shards.values()]

    async def begin(self, creation: Creation, at: float | None) -> Checkpoint:
        if creation.start is StartingPosition.LATEST:
            return Checkpoint(await self._end_of(creation.shard.id))
        return Checkpoint(TRIM_HORIZON)

    async def open(self, lease: Lease) -> PollingReader:
        how, shard = self._how, self._shards.get(lease.key, StreamShard(lease.key))
        position, iterator = self._ends.pop(shard.id, (0, None))
        return PollingReader(
            self._stream,
            DynamoDbShape(self._stream.arn, shard.id, self._stream.region),
            shard.id,
            Start.of(lease.checkpoint.position, len(shard.first)),
            place=f"{self._name}/{shard.id}",
            poll_interval=how.poll_interval,
            on_position_lost=how.on_position_lost,
            clock=how.clock,
            iterator=iterator if position == lease.checkpoint.position else None,
        )

    async def _end_of(self, shard: str) -> int:
        # The instant is for those who begin later or elsewhere: iterators die, and are not ours to store.
        with reading(self._name):
            iterator, now = await self._stream.latest(shard, self._how.clock())
        position = instant_position(now)
        self._ends[shard] = position, iterator
        return position
