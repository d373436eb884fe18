"""Functions that run in environments of their own, made ready to be called on batches."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from streamfn.core.outcomes import Outcome, Succeeded, Throttled
from streamfn.errors import StreamfnError
from streamfn.functions import FunctionSpec
from streamfn.ports import Answer, Request

if TYPE_CHECKING:
    from streamfn.core.policies import Ordering
    from streamfn.core.records import Batch
    from streamfn.functions import Call, Context, MakeCall

Invoke: TypeAlias = Callable[[FunctionSpec, Request], Awaitable[tuple[Answer, str]]]
"""Runs a request in an environment of the function: the answer, and the version that gave it."""


def external(invoke: Invoke) -> MakeCall:
    """How functions are called on batches of records: what they answer is looked at as JSON."""

    def prepare(spec: FunctionSpec, ordering: Ordering) -> Call:
        async def call(batch: Batch, context: Context) -> Outcome:
            answer = await _ask(invoke, spec, _written(batch.to_event()), context)
            return _read(answer)

        return call

    return prepare


def external_event(invoke: Invoke) -> MakeCall:
    """How functions are called on batches of one event: byte for byte, and their answers are kept so."""

    def prepare(spec: FunctionSpec, ordering: Ordering) -> Call:
        async def call(batch: Batch, context: Context) -> Outcome:
            answer = await _ask(invoke, spec, batch[0].value or b"null", context)
            if not isinstance(answer.outcome, Succeeded):
                return answer.outcome
            return replace(answer.outcome, payload=_kept(answer.payload))

        return call

    return prepare


_RETRY_AFTER: Final = 1.0
"""Seconds, where a function cannot be found."""


async def _ask(invoke: Invoke, spec: FunctionSpec, payload: bytes, context: Context) -> Answer:
    trace = "" if context.trace is None else str(context.trace.invoked(spec.arn))
    request = Request(context.aws_request_id, payload, spec.arn, trace)
    try:
        answer, context.function_version = await invoke(spec, request)
    except StreamfnError as error:
        # Its alias was deleted, say: the records wait until it is there again.
        return Answer(Throttled(_RETRY_AFTER, str(error)))
    return answer


def _read(answer: Answer) -> Outcome:
    """The outcome with what the function answered, for the partial batch response in it."""
    if not isinstance(answer.outcome, Succeeded) or answer.payload in (b"", b"null"):
        return answer.outcome
    try:
        payload: Any = orjson.loads(answer.payload)
    except orjson.JSONDecodeError:
        payload = answer.payload.decode("utf-8", "replace")
    return replace(answer.outcome, payload=payload)


def _kept(payload: bytes) -> Any:
    """An answer for the documents of destinations; as text where it is no JSON."""
    if not payload:
        return None
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload.decode("utf-8", "replace")
    return orjson.Fragment(payload)


def _written(event: Any) -> bytes:
    try:
        return orjson.dumps(event)
    except TypeError:
        # Half a surrogate pair, of bytes that are no text: JSON can write it, orjson will not.
        return json.dumps(event, separators=(",", ":")).encode()
