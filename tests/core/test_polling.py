"""The laws of pollers."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamfn.core.polling import Pollers


class Polling(RuleBasedStateMachine):
    """Pollers wait, work, fail, succeed and end, in any order; those that are missing are started, or not
    yet.
    """

    @initialize(minimum=st.integers(1, 4), more=st.integers(0, 6))
    def begin(self, minimum: int, more: int) -> None:
        self.minimum, self.maximum = minimum, minimum + more
        self.pollers = Pollers(minimum, self.maximum)
        self.waiting = self.working = 0

    @rule(most=st.integers(1, 10))
    def fill(self, most: int) -> None:
        for _ in range(min(most, self.pollers.missing)):
            self.pollers.started()
            self.waiting += 1

    @precondition(lambda self: self.waiting)
    @rule()
    def take_up(self) -> None:
        self.pollers.took_up()
        self.waiting -= 1
        self.working += 1

    @precondition(lambda self: self.working)
    @rule(outcome=st.sampled_from(["failed", "succeeded"]))
    def answer(self, outcome: str) -> None:
        before = self.pollers.allowed
        getattr(self.pollers, outcome)()
        if outcome == "succeeded":
            assert self.pollers.allowed == min(self.maximum, before + 1)
        else:
            there = self.waiting + self.working
            assert self.pollers.allowed < min(before, there) or self.pollers.allowed == self.minimum

    @precondition(lambda self: self.working)
    @rule()
    def finish(self) -> None:
        self.pollers.finished()
        self.working -= 1
        self.waiting += 1

    @precondition(lambda self: self.waiting)
    @rule(found_nothing=st.booleans())
    def read_on(self, found_nothing: bool) -> None:
        if self.pollers.spares(found_nothing=found_nothing):
            self.pollers.ended(working=False)
            self.waiting -= 1
            assert self.waiting + self.working >= self.minimum, "too few were left"

    @precondition(lambda self: self.working)
    @rule()
    def cut_off(self) -> None:
        self.pollers.ended(working=True)
        self.working -= 1

    @invariant()
    def counts_are_kept(self) -> None:
        pollers = self.pollers
        assert (pollers.waiting, pollers.working) == (self.waiting, self.working)
        assert pollers.running == self.waiting + self.working <= self.maximum
        assert self.minimum <= pollers.allowed <= self.maximum

    @invariant()
    def as_many_are_missing_as_keep_the_minimum_waiting(self) -> None:
        missing = self.pollers.missing
        assert missing >= 0
        enough = self.waiting + missing >= self.minimum
        assert enough or self.pollers.running + missing >= self.pollers.allowed
        assert not missing or self.waiting + missing == self.minimum or not enough

    def teardown(self) -> None:
        """Whatever came before, an idle queue ends with exactly the minimum waiting."""
        if not hasattr(self, "pollers"):
            return
        while self.working:
            self.finish()
        self.fill(self.maximum)
        for _ in range(self.waiting):
            self.read_on(found_nothing=True)
        assert self.pollers.running == self.waiting == self.minimum
        assert self.pollers.missing == 0


TestPolling = Polling.TestCase


def test_a_busy_queue_gets_one_more_as_often_as_one_takes_something_up() -> None:
    pollers, grown = Pollers(1, 4), []
    for _ in range(6):
        for _ in range(pollers.missing):
            pollers.started()
        if pollers.waiting:
            pollers.took_up()
        grown.append(pollers.running)
    assert grown == [1, 2, 3, 4, 4, 4]


def test_provisioned_pollers_wait_beside_those_that_work() -> None:
    pollers = Pollers(3, 20)
    assert pollers.missing == 3
    for _ in range(3):
        pollers.started()
    for _ in range(2):
        pollers.took_up()
    assert pollers.missing == 2


def test_failures_slow_down_step_by_step_and_successes_restore() -> None:
    pollers = Pollers(1, 10)
    for _ in range(3):
        pollers.started()
        pollers.took_up()
    allowed = []
    for outcome in ("failed", "failed", "failed", "succeeded", "succeeded"):
        getattr(pollers, outcome)()
        allowed.append(pollers.allowed)
    assert allowed == [2, 1, 1, 2, 3]
    pollers.failed()
    pollers.finished()
    assert pollers.allowed == 2
    assert pollers.spares(found_nothing=False)


def test_a_poller_that_found_something_stays_as_long_as_it_is_allowed() -> None:
    pollers = Pollers(1, 2)
    pollers.started()
    pollers.started()
    assert not pollers.spares(found_nothing=False)
    assert pollers.spares(found_nothing=True)
