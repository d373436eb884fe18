"""What the end of an invocation is to its caller: the error JSON that Lambda answers, and an outcome.

(Recorded by localstack from AWS; Developer Guide: lambda-runtime-environment.)
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from streamfn.core.outcomes import Cause, Failed, Succeeded
from streamfn.core.rendering import loads
from streamfn.core.reports import ERROR, SUCCESS, TIMEOUT, exit_message
from streamfn.runtimes.process.api import Ending, Mark
from streamfn.runtimes.process.connection import Posted

if TYPE_CHECKING:
    from streamfn.runtimes.process.running import Exit

Ended: TypeAlias = Succeeded | Failed

_TIMED_OUT: Final = "Sandbox.Timedout"
_EXITED: Final = "Runtime.ExitError"
_NO_ENTRYPOINT: Final = "Runtime.InvalidEntrypoint"
_TOO_LARGE: Final = "Function.ResponseSizeTooLarge"
_UNKNOWN: Final = "Runtime.Unknown"


def failure(ending: Ending, request_id: str, timeout: float) -> tuple[Failed, bytes]:
    """An ending that is no success, as an outcome, and as what Lambda's Invoke answers."""
    if isinstance(ending, Posted):
        return _posted(ending)
    if isinstance(ending, Mark):
        cause, error_type = Cause.TIMEOUT, _TIMED_OUT
        text = f"RequestId: {request_id} Error: Task timed out after {timeout:.2f} seconds"
    else:
        cause, error_type = Cause.CRASH, _exit_type(ending)
        text = f"RequestId: {request_id} Error: {message(ending)}"
    document = {"errorType": error_type, "errorMessage": text}
    return Failed(error_type, text, cause=cause, document=document), orjson.dumps(document)


def message(ending: Exit) -> str:
    """How a runtime's process ended, in Lambda's words."""
    if ending.problem:
        return ending.problem
    name = "" if ending.signal is None else _signal(ending.signal)
    text = exit_message(ending.status, name)
    return f"{text}: /tmp is full" if ending.storage else text


def status(ending: Ending) -> tuple[str, str]:
    """Status and error type, as reports have them."""
    if ending is Mark.READY:
        return SUCCESS, ""
    if isinstance(ending, Mark):
        return TIMEOUT, ""
    if isinstance(ending, Posted):
        return ERROR, _TOO_LARGE if ending.too_large else ending.error_type or _UNKNOWN
    return ERROR, "Runtime.OutOfMemory" if ending.oom else _exit_type(ending)


def _posted(posted: Posted) -> tuple[Failed, bytes]:
    if posted.too_large:
        text = f"Response payload size exceeded maximum allowed payload size ({posted.limit} bytes)."
        document: dict[str, Any] = {"errorMessage": text, "errorType": _TOO_LARGE}
        return Failed(_TOO_LARGE, text, cause=Cause.RUNTIME, document=document), orjson.dumps(document)
    read = _read(posted.body)
    if not isinstance(read, dict):
        # No runtime of a language does this; a shell script may.
        text = posted.body.decode("utf-8", "replace")
        read = {"errorMessage": text, "errorType": posted.error_type or _UNKNOWN}
        return Failed(read["errorType"], text, document=read), orjson.dumps(read)
    error_type = read.get("errorType") or posted.error_type or _UNKNOWN
    stack = read.get("stackTrace", read.get("trace"))  # as Python says it, or Node.js
    lines = tuple(str(line) for line in stack) if isinstance(stack, list) else ()
    error = Failed(str(error_type), str(read.get("errorMessage") or ""), lines, document=read)
    return error, posted.body


def _read(body: bytes) -> object:
    # The standard library reads characters that quicker readers refuse: half of a surrogate pair.
    for reader in (orjson.loads, loads):
        try:
            return reader(body)
        except (ValueError, RecursionError):
            continue
    return None


def _exit_type(ending: Exit) -> str:
    return _NO_ENTRYPOINT if ending.problem else _EXITED


def _signal(number: int) -> str:
    try:
        return (signal.strsignal(number) or str(number)).lower()
    except ValueError:
        return str(number)
