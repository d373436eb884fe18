"""`local:` as a source: streams by leases in the same file, queues by visibility."""

from __future__ import annotations

import asyncio
import errno
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import TYPE_CHECKING

import structlog

from streamfn.core.events import EventShape, KinesisShape, SqsShape
from streamfn.core.leasing import Creation, ShardNode
from streamfn.core.policies import StartingPosition
from streamfn.errors import ConfigurationError, PositionLost, SourceError
from streamfn.leasing import LeasedShards, is_dead_here
from streamfn.local import streams
from streamfn.local.broker import Broker
from streamfn.local.naming import Place, parse
from streamfn.local.schema import queue_channel, shard_channel
from streamfn.local.streams import Stream, lease_group, shard_name
from streamfn.ports import Assigned, Checkpoint, Lease, Revoked, Subscription
from streamfn.stores.sqlite import channel as lease_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from streamfn.core.records import Record
    from streamfn.local.queues import Queue

_log = structlog.get_logger("streamfn.local")

_LOOK = 10.0
"""Seconds between two looks at the leases of a stream. Sooner than they are renewed, for a look also sees
which owners are dead."""
_SHORT = 0.1
"""Seconds of a wait so short that one does not rely on being told, but looks."""


class LocalSource:
    """What `local:` URIs name as sources."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> LocalStream | LocalQueue:
        """A stream, or a queue for `local:queue/NAME`. Raises ConfigurationError naming the option and the
        fix.
        """
        place = parse(uri, options)
        return LocalQueue(place) if place.is_queue else LocalStream(place)


class LocalStream:
    """A stream of the embedded broker. Made with the first use, if it is not there.

    Options: `state_dir`, `clock`, `on_position_lost`, `lease_time`, `event_source_arn` (what functions see as
    the source, with its region), and those of `StreamOptions`.
    """

    def __init__(self, name: str | Place, **options: object) -> None:
        self._place = name if isinstance(name, Place) else parse(f"local:stream/{name}", options)
        if self._place.is_queue:
            raise ConfigurationError(
                f"local:queue/{self._place.name} is a queue", field="Source", fix="use LocalQueue"
            )

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> LocalStream:
        """`local:NAME` or `local:stream/NAME`. Raises ConfigurationError naming the option and the fix."""
        return cls(parse(uri, options))

    @property
    def name(self) -> str:
        return f"local:{self._place.name}"

    @asynccontextmanager
    async def shards(self, subscription: Subscription) -> AsyncIterator[AsyncIterator[Assigned | Revoked]]:
        place = self._place
        async with _opened(place) as broker:
            with _as_source_error():
                stream = await broker.stream(place.name, place.stream)
            group = lease_group(place.name, subscription.group)
            leased = LeasedShards(
                broker.leases,
                _Reading(broker, stream, place),
                subscription,
                group=group,
                lease_time=place.lease_time,
                look_every=min(_LOOK, place.lease_time / 3),
                pause=_Pause(broker, group),
                is_dead=is_dead_here,
            )
            async with leased.shards() as changes:
                yield changes

    async def check(self) -> None:
        async with _opened(self._place) as broker:
            with _as_source_error():
                await broker.stream(self._place.name, self._place.stream)


class LocalQueue:
    """A queue of the embedded broker; a FIFO queue if its name ends in `.fifo`. Made with the first use.

    Options: `state_dir`, `clock`, `event_source_arn` (what functions see as the source, with its region), and
    those of `QueueOptions`.
    """

    def __init__(self, name: str | Place, **options: object) -> None:
        self._place = name if isinstance(name, Place) else parse(f"local:queue/{name}", options)
        self._pollers = count(1)
        if not self._place.is_queue:
            raise ConfigurationError(
                f"local:{self._place.name} is a stream", field="Source", fix="use LocalStream"
            )

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> LocalQueue:
        """`local:queue/NAME`. Raises ConfigurationError naming the option and the fix."""
        return cls(parse(uri, options))

    @property
    def name(self) -> str:
        return f"local:queue/{self._place.name}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[LocalQueueShard]:
        async with _opened(self._place) as broker:
            with _as_source_error():
                queue = await broker.queue(self._place.name, self._place.queue)
            arn = self._place.event_source_arn or queue.arn
            yield LocalQueueShard(broker, queue, f"{queue.name}/{next(self._pollers)}", arn)

    async def check(self) -> None:
        async with _opened(self._place) as broker:
            with _as_source_error():
                await broker.queue(self._place.name, self._place.queue)


def _region(arn: str) -> str:
    return arn.split(":")[3]


@asynccontextmanager
async def _opened(place: Place) -> AsyncIterator[Broker]:
    # Only the opening is translated: what the caller's block raises is its own.
    sharing = Broker.shared(place.path, clock=place.clock)
    with _as_source_error():
        broker = await sharing.__aenter__()
    try:
        yield broker
    finally:
        await sharing.__aexit__(None, None, None)


@contextmanager
def _as_source_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # What was deleted does not come back by waiting; a full disk or a lock may pass.
        raise SourceError(str(error), retryable=error.errno != errno.ENOENT) from error


# ------------------------------------------------------------------------------------------------ streams


class _Pause:
    """Until the next look at the leases: a while, or when one changed hands."""

    def __init__(self, broker: Broker, group: str) -> None:
        self._watch = broker.watch
        self._channel = lease_channel(group)
        self._known = self._watch.value(self._channel)
        """As it was when the last look began: what changed during a look is worth another."""

    async def __call__(self, seconds: float) -> None:
        await self._watch.wait(self._channel, self._known, seconds)
        self._known = self._watch.value(self._channel)


class _Reading:
    """A stream as `LeasedShards` asks for it."""

    def __init__(self, broker: Broker, stream: Stream, place: Place) -> None:
        self._broker = broker
        self._stream = stream
        self._as = place
        self._shards = {shard_name(number): shard for number, shard in enumerate(stream.shards)}
        self._begun: dict[str, int] = {}
        """Shards whose lease we made, at the oldest record there was."""

    async def discover(self) -> Sequence[ShardNode]:
        name = self._stream.name
        with _as_source_error():
            if (await self._broker.database.read(lambda c: streams.get(c, name))).id != self._stream.id:
                raise OSError(errno.ENOENT, f"local:{name} was deleted, and made again")
        return [ShardNode(name) for name in self._shards]

    async def begin(self, creation: Creation, at: float | None) -> Checkpoint:
        with _as_source_error():
            return await self._begin(creation, at)

    async def _begin(self, creation: Creation, at: float | None) -> Checkpoint:
        shard = self._shards[creation.shard.id]
        read = self._broker.database.read
        match creation.start:
            case StartingPosition.TRIM_HORIZON:
                position = await read(lambda connection: streams.horizon(connection, shard))
                self._begun[creation.shard.id] = position
                return Checkpoint(position)
            case StartingPosition.LATEST:
                return Checkpoint(await read(lambda connection: streams.latest(connection, shard)))
            case StartingPosition.AT_TIMESTAMP:
                since = 0.0 if at is None else at
                return Checkpoint(
                    await read(lambda connection: streams.before_time(connection, shard, since))
                )

    async def open(self, lease: Lease) -> LocalShard:
        shard = LocalShard(self._broker, self._stream, self._shards[lease.key], lease, self._as)
        # The oldest record is meant, not the one that was the oldest when the lease was made a moment ago.
        shard.at_horizon = self._begun.pop(lease.key, None) == lease.checkpoint.position
        return shard


class LocalShard:
    """One shard of a stream, read from a position on."""

    def __init__(self, broker: Broker, stream: Stream, shard: int, lease: Lease, place: Place) -> None:
        self._broker = broker
        self._place = f"local:{stream.name}/{lease.key}"
        self._shard = shard
        self._channel = shard_channel(shard)
        self._after = lease.checkpoint.position
        self._on_position_lost = place.on_position_lost
        self.at_horizon = False
        """Reading begins with the oldest record there is, whichever that is."""
        arn = place.event_source_arn or stream.arn
        self.shape: EventShape = KinesisShape(arn, lease.key, _region(arn))

    @property
    def lag(self) -> int | None:
        return max(0, self._broker.watch.value(self._channel) - 1 - self._after)

    @property
    def iterator_age(self) -> float | None:
        return 0.0 if self.lag == 0 else None

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        watch = self._broker.watch
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        with _as_source_error():
            while True:
                if wait < _SHORT and watch.value(self._channel) <= self._after + 1:
                    await watch.catch_up()
                known = watch.value(self._channel)
                if known > self._after + 1:
                    records = await self._read(limit)
                    if records:
                        self._after = records[-1].position
                        self.at_horizon = False
                        return records
                left = until - loop.time()
                if left <= 0:
                    return ()
                await watch.wait(self._channel, known, left)

    async def close(self) -> None:
        """Holds nothing."""

    async def _read(self, limit: int) -> Sequence[Record]:
        after, place, shard, resume = self._after, self._place, self._shard, self.at_horizon
        read = self._broker.database.read
        try:
            return (await read(lambda c: streams.read(c, place, shard, after, limit, resume=resume)))[0]
        except PositionLost as lost:
            if self._on_position_lost == "fail":
                raise
            _log.warning("position_lost", shard=place, position=after, reason=str(lost))
        if self._on_position_lost == "latest":
            self._after = await read(lambda c: streams.latest(c, shard))
            return ()
        return (await read(lambda c: streams.read(c, place, shard, after, limit, resume=True)))[0]


# ------------------------------------------------------------------------------------------------- queues


class LocalQueueShard:
    """A queue, as one poller reads it. Any number may."""

    def __init__(self, broker: Broker, queue: Queue, poller: str, arn: str) -> None:
        self._broker = broker
        self.id = poller
        self._queue = queue
        self._channel = queue_channel(queue.id)
        self._known = -1
        """The queue's stamp when it was found empty last."""
        self._next_at = 0.0
        """When something hidden then is visible again."""
        self._messages: int | None = None
        self._in_flight: set[int] = set()
        """What was read here and not settled."""
        self.shape: EventShape = SqsShape(arn, _region(arn))

    @property
    def visibility_timeout(self) -> float:
        return self._queue.visibility_timeout

    @property
    def depth(self) -> int | None:
        return None if self._messages is None else max(0, self._messages - len(self._in_flight))

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        watch, broker = self._broker.watch, self._broker
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        with _as_source_error():
            while True:
                if wait < _SHORT and watch.value(self._channel) <= self._known:
                    await watch.catch_up()
                known = watch.value(self._channel)
                if known > self._known or broker.clock() >= self._next_at:
                    received = await broker.receive(self._queue, limit)
                    self._messages = received.messages
                    self._known, self._next_at = known, received.next_at
                    if received.records:
                        self._known = -1
                        self._in_flight.update(_numbers(received.records))
                        return received.records
                left = min(until - loop.time(), max(0.0, self._next_at - broker.clock()))
                if until - loop.time() <= 0:
                    return ()
                await watch.wait(self._channel, self._known, left)

    async def ack(self, records: Sequence[Record]) -> None:
        with _as_source_error():
            gone = await self._broker.ack(self._queue, records)
        self._in_flight.difference_update(_numbers(records))
        if self._messages is not None:
            self._messages -= gone

    async def release(self, records: Sequence[Record], delay: float | None) -> None:
        if delay is not None:
            with _as_source_error():
                await self._broker.release(self._queue, records, delay)
            self._in_flight.difference_update(_numbers(records))

    async def extend(self, records: Sequence[Record], seconds: float) -> None:
        with _as_source_error():
            await self._broker.extend(self._queue, records, seconds)


def _numbers(records: Sequence[Record]) -> list[int]:
    return [record.receipt.id for record in records]  # type: ignore[attr-defined]
