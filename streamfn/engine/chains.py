"""Chains of requests: which one an invocation goes on in, and which would go on for ever.

Carried by events and by messages of queues, as on AWS (Developer Guide: invocation-recursion); streams carry
none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streamfn.core.delivery import Decision, Discard, without_spent
from streamfn.core.letters import trace_of
from streamfn.core.lineage import Trace
from streamfn.core.outcomes import Condition, Refused
from streamfn.telemetry import BatchDelivered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamfn.core.records import Batch, Record
    from streamfn.engine.plan import MappingPlan
    from streamfn.engine.pool import Pool
    from streamfn.ports import Telemetry


def chain_of(records: Iterable[Record], function_arn: str) -> Trace | None:
    """The chain that brought a batch: of several, the one in which the function was invoked most."""
    traces = [trace for record in records if (trace := _trace(record)) is not None]
    return max(traces, key=lambda trace: trace.count(function_arn), default=None)


def looping(records: Iterable[Record], function_arn: str) -> list[Record]:
    """Those of records whose chains have had as many invocations of the function as a chain may have."""
    return [r for r in records if (trace := _trace(r)) is not None and trace.loops(function_arn)]


def stopped(
    plan: MappingPlan,
    shard: str,
    batch: Batch,
    loops: Sequence[Record],
    gone: tuple[Discard, ...],
    telemetry: Telemetry,
) -> Decision:
    """What would go on for ever is not delivered: it stays in its queue, which counts how often it was
    received. The rest of its batch goes again at once.
    """
    ended = set(map(id, loops))
    rest = [record for record in batch if id(record) not in ended]
    outcome = Refused(Condition.RECURSIVE_INVOCATION)
    count = len(loops)
    telemetry.emit(BatchDelivered(plan.name, shard, count, count, 0, 0.0, outcome))
    parts = [replace(batch, records=loops)]
    if rest:
        parts.append(replace(batch, records=rest, throttles=batch.throttles + 1))
    decision = Decision(retry=tuple(parts), discard=gone)
    return without_spent(decision, outcome, plan.delivery)


def refusal(plan: MappingPlan, pool: Pool, batch: Batch) -> Refused | None:
    """Why an event is not delivered at all, however often it would be tried."""
    if not plan.delivery.asynchronous or plan.sequences is not None:
        return None
    if pool.switched_off:
        return Refused(Condition.ZERO_RESERVED_CONCURRENCY)
    if looping(batch, plan.function.arn):
        return Refused(Condition.RECURSIVE_INVOCATION)
    return None


async def placed(plan: MappingPlan, pool: Pool, batch: Batch) -> Refused | None:
    """Takes a place for a batch, waiting for its turn; or why it has none, however long it has waited."""
    while True:
        refused = refusal(plan, pool, batch)
        if refused is not None or pool.try_acquire() or await pool.acquire(plan.name):
            return refused


def _trace(record: Record) -> Trace | None:
    text = trace_of(record)
    return None if text is None else Trace.parse(text)
