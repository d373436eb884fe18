"""Chains of requests: which one an invocation goes on in, and which would go on for ever.

Carried by events and by messages of queues, as on AWS (Developer Guide: invocation-recursion); streams carry
none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamfn.core.letters import trace_of
from streamfn.core.lineage import Trace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamfn.core.records import Record


def chain_of(records: Iterable[Record], function_arn: str) -> Trace | None:
    """The chain that brought a batch: of several, the one in which the function was invoked most."""
    traces = [trace for record in records if (trace := _trace(record)) is not None]
    return max(traces, key=lambda trace: trace.count(function_arn), default=None)


def looping(records: Iterable[Record], function_arn: str) -> list[Record]:
    """Those of records whose chains have had as many invocations of the function as a chain may have."""
    return [r for r in records if (trace := _trace(r)) is not None and trace.loops(function_arn)]


def _trace(record: Record) -> Trace | None:
    text = trace_of(record)
    return None if text is None else Trace.parse(text)
