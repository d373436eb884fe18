"""Lanes: which records may be in flight together, and which wait for which.

One machine for the three orderings. A lane is a sequence that is kept: the whole shard, one of N shares of it
(ParallelizationFactor), or a key. Batches are taken from lanes that are free; a batch that goes again keeps
its lanes closed until it is resolved, so nothing overtakes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from heapq import heappop, heappush
from itertools import chain, count
from typing import TYPE_CHECKING
from zlib import crc32

from streamfn.core.batching import BatchWindow
from streamfn.core.policies import BatchPolicy, Ordering
from streamfn.core.records import Batch, Record

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from streamfn.core.events import EventShape


class Lanes(ABC):
    """Records wait here between being read and being delivered."""

    @abstractmethod
    def __len__(self) -> int:
        """Records that wait, those held for a retry included, those in flight not."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Payload bytes of the records that wait to be delivered for the first time."""

    @property
    @abstractmethod
    def due_at(self) -> float | None:
        """When `take` will give a batch if nothing happens; None: not before `add`, `retry` or `finish`."""

    @abstractmethod
    def add(self, records: Sequence[Record], now: float) -> None:
        """Lets records wait, each behind those of its lane."""

    @abstractmethod
    def take(self, now: float) -> Batch | None:
        """A batch that may go now, retries first; its lanes are closed until `finish` or `retry`."""

    @abstractmethod
    def finish(self, batch: Batch, now: float) -> None:
        """All of a batch that was taken is resolved."""

    @abstractmethod
    def retry(self, batch: Batch, parts: Sequence[Batch], now: float, delay: float) -> None:
        """What is left of a batch that was taken, one part or more, goes again after a delay, one by one."""

    @abstractmethod
    def hold(self, batch: Batch, at: float) -> None:
        """Closes the lanes of a batch that an earlier owner had in flight, and lets it go at an instant.

        Behind what its lanes hold already. One that finds them taken otherwise may wait there as new records
        do.
        """

    @abstractmethod
    def clear(self) -> Sequence[Record]:
        """All that waits, taken out: a worker that drains delivers nothing more."""


def lanes_for(ordering: Ordering, factor: int, policy: BatchPolicy, shape: EventShape) -> Lanes:
    """The lanes of one shard. `factor` is the ParallelizationFactor; it counts with Ordering.SHARD only."""
    if ordering is Ordering.SHARD:
        return ShardLanes(factor, policy, shape)
    return KeyLanes(policy, shape, keyed=ordering is Ordering.KEY)


def lane_of(record: Record, factor: int) -> int:
    """The share of a shard that a record belongs to. Same key, same share; no key, the first."""
    return crc32(record.key.encode("utf-8", "surrogatepass")) % factor if record.key else 0


class _Sequence:
    """One lane of a shard: a window, and what goes again before it."""

    __slots__ = ("busy", "held", "window")

    def __init__(self, policy: BatchPolicy) -> None:
        self.window = BatchWindow(policy)
        self.held: deque[tuple[float, Batch]] = deque()
        """When each may go, if those before it are done."""
        self.busy = False

    @property
    def due_at(self) -> float | None:
        if self.busy:
            return None
        return self.held[0][0] if self.held else self.window.due_at


