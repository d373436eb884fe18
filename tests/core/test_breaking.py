"""The laws of circuit breakers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamfn.core.breaking import BreakerPolicy, BreakerState, CircuitBreaker, verdict
from streamfn.core.outcomes import Condition, Failed, Outcome, Refused, Succeeded, Throttled
from streamfn.core.policies import DeliveryPolicy
from streamfn.core.records import Batch
from tests.core.made import KINESIS, stream

FIVE = BreakerPolicy(failures=5, failure_rate=0.5, minimum_calls=20, window=60, delay=10, maximum_delay=60)


def after(outcomes: str, policy: BreakerPolicy = FIVE, every: float = 0.0) -> CircuitBreaker:
    """A breaker after calls one by one: `.` went well, `x` did not."""
    breaker = CircuitBreaker(policy)
    for number, outcome in enumerate(outcomes):
        now = number * every
        permit = breaker.admit(now)
        assert permit is not None
        (breaker.succeeded if outcome == "." else breaker.failed)(permit, now)
    return breaker


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [
        ("xxxx", False),
        ("xxxxx", True),
        ("xxxx.xxxx", False),
        ("x." * 9 + "x", False),
        ("x." * 9 + ".x", True),
        ("." * 11 + "x..x.x.x.", False),
        ("." * 30 + "x" * 4 + ".", False),
    ],
    ids=["few", "enough", "not on end", "too few calls", "half of enough", "fewer than half", "long ago"],
)
def test_it_opens_on_failures_on_end_and_on_their_share(outcomes: str, opens: bool) -> None:
    assert (after(outcomes).state is BreakerState.OPEN) is opens


def test_calls_that_left_the_window_count_no_more() -> None:
    half = "x." * 9 + ".x"
    assert after(half, every=3.0).state is BreakerState.OPEN
    assert after(half, every=3.5).state is BreakerState.CLOSED


def test_nothing_is_let_through_until_the_delay_is_over_and_then_one_call() -> None:
    breaker = after("xxxxx")
    assert (breaker.due_at, breaker.admit(9.9)) == (10.0, None)
    probe = breaker.admit(10.0)
    assert probe is not None
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.holds(probe)
    assert breaker.admit(11.0) is None


def test_a_probe_that_succeeds_closes_it_and_all_begins_anew() -> None:
    breaker = after("xxxxx")
    probe = breaker.admit(10.0)
    assert probe is not None
    assert breaker.succeeded(probe, 12.0)
    assert (breaker.state, breaker.openings, breaker.failures) == (BreakerState.CLOSED, 0, 0)
    permit = breaker.admit(12.0)
    assert permit is not None
    opened = [breaker.failed(permit, 12.0) for _ in range(5)]
    assert opened == [False] * 4 + [True]
    assert (breaker.due_at, breaker.opened_at) == (22.0, 12.0)


def test_each_probe_that_fails_doubles_the_delay_up_to_a_cap() -> None:
    breaker, now, delays = after("xxxxx"), 0.0, []
    for _ in range(5):
        delays.append(breaker.due_at - now)
        now = breaker.due_at
        probe = breaker.admit(now)
        assert probe is not None
        assert breaker.failed(probe, now)
    assert delays == [10, 20, 40, 60, 60]
    assert (breaker.openings, breaker.opened_at) == (6, 0.0)


def test_a_probe_that_is_not_made_leaves_its_turn_to_another_at_once() -> None:
    breaker = after("xxxxx")
    first = breaker.admit(10.0)
    assert first is not None
    breaker.forgone(first)
    assert not breaker.holds(first)
    second = breaker.admit(10.0)
    assert second is not None
    breaker.forgone(first)
    assert breaker.holds(second), "whoever left has no say any more"
    assert breaker.openings == 1


def test_calls_that_began_before_it_opened_say_nothing() -> None:
    breaker = CircuitBreaker(FIVE)
    old = breaker.admit(0.0)
    assert old is not None
    for _ in range(5):
        breaker.failed(old, 0.0)
    assert not breaker.holds(old)
    for now in (1.0, 10.0):
        assert not breaker.succeeded(old, now)
        assert not breaker.failed(old, now)
        assert breaker.state is BreakerState.OPEN
        breaker.forgone(old)
    probe = breaker.admit(10.0)
    assert probe is not None
    assert not breaker.succeeded(old, 10.0)
    assert not breaker.failed(old, 10.0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.succeeded(probe, 10.0)
    assert not breaker.failed(probe, 10.0), "nor does a second word of one call"


def test_leaving_a_closed_breaker_changes_nothing() -> None:
    breaker = CircuitBreaker(FIVE)
    permit = breaker.admit(0.0)
    assert permit is not None
    breaker.forgone(permit)
    assert breaker.holds(permit)


class Breaking(RuleBasedStateMachine):
    """Calls begin, end and are given up in any order, as time passes."""

    @initialize(failures=st.integers(1, 4), delay=st.sampled_from([1.0, 10.0]), calls=st.integers(1, 6))
    def begin(self, failures: int, delay: float, calls: int) -> None:
        self.policy = BreakerPolicy(failures, 0.6, calls, 20.0, delay, 35.0)
        self.breaker = CircuitBreaker(self.policy)
        self.now = 0.0
        self.under_way: list[int] = []

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        before = self.breaker.state
        permit = self.breaker.admit(self.now)
        lets = before is BreakerState.CLOSED or (
            before is BreakerState.OPEN and self.now >= self.breaker.due_at
        )
        assert (permit is not None) is lets
        if permit is not None:
            assert self.breaker.holds(permit)
            self.under_way.append(permit)

    @rule(data=st.data(), how=st.sampled_from(["succeeded", "failed", "forgone"]))
    def end(self, data: st.DataObject, how: str) -> None:
        if not self.under_way:
            return
        permit = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        held, before = self.breaker.holds(permit), self.breaker.state
        if how == "forgone":
            self.breaker.forgone(permit)
        else:
            turned = getattr(self.breaker, how)(permit, self.now)
            assert turned is (self.breaker.state is not before)
        if not held:
            assert self.breaker.state is before
        if how == "failed" and held and before is BreakerState.HALF_OPEN:
            assert self.policy.delay <= self.breaker.due_at - self.now <= 35.0

    @invariant()
    def one_probe_at_most(self) -> None:
        if hasattr(self, "breaker") and self.breaker.state is BreakerState.HALF_OPEN:
            assert sum(map(self.breaker.holds, self.under_way)) == 1

    @invariant()
    def never_stuck(self) -> None:
        """Whatever happened, it lets somebody through once time has passed and what is under way ended."""
        if hasattr(self, "breaker") and self.breaker.state is BreakerState.OPEN:
            assert self.breaker.due_at - self.now <= self.policy.maximum_delay


TestBreaking = Breaking.TestCase


@given(st.lists(st.sampled_from(".x"), max_size=300), st.floats(0.0, 5.0))
def test_the_share_is_that_of_the_calls_of_about_one_window(outcomes: list[str], every: float) -> None:
    policy = BreakerPolicy(failures=10_000, failure_rate=0.5, minimum_calls=10, window=10.0)
    breaker = CircuitBreaker(policy)
    for number, outcome in enumerate(outcomes):
        now = number * every
        permit = breaker.admit(now)
        assert permit is not None
        opened = (breaker.succeeded if outcome == "." else breaker.failed)(permit, now)
        past = [o for i, o in enumerate(outcomes[: number + 1]) if i * every > now - 9.0]
        least = [o for i, o in enumerate(outcomes[: number + 1]) if i * every > now - 10.0]
        if opened:
            assert len(least) >= 10
            return
        sure = outcome == "x" and past == least
        assert not (sure and len(past) >= 10 and past.count("x") * 2 >= len(past))


BATCH = Batch(stream(3), KINESIS)
NAMES = [record.id for record in BATCH]


def report(*names: str | None) -> Succeeded:
    return Succeeded({"batchItemFailures": [{"itemIdentifier": name} for name in names]})


@pytest.mark.parametrize(
    ("outcome", "well"),
    [
        (Succeeded(), True),
        (Failed("E", "m"), False),
        (Throttled(), None),
        (Refused(Condition.RECURSIVE_INVOCATION), None),
        (report(), True),
        (report(NAMES[0]), True),
        (report(*NAMES), False),
        (report("nobody"), False),
        (report(None), False),
        (Succeeded(failed=frozenset(NAMES[:1])), True),
        (Succeeded(failed=frozenset(NAMES)), False),
        (Succeeded(failed=frozenset({"nobody"})), False),
    ],
)
def test_what_a_call_says_of_the_function(outcome: Outcome, well: bool | None) -> None:
    assert verdict(outcome, BATCH, (), DeliveryPolicy(report_batch_item_failures=True)) is well


def test_an_answer_that_nobody_asked_for_is_no_failure() -> None:
    assert verdict(report(*NAMES), BATCH, BATCH.records, DeliveryPolicy()) is True
    assert verdict(report(*NAMES), BATCH, (), DeliveryPolicy()) is True


def test_a_batch_of_which_some_is_done_went_well_whatever_is_reported() -> None:
    policy = DeliveryPolicy(report_batch_item_failures=True)
    assert verdict(report(NAMES[2]), BATCH, BATCH.records[:2], policy) is True
