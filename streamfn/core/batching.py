"""The batch window: records in, batches out when they are full, heavy or due."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.policies import BatchPolicy
    from streamfn.core.records import Record

_size = attrgetter("size")


class BatchWindow:
    """Records of one lane in order, closed into batches by count, bytes or time.

    Output joined is input. No batch is longer than `batch_size` or heavier than `payload_limit`, unless it is
    one record. The clock of the window starts when the first waiting record came or when the batch before was
    finished, whichever is later (Developer Guide: batching behavior).
    """

    __slots__ = ("_finished_at", "_head", "_policy", "_records", "_totals", "_waiting_since")

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._records: list[Record] = []
        self._totals: list[int] = []
        """Bytes up to and including each record, counted since the list was last emptied."""
        self._head = 0
        self._waiting_since = 0.0
        self._finished_at = 0.0

    def __len__(self) -> int:
        return len(self._records) - self._head

    @property
    def bytes(self) -> int:
        """Payload bytes that wait."""
        return self._totals[-1] - self._before() if self._records else 0

    @property
    def due_at(self) -> float | None:
        """When what waits is closed if nothing more comes; None when nothing waits."""
        if not len(self):
            return None
        if self._policy.window == 0 or self._is_full():
            return self._waiting_since
        return max(self._waiting_since, self._finished_at) + self._policy.window

    def add(self, records: Sequence[Record], now: float) -> None:
        """Lets records wait behind those that do."""
        if not len(self):
            self._waiting_since = now
        last = self._totals[-1] if self._totals else 0
        totals = accumulate(map(_size, records), initial=last)
        next(totals)
        self._records.extend(records)
        self._totals.extend(totals)

    def take(self, now: float) -> Sequence[Record]:
        """The next batch if it is full, heavy or due; empty when it is not time yet."""
        due_at = self.due_at
        return () if due_at is None or now < due_at else self._pop(now)

    def finish(self, now: float) -> None:
        """The batch taken last is done with: the next window starts."""
        self._finished_at = now

    def clear(self) -> Sequence[Record]:
        """All that waits, taken out."""
        waiting = self._records[self._head :]
        self._records.clear()
        self._totals.clear()
        self._head = 0
        return waiting

    def _is_full(self) -> bool:
        return len(self) >= self._policy.batch_size or self.bytes >= self._policy.payload_limit

    def _before(self) -> int:
        return self._totals[self._head - 1] if self._head else 0

    def _pop(self, now: float) -> Sequence[Record]:
        head = self._head
        heavy = bisect_right(self._totals, self._before() + self._policy.payload_limit, lo=head)
        end = max(min(head + self._policy.batch_size, heavy), head + 1)
        taken = self._records[head:end]
        self._head = end = head + len(taken)
        self._waiting_since = now
        if end == len(self._records):
            self.clear()
        elif end > 4096 and end * 2 > len(self._records):
            # What was taken is let go in one step now and then, so that each record is moved at most once.
            before = self._before()
            self._totals = [total - before for total in self._totals[end:]]
            del self._records[:end]
            self._head = 0
        return taken
