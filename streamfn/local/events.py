"""The event queue of asynchronous invocations, in the broker's file: durable, shared by the processes of one
machine.
"""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, TypeVar, cast

import anyio
import orjson
import structlog

from streamfn.core.events import InvocationShape
from streamfn.errors import SourceError, StreamfnError
from streamfn.leasing import worker_name
from streamfn.local import eventqueue, queues
from streamfn.local.broker import Broker
from streamfn.local.messages import next_at
from streamfn.local.queues import QueueOptions
from streamfn.local.schema import FILE, queue_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from streamfn.core.events import EventRecord, EventShape
    from streamfn.core.records import Record
    from streamfn.core.rendering import Loads
    from streamfn.local.queues import Queue
    from streamfn.ports import Clock, Event
    from streamfn.stores.database import Transaction

T = TypeVar("T")

_log = structlog.get_logger("streamfn.local")

PREFIX: Final = "invoke/"
"""Before the function in the name of its queue: no queue of a `local:` URI has a stroke in its name."""

_LOOK: Final = 10.0
"""Seconds between two looks for readers that died."""
_SHORT: Final = 0.1
"""Seconds of a wait so short that one does not rely on being told, but looks."""

_Waiting = tuple[str, "Event", asyncio.Future[None]]


class LocalEvents:
    """Asynchronous invocations of all functions of a state directory.

    What is put at the same time is committed together, with one fsync.
    """

    def __init__(
        self, state_dir: Path, *, clock: Clock, taken: Callable[[str, int], None] = lambda *_: None
    ) -> None:
        self._path = state_dir / FILE
        self._clock = clock
        self._taken = taken
        """Told of events that are durable now: the function, and how many."""
        self._waiting: list[_Waiting] = []
        self._some = asyncio.Event()
        self._broker: Broker | None = None
        self._loop: asyncio.AbstractEventLoop
        self._queues: dict[str, Queue] = {}

    @property
    def in_use(self) -> bool:
        """Whether there is a file."""
        return self._path.is_file()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The time within which events are taken; what was put before its end is written."""
        async with Broker.shared(self._path, clock=self._clock) as broker:
            self._broker = broker
            self._loop = asyncio.get_running_loop()
            self._some = asyncio.Event()
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write_all, broker)
                    try:
                        yield
                    finally:
                        self._broker = None
                        self._some.set()
            finally:
                # There are some only where this was cut off.
                waiting, self._waiting = self._waiting, []
                _refuse(waiting, OSError(errno.ECANCELED, "the event queue was closed"))

    def put(self, function: str, event: Event) -> asyncio.Future[None]:
        """Durable when it is done. Raises OSError where it cannot be, and StreamfnError where this is not
        open.
        """
        if self._broker is None:
            raise StreamfnError("no events are taken now: the app is not running")
        written: asyncio.Future[None] = self._loop.create_future()
        if not self._waiting:
            self._some.set()
        self._waiting.append((function, event, written))
        return written

    def source(self, function: str) -> LocalEventSource:
        """The events of a function."""
        return LocalEventSource(self._path, self._clock, f"events:{function}", PREFIX + function)

    async def _write_all(self, broker: Broker) -> None:
        """Writes what has gathered while the last was written, until closed and empty."""
        while self._broker is not None or self._waiting:
            if not self._waiting:
                self._some.clear()
                await self._some.wait()
                continue
            waiting, self._waiting = self._waiting, []
            now = self._clock()
            try:
                with anyio.CancelScope(shield=True):
                    await broker.database.write(partial(self._append, waiting, now))
            except OSError as error:
                self._queues.clear()
                _refuse(waiting, error)
            else:
                for function, count in Counter(function for function, _, _ in waiting).items():
                    self._taken(function, count)
                for _, _, written in waiting:
                    if not written.done():
                        written.set_result(None)

    def _append(self, waiting: Sequence[_Waiting], now: float, transaction: Transaction) -> None:
        of_functions: dict[str, list[Event]] = {function: [] for function, _, _ in waiting}
        for function, event, _ in waiting:
            of_functions[function].append(event)
        for function, events in of_functions.items():
            queue = self._queues.get(function)
            if queue is None:
                queue = self._queues[function] = ensure(transaction, function, now)
            eventqueue.put(transaction, queue, events, now)


def _refuse(waiting: Sequence[_Waiting], error: OSError) -> None:
    for _, _, written in waiting:
        if not written.done():
            written.set_exception(OSError(*error.args))


def ensure(transaction: Transaction, function: str, now: float) -> Queue:
    """The queue of a function, made if need be."""
    return queues.ensure(transaction, PREFIX + function, QueueOptions(), now)


class LocalEventSource:
    """The events of one function, or the sequences of one mapping that were opened again."""

    def __init__(self, path: Path, clock: Clock, name: str, queue: str, read: Loads = orjson.loads) -> None:
        self._path = path
        self._clock = clock
        self._name = name
        self._queue = queue
        self._shape = InvocationShape(read)

    @property
    def name(self) -> str:
        return self._name

    @asynccontextmanager
    async def open(self) -> AsyncIterator[LocalEventShard]:
        # Only the opening is translated: what the caller's block raises is its own.
        sharing = Broker.shared(self._path, clock=self._clock)
        with _as_source_error():
            broker = await sharing.__aenter__()
        try:
            shard = await LocalEventShard.of(broker, self._queue, self._shape)
            try:
                yield shard
            finally:
                with anyio.move_on_after(5, shield=True):
                    await shard.close()
        finally:
            await sharing.__aexit__(None, None, None)

    async def check(self) -> None:
        async with self.open():
            pass


class LocalEventShard:
    """A function's events, as one worker reads them. Any number may."""

    def __init__(self, broker: Broker, queue: Queue, reader: int, shape: EventShape) -> None:
        self.id = f"events-{reader}"
        self.shape = shape
        self._broker = broker
        self._queue = queue
        self._reader = reader
        self._channel = queue_channel(queue.id)
        self._known = -1
        """The queue's stamp when nothing was due last."""
        self._next_at = 0.0
        """When something is due then, if nothing else happens."""
        self._look_at = 0.0
        self._in_hand: dict[int, EventRecord] = {}
        self._suspect = 0
        """The suspicious one that was taken last."""
        self._messages: int | None = None

    @classmethod
    async def of(cls, broker: Broker, name: str, shape: EventShape) -> LocalEventShard:
        """Makes a reader known. Raises SourceError where the file cannot be used."""
        now, owner = broker.clock(), worker_name()

        def work(transaction: Transaction) -> tuple[Queue, int]:
            queue = queues.ensure(transaction, name, QueueOptions(), now)
            return queue, eventqueue.register(transaction, queue, owner)

        with _as_source_error():
            queue, reader = await broker.database.write(work)
        return cls(broker, queue, reader, shape)

    @property
    def visibility_timeout(self) -> float:
        return self._queue.visibility_timeout

    @property
    def depth(self) -> int | None:
        return None if self._messages is None else max(0, self._messages - len(self._in_hand))

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        watch, loop = self._broker.watch, asyncio.get_running_loop()
        until = loop.time() + wait
        with _as_source_error():
            while True:
                if loop.time() >= self._look_at:
                    await self._inherit()
                    self._look_at = loop.time() + _LOOK
                if wait < _SHORT and watch.value(self._channel) <= self._known:
                    await watch.catch_up()
                known = watch.value(self._channel)
                if known > self._known or self._broker.clock() >= self._next_at:
                    records = await self._take(limit)
                    if records:
                        return records
                    self._known = known
                left = until - loop.time()
                if left <= 0:
                    return ()
                due = max(0.0, self._next_at - self._broker.clock())
                await watch.wait(self._channel, self._known, min(left, due, self._look_at - loop.time()))

    async def _take(self, limit: int) -> Sequence[EventRecord]:
        if self._suspect in self._in_hand:
            # It is alone until it is settled, which wakes us.
            self._next_at = inf
            return ()
        taken: list[list[EventRecord]] = []
        now, alone = self._broker.clock(), not self._in_hand

        def work(transaction: Transaction) -> tuple[list[EventRecord], float, int]:
            connection = transaction.connection
            found = eventqueue.take(transaction, self._queue, self._reader, limit, now, alone=alone)
            taken.append(found)
            following = 0.0 if found else next_at(connection, self._queue)
            return found, following, eventqueue.depth(connection, self._queue)

        try:
            # Not fsynced: after a power failure nobody has them, and they are due all the sooner.
            records, following, self._messages = await self._broker.database.write(work, durable=False)
        except asyncio.CancelledError:
            if taken and taken[-1]:
                with anyio.CancelScope(shield=True):
                    await self.release(taken[-1], 0)
            raise
        self._in_hand.update((record.receipt.id, record) for record in records)
        if records and records[0].history.suspect:
            self._suspect = records[0].receipt.id
        if not records:
            # What is due and was not given is suspicious: it waits until nothing is in hand, and each
            # settlement wakes us.
            self._next_at = inf if following <= now else following
        return records

    async def _inherit(self) -> None:
        """Looks for readers that died."""
        dead = await self._broker.database.read(partial(eventqueue.dead_readers, queue=self._queue))
        if dead:
            now = self._broker.clock()
            await self._broker.database.write(
                lambda transaction: eventqueue.inherit(transaction, self._queue, dead, now)
            )

    async def ack(self, records: Sequence[Record]) -> None:
        # Not fsynced: what a power failure brings back is delivered once more, and new events need not wait.
        gone = await self._settled(self._broker.ack(self._queue, records, durable=False), records)
        if self._messages is not None:
            self._messages -= gone

    async def release(self, records: Sequence[Record], delay: float | None) -> None:
        if delay is None:
            return
        events, now = cast("Sequence[EventRecord]", records), self._broker.clock()

        def work(transaction: Transaction) -> None:
            eventqueue.release(transaction, self._queue, events, delay, now)

        await self._settled(self._broker.database.write(work, durable=False), records)

    async def remember(self, records: Sequence[EventRecord], delay: float) -> None:
        now = self._broker.clock()

        def work(transaction: Transaction) -> None:
            eventqueue.remember(transaction, self._queue, records, delay, now)

        await self._settled(self._broker.database.write(work), records)

    async def _settled(self, doing: Awaitable[T], records: Sequence[Record]) -> T:
        # Before it is done: once it is, a read that waits for it looks again.
        for record in cast("Sequence[EventRecord]", records):
            self._in_hand.pop(record.receipt.id, None)
        try:
            with _as_source_error():
                return await doing
        except SourceError:
            # Nobody was told: the next look finds it out.
            self._known = -1
            raise

    async def close(self) -> None:
        """What is in hand comes again at once."""
        left, now = list(self._in_hand.values()), self._broker.clock()

        def work(transaction: Transaction) -> None:
            eventqueue.release(transaction, self._queue, left, 0, now)
            eventqueue.leave(transaction, self._reader)

        try:
            await self._broker.database.write(work)
        except OSError as error:
            # Another reader finds out by itself that this one is no more.
            _log.warning("reader_not_removed", queue=self._queue.name, reason=str(error))

    async def bury(self, record: EventRecord, letter: bytes) -> None:
        def work(transaction: Transaction) -> None:
            eventqueue.bury(transaction, self._queue, record, letter)

        await self._settled(self._broker.database.write(work), [record])

    async def extend(self, records: Sequence[Record], seconds: float) -> None:
        with _as_source_error():
            await self._broker.extend(self._queue, records, seconds)

    async def expose(self, record: EventRecord) -> None:
        with _as_source_error():
            await self._broker.database.write(lambda transaction: eventqueue.expose(transaction, record))


@contextmanager
def _as_source_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(str(error)) from error
