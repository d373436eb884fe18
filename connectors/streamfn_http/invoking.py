"""An invocation as a request, and what an answer says of it. Pure.

At any address the status decides: 2xx is a result, all else a failure; 429, and 503 with Retry-After, say
that nothing ran. An address as Lambda's Invoke has it, `/2015-03-31/functions/NAME/invocations`, is asked as
Lambda is, and says by `X-Amz-Function-Error` that the function failed. The Runtime Interface Emulator, whose
only function is called `function`, answers the error JSON alone, with 200, and timeouts as text.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamfn.core.outcomes import Cause, Failed, Succeeded, Throttled
from streamfn.core.policies import PAYLOAD_LIMIT
from streamfn.ports import Answer, Request
from streamfn_http.answers import Verdict

if TYPE_CHECKING:
    from streamfn_http.client import Reply

LARGEST_ANSWER: Final = 6_291_556
"""Bytes (Lambda's own limit, as its error for larger ones names it)."""

_INVOKE: Final = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
_EMULATOR: Final = "function"
_TIMED_OUT: Final = re.compile(rb"Task timed out after [0-9.]+ seconds")
_CAUSES: Final = {
    "Sandbox.Timedout": Cause.TIMEOUT,
    "Runtime.ExitError": Cause.CRASH,
    "Function.ResponseSizeTooLarge": Cause.RUNTIME,
}
_OF_ERRORS: Final = frozenset({"errorType", "errorMessage", "stackTrace", "requestId", "trace", "cause"})
"""Fields of the error JSON of Lambda's runtimes: Python, Node, Java, Go."""


class Protocol:
    """How the functions at one path are asked, and answer."""

    def __init__(self, path: str) -> None:
        found = _INVOKE.search(path)
        self._invokes = found is not None and path.endswith(found[0])
        self.emulates = self._invokes and found is not None and found[1] == _EMULATOR
        """Whether the Runtime Interface Emulator is there: one environment."""

    def headers(self, request: Request, deadline: float) -> list[tuple[str, str]]:
        """Those of one invocation, that has to end by `deadline`, in epoch seconds."""
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", request.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(round(deadline * 1000))),
            ("Lambda-Runtime-Invoked-Function-Arn", request.function_arn),
            ("X-Amzn-RequestId", request.request_id),
        ]
        if request.trace:
            headers.append(("X-Amzn-Trace-Id", request.trace))
        if request.client_context:
            headers.append(("X-Amz-Client-Context", b64encode(request.client_context.encode()).decode()))
        if self._invokes:
            headers += [("X-Amz-Invocation-Type", "RequestResponse"), ("X-Amz-Log-Type", "Tail")]
        return headers

    def answer(self, request: Request, reply: Reply, now: float) -> Answer:
        """What came of it; `now` in epoch seconds."""
        log = _log(reply.headers.get("X-Amz-Log-Result", ""))
        throttled = self._throttled(reply, now)
        if throttled is not None:
            return Answer(throttled)
        if reply.body is None:
            return failed(request, "Function.ResponseSizeTooLarge", _TOO_LARGE, Cause.RUNTIME)
        document = self._error(reply, reply.body)
        if document is not None:
            return Answer(_failed(document), reply.body, log)
        if reply.answer.verdict is not Verdict.TAKEN:
            return failed(request, f"Http.Status{reply.answer.status}", reply.answer.reason, log=log)
        if self.emulates and _TIMED_OUT.fullmatch(reply.body):
            return timed_out(request, reply.body.decode())
        if "X-Amz-Function-Error" in reply.headers:
            return failed(request, "Unhandled", reply.answer.text, log=log)
        return self._result(request, reply, log)

    def _error(self, reply: Reply, body: bytes) -> dict[str, Any] | None:
        """The error JSON that an answer is; None if it is none."""
        is_taken = reply.answer.verdict is Verdict.TAKEN
        is_said = "X-Amz-Function-Error" in reply.headers
        if is_taken and not is_said and not self.emulates:
            return None
        found = _object(body)
        if found is None or is_said:
            return found
        # Without a word of it, only what no function would answer by itself is an error.
        is_one = found.keys() >= {"errorType", "errorMessage"}
        return found if is_one and (not is_taken or found.keys() <= _OF_ERRORS) else None

    def _throttled(self, reply: Reply, now: float) -> Throttled | None:
        said = reply.answer
        if said.status == 429:
            return Throttled(said.pause(now), _reason(reply.body))
        if said.status == 503 and said.retry_after is not None:
            return Throttled(said.pause(now))
        # The emulator takes one invocation at a time, and says so with an empty answer.
        if said.status == 400 and self.emulates and not reply.body:
            return Throttled()
        return None

    def _result(self, request: Request, reply: Reply, log: bytes) -> Answer:
        body = reply.body or b"null"
        if _is_json(body):
            return Answer(Succeeded(), body, log)
        kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if self._invokes or kind == "application/json" or kind.endswith("+json"):
            said = f"the answer is no JSON: {reply.answer.text}"
            return failed(request, "Runtime.InvalidResponse", said, Cause.RUNTIME, log)
        # Services answer `OK` in many ways: to Lambda that would be the function's text.
        return Answer(Succeeded(), json.dumps(body.decode(errors="replace")).encode(), log)


_TOO_LARGE: Final = f"Response payload size exceeded maximum allowed payload size ({LARGEST_ANSWER} bytes)."


def too_large(request: Request) -> Answer | None:
    """What Lambda answers to an event above 6 MB; None for smaller ones."""
    if len(request.payload) <= PAYLOAD_LIMIT:
        return None
    said = f"Request must be smaller than {PAYLOAD_LIMIT} bytes for the InvokeFunction operation"
    return failed(request, "RequestTooLargeException", said, Cause.RUNTIME)


def timed_out(request: Request, said: str) -> Answer:
    """What Lambda answers where the time was over."""
    return failed(
        request, "Sandbox.Timedout", f"RequestId: {request.request_id} Error: {said}", Cause.TIMEOUT
    )


def failed(
    request: Request, type_: str, message: str, cause: Cause = Cause.FUNCTION, log: bytes = b""
) -> Answer:
    """A failure that nobody wrote an error JSON for."""
    document = {"errorType": type_, "errorMessage": message}
    return Answer(Failed(type_, message, cause=cause, document=document), orjson.dumps(document), log)


def _failed(document: dict[str, Any]) -> Failed:
    type_, message = str(document.get("errorType", "")), str(document.get("errorMessage", ""))
    trace = document.get("stackTrace") or document.get("trace")
    stack = tuple(map(str, trace)) if isinstance(trace, list) else ()
    return Failed(type_, message, stack, _CAUSES.get(type_, Cause.FUNCTION), document)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except ValueError:
        return False
    return True


def _reason(body: bytes | None) -> str:
    """Why Lambda throttled, as its answer says."""
    reason = (_object(body or b"") or {}).get("Reason")
    return reason if isinstance(reason, str) and reason else Throttled().reason


def _log(said: str) -> bytes:
    try:
        return b64decode(said)
    except binascii.Error:
        return b""
