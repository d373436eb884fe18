"""Messages of a queue that were received as often as they may be: given up one by one, with their error."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.delivery import Decision, decide, without_spent
from streamfn.core.outcomes import Condition, Failed, Succeeded, Throttled
from streamfn.core.policies import DeliveryPolicy, Ordering
from streamfn.core.records import Batch
from tests.core.made import FAILURE, SQS, ids, message, reported

QUEUE = DeliveryPolicy(ordering=Ordering.NONE, maximum_receives=3, report_batch_item_failures=True)


def received(*counts: int) -> Batch:
    return Batch([message(f"m{i}", receive_count=count) for i, count in enumerate(counts)], SQS)


def test_only_what_was_received_often_enough_is_given_up() -> None:
    decision = decide(received(1, 3, 2, 4), FAILURE, QUEUE, 0.0)
    assert [ids(part.records) for part in decision.retry] == [["m0", "m2"]]
    assert [(ids(d.batch.records), d.attempts, d.condition, d.outcome) for d in decision.discard] == [
        (["m1"], 3, Condition.RETRY_ATTEMPTS_EXHAUSTED, FAILURE),
        (["m3"], 4, Condition.RETRY_ATTEMPTS_EXHAUSTED, FAILURE),
    ]


def test_of_a_partial_answer_only_what_it_reports() -> None:
    decision = decide(received(3, 3), Succeeded(reported("m1")), QUEUE, 0.0)
    assert ids(decision.done) == ["m0"]
    assert decision.retry == ()
    assert [ids(discard.batch.records) for discard in decision.discard] == [["m1"]]


def test_a_throttle_gives_nothing_up() -> None:
    decision = decide(received(9), Throttled(), QUEUE, 0.0)
    assert [ids(part.records) for part in decision.retry] == [["m0"]]
    assert decision.discard == ()


def test_without_a_limit_the_queue_decides() -> None:
    batch = received(1000)
    decision = Decision(retry=(batch,))
    assert without_spent(decision, FAILURE, replace(QUEUE, maximum_receives=None)) is decision
    assert decide(batch, FAILURE, replace(QUEUE, maximum_receives=None), 0.0).discard == ()


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=10),
    st.integers(1, 6),
    st.sampled_from([FAILURE, Failed("E", "m"), Throttled(), Succeeded()]),
    st.sampled_from(Ordering),
)
def test_no_message_is_lost_or_doubled(
    counts: list[int], limit: int, outcome: Failed | Throttled | Succeeded, ordering: Ordering
) -> None:
    batch = received(*counts)
    policy = replace(QUEUE, maximum_receives=limit, ordering=ordering)
    decision = decide(batch, outcome, policy, 0.0)
    found = [*decision.done]
    for part in (*decision.retry, *(discard.batch for discard in decision.discard)):
        found += part.records
    assert sorted(ids(found)) == sorted(ids(batch.records))
    assert all(r.attempt + 1 >= limit for d in decision.discard for r in d.batch.records)
    assert all(r.attempt + 1 < limit or part.throttles for part in decision.retry for r in part.records)