class ShardLanes(Lanes):
    """The shard in order, or N shares of it, each in order with one batch in flight."""

    def __init__(self, factor: int, policy: BatchPolicy, shape: EventShape) -> None:
        self._shape = shape
        self._lanes = [_Sequence(policy) for _ in range(factor)]
        self._turns = deque(self._lanes)
        """The lanes in the order they are served: with few runners, a busy one must not starve the others."""
        self._taken: dict[Batch, _Sequence] = {}

    def __len__(self) -> int:
        return sum(len(lane.window) + sum(len(batch) for _, batch in lane.held) for lane in self._lanes)

    @property
    def bytes(self) -> int:
        return sum(lane.window.bytes for lane in self._lanes)

    @property
    def due_at(self) -> float | None:
        return min((due for lane in self._lanes if (due := lane.due_at) is not None), default=None)

    def add(self, records: Sequence[Record], now: float) -> None:
        if len(self._lanes) == 1:
            self._lanes[0].window.add(records, now)
            return
        shares: dict[int, list[Record]] = {}
        for record in records:
            shares.setdefault(lane_of(record, len(self._lanes)), []).append(record)
        for share, its_records in shares.items():
            self._lanes[share].window.add(its_records, now)

    def take(self, now: float) -> Batch | None:
        for turn, lane in enumerate(self._turns, 1):
            due_at = lane.due_at
            if due_at is None or now < due_at:
                continue
            batch = lane.held.popleft()[1] if lane.held else Batch(lane.window.take(now), self._shape)
            lane.busy = True
            self._taken[batch] = lane
            self._turns.rotate(-turn)
            return batch
        return None

    def finish(self, batch: Batch, now: float) -> None:
        lane = self._taken.pop(batch)
        lane.busy = False
        lane.window.finish(now)

    def retry(self, batch: Batch, parts: Sequence[Batch], now: float, delay: float) -> None:
        lane = self._taken.pop(batch)
        lane.busy = False
        lane.held.extendleft((now + delay, part) for part in reversed(parts))

    def hold(self, batch: Batch, at: float) -> None:
        self._lanes[lane_of(batch[0], len(self._lanes))].held.append((at, batch))

    def clear(self) -> Sequence[Record]:
        waiting: list[Record] = []
        for lane in self._lanes:
            waiting.extend(chain.from_iterable(batch for _, batch in lane.held))
            lane.held.clear()
            waiting.extend(lane.window.clear())
        return waiting


class _Queue(deque[Record]):
    """Records of one key, and what they weigh."""

    __slots__ = ("bytes",)
    bytes: int


