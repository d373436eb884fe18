"""Invoke: while the caller waits, as an event, or as a question whether it would be allowed to."""

from __future__ import annotations

import binascii
from base64 import b64decode
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from streamfn.control.errors import ApiError, conflict, invalid, not_found
from streamfn.control.naming import function_of
from streamfn.control.rendering import REQUEST_ID
from streamfn.control.streamed import StreamedAnswer, log_result, parts
from streamfn.core.deployments import LATEST
from streamfn.core.invocations import PAYLOAD_LIMIT as EVENT_LIMIT
from streamfn.errors import ConfigurationError, TooManyRequests
from streamfn.planning import qualified
from streamfn.request_response import PAYLOAD_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.control.plane import Operations, Params, Plane, Result
    from streamfn.request_response import Response
    from streamfn.response_streams import PieceStream

_INVOKE_ASYNC_LIMIT: Final = 256 * 1024
"""Bytes of InvokeAsync, which is deprecated: it has not got the 1 MB of Invoke."""
_CLIENT_CONTEXT_LIMIT: Final = 3583
"""Bytes, in base64 (Lambda API, Invoke)."""
_NOTHING: Final = b"{}"
"""What a function gets that is invoked without a payload."""
_UNSUPPORTED: Final = ("DurableExecutionName", "TenantId")
_EXCEEDED: Final = "LimitExceeded"
"""How the reasons of a throttle end that are AWS's; others say why no environment can be had."""
_FAILED: Final = {
    "InvalidRuntime": "InvalidRuntimeException",
    "InvalidZipFileException": "InvalidZipFileException",
}
"""What invoking a function answers that cannot run, by its `StateReasonCode`."""


class _Called(NamedTuple):
    name: str
    qualifier: str | None


