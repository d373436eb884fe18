"""A queue in memory: visibility, receipts, receive counts, delays, order by key, dead letters."""

from __future__ import annotations

from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from anyio import lowlevel, move_on_after

from streamfn.core.events import EventShape, SqsShape
from streamfn.core.records import QueueRecord, Record
from streamfn.testing.clock import clock as virtual_clock
from streamfn.testing.memory.bell import Bell
from streamfn.testing.memory.faults import Faults
from streamfn.testing.memory.lines import FifoLine, Line, Sent
from streamfn.testing.memory.values import Value, unpacked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from streamfn.ports import Clock


class MemoryPoller:
    """A `QueueShard` of a `MemoryQueue`."""

    def __init__(self, queue: MemoryQueue, place: int) -> None:
        self._queue = queue
        self._id = f"{queue.name}-{place}"

    @property
    def id(self) -> str:
        return self._id

    @property
    def shape(self) -> EventShape:
        return self._queue.shape

    @property
    def visibility_timeout(self) -> float:
        return self._queue.visibility_timeout

    @property
    def depth(self) -> int | None:
        return self._queue.depth

    async def read(self, limit: int, wait: float) -> Sequence[QueueRecord]:
        # Cancellation comes here or while waiting, never between taking messages and returning them.
        await lowlevel.checkpoint()
        self._queue.faults.before("read")
        records = self._queue.take(limit)
        if records or wait <= 0:
            return records
        with move_on_after(wait):
            while not records:
                # Messages come back without a sound: sleep no longer than until the first of them does.
                with move_on_after(self._queue.next_in):
                    await self._queue.changed.heard()
                records = self._queue.take(limit)
        return records

    async def ack(self, records: Sequence[Record]) -> None:
        await lowlevel.checkpoint()
        self._queue.faults.before("ack")
        self._queue.remove(records)
        self._queue.faults.after("ack")

    async def release(self, records: Sequence[Record], delay: float | None) -> None:
        await lowlevel.checkpoint()
        self._queue.faults.before("release")
        if delay is not None:
            self._queue.hide(records, delay, take_back=delay == 0)
        self._queue.faults.after("release")

    async def extend(self, records: Sequence[Record], seconds: float) -> None:
        await lowlevel.checkpoint()
        self._queue.faults.before("extend")
        self._queue.hide(records, seconds)
        self._queue.faults.after("extend")


