"""What was recorded against AWS, replayed on the pure core."""

from __future__ import annotations

import pytest

from streamfn.core.outcomes import Condition, Failed, Outcome, Succeeded
from streamfn.core.policies import DeliveryPolicy
from streamfn.core.records import Batch
from tests.core.made import FAILURE, drive, ids, reported, stream


def fails(batch: Batch) -> Outcome:
    """A function that always raises."""
    return FAILURE


def test_one_retry_makes_two_invocations_and_one_discard_that_counts_two() -> None:
    run = drive(stream(1), fails, DeliveryPolicy(maximum_retry_attempts=1), batch_size=1)
    assert run.deliveries == [["0"], ["0"]]
    (discard,) = run.discards
    assert (discard.condition, discard.attempts) == (Condition.RETRY_ATTEMPTS_EXHAUSTED, 2)
    assert isinstance(discard.outcome, Failed)


def test_a_reported_last_record_is_tried_once_in_its_batch_and_then_four_times_alone() -> None:
    def sixth_fails(batch: Batch) -> Outcome:
        return Succeeded(reported("6")) if "6" in ids(batch.records) else Succeeded()

    policy = DeliveryPolicy(report_batch_item_failures=True, maximum_retry_attempts=3)
    run = drive(stream(6, start=1), sixth_fails, policy, batch_size=3)
    assert run.deliveries == [["1", "2", "3"], ["4", "5", "6"], ["6"], ["6"], ["6"], ["6"]]
    (discard,) = run.discards
    assert (len(discard.batch), discard.attempts) == (1, 4)
    assert discard.condition is Condition.RETRY_ATTEMPTS_EXHAUSTED
    assert isinstance(discard.outcome, Succeeded)


def test_age_ends_endless_retries_after_about_eight_counts_in_a_minute() -> None:
    run = drive(stream(1), fails, DeliveryPolicy(maximum_record_age=60))
    (discard,) = run.discards
    assert discard.condition is Condition.RECORD_AGE_EXCEEDED
    assert discard.attempts == len(run.deliveries) + 1
    assert 6 <= discard.attempts <= 9
    assert discard.outcome is None
    assert run.now == 60.0


def test_a_record_that_is_too_old_at_first_sight_is_never_invoked_and_counts_one() -> None:
    policy = DeliveryPolicy(maximum_record_age=60, maximum_retry_attempts=0)
    run = drive(stream(1, arrived_at=0.0), fails, policy, now=75.0)
    assert run.deliveries == []
    (discard,) = run.discards
    assert (discard.condition, discard.attempts) == (Condition.RECORD_AGE_EXCEEDED, 1)


def test_old_records_of_a_batch_are_given_up_and_fresh_ones_invoked() -> None:
    records = [*stream(2, arrived_at=0.0), *stream(3, start=2, arrived_at=70.0)]
    run = drive(records, lambda batch: Succeeded(), DeliveryPolicy(maximum_record_age=60), now=75.0)
    assert run.deliveries == [["2", "3", "4"]]
    assert run.discarded == ["0", "1"]


@pytest.mark.parametrize(
    "answer",
    ["", [], None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}, (), {"other": 1}],
    ids=repr,
)
@pytest.mark.parametrize("retries", [2, 3])
def test_an_answer_that_reports_nothing_is_success_at_once(answer: object, retries: int) -> None:
    policy = DeliveryPolicy(report_batch_item_failures=True, maximum_retry_attempts=retries)
    run = drive(stream(3), lambda batch: Succeeded(answer), policy)
    assert run.deliveries == [["0", "1", "2"]]
    assert run.discards == []


@pytest.mark.parametrize(
    "outcome",
    [
        Succeeded(reported("")),
        Succeeded(reported(None)),
        Succeeded({"batchItemFailures": [{"foo": "0"}]}),
        Succeeded({"batchItemFailures": [{"foo": None}]}),
        Succeeded(reported(123)),
        Succeeded(reported(0)),
        Succeeded(reported("0", "123")),
        FAILURE,
    ],
    ids=repr,
)
@pytest.mark.parametrize("retries", [2, 3])
def test_an_answer_that_names_no_record_fails_the_whole_batch(outcome: Outcome, retries: int) -> None:
    policy = DeliveryPolicy(report_batch_item_failures=True, maximum_retry_attempts=retries)
    run = drive(stream(3), lambda batch: outcome, policy)
    assert run.deliveries == [["0", "1", "2"]] * (1 + retries)
    (discard,) = run.discards
    assert (len(discard.batch), discard.attempts) == (3, 1 + retries)


def test_splitting_spends_no_attempt_and_the_first_half_goes_first() -> None:
    def third_fails(batch: Batch) -> Outcome:
        return FAILURE if "2" in ids(batch.records) else Succeeded()

    policy = DeliveryPolicy(bisect_batch_on_function_error=True, maximum_retry_attempts=1)
    run = drive(stream(5), third_fails, policy)
    assert run.deliveries == [
        ["0", "1", "2", "3", "4"],
        ["0", "1"],
        ["2", "3", "4"],
        ["2"],
        ["2"],
        ["3", "4"],
    ]
    assert run.discarded == ["2"]
