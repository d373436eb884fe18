"""An event queue in memory: delays, histories, what is in hand, and readers that die."""

from __future__ import annotations

from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Final

from anyio import lowlevel, move_on_after

from streamfn.core.events import FRESH, EventRecord, EventShape, History, InvocationShape
from streamfn.errors import StreamfnError
from streamfn.testing.clock import clock as virtual_clock
from streamfn.testing.memory.bell import Bell
from streamfn.testing.memory.faults import Faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from streamfn.core.records import Record
    from streamfn.ports import Clock, Event

_SUSPICIOUS: Final = 2
"""Times that an event was in the hands of a reader that died, after which it is delivered alone."""


@dataclass(slots=True, eq=False)
class Kept:
    """An event that is not done."""

    serial: int
    event: Event
    arrived_at: float
    due_at: float
    history: History = FRESH
    receives: int = 0
    """Deliveries that nobody has said a word about."""
    delivery: int = 0
    """The number of the one that is on; 0 for none."""
    exposed: bool = False

    @property
    def is_suspicious(self) -> bool:
        return self.receives >= _SUSPICIOUS

    def delivered(self, delivery: int) -> EventRecord:
        """As its next reader sees it."""
        history = self.history
        if self.is_suspicious or self.exposed:
            history = replace(history, suspect=self.is_suspicious, died=self.exposed)
        self.receives += 1
        self.delivery = delivery
        event = self.event
        return EventRecord(
            event.request_id,
            event.payload,
            self.arrived_at,
            event.headers,
            history=history,
            receipt=(self, delivery),
        )


@dataclass(slots=True)
class Line:
    """The events of one function, the longest due first."""

    kept: dict[int, Kept] = field(default_factory=dict)
    _due: list[tuple[float, int]] = field(default_factory=list)
    """When events may be due. Says nothing of those that are done or were hidden anew since."""

    def hide(self, kept: Kept, until: float) -> None:
        """It is due then, and not before."""
        kept.due_at = until
        heappush(self._due, (until, kept.serial))

    def first(self) -> Kept | None:
        """The one that is due first, be it now or later."""
        while self._due:
            due_at, serial = self._due[0]
            kept = self.kept.get(serial)
            if kept is not None and kept.due_at == due_at:
                return kept
            heappop(self._due)
        return None


class MemoryEventShard:
    """An `EventShard` of a `MemoryEvents`."""

    def __init__(self, events: MemoryEvents, line: Line, place: int) -> None:
        self.id = f"events-{place}"
        self.shape: EventShape = InvocationShape()
        self._events = events
        self._line = line
        self._in_hand: dict[Kept, int] = {}
        """With the number of the delivery."""

    @property
    def visibility_timeout(self) -> float:
        return self._events.visibility_timeout

    @property
    def depth(self) -> int | None:
        return len(self._line.kept) - len(self._held())

    async def read(self, limit: int, wait: float) -> Sequence[EventRecord]:
        # Cancellation comes here or while waiting, never between taking events and returning them.
        await lowlevel.checkpoint()
        self._events.faults.before("read")
        records = self._take(limit)
        if records or wait <= 0:
            return records
        with move_on_after(wait):
            while not records:
                with move_on_after(self._next_in()):
                    await self._events.changed.heard()
                records = self._take(limit)
        return records

    async def ack(self, records: Sequence[Record]) -> None:
        await self._begin("ack")
        for kept, _ in self._current(records):
            del self._line.kept[kept.serial]
            self._let_go(kept)
        self._end("ack")

    async def release(self, records: Sequence[Record], delay: float | None) -> None:
        await self._begin("release")
        if delay is not None:
            for kept, _ in self._current(records):
                kept.receives -= delay == 0
                self._comes_again(kept, delay)
        self._end("release")

    async def remember(self, records: Sequence[EventRecord], delay: float) -> None:
        await self._begin("remember")
        for kept, record in self._current(records):
            kept.history = _written(record.history)
            kept.receives = _SUSPICIOUS if record.history.suspect else 0
            self._comes_again(kept, delay)
        self._end("remember")

    async def extend(self, records: Sequence[Record], seconds: float) -> None:
        await self._begin("extend")
        for kept, _ in self._current(records):
            self._line.hide(kept, self._events.clock() + seconds)
        self._end("extend")

    async def expose(self, record: EventRecord) -> None:
        await self._begin("expose")
        for kept, _ in self._current([record]):
            kept.exposed = True
        self._end("expose")

    async def bury(self, record: EventRecord, letter: bytes) -> None:
        await self._begin("bury")
        for kept, _ in self._current([record]):
            kept.event = kept.event._replace(payload=letter)
            kept.history, kept.receives = FRESH, 0
            self._comes_again(kept, inf)
        self._end("bury")

    def close(self) -> None:
        """What it has in hand comes again at once, as if it had never been read."""
        for kept in self._held():
            kept.receives -= 1
            self._comes_again(kept, 0)
        self._events.changed.ring()

    def die(self) -> None:
        """As if its process was killed: what it has in hand comes again at once, and it settles nothing
        more.
        """
        for kept in self._held():
            kept.due_at, kept.delivery = self._events.clock(), 0
            self._line.hide(kept, kept.due_at)
        self._in_hand.clear()
        self._events.changed.ring()

    # ----------------------------------------------------------------------------------- inside

    def _take(self, limit: int) -> list[EventRecord]:
        """Up to `limit` that are due. A suspicious one is alone: nothing comes with it, nor beside it."""
        now, line = self._events.clock(), self._line
        taken: list[EventRecord] = []
        held = self._held()
        if any(kept.receives > _SUSPICIOUS for kept in held):
            return taken
        while len(taken) < limit and (kept := line.first()) is not None and kept.due_at <= now:
            alone = kept.is_suspicious
            if alone and (held or taken):
                break
            taken.append(kept.delivered(self._events.next_number()))
            self._in_hand[kept] = kept.delivery
            line.hide(kept, now + self.visibility_timeout)
            if alone:
                break
        return taken

    def _next_in(self) -> float | None:
        """Seconds until something is due, if nothing else happens. What is due and did not come waits for
        others to be settled.
        """
        first = self._line.first()
        pause = 0.0 if first is None else first.due_at - self._events.clock()
        return pause if pause > 0 else None

    def _held(self) -> list[Kept]:
        """What it has in hand, but for what came to another meanwhile."""
        return [kept for kept, delivery in self._in_hand.items() if kept.delivery == delivery]

    async def _begin(self, operation: str) -> None:
        await lowlevel.checkpoint()
        self._events.faults.before(operation)

    def _end(self, operation: str) -> None:
        self._events.changed.ring()
        self._events.faults.after(operation)

    def _current(self, records: Iterable[Record]) -> Iterator[tuple[Kept, EventRecord]]:
        for record in records:
            assert isinstance(record, EventRecord)
            kept, delivery = record.receipt
            if kept.delivery == delivery:
                yield kept, record

    def _comes_again(self, kept: Kept, delay: float) -> None:
        kept.exposed = False
        self._line.hide(kept, self._events.clock() + delay)
        self._let_go(kept)

    def _let_go(self, kept: Kept) -> None:
        kept.delivery = 0
        self._in_hand.pop(kept, None)


