"""What becomes of a batch after an invocation. The heart of the engine, and pure.

The rules are those of Lambda's event source mappings (Developer Guide: retries, bisecting, batch item
failures) and of recordings against AWS; `docs/semantics.md` lists them one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from streamfn.core.invocations import failure_of
from streamfn.core.outcomes import (
    Condition,
    Failed,
    InvalidResponse,
    Outcome,
    Refused,
    Succeeded,
    Throttled,
    failed_ids,
)
from streamfn.core.policies import Backoff, DeliveryPolicy, Ordering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.records import Batch, Record


@dataclass(frozen=True, slots=True)
class Discard:
    """Records given up, to be sent to the on-failure destination before they count as resolved."""

    batch: Batch
    condition: Condition
    attempts: int
    """`approximateInvokeCount` of the on-failure record."""
    outcome: Outcome | None = None
    """The last one; None when age ended it, for then the failure record has no response."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of each record of one batch. The three parts are a partition of it.

    Ordered parts come in order: `done` before `retry`, and retried batches as they stood in the shard.
    """

    done: Sequence[Record] = ()
    retry: tuple[Batch, ...] = ()
    discard: tuple[Discard, ...] = ()
    delay: float = 0.0
    """Seconds before the first retry."""


def decide(
    batch: Batch, outcome: Outcome, policy: DeliveryPolicy, now: float, jitter: float = 1.0
) -> Decision:
    """Done, tried again, or given up on. Total: never raises, whatever a function answered.

    `jitter` is the share of a growing backoff that is waited, for the caller to draw. No delay outlasts the
    oldest record's age, and none is shorter than a throttle asked for.
    """
    if isinstance(outcome, Throttled):
        held = replace(batch, throttles=batch.throttles + 1)
        delay = max(outcome.retry_after, policy.throttle_backoff.delay(held.throttles) * jitter)
        decision = Decision(retry=(held,), delay=delay)
    elif isinstance(outcome, Refused):
        return Decision(discard=(Discard(batch, outcome.condition, batch.attempt, batch.failure),))
    else:
        decision = _answered(batch, outcome, policy, now)
        delay = decision.delay * (jitter if isinstance(policy.backoff, Backoff) else 1.0)
    if decision.delay:
        decision = replace(decision, delay=_until_expiry(decision.retry[0], delay, policy, now))
    return decision if policy.maximum_receives is None else without_spent(decision, outcome, policy)


def without_spent(decision: Decision, outcome: Outcome, policy: DeliveryPolicy) -> Decision:
    """The decision, with those messages given up that were received as often as they may be. A throttle ends
    none.
    """
    limit = policy.maximum_receives
    if limit is None:
        return decision
    retry: list[Batch] = []
    discard = list(decision.discard)
    for part in decision.retry:
        spent = [record for record in part if record.attempt + 1 >= limit and not part.throttles]
        rest = [record for record in part if record not in spent]
        for record in spent:
            alone = replace(part, records=(record,))
            discard.append(Discard(alone, Condition.RETRY_ATTEMPTS_EXHAUSTED, record.attempt + 1, outcome))
        if rest:
            retry.append(replace(part, records=rest) if spent else part)
    return replace(decision, retry=tuple(retry), discard=tuple(discard))


def _answered(batch: Batch, outcome: Succeeded | Failed, policy: DeliveryPolicy, now: float) -> Decision:
    """The decision on a function that ran, its backoff whole."""
    match outcome:
        case Failed():
            return _failed(batch, outcome, policy, now)
        case Succeeded(payload=response, failed=failed):
            if failed is None:
                if not policy.report_batch_item_failures or response is None:
                    return Decision(done=batch.records)
                try:
                    failed = failed_ids(response, batch)
                except InvalidResponse:
                    return _failed(batch, outcome, policy, now)
            elif not failed <= {record.id for record in batch.records}:
                return _failed(batch, outcome, policy, now)
            if not failed:
                return Decision(done=batch.records)
            return _partly_failed(batch, failed, outcome, policy, now)
        case _:  # pragma: no cover
            assert_never(outcome)


def screen(
    batch: Batch, policy: DeliveryPolicy, payload_limit: int, now: float
) -> tuple[Batch | None, tuple[Discard, ...]]:
    """What is left to invoke, and what is given up before: called right before each invocation.

    A record that reached the maximum age is given up alone and the others go on; the count is the invocations
    made plus one, even when there was none (recorded on AWS), but for asynchronous invocations, which count
    what was made and keep the last answer. So is a record whose payload is over the limit (Developer Guide:
    kafka-on-failure); it is looked for in batches of one, for the window gives it one of its own.
    """
    left, discards = _expire(batch, policy, now)
    if left is not None and len(left.records) == 1 and left.records[0].size > payload_limit:
        too_large = Discard(left, Condition.MAXIMUM_PAYLOAD_SIZE_EXCEEDED, left.attempt + 1)
        return None, (*discards, too_large)
    return left, discards


def _expire(batch: Batch, policy: DeliveryPolicy, now: float) -> tuple[Batch | None, tuple[Discard, ...]]:
    age = policy.maximum_record_age
    if age is None:
        return batch, ()
    # The same sum as in _until_expiry: were it turned round, rounding could let a retry wait for nothing for
    # ever.
    old = [record for record in batch.records if record.arrived_at + age <= now]
    if not old:
        return batch, ()
    given_up = replace(batch, records=old)
    discard = Discard(given_up, Condition.RECORD_AGE_EXCEEDED, batch.attempt + 1)
    if policy.asynchronous:
        discard = Discard(given_up, Condition.EVENT_AGE_EXCEEDED, batch.attempt, batch.failure)
    young = [record for record in batch.records if record.arrived_at + age > now]
    return replace(batch, records=young) if young else None, (discard,)


def _expired(batch: Batch, policy: DeliveryPolicy, at: float) -> bool:
    age = policy.maximum_record_age
    return age is not None and any(record.arrived_at + age <= at for record in batch.records)


def _failed(batch: Batch, outcome: Succeeded | Failed, policy: DeliveryPolicy, now: float) -> Decision:
    """A function error: split in two where that is on, else try again whole, else give up."""
    if policy.bisect_batch_on_function_error and len(batch.records) > 1:
        return Decision(retry=_split(batch, len(batch.records) // 2))
    return _again(batch, outcome, policy, now)


def _partly_failed(
    batch: Batch, failed: frozenset[str], outcome: Succeeded | Failed, policy: DeliveryPolicy, now: float
) -> Decision:
    keep, again = _part(batch.records, failed, policy.ordering)
    if keep:
        # The checkpoint moves, so the counter starts again: this delivery counts for nothing (recorded on
        # AWS).
        rest = replace(batch, records=again, attempt=0, throttles=0)
        return Decision(keep, (rest,), delay=policy.backoff.delay(1))
    if policy.bisect_batch_on_function_error and len(again) > 1 and policy.ordering is Ordering.SHARD:
        # Cut at the reported record: it goes on alone, and what follows it is not dragged down with it.
        return Decision(retry=_split(batch, 1))
    return _again(batch, outcome, policy, now)


def _part(
    records: Sequence[Record], failed: frozenset[str], ordering: Ordering
) -> tuple[Sequence[Record], Sequence[Record]]:
    """What is done, and what goes again: with order, also all that follows a failure."""
    match ordering:
        case Ordering.NONE:
            return [r for r in records if r.id not in failed], [r for r in records if r.id in failed]
        case Ordering.SHARD:
            first = next(i for i, record in enumerate(records) if record.id in failed)
            return records[:first], records[first:]
        case Ordering.KEY:
            blocked: set[str] = set()
            keep: list[Record] = []
            again: list[Record] = []
            for record in records:
                if record.id in failed or record.key in blocked:
                    again.append(record)
                    if record.key is not None:
                        blocked.add(record.key)
                else:
                    keep.append(record)
            return keep, again
        case _:  # pragma: no cover
            assert_never(ordering)


def _again(batch: Batch, outcome: Succeeded | Failed, policy: DeliveryPolicy, now: float) -> Decision:
    attempt = batch.attempt + 1
    delay = policy.backoff.delay(attempt)
    if policy.maximum_retry_attempts is not None and attempt > policy.maximum_retry_attempts:
        condition = Condition.RETRIES_EXHAUSTED if policy.asynchronous else Condition.RETRY_ATTEMPTS_EXHAUSTED
        return Decision(discard=(Discard(batch, condition, attempt, outcome),))
    if policy.asynchronous and _expired(batch, policy, now + delay):
        # Judged ahead: what would be too old at its next try is given up at once (recorded on AWS).
        return Decision(discard=(Discard(batch, Condition.EVENT_AGE_EXCEEDED, attempt, outcome),))
    again = replace(batch, attempt=attempt, throttles=0, failure=failure_of(outcome))
    return Decision(retry=(again,), delay=delay)


def _split(batch: Batch, at: int) -> tuple[Batch, Batch]:
    """Two batches in order. Splitting spends no attempt (Developer Guide: BisectBatchOnFunctionError)."""
    return replace(batch, records=batch.records[:at]), replace(batch, records=batch.records[at:])


def _until_expiry(batch: Batch, delay: float, policy: DeliveryPolicy, now: float) -> float:
    """No longer than until the oldest record expires: what is too old need not wait to be given up."""
    if policy.maximum_record_age is None or not batch.records:
        return delay
    expires_at = min(record.arrived_at for record in batch.records) + policy.maximum_record_age
    return max(0.0, min(delay, expires_at - now))
