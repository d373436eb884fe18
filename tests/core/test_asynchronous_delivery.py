"""How asynchronous invocations are delivered, as recorded on AWS, and the laws of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, pairwise, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.delivery import decide, screen
from streamfn.core.outcomes import Condition, Failed, Outcome, Refused, Succeeded, Throttled
from streamfn.core.policies import ASYNCHRONOUS, Backoff, DeliveryPolicy, Ordering
from streamfn.core.records import Batch
from tests.core.made import FAILURE, Run, asynchronous, batch_of, batches, drive, ids, stream

REFUSED = Refused(Condition.ZERO_RESERVED_CONCURRENCY)


def event(arrived_at: float = 0.0) -> Batch:
    """A batch of one event."""
    return batch_of(stream(1, arrived_at=arrived_at))


def lived(outcomes: Iterable[Outcome], policy: DeliveryPolicy = ASYNCHRONOUS) -> Run:
    """The life of an event that arrives at 0, by what its deliveries come to."""
    answers = iter(outcomes)
    return drive(stream(1), lambda batch: next(answers), policy, batch_size=1)


def test_an_event_that_always_fails_is_tried_at_once_after_one_minute_and_after_two_more() -> None:
    run = lived(repeat(FAILURE))
    assert run.starts == [0, 60, 180]
    assert run.now == 180
    (discard,) = run.discards
    assert (discard.condition, discard.attempts) == (Condition.RETRIES_EXHAUSTED, 3)
    assert discard.outcome is FAILURE


@pytest.mark.parametrize(
    ("age", "starts"),
    [(60, [0]), (61, [0, 60]), (90, [0, 60]), (180, [0, 60]), (181, [0, 60, 180])],
)
def test_an_age_is_judged_ahead(age: float, starts: list[float]) -> None:
    """Not after a wait, but right after the attempt whose next one would come too late."""
    policy = replace(ASYNCHRONOUS, maximum_record_age=age, maximum_retry_attempts=5)
    run = lived(repeat(FAILURE), policy)
    assert (run.starts, run.now) == (starts, starts[-1])
    (discard,) = run.discards
    assert (discard.condition, discard.attempts) == (Condition.EVENT_AGE_EXCEEDED, len(starts))
    assert discard.outcome is FAILURE


def test_where_both_end_it_it_is_the_retries() -> None:
    policy = replace(ASYNCHRONOUS, maximum_record_age=60, maximum_retry_attempts=0)
    run = lived(repeat(FAILURE), policy)
    assert [(d.condition, d.attempts) for d in run.discards] == [(Condition.RETRIES_EXHAUSTED, 1)]


def test_throttles_spend_no_attempt_and_go_on_until_the_age_ends_them() -> None:
    run = lived(repeat(Throttled()))
    waits = [later - earlier for earlier, later in pairwise(run.starts)]
    assert waits[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert set(waits[9:]) == {300}
    assert run.starts[-1] < run.now == 21_600
    (discard,) = run.discards
    assert (discard.condition, discard.attempts) == (Condition.EVENT_AGE_EXCEEDED, 0)
    assert discard.outcome is None


def test_a_throttle_asks_for_no_more_than_the_rest_of_the_age() -> None:
    (decision, late) = (decide(event(), Throttled(10**6), ASYNCHRONOUS, at) for at in (0.0, 21_590.0))
    assert (decision.delay, late.delay) == (21_600, 10)
    assert (decision.retry[0].attempt, decision.retry[0].throttles) == (0, 1)


def test_throttles_between_failures_change_neither_their_delays_nor_their_count() -> None:
    run = lived(
        [Throttled(), FAILURE, Throttled(5), Throttled(5), FAILURE, Throttled(), FAILURE], ASYNCHRONOUS
    )
    assert run.starts == [0, 1, 61, 66, 71, 191, 192]
    assert [(d.condition, d.attempts) for d in run.discards] == [(Condition.RETRIES_EXHAUSTED, 3)]


@pytest.mark.parametrize(
    "failing", [FAILURE, Succeeded(failed=frozenset("0"), error=FAILURE)], ids=["raised", "reported"]
)
def test_what_too_many_throttles_end_keeps_the_failure_before_them(failing: Outcome) -> None:
    run = lived(chain([failing], repeat(Throttled())))
    assert run.starts[:3] == [0, 60, 61]
    (discard,) = run.discards
    assert (discard.condition, discard.attempts, run.now) == (Condition.EVENT_AGE_EXCEEDED, 1, 21_600)
    assert discard.outcome is discard.batch.failure is FAILURE


def test_a_function_that_is_switched_off_gets_nothing() -> None:
    run = lived([REFUSED])
    assert (run.starts, run.now) == ([0], 0)
    (discard,) = run.discards
    assert (discard.condition, discard.attempts) == (Condition.ZERO_RESERVED_CONCURRENCY, 0)
    assert discard.outcome is None


def test_one_that_is_switched_off_between_attempts_leaves_the_last_failure() -> None:
    run = lived([FAILURE, Throttled(), REFUSED])
    assert run.starts == [0, 60, 61]
    (discard,) = run.discards
    assert (discard.condition, discard.attempts) == (Condition.ZERO_RESERVED_CONCURRENCY, 1)
    assert discard.outcome is FAILURE


def test_a_success_after_failures_leaves_nothing() -> None:
    run = lived([FAILURE, Succeeded({"batchItemFailures": [{}]})])
    assert (run.starts, ids(run.done), run.discards) == ([0, 60], ["0"], [])


@given(st.floats(0, 1), st.integers(0, 10), st.integers(0, 1_000_000))
def test_delays_are_exact_and_throttles_are_not(jitter: float, failures: int, now: int) -> None:
    policy = replace(ASYNCHRONOUS, maximum_retry_attempts=None)
    batch = replace(event(now), attempt=failures)
    assert decide(batch, FAILURE, policy, now, jitter).delay == (60 if failures == 0 else 120)
    assert decide(batch, Throttled(), policy, now, jitter).delay == jitter
    assert decide(batch, Throttled(2), policy, now, jitter).delay == 2
    growing = replace(policy, backoff=Backoff(8, 1, 8))
    assert decide(batch, FAILURE, growing, now, jitter).delay == 8 * jitter


@given(st.lists(st.sampled_from([FAILURE, Throttled(), Throttled(40), REFUSED]), min_size=1), asynchronous)
def test_whatever_happens_an_event_ends_once_with_the_failures_it_had(
    outcomes: list[Outcome], policy: DeliveryPolicy
) -> None:
    policy = replace(policy, ordering=Ordering.NONE)
    run = lived(chain(outcomes, repeat(REFUSED)), policy)
    (discard,) = run.discards
    failures = [outcome for outcome in outcomes[: len(run.starts)] if isinstance(outcome, Failed)]
    assert discard.attempts == len(failures)
    assert discard.outcome is (FAILURE if failures else None)
    if policy.maximum_retry_attempts is not None:
        assert len(failures) <= policy.maximum_retry_attempts + 1
    if policy.maximum_record_age is not None:
        assert all(start < policy.maximum_record_age for start in run.starts)


@given(batches(), asynchronous, st.floats(0, 400), st.sampled_from([None, FAILURE]))
def test_screening_events_counts_what_was_made_and_keeps_the_last_answer(
    batch: Batch, policy: DeliveryPolicy, now: float, failure: Failed | None
) -> None:
    batch = replace(batch, failure=failure)
    live, gone = screen(batch, policy, 10**9, now)
    age = policy.maximum_record_age
    old = [record for record in batch if age is not None and record.arrived_at + age <= now]
    assert [list(discard.batch) for discard in gone] == ([old] if old else [])
    assert list(live or ()) == [record for record in batch if record not in old]
    for discard in gone:
        assert discard.condition is Condition.EVENT_AGE_EXCEEDED
        assert (discard.attempts, discard.outcome) == (batch.attempt, failure)
    if live is not None:
        assert live.failure is failure