class Invocations:
    """Invokes functions of the app, those that it declares too."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._app = plane.app

    def operations(self) -> Operations:
        return {
            "Invoke": self.invoke,
            "InvokeAsync": self.invoke_async,
            "InvokeWithResponseStream": self.invoke_with_response_stream,
        }

    async def invoke(self, params: Params) -> Result:
        """As `InvocationType` says: 200 with the function's answer, 202 once the event is durable, or 204."""
        called = self._called(params)
        match params.get("InvocationType"):
            case "Event":
                return await self._enqueue(called, params.get("Payload"), EVENT_LIMIT, "StatusCode")
            case "DryRun":
                _given(params)
                return {"StatusCode": 204}
            case _:
                response = await self._answer(called, params)
        return {
            "StatusCode": 200,
            "FunctionError": response.function_error or None,
            "LogResult": log_result(response) if params.get("LogType") == "Tail" else None,
            "ExecutedVersion": response.executed_version,
            "Payload": response.payload,
            REQUEST_ID: response.request_id,
        }

    async def invoke_async(self, params: Params) -> Result:
        """Invoke with `Event`, as it was once."""
        payload = params.get("InvokeArgs")
        return await self._enqueue(self._called(params), payload, _INVOKE_ASYNC_LIMIT, "Status")

    async def invoke_with_response_stream(self, params: Params) -> Result:
        """The answer in parts: as they come where the function streams it, else once it is there whole."""
        called = self._called(params)
        if params.get("InvocationType") == "DryRun":
            _given(params)
            return {"StatusCode": 204}
        answering = StreamedAnswer()
        # In a task of its own: the function goes on when its caller has gone.
        self._plane.tasks.start_soon(answering.run, partial(self._answer, called, params, answering.stream))
        response = await answering.whole()
        logged = params.get("LogType") == "Tail"
        if response is None:
            return {**answering.head(), "EventStream": answering.events(logged=logged)}
        return {
            "StatusCode": 200,
            "ExecutedVersion": response.executed_version,
            "EventStream": parts(response, logged=logged),
            REQUEST_ID: response.request_id,
        }

    async def _answer(self, called: _Called, params: Params, stream: PieceStream | None = None) -> Response:
        payload, context = _given(params)
        try:
            return await self._app.invoke(
                called.name, payload, qualifier=called.qualifier, client_context=context, stream=stream
            )
        except TooManyRequests as error:
            raise self._refusal(called, error) from error
        except ConfigurationError as error:
            raise self._gone(called, error) from error

    async def _enqueue(self, called: _Called, given: bytes | None, limit: int, status: str) -> Result:
        if given and len(given) > limit:
            raise ApiError(
                "RequestTooLargeException",
                f"{len(given)} byte payload is too large for the Event invocation type (limit {limit} bytes)",
            )
        payload = given or _NOTHING
        try:
            request_id = await self._app.enqueue(called.name, payload, qualifier=called.qualifier)
        except ConfigurationError as error:
            raise self._gone(called, error) from error
        return {status: 202, REQUEST_ID: request_id}

    def _called(self, params: Params) -> _Called:
        """The function, which can be invoked. Raises ApiError."""
        for name in _UNSUPPORTED:
            if params.get(name) is not None:
                raise invalid(f"{name} is not supported by streamfn.")
        name, qualifier = function_of(params, self._plane.identity)
        called = _Called(name, None if qualifier == LATEST else qualifier)
        document = self._plane.resources.get("function", name)
        function = self._app.functions.get(name)
        if function is None or (document is not None and document.get("State") == "Deleting"):
            raise self._unready(called, document)
        if called.qualifier is not None:
            try:
                self._app.deployed.check(qualified(function, called.qualifier))
            except ConfigurationError as error:
                raise self._not_found(called) from error
        return called

    def _unready(self, called: _Called, document: Mapping[str, Any] | None) -> ApiError:
        match document:
            case {"State": "Pending"}:
                return conflict(
                    "The operation cannot be performed at this time. "
                    "The function is currently in the following state: Pending"
                )
            case {"State": "Failed", "StateReason": reason, "StateReasonCode": why}:
                return ApiError(_FAILED.get(why, "ResourceNotReadyException"), reason, 502)
            case _:
                return self._not_found(called)

    def _refusal(self, called: _Called, error: TooManyRequests) -> Exception:
        """Why nothing ran: no place is free, the function itself said so, or no environment can be had."""
        if error.reason.endswith(_EXCEEDED):
            return error
        function = self._app.functions.get(called.name)
        if function is not None and function.deployment is None:
            return TooManyRequests(retry_after=error.retry_after)
        return ApiError("ResourceNotReadyException", error.reason)

    def _gone(self, called: _Called, error: ConfigurationError) -> ApiError:
        """What became of an invocation whose function was removed while it began."""
        if called.name not in self._app.functions or error.field == "Qualifier":
            return self._not_found(called)
        return invalid(error.problem)

    def _not_found(self, called: _Called) -> ApiError:
        arn = self._plane.identity.arn("function", called.name)
        return not_found(f"Function not found: {arn}:{called.qualifier or LATEST}")


def _given(params: Params) -> tuple[bytes, str]:
    """What a synchronous invocation gives the function: payload and client context. Raises ApiError."""
    return _sized(params.get("Payload"), PAYLOAD_LIMIT), _client_context(params.get("ClientContext"))


def _sized(payload: bytes | None, limit: int) -> bytes:
    """A payload, or what stands for none. Raises ApiError above the limit, in bytes."""
    if not payload:
        return _NOTHING
    if len(payload) > limit:
        raise ApiError(
            "RequestTooLargeException",
            f"Request must be smaller than {limit} bytes for the InvokeFunction operation",
        )
    return payload


def _client_context(given: str | None) -> str:
    """What the caller sends along, as JSON; empty for nothing. Raises ApiError."""
    if not given:
        return ""
    if len(given) > _CLIENT_CONTEXT_LIMIT:
        raise invalid(f"Client context must be smaller than {_CLIENT_CONTEXT_LIMIT} bytes")
    try:
        data = b64decode(given, validate=True)
        orjson.loads(data)
    except (binascii.Error, ValueError) as error:
        raise ApiError(
            "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object."
        ) from error
    return data.decode()
