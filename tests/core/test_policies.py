"""The laws of backoff and of delays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.policies import ASYNCHRONOUS, Backoff, Delays, Ordering

backoffs = st.builds(Backoff, first=st.floats(0, 1e6), factor=st.floats(1, 1e6), cap=st.floats(0, 1e6))


@given(backoffs, st.integers(1, 10**7))
def test_a_delay_never_shrinks_and_never_passes_the_cap(backoff: Backoff, failures: int) -> None:
    delay = backoff.delay(failures)
    assert 0 <= delay <= backoff.cap
    assert delay <= backoff.delay(failures + 1)


@given(backoffs)
def test_the_first_delay_is_the_first(backoff: Backoff) -> None:
    assert backoff.delay(1) == min(backoff.first, backoff.cap)


def test_delays_double_up_to_a_minute() -> None:
    assert [Backoff().delay(n) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_first_delay_of_zero_never_waits() -> None:
    assert Backoff(first=0).delay(50) == 0


def test_a_whole_number_as_factor_is_no_slower_after_a_million_failures() -> None:
    assert Backoff(1, 10, 300).delay(10**9) == 300


@given(st.lists(st.floats(0, 1e6), min_size=1).map(tuple), st.integers(1, 10**9))
def test_delays_come_one_by_one_and_the_last_one_holds(seconds: tuple[float, ...], failures: int) -> None:
    delays = Delays(seconds)
    assert delays.delay(failures) == (seconds[failures - 1] if failures <= len(seconds) else seconds[-1])


def test_without_delays_there_is_none() -> None:
    assert Delays(()).delay(1) == 0.0


def test_events_are_retried_twice_within_six_hours_unless_it_is_said_otherwise() -> None:
    assert [ASYNCHRONOUS.backoff.delay(failures) for failures in (1, 2)] == [60, 120]
    assert (ASYNCHRONOUS.maximum_retry_attempts, ASYNCHRONOUS.maximum_record_age) == (2, 21_600)
    assert (ASYNCHRONOUS.throttle_backoff.first, ASYNCHRONOUS.throttle_backoff.cap) == (1, 300)
    assert (ASYNCHRONOUS.ordering, ASYNCHRONOUS.asynchronous) == (Ordering.NONE, True)