class KeyLanes(Lanes):
    """A lane per key, or no order at all. Only keys in flight are closed, so one that fails stops no other.

    A batch may hold records of many keys. Keys are served in turn, so a busy one starves nobody.
    """

    def __init__(self, policy: BatchPolicy, shape: EventShape, *, keyed: bool = True) -> None:
        self._policy = policy
        self._shape = shape
        self._keyed = keyed
        self._waiting: dict[Hashable, _Queue] = {}
        self._free: deque[Hashable] = deque()
        """Keys that have records and are not closed, in the order they became so."""
        self._closed: set[Hashable] = set()
        """Keys of what is in flight, and of what goes again."""
        self._ready = 0
        """Records of free keys."""
        self._ready_bytes = 0
        self._ready_since = 0.0
        self._count = 0
        self._bytes = 0
        self._held: list[tuple[float, int, tuple[Batch, ...]]] = []
        """A heap of what goes again: batches of one entry go one after the other."""
        self._rest: dict[Batch, tuple[Batch, ...]] = {}
        """In flight, and what of its entry follows it."""
        self._serial = count()

    def __len__(self) -> int:
        return self._count + sum(map(len, self._again()))

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def due_at(self) -> float | None:
        dues = [self._held[0][0]] if self._held else []
        if self._ready:
            full = self._ready >= self._policy.batch_size or self._ready_bytes >= self._policy.payload_limit
            dues.append(self._ready_since + (0.0 if full else self._policy.window))
        return min(dues, default=None)

    def add(self, records: Sequence[Record], now: float) -> None:
        if not self._ready:
            self._ready_since = now
        for record in records:
            key = self._key(record)
            size = record.size
            free = key not in self._closed
            queue = self._waiting.get(key)
            if queue is None:
                queue = self._waiting[key] = _Queue()
                queue.bytes = 0
                if free:
                    self._free.append(key)
            queue.append(record)
            queue.bytes += size
            self._bytes += size
            if free:
                self._ready += 1
                self._ready_bytes += size
        self._count += len(records)

    def take(self, now: float) -> Batch | None:
        if self._held and self._held[0][0] <= now:
            first, *rest = heappop(self._held)[2]
            self._rest[first] = tuple(rest)
            return first
        due_at = self.due_at
        if due_at is None or now < due_at:
            return None
        batch = Batch(self._gather(), self._shape)
        self._rest[batch] = ()
        self._ready_since = now
        return batch

    def finish(self, batch: Batch, now: float) -> None:
        rest = self._rest.pop(batch)
        self._open(batch, rest, now)
        if rest:
            heappush(self._held, (now, next(self._serial), rest))

    def retry(self, batch: Batch, parts: Sequence[Batch], now: float, delay: float) -> None:
        again = (*parts, *self._rest.pop(batch))
        self._open(batch, again, now)
        heappush(self._held, (now + delay, next(self._serial), again))

    def hold(self, batch: Batch, at: float) -> None:
        keys = self._keys((batch,))
        taken = keys & self._closed
        waits = not keys.isdisjoint(self._waiting)
        if not taken and not waits:
            self._closed |= keys
            heappush(self._held, (at, next(self._serial), (batch,)))
            return
        ahead = [] if waits else [i for i, held in enumerate(self._held) if taken & self._keys(held[2])]
        if len(ahead) == 1 and taken <= self._keys(self._held[ahead[0]][2]):
            due_at, serial, parts = self._held[ahead[0]]
            self._held[ahead[0]] = due_at, serial, (*parts, batch)
            self._closed |= keys
        else:
            self.add(batch.records, at)

    def clear(self) -> Sequence[Record]:
        waiting = [*chain.from_iterable(self._again()), *chain.from_iterable(self._waiting.values())]
        self._held.clear()
        self._rest = dict.fromkeys(self._rest, ())
        self._closed = self._keys(self._rest)
        self._waiting.clear()
        self._free.clear()
        self._ready = self._ready_bytes = self._count = self._bytes = 0
        return waiting

    def _again(self) -> Iterator[Batch]:
        """What waits to go again."""
        for _, _, parts in self._held:
            yield from parts
        for rest in self._rest.values():
            yield from rest

    def _key(self, record: Record) -> Hashable:
        # A record that waits for nobody is a lane of its own, so it needs a name nobody else has.
        key = record.key if self._keyed else None
        return key if key is not None else id(record)

    def _keys(self, batches: Iterable[Batch]) -> set[Hashable]:
        return {self._key(record) for batch in batches for record in batch}

    def _gather(self) -> list[Record]:
        """As many records of free keys as one batch takes, key by key; the keys are closed."""
        size, limit = self._policy.batch_size, self._policy.payload_limit
        batch: list[Record] = []
        weight = 0
        while self._free and len(batch) < size:
            key = self._free[0]
            queue = self._waiting[key]
            count, heft = len(queue), queue.bytes
            whole = len(batch) + count <= size and weight + heft <= limit
            if whole:
                batch.extend(queue)
                weight += heft
                del self._waiting[key]
            else:
                while queue and len(batch) < size:
                    next_weight = weight + queue[0].size
                    if batch and next_weight > limit:
                        break
                    queue.bytes -= next_weight - weight
                    weight = next_weight
                    batch.append(queue.popleft())
                if len(queue) == count:
                    break
                if not queue:
                    del self._waiting[key]
            self._free.popleft()
            self._closed.add(key)
            self._ready -= count
            self._ready_bytes -= heft
            if not whole:
                break
        self._count -= len(batch)
        self._bytes -= weight
        return batch

    def _open(self, batch: Batch, again: Iterable[Batch], now: float) -> None:
        kept = self._keys(again)
        # In the order of the batch, not of a set: which key is served next must not depend on hashes.
        for key in dict.fromkeys(map(self._key, batch)):
            if key in kept:
                continue
            self._closed.discard(key)
            queue = self._waiting.get(key)
            if queue:
                if not self._ready:
                    self._ready_since = now
                self._free.append(key)
                self._ready += len(queue)
                self._ready_bytes += queue.bytes
