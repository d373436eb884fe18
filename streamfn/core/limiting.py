"""Adaptive concurrency: how many calls at a time a function, and what is behind it, can bear. Pure.

Calls are looked at window by window, those only that began under the present limit: what an earlier limit led
to says nothing about this one, so a change is never answered twice. A limit grows only where it is made use
of, and a window in which too many calls failed or were throttled makes it smaller.

Two laws. AIMD adds one and takes away a tenth, much as TCP Reno does. The gradient compares the latency of a
window with that without load: as long as they are alike it adds the root of the limit, which is the queue
that it allows, and else shrinks by their ratio (Netflix concurrency-limits: Gradient2, VegasLimit). The
latency without load is measured now and then with half as many calls (BBR: ProbeRTT), so that a function that
got slower for good is not throttled for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf, sqrt


class Algorithm(Enum):
    """The law that a limit follows."""

    AIMD = "aimd"
    GRADIENT = "gradient"


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """How a limit adapts. Times in seconds."""

    algorithm: Algorithm = Algorithm.GRADIENT
    minimum: int = 1
    maximum: int = 1000
    initial: int = 10
    window: float = 1.0
    """How long calls are looked at before the limit changes; longer, where too few came to an end."""
    samples: int = 10
    """Calls that a window has at least, or as many as the limit is."""
    drop_rate: float = 0.1
    """The share of calls that failed or were throttled from which on a window means overload."""
    backoff: float = 0.9
    """What is left of the limit then."""
    latency: float | None = None
    """AIMD: calls that take longer on average mean overload too; None: only failures do."""
    tolerance: float = 1.2
    """Gradient: by how much the latency may exceed that without load before the limit shrinks."""
    probe_interval: float = 60.0
    """Gradient: from one measurement of the latency without load to the next, and thirty windows at least."""


@dataclass(slots=True)
class Window:
    """What is known of the calls of a window."""

    since: float = 0.0
    calls: int = 0
    dropped: int = 0
    seconds: float = 0.0
    """Of all calls that went well."""
    peak: int = 0
    """Most calls at a time."""

    @property
    def latency(self) -> float:
        """Mean seconds of a call that went well; 0 where none did."""
        good = self.calls - self.dropped
        return self.seconds / good if good else 0.0

    @property
    def drop_rate(self) -> float:
        """The share of calls that did not."""
        return self.dropped / self.calls if self.calls else 0.0


class AdaptiveLimit:
    """The limit of one function. Times are passed in, and do not go back."""

    def __init__(self, policy: LimitPolicy, now: float) -> None:
        self._policy = policy
        self._law: _Aimd | _Gradient = _Gradient(policy, now)
        if policy.algorithm is Algorithm.AIMD:
            self._law = _Aimd(policy)
        self._estimate = self._within(float(policy.initial))
        self._window = Window(now)
        self.last = Window()
        """The window that led to the present limit."""

    @property
    def limit(self) -> int:
        """Calls that may be made at a time."""
        return int(self._estimate)

    def observe(self, begun: float, now: float, in_flight: int, *, dropped: bool) -> bool:
        """A call came to its end: whether that changed the limit.

        `in_flight`: calls under way when it ended, itself included. `dropped`: it failed, timed out or was
        throttled.
        """
        window, policy = self._window, self._policy
        if begun < window.since:
            return False
        window.calls += 1
        window.peak = max(window.peak, in_flight)
        if dropped:
            window.dropped += 1
        else:
            window.seconds += now - begun
        if now - window.since < policy.window or window.calls < min(policy.samples, self.limit):
            return False
        was = self.limit
        self._estimate = self._within(self._law.next(self._estimate, window, now))
        self.last, self._window = window, Window(now)
        return self.limit != was

    def _within(self, estimate: float) -> float:
        return max(float(self._policy.minimum), min(estimate, float(self._policy.maximum)))


class _Aimd:
    """One more, or a tenth less."""

    def __init__(self, policy: LimitPolicy) -> None:
        self._policy = policy

    def next(self, estimate: float, window: Window, now: float) -> float:
        policy = self._policy
        slow = policy.latency is not None and window.latency > policy.latency
        if slow or window.drop_rate >= policy.drop_rate:
            return estimate * policy.backoff
        return estimate + 1 if _used(estimate, window) else estimate


class _Gradient:
    """As the latency tells, against that without load."""

    def __init__(self, policy: LimitPolicy, now: float) -> None:
        self._policy = policy
        self._base = inf
        """Seconds of a call without load: measured first of all."""
        self._probe_at = now
        self._windows = _PROBE_WINDOWS
        """Since the last measurement."""
        self._before = 0.0
        """The limit before a measurement; 0 while none is made."""
        self._drained = False

    def next(self, estimate: float, window: Window, now: float) -> float:
        policy = self._policy
        if window.drop_rate >= policy.drop_rate:
            estimate, self._before = (self._before or estimate) * policy.backoff, 0.0
            return estimate
        latency = max(window.latency, _LEAST)
        if self._before:
            return self._probe(estimate, latency, now)
        self._windows += 1
        if now >= self._probe_at and self._windows >= _PROBE_WINDOWS:
            self._before, self._drained = estimate, False
            return max(min(estimate, _FEW), min(estimate, window.peak) / 2)
        if latency < self._base:
            self._base += _SMOOTHING * (latency - self._base)
        return self._step(estimate, window, latency)

    def _step(self, estimate: float, window: Window, latency: float) -> float:
        gradient = max(0.5, min(1.0, self._policy.tolerance * self._base / latency))
        target = estimate * gradient + sqrt(estimate)
        if target < estimate:
            return estimate + _SMOOTHING * (target - estimate)
        return target if _used(estimate, window) else estimate

    def _probe(self, estimate: float, latency: float, now: float) -> float:
        """The first window lets queues run empty; the second one is the measurement. Where that is much less
        than was known, there may have been load still: it is made with half as many calls again.
        """
        if not self._drained:
            self._drained = True
            return estimate
        fell, self._base = latency < _MUCH_LESS * self._base, latency
        if fell and estimate > _FEW:
            self._drained = False
            return max(_FEW, estimate / 2)
        self._windows = 0
        self._probe_at = now + self._policy.probe_interval
        estimate, self._before = self._before, 0.0
        return estimate


_SMOOTHING = 0.2
"""What a single window counts for, where it speaks against the limit (Gradient2's default)."""


_LEAST = 0.001
"""Seconds: differences between latencies below that say nothing of load."""

_PROBE_WINDOWS = 30
"""So few measurements that what they cost is nothing, also where calls take minutes."""

_MUCH_LESS = 0.8

_FEW = 4.0
"""So many calls at a time tell as much as fewer, and sooner."""


def _used(estimate: float, window: Window) -> bool:
    """Whether a limit was made use of: else nothing is known of what lies beyond it."""
    return window.peak * 2 >= int(estimate)
