"""A circuit breaker: whether a function is to be called at all while it keeps failing. Pure.

Closed, it lets everything through. Where the function fails so many times on end, or too large a share of its
calls fails, it opens, and nothing is called. After a delay one call is let through to find out: if that
succeeds the breaker closes, else it is open for longer (M. Nygard, Release It!: Circuit Breaker).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from streamfn.core.outcomes import Failed, InvalidResponse, Outcome, Succeeded, failed_ids
from streamfn.core.policies import Backoff, DeliveryPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.records import Batch, Record

_SLICES = 10
"""Parts that a window is counted in: it moves on by one of them."""


class BreakerState(Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """One call is under way that decides."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long. Times in seconds."""

    failures: int = 5
    """Failures on end that open it."""
    failure_rate: float = 0.5
    """The share of failures that opens it, of the calls of a window."""
    minimum_calls: int = 20
    """Calls that a window needs to say anything."""
    window: float = 60.0
    delay: float = 10.0
    """How long it stays open the first time; twice as long after each call that failed to close it."""
    maximum_delay: float = 300.0


class CircuitBreaker:
    """The breaker of one mapping. Times are passed in, and do not go back.

    A call has a permit, which names the time in which it began: what calls of earlier times come to, says
    nothing about now.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._delays = Backoff(policy.delay, 2.0, policy.maximum_delay)
        self._permit = 1
        self._calls = _Window(policy.window)
        self.state = BreakerState.CLOSED
        self.failures = 0
        """Failures on end while it was closed."""
        self.openings = 0
        """How often it has opened since it was closed."""
        self.opened_at = 0.0
        """When it opened first since it was closed."""
        self.due_at = 0.0
        """When a call may find out, while it is open."""

    def admit(self, now: float) -> int | None:
        """A permit for one call; None while nothing may be called."""
        if self.state is BreakerState.OPEN and now >= self.due_at:
            self._turn(BreakerState.HALF_OPEN)
        elif self.state is not BreakerState.CLOSED:
            return None
        return self._permit

    def holds(self, permit: int) -> bool:
        """Whether a call with this permit may still begin."""
        return permit == self._permit and self.state is not BreakerState.OPEN

    def succeeded(self, permit: int, now: float) -> bool:
        """A call succeeded. Whether that closed the breaker."""
        if not self.holds(permit):
            return False
        if self.state is BreakerState.CLOSED:
            self.failures = 0
            self._calls.count(now, failed=False)
            return False
        self._turn(BreakerState.CLOSED)
        self.failures = self.openings = 0
        self._calls.clear()
        return True

    def failed(self, permit: int, now: float) -> bool:
        """A call failed. Whether that opened the breaker, for the first time or again."""
        if not self.holds(permit):
            return False
        if self.state is BreakerState.CLOSED:
            self.failures += 1
            self._calls.count(now, failed=True)
            if not self._too_many():
                return False
            self.opened_at = now
        self.openings += 1
        self.due_at = now + self._delays.delay(self.openings)
        self._turn(BreakerState.OPEN)
        return True

    def forgone(self, permit: int) -> None:
        """The call was not made, or says nothing: another one may find out at once."""
        if self.state is BreakerState.HALF_OPEN and self.holds(permit):
            self._turn(BreakerState.OPEN)

    def _too_many(self) -> bool:
        policy, calls = self._policy, self._calls
        if self.failures >= policy.failures:
            return True
        return calls.total >= policy.minimum_calls and calls.failed >= policy.failure_rate * calls.total

    def _turn(self, state: BreakerState) -> None:
        self.state = state
        self._permit += 1


class _Window:
    """Calls of the last seconds, counted in slices, so that a million calls take no more room than ten."""

    def __init__(self, seconds: float) -> None:
        self._slice = seconds / _SLICES
        self._slices: deque[list[int]] = deque()
        """Number of the slice, calls, failures."""
        self.total = 0
        self.failed = 0

    def count(self, now: float, *, failed: bool) -> None:
        number = int(now // self._slice)
        while self._slices and self._slices[0][0] <= number - _SLICES:
            _, total, failures = self._slices.popleft()
            self.total -= total
            self.failed -= failures
        if not self._slices or self._slices[-1][0] != number:
            self._slices.append([number, 0, 0])
        self._slices[-1][1] += 1
        self._slices[-1][2] += failed
        self.total += 1
        self.failed += failed

    def clear(self) -> None:
        self._slices.clear()
        self.total = self.failed = 0


def verdict(outcome: Outcome, batch: Batch, done: Sequence[Record], policy: DeliveryPolicy) -> bool | None:
    """Whether a call went well, as far as a breaker is concerned; None: it says nothing, for nothing ran.

    Records that a function reports as failed speak for it, unless it reports all of them.
    """
    match outcome:
        case Failed():
            return False
        case Succeeded(payload=payload, failed=failed):
            if done or (failed is None and not policy.report_batch_item_failures):
                return True
            try:
                failed = failed_ids(payload, batch) if failed is None else failed
            except InvalidResponse:
                return False
            return failed < {record.id for record in batch.records}
        case _:
            return None
