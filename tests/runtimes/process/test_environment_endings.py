"""What callers are told of an invocation that did not succeed."""

from __future__ import annotations

import orjson
import pytest

from streamfn.core.outcomes import Cause, Failed
from streamfn.runtimes.process.api import Ending, Mark
from streamfn.runtimes.process.connection import Posted
from streamfn.runtimes.process.endings import failure, message, status
from streamfn.runtimes.process.running import Exit


def test_an_error_is_passed_on_as_it_was_posted() -> None:
    body = b'{"errorType":"E","errorMessage":"m","stackTrace":["a",1],"more":2}'
    failed, payload = failure(Posted(body, failed=True, error_type="Header"), "id-1", 3)
    assert payload == body
    assert failed == Failed("E", "m", ("a", "1"), Cause.FUNCTION, orjson.loads(body))


@pytest.mark.parametrize(
    ("body", "error_type", "kind", "text"),
    [
        (b"out of order", "Mine", "Mine", "out of order"),
        (b"[1]", "", "Runtime.Unknown", "[1]"),
        (b"", "", "Runtime.Unknown", ""),
        (b"[" * 5000, "", "Runtime.Unknown", "[" * 5000),
        (b"\xff", "", "Runtime.Unknown", "�"),
        (b"{}", "Mine", "Mine", ""),
        (b'{"errorType":7,"errorMessage":null,"stackTrace":"none"}', "", "7", ""),
        (b'{"errorMessage":"\\ud800"}', "", "Runtime.Unknown", "\ud800"),
    ],
)
def test_what_is_no_error_document_is_made_one(body: bytes, error_type: str, kind: str, text: str) -> None:
    failed, payload = failure(Posted(body, failed=True, error_type=error_type), "id-1", 3)
    assert (failed.type, failed.message, failed.cause) == (kind, text, Cause.FUNCTION)
    assert payload.startswith(b"{")


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (Exit(2), "Runtime exited with error: exit status 2"),
        (Exit(None, 9), "Runtime exited with error: signal: killed"),
        (Exit(None, 6), "Runtime exited with error: signal: aborted"),
        (Exit(None, 200), "Runtime exited with error: signal: 200"),
        (Exit(None, 9, storage=True), "Runtime exited with error: signal: killed: /tmp is full"),
    ],
)
def test_how_a_process_ended(ending: Exit, text: str) -> None:
    assert message(ending) == text
    failed, payload = failure(ending, "id-1", 3)
    assert orjson.loads(payload) == failed.document
    assert (failed.type, failed.cause) == ("Runtime.ExitError", Cause.CRASH)
    assert failed.message == f"RequestId: id-1 Error: {text}"


def test_a_program_that_cannot_be_run_has_an_error_of_its_own() -> None:
    failed, _ = failure(Exit(127, problem="fork/exec /x: no such file"), "id-1", 3)
    assert failed.type == "Runtime.InvalidEntrypoint"
    assert failed.message == "RequestId: id-1 Error: fork/exec /x: no such file"


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        (Mark.READY, ("success", "")),
        (Mark.TIMED_OUT, ("timeout", "")),
        (Posted(b"", failed=True), ("error", "Runtime.Unknown")),
        (Posted(b"", failed=True, error_type="E"), ("error", "E")),
        (Posted(b"", too_large=True), ("error", "Function.ResponseSizeTooLarge")),
        (Exit(1), ("error", "Runtime.ExitError")),
        (Exit(None, 9, oom=True), ("error", "Runtime.OutOfMemory")),
    ],
)
def test_what_reports_say(ending: Ending, told: tuple[str, str]) -> None:
    assert status(ending) == told
