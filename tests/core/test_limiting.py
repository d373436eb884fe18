"""Adaptive limits against a simple model of what is behind a function: so many servers, and a queue before
them. The knee is where all servers are busy and nobody waits: one call more makes all of them slower.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from random import Random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfn.core.limiting import AdaptiveLimit, Algorithm, LimitPolicy, Window

GRADIENT = LimitPolicy()
AIMD = LimitPolicy(Algorithm.AIMD)


@dataclass
class Model:
    """Calls as many at a time as the limit lets, of a function with so many servers behind it."""

    policy: LimitPolicy
    servers: Callable[[float], int] = lambda now: 16
    seconds: Callable[[float], float] = lambda now: 0.1
    """Of a call, once a server has it."""
    even: bool = False
    """Calls take all the same time; else it is distributed exponentially."""
    demand: int = 100_000
    refuses_from: int = 100_000
    """Calls at a time beyond which one is refused."""
    timeout: float = 1e9
    failing: float = 0.0
    random: Random = field(default_factory=lambda: Random(1))
    limits: list[int] = field(default_factory=list)
    """Second by second."""
    done: list[int] = field(default_factory=list)

    def run(self, seconds: int) -> Model:
        limit = AdaptiveLimit(self.policy, 0.0)
        waiting: deque[float] = deque()
        ends: list[tuple[float, int, float, bool]] = []
        serial, under_way, busy, now, done = count(), 0, 0, 0.0, 0
        while now < seconds:
            while under_way < min(limit.limit, self.demand):
                under_way += 1
                if under_way > self.refuses_from:
                    heappush(ends, (now + 0.05, next(serial), now, True))
                else:
                    waiting.append(now)
            while waiting and busy < self.servers(now):
                busy += 1
                takes = self.seconds(now) * (1.0 if self.even else self.random.expovariate(1.0))
                heappush(ends, (now + takes, next(serial), waiting.popleft(), False))
            now, _, begun, refused = heappop(ends)
            busy -= not refused
            done += not refused
            late = now - begun > self.timeout
            dropped = refused or late or self.random.random() < self.failing
            limit.observe(begun, now, under_way, dropped=dropped)
            under_way -= 1
            while len(self.limits) <= now:
                self.limits.append(limit.limit)
                self.done.append(done)
        return self

    def usual(self, since: int, until: int | None = None) -> float:
        return mean(self.limits[since:until])

    def rate(self, since: int) -> float:
        return (self.done[-1] - self.done[since]) / (len(self.done) - 1 - since)


@pytest.mark.parametrize("even", [True, False], ids=["even", "uneven"])
@pytest.mark.parametrize("knee", [4, 16, 100])
def test_the_gradient_settles_beyond_the_knee_but_not_far(knee: int, even: bool) -> None:
    model = Model(GRADIENT, servers=lambda now: knee, even=even).run(220)
    assert knee <= model.usual(100) <= 1.2 * knee + 2 * knee**0.5
    assert model.rate(100) >= 0.94 * knee / 0.1, "next to nothing of the throughput is lost"


def test_it_does_not_swing_once_it_has_settled() -> None:
    model = Model(GRADIENT, even=True).run(400)
    seen = sorted(model.limits[100:])
    assert seen[-1] - seen[len(seen) // 10] <= 3
    assert seen[0] >= 8, "a measurement takes half of it for two seconds"


def test_a_limit_that_is_far_too_high_comes_down() -> None:
    model = Model(replace(GRADIENT, initial=200)).run(120)
    assert model.usual(60) < 32


def test_it_follows_what_is_behind_the_function_down_and_up_again() -> None:
    model = Model(GRADIENT, servers=lambda now: 8 if 120 < now < 300 else 64).run(480)
    assert 64 <= model.usual(60, 120) <= 100
    assert 6 <= model.usual(200, 300) <= 20
    assert 64 <= model.usual(400) <= 100


def test_a_function_that_got_slower_for_good_gets_its_calls_back() -> None:
    model = Model(GRADIENT, servers=lambda now: 32, seconds=lambda now: 0.1 if now < 200 else 0.4).run(600)
    assert model.usual(400) >= 32
    assert min(model.limits) >= 2


@pytest.mark.parametrize("seconds", [2.0, 30.0])
def test_calls_that_take_long_have_as_many(seconds: float) -> None:
    model = Model(GRADIENT, servers=lambda now: 8, seconds=lambda now: seconds).run(int(300 * seconds))
    assert model.rate(int(100 * seconds)) >= 0.85 * 8 / seconds


def test_a_limit_that_is_not_made_use_of_does_not_grow() -> None:
    for policy in (GRADIENT, AIMD):
        model = Model(policy, servers=lambda now: 32, demand=6).run(300)
        assert max(model.limits) <= 16


def test_a_few_failures_are_no_overload() -> None:
    model = Model(GRADIENT, servers=lambda now: 32, failing=0.02).run(300)
    assert model.usual(100) >= 32


def test_failures_all_the_time_lead_to_the_minimum_and_their_end_out_of_it() -> None:
    for policy in (replace(GRADIENT, minimum=3), replace(AIMD, minimum=3)):
        limit, now = AdaptiveLimit(policy, 0.0), 0.0
        seen = []
        for number in range(4000):
            begun, now = now, now + 0.1
            limit.observe(begun, now, limit.limit, dropped=number < 2000)
            seen.append(limit.limit)
        assert seen[1999] == min(seen) == 3
        assert seen[-1] > 20


def test_aimd_stays_about_where_calls_are_refused() -> None:
    model = Model(AIMD, servers=lambda now: 1000, refuses_from=30).run(400)
    assert min(model.limits[100:]) >= 26
    assert max(model.limits) <= 34


def test_aimd_keeps_to_a_latency() -> None:
    model = Model(replace(AIMD, latency=0.2), servers=lambda now: 20).run(400)
    assert 30 <= model.usual(100) <= 44


def test_timeouts_make_the_limit_smaller() -> None:
    model = Model(replace(AIMD, initial=200), timeout=1.0).run(300)
    assert 100 < model.usual(100) < 200


# ----------------------------------------------------------------------------------------------- windows


def test_calls_that_began_under_an_earlier_limit_say_nothing() -> None:
    limit = AdaptiveLimit(AIMD, 0.0)
    for _ in range(9):
        assert not limit.observe(0.0, 1.0, 10, dropped=True)
    assert limit.observe(0.0, 1.0, 10, dropped=True)
    assert (limit.limit, limit.last.drop_rate, limit.last.latency) == (9, 1.0, 0.0)
    for _ in range(100):
        assert not limit.observe(0.9, 3.0, 10, dropped=True)


def test_a_window_waits_for_its_time_and_for_its_calls() -> None:
    limit = AdaptiveLimit(AIMD, 0.0)
    for _ in range(50):
        assert not limit.observe(0.0, 0.9, 10, dropped=False)
    assert limit.observe(0.0, 1.0, 10, dropped=False)
    assert limit.limit == 11
    few = [limit.observe(1.0, 30.0 + number, 10, dropped=False) for number in range(10)]
    assert few == [False] * 9 + [True]


def test_of_few_calls_at_a_time_few_are_waited_for() -> None:
    limit = AdaptiveLimit(replace(AIMD, initial=1), 0.0)
    assert limit.observe(0.0, 60.0, 1, dropped=False)
    assert limit.limit == 2
    assert not limit.observe(60.0, 120.0, 2, dropped=False)
    assert limit.observe(60.0, 120.0, 2, dropped=False)


def test_calls_that_take_no_time_are_no_trouble() -> None:
    limit = AdaptiveLimit(GRADIENT, 0.0)
    for now in range(100):
        for _ in range(10):
            limit.observe(float(now), float(now), limit.limit, dropped=False)
    assert limit.limit > 100


def test_failures_end_a_measurement() -> None:
    limit, now, seen = AdaptiveLimit(replace(GRADIENT, initial=20), 0.0), 0.0, []

    def window(dropped: bool) -> int:
        nonlocal now
        now += 1.0
        for _ in range(10):
            limit.observe(now - 1.0, now, limit.limit, dropped=dropped)
        return limit.limit

    seen = [window(False), window(True), window(False)]
    assert seen == [10, 18, 9], "half for the measurement, a tenth less of what was before, and once more"


def test_an_empty_window_has_no_latency_and_no_failures() -> None:
    assert (Window().latency, Window().drop_rate) == (0.0, 0.0)


calls = st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 5.0), st.booleans(), st.floats(0.0, 1.0))


@settings(max_examples=200)
@given(
    law=st.sampled_from(Algorithm),
    bounds=st.tuples(st.integers(1, 20), st.integers(0, 50), st.integers(1, 100)),
    latency=st.sampled_from([None, 0.5]),
    history=st.lists(calls, max_size=300),
)
def test_it_stays_within_its_bounds_and_is_the_same_each_time(
    law: Algorithm,
    bounds: tuple[int, int, int],
    latency: float | None,
    history: list[tuple[float, float, bool, float]],
) -> None:
    low, more, initial = bounds
    policy = LimitPolicy(law, minimum=low, maximum=low + more, initial=initial, samples=3, latency=latency)

    def replay() -> list[int]:
        limit, now, seen = AdaptiveLimit(policy, 0.0), 0.0, []
        for pause, took, dropped, used in history:
            now += pause
            before = limit.limit
            changed = limit.observe(now - took, now, round(used * before), dropped=dropped)
            assert changed is (limit.limit != before)
            assert low <= limit.limit <= low + more
            seen.append(limit.limit)
        return seen

    assert replay() == replay()
