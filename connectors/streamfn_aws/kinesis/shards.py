"""A stream's shards, as they are shared by lease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamfn.core.events import KinesisShape
from streamfn.core.leasing import Creation, ShardNode
from streamfn.core.policies import StartingPosition
from streamfn.ports import Checkpoint, Clock, Lease
from streamfn_aws.errors import reading
from streamfn_aws.kinesis.fanout import FanOutReader
from streamfn_aws.kinesis.intake import Intake
from streamfn_aws.kinesis.polling import PollingReader
from streamfn_aws.kinesis.stream import StreamShard
from streamfn_aws.positions import TRIM_HORIZON, instant_position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.leasing import ShardReader
    from streamfn_aws.kinesis.stream import Stream


@dataclass(frozen=True, slots=True)
class Reading:
    """How shards are read."""

    aggregated: bool
    poll_interval: float
    on_position_lost: str
    silence: float
    clock: Clock


class KinesisShards:
    """A stream as `LeasedShards` asks for it; read by polling, or through a consumer."""

    def __init__(self, name: str, stream: Stream, how: Reading, consumer: str | None) -> None:
        self._name = name
        self._stream = stream
        self._how = how
        self._consumer = consumer
        self._shards: dict[str, StreamShard] = {}
        self._ends: dict[str, tuple[int, str]] = {}
        """Shards whose lease we made at their end: the instant, and an iterator that is there exactly."""

    async def discover(self) -> Sequence[ShardNode]:
        with reading(self._name):
            self._shards = {shard.id: shard for shard in await self._stream.shards()}
        return [ShardNode(shard.id, shard.parents) for shard in self._shards.values()]

    async def begin(self, creation: Creation, at: float | None) -> Checkpoint:
        match creation.start:
            case StartingPosition.TRIM_HORIZON:
                return Checkpoint(TRIM_HORIZON)
            case StartingPosition.AT_TIMESTAMP:
                return Checkpoint(instant_position(0.0 if at is None else at))
            case StartingPosition.LATEST:
                return Checkpoint(await self._end_of(creation.shard.id))

    async def open(self, lease: Lease) -> ShardReader:
        how, shard = self._how, self._shards.get(lease.key, StreamShard(lease.key))
        intake = Intake(
            f"{self._name}/{shard.id}",
            shard,
            lease.checkpoint.position,
            aggregated=how.aggregated,
            on_position_lost=how.on_position_lost,
            clock=how.clock,
        )
        shape = KinesisShape(self._stream.arn, shard.id, self._stream.region)
        position, iterator = self._ends.pop(shard.id, (0, None))
        if self._consumer is not None:
            return FanOutReader(self._stream, shape, intake, self._consumer, silence=how.silence)
        if position != lease.checkpoint.position:
            iterator = None
        return PollingReader(self._stream, shape, intake, iterator=iterator, poll_interval=how.poll_interval)

    async def _end_of(self, shard: str) -> int:
        # The instant is for those who begin later or elsewhere: iterators die, and are not ours to store.
        with reading(self._name):
            iterator, now = await self._stream.latest(shard, self._how.clock())
        position = instant_position(now)
        self._ends[shard] = position, iterator
        return position
