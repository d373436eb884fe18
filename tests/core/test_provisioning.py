"""How many environments are kept initialised."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.admission import InvalidConcurrency
from streamfn.core.provisioning import Provisioning, ScheduledNumber, TargetTracking, Tracker
from streamfn.core.schedules import schedule

MIDNIGHT = datetime(2026, 3, 4, tzinfo=UTC).timestamp()
HOUR = 3600.0

OFFICE = Provisioning(
    1,
    (
        ScheduledNumber(schedule("cron(0 8 ? * MON-FRI *)"), 10),
        ScheduledNumber(schedule("cron(0 18 ? * MON-FRI *)"), 0),
        ScheduledNumber(schedule("at(2026-03-04T18:00:00)"), 3),
    ),
)


def test_a_number_is_that_number() -> None:
    fixed = Provisioning(5)
    assert Tracker(fixed).number(100, MIDNIGHT) == 5
    assert fixed.changes_at(MIDNIGHT) is None
    assert fixed.most == 5


@pytest.mark.parametrize(("hour", "number"), [(7.99, 0), (8, 10), (17.99, 10), (18, 3), (32, 10), (42, 0)])
def test_the_number_is_that_of_what_was_due_last(hour: float, number: int) -> None:
    assert Tracker(OFFICE).number(0, MIDNIGHT + hour * HOUR) == number


def test_it_changes_when_the_next_is_due() -> None:
    assert OFFICE.changes_at(MIDNIGHT) == MIDNIGHT + 8 * HOUR
    assert OFFICE.changes_at(MIDNIGHT + 8 * HOUR) == MIDNIGHT + 18 * HOUR
    assert OFFICE.most == 10


def test_before_anything_was_due_the_number_holds() -> None:
    later = Provisioning(2, (ScheduledNumber(schedule("at(2030-01-01T00:00:00)"), 9),))
    assert later.scheduled(MIDNIGHT) == 2


def test_it_follows_what_is_in_use() -> None:
    tracker = Tracker(Provisioning(1, tracking=TargetTracking(maximum=20, target=0.7)))
    assert tracker.number(0, 0) == 1
    assert tracker.number(7, 10) == 10, "seven of ten is the target"
    assert tracker.number(8, 20) == 12
    assert tracker.number(100, 30) == 20, "no more than the maximum"


def test_it_goes_down_slowly() -> None:
    tracker = Tracker(Provisioning(1, tracking=TargetTracking(maximum=20, target=0.5, scale_in_after=900)))
    assert tracker.number(8, 0) == 16
    assert tracker.number(4, 300) == 16
    assert tracker.number(2, 600) == 16
    assert tracker.number(0, 899) == 16
    assert tracker.number(0, 900) == 8, "what was needed since"
    assert tracker.number(0, 1200) == 4
    assert tracker.number(0, 5000) == 1
    assert tracker.number(3, 5001) == 6


def test_a_schedule_says_the_least_that_tracking_keeps() -> None:
    both = Provisioning(0, OFFICE.schedule, TargetTracking(maximum=15))
    assert Tracker(both).number(0, MIDNIGHT + 9 * HOUR) == 10
    assert Tracker(both).number(9, MIDNIGHT + 9 * HOUR) == 13
    assert both.most == 15


@given(
    st.lists(st.tuples(st.floats(0, 500), st.integers(0, 50)), min_size=1, max_size=40),
    st.floats(0.1, 0.9),
)
def test_the_target_is_met_and_the_bounds_are_kept(looks: list[tuple[float, int]], target: float) -> None:
    tracker = Tracker(Provisioning(2, tracking=TargetTracking(maximum=30, target=target)))
    now, seen = 0.0, []
    for pause, in_use in looks:
        now += pause
        number = tracker.number(in_use, now)
        seen.append((now, in_use))
        assert 2 <= number <= 30
        busiest = max(most for when, most in seen if when > now - 900)
        assert number == 30 or busiest <= number * target + 1e-6
        assert number == 2 or busiest > (number - 1) * target - 1e-6


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Provisioning(-1), "less than 0"),
        (lambda: ScheduledNumber(schedule("rate(1 day)"), -1), "less than 0"),
        (lambda: TargetTracking(-1), "less than 0"),
        (lambda: TargetTracking(1, target=0.95), "not among 0.1 to 0.9"),
        (lambda: TargetTracking(1, target=0.0), "not among 0.1 to 0.9"),
    ],
)
def test_numbers_out_of_range_are_refused(make: object, problem: str) -> None:
    with pytest.raises(InvalidConcurrency, match=problem):
        make()  # type: ignore[operator]
