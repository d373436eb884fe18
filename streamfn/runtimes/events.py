"""Functions behind asynchronous invocations: what they answer is JSON, as on Lambda, for a destination may
want it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamfn.core.letters import contents_of
from streamfn.core.outcomes import Cause, Failed, Outcome, Succeeded
from streamfn.core.records import StreamRecord
from streamfn.runtimes.inline import prepare

if TYPE_CHECKING:
    from streamfn.core.policies import Ordering
    from streamfn.core.records import Batch
    from streamfn.functions import Call, Context, FunctionSpec

RESPONSE_LIMIT: Final = 6_291_556
"""Bytes of an answer (recorded on AWS)."""


def prepare_event(spec: FunctionSpec, ordering: Ordering) -> Call:
    """As `prepare`, for batches of one event. A record that the function reports as failed is a failure.

    Functions that take records get those of the event, if it is one of a source: of a dead letter that was
    redriven, say.
    """
    call = prepare(spec, ordering)
    takes_records = spec.batch or spec.each is not None

    async def answered(batch: Batch, context: Context) -> Outcome:
        outcome = await call(_unpacked(batch) if takes_records else batch, context)
        if not isinstance(outcome, Succeeded):
            return outcome
        if outcome.failed:
            return outcome.error or Failed("Exception", "the function reported the event as failed")
        return outcome if outcome.payload is None else _written(outcome.payload)

    return answered


def _written(answer: Any) -> Outcome:
    """The answer as JSON, or the failure that it is on Lambda where it is none, or too large."""
    try:
        data = orjson.dumps(answer)
    except TypeError as error:
        text = f"Unable to marshal response: {error}"
        return Failed("Runtime.MarshalError", text, cause=Cause.RUNTIME)
    if len(data) > RESPONSE_LIMIT:
        text = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes)."
        return Failed("Function.ResponseSizeTooLarge", text, cause=Cause.RUNTIME)
    return Succeeded(orjson.Fragment(data))


def _unpacked(batch: Batch) -> Batch:
    contents = contents_of(batch.to_event())
    if contents is None:
        return batch
    at = batch[0].arrived_at
    records = [
        StreamRecord(place, content.value, content.key, at, content.headers)
        for place, content in enumerate(contents)
    ]
    return replace(batch, records=records)