class MemoryQueue:
    """A `QueueSource` in memory. Not for use from several threads.

    A delivery is over when its visibility timeout is: settling it later changes nothing, even when nobody has
    received the message since. With `fifo`, messages of one key come in order, and none while another of it
    is in flight. A message received more than `max_receive_count` times goes to the dead letter queue
    instead. Without deduplication. Messages are shown to functions as SQS messages.
    """

    def __init__(
        self,
        name: str = "queue",
        visibility_timeout: float = 30.0,
        fifo: bool = False,
        max_receive_count: int | None = None,
        dead_letter: MemoryQueue | None = None,
        *,
        clock: Clock = virtual_clock,
    ) -> None:
        self.faults = Faults()
        self.visibility_timeout = visibility_timeout
        self.changed = Bell()
        self._name = name
        self._arn = f"arn:aws:sqs:local:000000000000:{name}"
        self._max_receive_count = max_receive_count
        self._dead_letter = dead_letter
        self._clock = clock
        self._line: Line | FifoLine = FifoLine() if fifo else Line()
        self._messages: dict[str, Sent] = {}
        self._hidden: list[tuple[float, int, Sequence[Sent]]] = []
        """When messages may come back. Says nothing of those that were settled or hidden anew since."""
        self._serial = count(1)
        self._waiting = 0
        self._opened = 0
        self._duplicates = 0
        self._again: list[Sent] = []
        """In flight, and to be received once more."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def shape(self) -> EventShape:
        return SqsShape(self._arn, "local")

    @property
    def depth(self) -> int:
        """Messages that wait, those sent with a delay included; not those delivered or held back."""
        self._come_back()
        return self._waiting

    @property
    def in_flight(self) -> int:
        """Messages delivered that may come back."""
        self._come_back()
        return len(self._messages) - self._waiting

    def __len__(self) -> int:
        """All messages that are not done."""
        return len(self._messages)

    # ------------------------------------------------------------------------------ the port

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryPoller]:
        await lowlevel.checkpoint()
        self.faults.before("open")
        self._opened += 1
        yield MemoryPoller(self, self._opened)

    async def check(self) -> None:
        await lowlevel.checkpoint()
        self.faults.before("check")

    # --------------------------------------------------------------------- the other side of it

    def put(self, values: Iterable[Value], *, key: str | None = None, delay: float = 0.0) -> list[str]:
        """Sends messages, and wakes who waits for them. Gives their ids: `queue-1`, `queue-2`, ..."""
        if delay and isinstance(self._line, FifoLine):
            raise ValueError("a FIFO queue takes no delay for a message: what follows would overtake it")
        now = self._clock()
        sent = []
        for value in values:
            body, own_key, headers = unpacked(value)
            serial = next(self._serial)
            its_key = key if own_key is None else own_key
            sent.append(Sent(f"{self._name}-{serial}", serial, body, its_key, headers, now))
        self._add(sent, delay)
        return [message.id for message in sent]

    def duplicate(self, times: int = 1) -> None:
        """The next messages received are received once more at once, as at-least-once queues will do."""
        self._duplicates += times

    def purge(self) -> None:
        """Removes everything; what is in flight is settled in vain."""
        for message in self._messages.values():
            message.over()
        self._messages.clear()
        self._line = type(self._line)()
        self._waiting = 0
        self.changed.ring()

    def bodies(self) -> list[bytes]:
        """What is not done, as sent, whether it waits or is in flight."""
        return [message.body for message in self._messages.values()]

    async def wait_empty(self) -> None:
        """Returns when every message is acknowledged, or gone to the dead letters."""
        await self.changed.until(lambda: not self._messages)

    async def wait_depth(self, messages: int) -> None:
        """Returns when at least so many messages are there, in flight or not."""
        await self.changed.until(lambda: len(self._messages) >= messages)

    # ---------------------------------------------------------------------------- for pollers

    @property
    def next_in(self) -> float | None:
        """Seconds until a message may come back."""
        return max(0.0, self._hidden[0][0] - self._clock()) if self._hidden else None

    def take(self, limit: int) -> list[QueueRecord]:
        """Up to `limit` messages, which are hidden now."""
        now = self._clock()
        self._come_back(now)
        taken = [message for message in self._again[:limit] if message.visible_at > now]
        del self._again[:limit]
        while len(taken) < limit:
            messages = self._line.take(limit - len(taken))
            if not messages:
                break
            self._waiting -= len(messages)
            taken += self._without_dead(messages)
        if not taken:
            return []
        if self._duplicates:
            self._again += taken[: self._duplicates]
            self._duplicates = max(0, self._duplicates - len(taken))
        until = now + self.visibility_timeout
        heappush(self._hidden, (until, next(self._serial), taken))
        return [self._deliver(message, now, until) for message in taken]

    def remove(self, records: Iterable[Record]) -> None:
        """The messages are done, as far as these deliveries of them are not over."""
        for message in self._current(records):
            message.over()
            del self._messages[message.id]
            self._line.remove(message)
        self.changed.ring()

    def hide(self, records: Iterable[Record], seconds: float, *, take_back: bool = False) -> None:
        """Hides them from now on for so long. `take_back`: as if they had not been received."""
        messages = list(self._current(records))
        until = self._clock() + seconds
        for message in messages:
            message.visible_at = until
            if take_back:
                message.receive_count -= 1
        if messages:
            heappush(self._hidden, (until, next(self._serial), messages))
            self.changed.ring()

    def _current(self, records: Iterable[Record]) -> Iterable[Sent]:
        now = self._clock()
        for record in records:
            assert isinstance(record, QueueRecord)
            message, delivery = record.receipt
            if message.delivery == delivery and message.visible_at > now:
                yield message

    def _add(self, messages: Sequence[Sent], delay: float = 0.0) -> None:
        self._messages |= {message.id: message for message in messages}
        self._waiting += len(messages)
        if delay <= 0:
            self._line.add(messages)
        else:
            until = self._clock() + delay
            for message in messages:
                message.visible_at = until
            heappush(self._hidden, (until, next(self._serial), messages))
        self.changed.ring()

    def _come_back(self, now: float | None = None) -> None:
        """Messages whose time is over wait again."""
        hidden = self._hidden
        if not hidden:
            return
        now = self._clock() if now is None else now
        while hidden and hidden[0][0] <= now:
            until, _, messages = heappop(hidden)
            back = [message for message in messages if message.visible_at == until]
            for message in back:
                if message.delivery:  # delayed ones waited all the while
                    self._waiting += 1
                message.over()
            self._line.back(back)

    def _without_dead(self, messages: Sequence[Sent]) -> Sequence[Sent]:
        if self._max_receive_count is None:
            return messages
        dead = [message for message in messages if message.receive_count >= self._max_receive_count]
        if not dead:
            return messages
        for message in dead:
            del self._messages[message.id]
            self._line.remove(message)
        if self._dead_letter is not None:
            self._dead_letter._accept(dead, self._arn)
        self.changed.ring()
        return [message for message in messages if message.receive_count < self._max_receive_count]

    def _accept(self, dead: Sequence[Sent], arn: str) -> None:
        """Messages keep id and time of sending when they go to the dead letters, as SQS does."""
        self._add([message.moved(next(self._serial), {"DeadLetterQueueSourceArn": arn}) for message in dead])

    def _deliver(self, message: Sent, now: float, until: float) -> QueueRecord:
        message.receive_count += 1
        if message.receive_count == 1:
            message.first_received_at = now
        message.visible_at = until
        message.delivery += 1
        return QueueRecord(
            message.id,
            message.body,
            message.key,
            message.headers,
            message.sent_at,
            message.first_received_at,
            message.receive_count,
            message.attributes,
            (message, message.delivery),
        )
