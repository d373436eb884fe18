"""The laws of `decide` and `screen`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamfn.core.delivery import Decision, decide, screen
from streamfn.core.outcomes import Condition, Failed, Outcome, Succeeded, Throttled
from streamfn.core.policies import Backoff, DeliveryPolicy, Ordering
from streamfn.core.records import Batch, Record
from tests.core.made import (
    FAILURE,
    SMALL,
    Strange,
    anything,
    asynchronous,
    batch_of,
    batches,
    drive,
    ids,
    instants,
    nested,
    outcomes,
    policies,
    refusals,
    reported,
    stream,
    streams,
)

REPORT = DeliveryPolicy(report_batch_item_failures=True)
BISECT = DeliveryPolicy(bisect_batch_on_function_error=True)
BOTH = DeliveryPolicy(report_batch_item_failures=True, bisect_batch_on_function_error=True)


def parts(decision: Decision) -> list[Record]:
    """All the records of a decision, in its order."""
    again = [record for batch in decision.retry for record in batch]
    gone = [record for discard in decision.discard for record in discard.batch]
    return [*decision.done, *again, *gone]


def same(left: Sequence[Record], right: Sequence[Record]) -> bool:
    """Whether these are the very same records in the same order."""
    return list(map(id, left)) == list(map(id, right))


@given(st.data(), batches(), policies | asynchronous, instants)
def test_what_is_done_retried_and_discarded_is_the_batch_and_no_record_twice(
    data: st.DataObject, batch: Batch, policy: DeliveryPolicy, now: float
) -> None:
    decision = decide(batch, data.draw(outcomes(batch) | refusals), policy, now)
    assert sorted(map(id, parts(decision))) == sorted(map(id, batch))
    assert all(len(again) for again in decision.retry)
    assert all(len(discard.batch) for discard in decision.discard)


@given(st.data(), batches(), policies | asynchronous, instants)
def test_the_order_of_the_shard_is_kept_and_done_comes_before_retry(
    data: st.DataObject, batch: Batch, policy: DeliveryPolicy, now: float
) -> None:
    decision = decide(batch, data.draw(outcomes(batch) | refusals), policy, now)
    for part in (decision.done, *decision.retry):
        assert all(a.position < b.position for a, b in pairwise(part))
    if policy.ordering is Ordering.SHARD:
        assert same(parts(decision), batch)


@given(st.data(), batches(), policies, instants)
def test_nothing_that_follows_a_failed_record_of_its_key_is_done(
    data: st.DataObject, batch: Batch, policy: DeliveryPolicy, now: float
) -> None:
    assume(policy.ordering is Ordering.KEY)
    decision = decide(batch, data.draw(outcomes(batch)), policy, now)
    unfinished: dict[str, int] = {}
    for record in (record for again in decision.retry for record in again):
        if record.key is not None:
            unfinished.setdefault(record.key, record.position)
    for record in decision.done:
        assert record.key not in unfinished or record.position < unfinished[record.key]


@given(st.data(), batches(), policies, instants)
def test_an_attempt_is_spent_by_nothing_but_a_failure_without_progress(
    data: st.DataObject, batch: Batch, policy: DeliveryPolicy, now: float
) -> None:
    outcome = data.draw(outcomes(batch))
    decision = decide(batch, outcome, policy, now)
    for again in decision.retry:
        assert again.shape is batch.shape
        assert again.suspect == batch.suspect
        split = len(decision.retry) == 2
        throttled, failed = (batch.attempt, batch.throttles + 1), (batch.attempt + 1, 0)
        counters = throttled if isinstance(outcome, Throttled) else (0, 0) if decision.done else failed
        assert (again.attempt, again.throttles) == ((batch.attempt, batch.throttles) if split else counters)
    gone = [(d.condition, d.outcome, d.attempts) for d in decision.discard]
    spent = policy.maximum_retry_attempts is not None and batch.attempt >= policy.maximum_retry_attempts
    assert gone in ([], [(Condition.RETRY_ATTEMPTS_EXHAUSTED, outcome, batch.attempt + 1)])
    assert spent or not gone


@given(st.data(), batches(), policies, instants)
def test_a_retry_waits_as_its_backoff_says_but_never_beyond_the_end_of_its_oldest_record(
    data: st.DataObject, batch: Batch, policy: DeliveryPolicy, now: float
) -> None:
    outcome = data.draw(outcomes(batch))
    decision = decide(batch, outcome, policy, now)
    assert decision.delay >= 0
    for again in decision.retry[:1]:
        failed = 0.0 if len(decision.retry) == 2 else policy.backoff.delay(again.attempt or 1)
        throttled = policy.throttle_backoff.delay(max(again.throttles, 1))
        wanted = max(outcome.retry_after, throttled) if isinstance(outcome, Throttled) else failed
        age = inf if policy.maximum_record_age is None else policy.maximum_record_age
        expires_at = min(record.arrived_at for record in again) + age
        assert decision.delay == max(0.0, min(wanted, expires_at - now))


@given(instants, st.floats(1, 3600), st.floats(0, 3600), st.floats(0, 60))
def test_a_retry_that_has_nothing_to_wait_for_is_given_up_for_its_age(
    arrived_at: float, age: float, waited: float, first: float
) -> None:
    """Were it invoked again at the same instant, it would be for ever."""
    policy = DeliveryPolicy(maximum_record_age=age, backoff=Backoff(1 + first))
    batch, now = batch_of(stream(1, arrived_at=arrived_at)), arrived_at + waited
    calls = 0
    while not (gone := screen(batch, policy, SMALL, now)[1]):
        calls += 1
        assert calls < 100
        decision = decide(batch, FAILURE, policy, now)
        assert decision.delay > 0
        batch, now = decision.retry[0], now + decision.delay
    assert [discard.condition for discard in gone] == [Condition.RECORD_AGE_EXCEEDED]


@given(streams(), st.data(), st.integers(0, 3), st.booleans(), st.booleans(), st.sampled_from(Ordering))
def test_with_finite_attempts_failing_for_ever_ends(
    records: list[Record], data: st.DataObject, attempts: int, bisect: bool, report: bool, ordering: Ordering
) -> None:
    policy = DeliveryPolicy(
        ordering=ordering,
        report_batch_item_failures=report,
        bisect_batch_on_function_error=bisect,
        maximum_retry_attempts=attempts,
    )

    def fails(batch: Batch) -> Outcome:
        if data.draw(st.booleans()):
            return FAILURE
        return Succeeded(failed=frozenset({data.draw(st.sampled_from(ids(batch.records)))}))

    bound = 2 * len(records) * (attempts + 2)
    run = drive(records, fails, policy, batch_size=data.draw(st.integers(1, 12)), most=bound)
    assert sorted([*ids(run.done), *run.discarded]) == sorted(
        ids([r for r in records if r.size <= SMALL])
        + [d.batch[0].id for d in run.discards if d.condition is Condition.MAXIMUM_PAYLOAD_SIZE_EXCEEDED]
    )


@given(st.integers(1, 40), st.data(), st.integers(0, 3), st.sampled_from(Ordering))
def test_bisecting_gives_up_the_one_bad_record_and_delivers_all_others(
    count: int, data: st.DataObject, attempts: int, ordering: Ordering
) -> None:
    bad = str(data.draw(st.integers(0, count - 1)))
    policy = DeliveryPolicy(
        ordering=ordering, bisect_batch_on_function_error=True, maximum_retry_attempts=attempts
    )
    records = stream(count, key="k")
    run = drive(
        records,
        lambda batch: FAILURE if bad in ids(batch.records) else Succeeded(),
        policy,
        payload_limit=10**6,
    )
    assert run.discarded == [bad]
    assert run.discards[0].attempts == attempts + 1
    assert run.deliveries.count([bad]) == attempts + 1
    assert ids(run.done) == [name for name in ids(records) if name != bad]


@given(batches(), st.booleans(), instants, anything)
def test_without_report_batch_item_failures_any_answer_is_success(
    batch: Batch, bisect: bool, now: float, answer: object
) -> None:
    policy = DeliveryPolicy(bisect_batch_on_function_error=bisect)
    assert decide(batch, Succeeded(answer), policy, now) == Decision(done=batch.records)


@given(batches(), st.sampled_from(Ordering), st.floats(0, 1e9))
def test_what_the_runtime_reports_counts_whether_answers_are_looked_at_or_not(
    batch: Batch, ordering: Ordering, now: float
) -> None:
    last = batch[len(batch) - 1]
    policy = DeliveryPolicy(ordering=ordering)
    decision = decide(batch, Succeeded("not looked at", frozenset({last.id})), policy, now)
    assert [again.records[-1] for again in decision.retry] == [last]
    assert len(decision.done) == len(batch) - 1
    assert decide(batch, Succeeded(reported("?"), frozenset()), REPORT, now).done is batch.records


def test_a_partial_answer_moves_the_checkpoint_and_starts_the_counter_again() -> None:
    batch = batch_of(stream(6), attempt=3)
    decision = decide(batch, Succeeded(reported("4", "2")), REPORT, 0.0)
    assert ids(decision.done) == ["0", "1"]
    assert [(ids(again.records), again.attempt) for again in decision.retry] == [(["2", "3", "4", "5"], 0)]
    assert decision.delay == 1.0


def test_without_order_only_the_reported_records_go_again() -> None:
    policy = DeliveryPolicy(ordering=Ordering.NONE, report_batch_item_failures=True)
    decision = decide(batch_of(stream(4)), Succeeded(reported("2", "0")), policy, 0.0)
    assert ids(decision.done) == ["1", "3"]
    assert ids(decision.retry[0].records) == ["0", "2"]


def test_with_both_on_the_batch_is_cut_at_the_reported_record() -> None:
    decision = decide(batch_of(stream(4)), Succeeded(reported("2")), BOTH, 0.0)
    assert ids(decision.done) == ["0", "1"]
    assert [ids(again.records) for again in decision.retry] == [["2", "3"]]


def test_with_both_on_a_first_record_that_is_reported_goes_on_alone_and_no_attempt_is_spent() -> None:
    decision = decide(batch_of(stream(4), attempt=2), Succeeded(reported("0")), BOTH, 0.0)
    assert [(ids(again.records), again.attempt) for again in decision.retry] == [
        (["0"], 2),
        (["1", "2", "3"], 2),
    ]
    assert decision.delay == 0.0
    assert not decision.done


def test_with_both_on_an_exception_and_an_answer_that_names_nothing_halve_the_batch() -> None:
    for outcome in (FAILURE, Succeeded(reported("nobody")), Succeeded(failed=frozenset({"nobody"}))):
        decision = decide(batch_of(stream(5)), outcome, BOTH, 0.0)
        assert [ids(again.records) for again in decision.retry] == [["0", "1"], ["2", "3", "4"]]


def test_a_batch_of_one_is_not_split_but_tried_again() -> None:
    for outcome in (FAILURE, Succeeded(reported("0"))):
        (again,) = decide(batch_of(stream(1)), outcome, BOTH, 0.0).retry
        assert (len(again), again.attempt) == (1, 1)


@pytest.mark.parametrize(
    "answer",
    [
        Strange(),
        nested(100_000),
        reported(nested(100_000)),
        reported(10**5000),
        {"batchItemFailures": [Strange()]},
        {"batchItemFailures": Strange()},
        {None: Strange(), 1: 2, (): []} | {"batchItemFailures": [{None: 1}]},
        reported([], {}, {1, 2}),
        b"\xff",
        "x" * 10_000_000,
    ],
    ids=range(10),
)
def test_no_answer_is_too_strange_to_be_a_failure(answer: object) -> None:
    decision = decide(batch_of(stream(2)), Succeeded(answer), REPORT, 0.0)
    assert [again.attempt for again in decision.retry] == [1]


@given(policies, st.builds(Throttled) | st.just(FAILURE))
def test_even_an_empty_batch_is_decided_upon(policy: DeliveryPolicy, outcome: Outcome) -> None:
    decision = decide(batch_of([]), outcome, policy, 0.0)
    assert parts(decision) == []


@given(batches(), policies, st.floats(0, 400), st.integers(0, 2 * SMALL))
def test_screening_gives_up_what_is_old_or_too_large_and_keeps_the_rest_as_it_was(
    batch: Batch, policy: DeliveryPolicy, now: float, limit: int
) -> None:
    live, gone = screen(batch, policy, limit, now)
    left = [] if live is None else list(live)
    age = policy.maximum_record_age
    old = [r for r in batch if age is not None and r.arrived_at + age <= now]
    young = [r for r in batch if age is None or r.arrived_at + age > now]
    too_large = young if len(young) == 1 and young[0].size > limit else []
    expected = {Condition.RECORD_AGE_EXCEEDED: old, Condition.MAXIMUM_PAYLOAD_SIZE_EXCEEDED: too_large}
    assert same(left, [] if too_large else young)
    for condition, records in expected.items():
        assert same([r for discard in gone if discard.condition is condition for r in discard.batch], records)
    for discard in gone:
        assert discard.attempts == batch.attempt + 1
        assert discard.outcome is None
        assert len(discard.batch)
    if live is not None:
        assert (live.attempt, live.throttles, live.suspect) == (batch.attempt, batch.throttles, batch.suspect)
    if not gone:
        assert live is batch


def test_a_failure_is_told_apart_from_an_answer_that_reports_all() -> None:
    policy = DeliveryPolicy(report_batch_item_failures=True, maximum_retry_attempts=0)
    (by_error,) = decide(batch_of(stream(1)), FAILURE, policy, 0.0).discard
    (by_answer,) = decide(batch_of(stream(1)), Succeeded(reported("0")), policy, 0.0).discard
    assert isinstance(by_error.outcome, Failed)
    assert isinstance(by_answer.outcome, Succeeded)


def test_with_order_by_key_a_failure_holds_back_only_what_follows_it_with_its_key() -> None:
    records = [
        *stream(2, key="a"),
        *stream(1, start=2, key="b"),
        *stream(2, start=3),
        *stream(1, start=5, key="a"),
    ]
    policy = DeliveryPolicy(ordering=Ordering.KEY, report_batch_item_failures=True)
    decision = decide(batch_of(records), Succeeded(reported("1", "3")), policy, 0.0)
    assert ids(decision.done) == ["0", "2", "4"]
    assert [ids(again.records) for again in decision.retry] == [["1", "3", "5"]]


def test_throttling_waits_longer_each_time_and_as_long_as_is_asked() -> None:
    batch = batch_of(stream(2), attempt=1)
    delays = []
    for asked in (0.0, 0.0, 0.0, 30.0):
        decision = decide(batch, Throttled(asked), DeliveryPolicy(maximum_retry_attempts=0), 0.0)
        (batch,) = decision.retry
        delays.append(decision.delay)
    assert delays == [1, 2, 4, 30]
    assert (batch.attempt, batch.throttles, ids(batch.records)) == (1, 4, ["0", "1"])


def test_a_batch_of_two_is_split_too_and_one_that_failed_as_a_whole_by_report_is_cut_after_its_first() -> (
    None
):
    first = decide(batch_of(stream(2)), Succeeded(reported("0")), BOTH, 0.0)
    assert [ids(again.records) for again in first.retry] == [["0"], ["1"]]
    whole = decide(batch_of(stream(3)), Succeeded(failed=frozenset("012")), BOTH, 0.0)
    assert [ids(again.records) for again in whole.retry] == [["0"], ["1", "2"]]
