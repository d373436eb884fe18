"""Environments as a caller sees them: real processes, real awslambdaric."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import anyio
import pytest

from streamfn.core.outcomes import Cause, Failed, Succeeded
from tests.runtimes.process.environments import ARN, Made, said

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------------------------------------------ invoke


async def test_a_function_is_called_with_event_and_context(made: Made) -> None:
    source = """
        def handler(event, context):
            return [event, context.aws_request_id, context.invoked_function_arn, context.function_name,
                    context.function_version, context.memory_limit_in_mb, context.client_context.custom,
                    0 < context.get_remaining_time_in_millis() <= 3000]
    """
    async with made.python(source, version="7", memory_size=256) as environment:
        assert (environment.capacity, environment.ready) == (1, True)
        answer = await environment.invoke(
            made.request({"a": "ü"}, client_context='{"custom":\r\n{"k": "v"}}', trace="Root=1")
        )
    assert answer.outcome == Succeeded()
    assert said(answer) == [{"a": "ü"}, "id-1", f"{ARN}", "orders", "7", "256", {"k": "v"}, True]


async def test_an_environment_is_used_again_with_its_globals(made: Made) -> None:
    source = """
        calls = []
        def handler(event, context):
            calls.append(event)
            return calls
    """
    async with made.python(source) as environment:
        answers = [said(await environment.invoke(made.request(number))) for number in range(3)]
    assert answers == [[0], [0, 1], [0, 1, 2]]


async def test_an_answer_of_nothing_is_null(made: Made) -> None:
    async with made.python("def handler(event, context): pass") as environment:
        assert (await environment.invoke(made.request())).payload == b"null"


async def test_an_exception_is_answered_as_lambda_does(made: Made) -> None:
    async with made.python("def handler(event, context): raise KeyError('k')") as environment:
        answer = await environment.invoke(made.request())
        assert environment.ready
    assert isinstance(answer.outcome, Failed)
    assert said(answer) == {
        "errorMessage": "'k'",
        "errorType": "KeyError",
        "requestId": "id-1",
        "stackTrace": [
            '  File "/var/task/index.py", line 1, in handler\n'
            "    def handler(event, context): raise KeyError('k')\n"
        ],
    }
    assert answer.outcome.cause is Cause.FUNCTION
    assert (answer.outcome.type, answer.outcome.message) == ("KeyError", "'k'")
    assert answer.outcome.payload("id-1") == said(answer)
    assert b"Status:" not in answer.log


async def test_payloads_of_six_megabytes_pass_both_ways(made: Made) -> None:
    event = {"text": "x" * (6 * 1024 * 1024 - 20)}
    async with made.python("def handler(event, context): return event", timeout=10) as environment:
        answer = await environment.invoke(made.request(event))
    assert said(answer) == event


async def test_an_answer_that_is_too_large_is_an_error_and_the_next_one_starts_anew(made: Made) -> None:
    source = "def handler(event, context): return 'x' * (7 * 1024 * 1024) if event else 'small'"
    async with made.python(source, timeout=10) as environment:
        answer = await environment.invoke(made.request(True))
        assert said(answer) == {
            "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
            "errorType": "Function.ResponseSizeTooLarge",
        }
        assert isinstance(answer.outcome, Failed)
        assert answer.outcome.cause is Cause.RUNTIME
        assert b"Status: error\tError Type: Function.ResponseSizeTooLarge" in answer.log
        # awslambdaric ends itself where an answer is refused.
        assert said(await environment.invoke(made.request(False))) == "small"


async def test_several_invocations_run_at_a_time(made: Made) -> None:
    source = """
        import os, time
        def handler(event, context):
            open(f"/tmp/{event}", "w").close()
            while len(os.listdir("/tmp")) < 4:
                time.sleep(0.005)
            return os.getpid()
    """
    async with made.python(source, maximum_concurrency=4) as environment:
        assert environment.capacity == 4
        pids = []

        async def invoke(number: int) -> None:
            pids.append(said(await environment.invoke(made.request(number))))

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(invoke, number)
    assert len(set(pids)) == 4


async def test_a_worker_that_dies_takes_its_own_invocation_along_only(made: Made) -> None:
    source = """
        import os, time
        def handler(event, context):
            if event == "die":
                os._exit(3)
            time.sleep(event)
            return "lived"
    """
    async with made.python(source, maximum_concurrency=2) as environment:
        answers = {}

        async def invoke(event: object) -> None:
            answers[event] = await environment.invoke(made.request(event))

        async with anyio.create_task_group() as group:
            group.start_soon(invoke, 0.4)
            await anyio.sleep(0.05)
            group.start_soon(invoke, "die")
        assert said(answers[0.4]) == "lived"
        assert said(answers["die"])["errorType"] == "Runtime.ExitError"
        assert said(await environment.invoke(made.request(0))) == "lived"


# -------------------------------------------------------------------------------------- what functions do


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(127)", "Runtime exited with error: exit status 127"),
        ("os.kill(os.getpid(), 11)", "Runtime exited with error: signal: segmentation fault"),
    ],
)
async def test_a_runtime_that_ends_is_told_of_and_replaced(made: Made, body: str, text: str) -> None:
    async with made.python(f"import os\ndef handler(event, context):\n    if event: {body}") as environment:
        answer = await environment.invoke(made.request(True))
        assert said(answer) == {
            "errorType": "Runtime.ExitError",
            "errorMessage": f"RequestId: id-1 Error: {text}",
        }
        assert isinstance(answer.outcome, Failed)
        assert answer.outcome.cause is Cause.CRASH
        assert not environment.ready
        assert (
            f"RequestId: id-1 Error: {text}\nRuntime.ExitError\nEND RequestId: id-1\n" in answer.log.decode()
        )
        assert answer.log.endswith(b"Status: error\tError Type: Runtime.ExitError\t\n")
        assert (await environment.invoke(made.request(False))).payload == b"null"
        assert environment.ready


async def test_a_function_that_leaks_is_killed(made: Made) -> None:
    source = """
        def handler(event, context):
            kept = []
            while event:
                kept.append(b"x" * 8_000_000)
    """
    async with made.python(source, timeout=20) as environment:
        answer = await environment.invoke(made.request(True))
        assert (
            said(answer)["errorMessage"] == "RequestId: id-1 Error: Runtime exited with error: signal: killed"
        )
        assert b"Error Type: Runtime.OutOfMemory" in answer.log
        assert (await environment.invoke(made.request(False))).payload == b"null"


async def test_a_timeout_keeps_tmp_and_forgets_globals(made: Made) -> None:
    source = """
        import os, pathlib, time
        calls = []
        def handler(event, context):
            calls.append(event)
            if event == "hang":
                pathlib.Path("/tmp/kept").write_text("kept")
                time.sleep(60)
            return [calls, os.listdir("/tmp")]
    """
    async with made.python(source, timeout=2) as environment:
        began = time.monotonic()
        answer = await environment.invoke(made.request("hang"))
        assert 2.0 <= time.monotonic() - began < 8
        assert said(answer) == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": "RequestId: id-1 Error: Task timed out after 2.00 seconds",
        }
        assert isinstance(answer.outcome, Failed)
        assert answer.outcome.cause is Cause.TIMEOUT
        assert re.search(rb"Z id-1 Task timed out after 2.00 seconds\nEND RequestId: id-1\n", answer.log)
        assert answer.log.endswith(b"\tStatus: timeout\t\n")
        assert said(await environment.invoke(made.request("after"))) == [["after"], ["kept"]]


async def test_a_runtime_that_ignores_sigterm_is_killed(made: Made) -> None:
    source = """
        import signal, subprocess, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        def handler(event, context):
            if event:
                subprocess.Popen(["sleep", "60"], start_new_session=True)
                time.sleep(60)
    """
    async with made.python(source, timeout=2) as environment:
        assert said(await environment.invoke(made.request(True)))["errorType"] == "Sandbox.Timedout"
        # The time of ending it is the next one's.
        assert (await environment.invoke(made.request(False))).payload == b"null"


async def test_a_cancelled_invocation_is_cut_off_and_the_environment_goes_on(made: Made) -> None:
    source = """
        import pathlib, time
        def handler(event, context):
            if event:
                pathlib.Path("/tmp/begun").touch()
                time.sleep(60)
            return pathlib.Path("/tmp/begun").exists()
    """
    async with made.python(source) as environment:
        with anyio.move_on_after(0.3) as scope:
            await environment.invoke(made.request(True))
        assert scope.cancelled_caught
        assert said(await environment.invoke(made.request(False))) is True


async def test_printing_ten_megabytes_costs_no_memory(made: Made) -> None:
    source = """
        def handler(event, context):
            for number in range(event):
                print("x" * 1000, number)
    """
    async with made.python(source, timeout=20, options={"sink": Off()}) as environment:
        before = _resident()
        answer = await environment.invoke(made.request(10_000))
        assert _resident() - before < 5_000_000
    assert len(answer.log) == 4096
    assert b"x 9999\nEND RequestId: id-1\nREPORT RequestId: id-1\t" in answer.log
    assert b"START" not in answer.log


class Off:
    """A sink that nobody listens to."""

    enabled = False

    def line(self, function: str, version: str, stream: str, request_id: str, text: str) -> None:
        raise AssertionError("nobody wanted it")

    def close(self) -> None:
        """Nothing is open."""


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