class MemoryEventSource:
    """An `EventSource` of a `MemoryEvents`."""

    def __init__(self, events: MemoryEvents, function: str) -> None:
        self._events = events
        self._function = function

    @property
    def name(self) -> str:
        return f"events:{self._function}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryEventShard]:
        await self.check()
        shard = self._events.reader(self._function)
        try:
            yield shard
        finally:
            shard.close()

    async def check(self) -> None:
        await lowlevel.checkpoint()
        self._events.faults.before("open")


class MemoryEvents:
    """An `EventQueue` in memory: give it to `App(event_queue=...)`. Not for use from several threads.

    Apps that share it are as processes on one queue; what it holds outlives them. An event that was in the
    hands of two readers which died is delivered alone.
    """

    def __init__(self, clock: Clock = virtual_clock, *, visibility_timeout: float = 30.0) -> None:
        self.faults = Faults()
        self.clock = clock
        self.visibility_timeout = visibility_timeout
        self.changed = Bell()
        self.readers: list[MemoryEventShard] = []
        """All that were opened: `die` kills one."""
        self._lines: defaultdict[str, Line] = defaultdict(Line)
        self._open = 0
        self._numbers = count(1)

    def __len__(self) -> int:
        """All events that are not done."""
        return sum(len(line.kept) for line in self._lines.values())

    # ------------------------------------------------------------------------------ the port

    @property
    def in_use(self) -> bool:
        return len(self) > 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        await lowlevel.checkpoint()
        self.faults.before("open")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def put(self, function: str, event: Event) -> None:
        """Durable when it returns. Raises OSError where the test planned it, and StreamfnError where this is
        not open.
        """
        if not self._open:
            raise StreamfnError("no events are taken now: the app is not running")
        await lowlevel.checkpoint()
        self.faults.before("put")
        self.add(function, event)
        self.faults.after("put")

    def source(self, function: str) -> MemoryEventSource:
        """The events of a function."""
        return MemoryEventSource(self, function)

    # --------------------------------------------------------------------- the other side of it

    def add(self, function: str, event: Event) -> None:
        """Puts an event from outside, whether or not this is open."""
        line, now = self._lines[function], self.clock()
        kept = Kept(self.next_number(), event, now, now)
        line.kept[kept.serial] = kept
        line.hide(kept, now)
        self.changed.ring()

    def waiting(self, function: str) -> list[Event]:
        """Events of a function that are not done, as they were put."""
        return [kept.event for kept in self._lines[function].kept.values()]

    async def wait_empty(self) -> None:
        """Returns when every event is done: processed, or in its destination."""
        await self.changed.until(lambda: not len(self))

    # ---------------------------------------------------------------------------- for readers

    def reader(self, function: str) -> MemoryEventShard:
        """Another reader of a function's events."""
        self.readers.append(MemoryEventShard(self, self._lines[function], self.next_number()))
        return self.readers[-1]

    def next_number(self) -> int:
        """For events, deliveries and readers: none comes twice."""
        return next(self._numbers)


def _written(history: History) -> History:
    """What a durable queue would keep of it: values, and nothing of how the event was in hand."""
    failure = history.failure
    if failure is not None:
        message = str(failure.payload("")["errorMessage"])
        failure = replace(failure, message=message, stack=tuple(failure.stack))
    return History(history.attempts, history.throttles, failure)
