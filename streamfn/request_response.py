"""Synchronous invocation: Lambda's Invoke with RequestResponse."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from streamfn import runtimes
from streamfn.core.events import EventRecord, InvocationShape
from streamfn.core.lineage import TRACE_HEADER
from streamfn.core.outcomes import Failed, Outcome, Throttled
from streamfn.core.policies import Ordering
from streamfn.core.records import Batch
from streamfn.core.rendering import uuids
from streamfn.errors import TooManyRequests
from streamfn.functions import CURRENT, Context
from streamfn.invoking import payload_of
from streamfn.ports import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfn.core.lineage import Trace
    from streamfn.engine.pool import Pool
    from streamfn.functions import Call, FunctionSpec
    from streamfn.ports import Clock
    from streamfn.response_streams import PieceStream

PAYLOAD_LIMIT: Final = 6 * 1024 * 1024
"""Bytes of a synchronous invocation's payload (Lambda quota: 6 MB)."""

_IDS: Final = 256
"""Request ids that are made in stock: to ask the system for each takes longer."""
_SHAPE: Final = InvocationShape(orjson.loads)


class Response(NamedTuple):
    """What Invoke answers."""

    payload: bytes
    """The function's result as JSON, or the error JSON. A result that was streamed is not here."""
    function_error: str
    """`Unhandled` where the function failed; else empty."""
    executed_version: str
    request_id: str
    log_result: bytes
    """The last 4 KB of the invocation's log, where the runtime has it."""


class RequestResponse:
    """Invokes functions while the caller waits. Nothing waits for a place: who finds none is told so."""

    def __init__(
        self,
        pool: Callable[[FunctionSpec], Pool],
        invoke: runtimes.Invoke,
        clock: Clock,
        observe: Callable[[FunctionSpec, float, Outcome], None],
    ) -> None:
        """`observe` is told when each invocation began, by the loop's clock, and what came of it."""
        self._pool = pool
        self._observe = observe
        self._invoke = invoke
        self._clock = clock
        self._calls: dict[str, tuple[FunctionSpec, Call]] = {}
        """Of functions of this process, made ready once."""
        self._ids: list[str] = []

    async def __call__(
        self,
        spec: FunctionSpec,
        payload: Any,
        trace: Trace | None,
        client_context: str = "",
        stream: PieceStream | None = None,
    ) -> Response:
        """`stream` takes the answer of a function that streams it. Functions of this process never do.

        Raises TooManyRequests where no place is free, InvalidRequestContent, PayloadTooLarge, and
        OSError where no environment can be had.
        """
        data = payload_of(payload, PAYLOAD_LIMIT)
        pool = self._pool(spec)
        if not pool.try_acquire():
            raise TooManyRequests(reason=pool.reason)
        if not self._ids:
            self._ids = uuids(os.urandom(16 * _IDS))
        request_id = self._ids.pop()
        if stream is not None:
            stream.request_id = request_id
        stuck: asyncio.Future[Any] | None = None
        begun = asyncio.get_running_loop().time()
        try:
            if spec.deployment is None:
                answer, version, stuck = await self._here(spec, data, request_id, trace, client_context)
            else:
                header = "" if trace is None else str(trace.invoked(spec.arn))
                request = Request(request_id, data, spec.arn, header, client_context, stream)
                answer, version = await self._invoke(spec, request)
            self._observe(spec, begun, answer.outcome)
        finally:
            if stuck is None:
                pool.release()
            else:
                pool.release_after(stuck)
        match answer.outcome:
            case Throttled(retry_after=retry_after, reason=reason):
                raise TooManyRequests(retry_after=retry_after, reason=reason)
            case Failed():
                return Response(answer.payload, "Unhandled", version, request_id, answer.log)
            case _:
                return Response(answer.payload, "", version, request_id, answer.log)

    async def _here(
        self, spec: FunctionSpec, payload: bytes, request_id: str, trace: Trace | None, client_context: str
    ) -> tuple[Answer, str, asyncio.Future[Any] | None]:
        """A function of this process."""
        deadline = asyncio.get_running_loop().time() + spec.timeout
        context = Context(spec, deadline, request_id, trace, client_context)
        headers = () if trace is None else ((TRACE_HEADER, str(trace).encode()),)
        record = EventRecord(request_id, payload, self._clock(), headers)
        caller = CURRENT.get()
        try:
            outcome = await self._call(spec)(Batch((record,), _SHAPE), context)
        finally:
            # It runs in the caller's task, and what the caller does next is none of its doing.
            CURRENT.set(caller)
        if isinstance(outcome, Failed):
            written = orjson.dumps(outcome.payload(request_id))
        else:
            written = orjson.dumps(getattr(outcome, "payload", None))
        return Answer(outcome, written), context.function_version, context.stuck

    def _call(self, spec: FunctionSpec) -> Call:
        known, call = self._calls.get(spec.name) or (None, None)
        if known is not spec or call is None:
            call = runtimes.prepare_event(spec, Ordering.NONE)
            self._calls[spec.name] = (spec, call)
        return call
