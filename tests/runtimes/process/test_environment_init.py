"""How environments begin, and begin again: the init phase, and what becomes of one that fails."""

from __future__ import annotations

import os
import re

import anyio
import pytest

from streamfn.core.outcomes import Cause, Failed
from streamfn.runtimes.process.launchers import Launchers
from tests.runtimes.process.environments import Made, said

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("source", "handler", "error_type", "message"),
    [
        ("import nowhere", "index.handler", "Runtime.ImportModuleError", "Unable to import module 'index'"),
        ("x = 1", "index.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'index'"),
        ("def handler(:", "index.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module 'index'"),
        ("1 / 0", "index.handler", "ZeroDivisionError", "division by zero"),
        ("x = 1", "handler", "Runtime.MalformedHandlerName", "Bad handler 'handler'"),
    ],
)
async def test_an_error_of_the_init_is_reported_by_the_next_invocation(
    made: Made, source: str, handler: str, error_type: str, message: str
) -> None:
    async with made.python(source, handler=handler) as environment:
        assert not environment.ready
        answer = await environment.invoke(made.request())
        error = said(answer)
        assert (error["errorType"], error["requestId"]) == (error_type, "")
        assert error["errorMessage"].startswith(message)
        assert isinstance(answer.outcome, Failed)
        assert answer.outcome.cause is Cause.FUNCTION
    reports = [text for text in made.sink.texts if text.startswith("INIT_REPORT")]
    assert [re.sub(r"[\d.]+ ms", "N ms", text) for text in reports] == [
        f"INIT_REPORT Init Duration: N ms\tPhase: {phase}\tStatus: error\tError Type: {error_type}"
        for phase in ("init", "invoke")
    ]


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "Runtime exited without providing a reason"), (3, "Runtime exited with error: exit status 3")],
)
async def test_an_exit_in_the_init_is_an_exit_error(made: Made, status: int, text: str) -> None:
    async with made.python(f"import os\nos._exit({status})") as environment:
        assert not environment.ready
        answer = await environment.invoke(made.request())
    assert said(answer) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: id-1 Error: {text}",
    }


async def test_an_init_that_takes_too_long_is_done_again_within_the_invocation(made: Made) -> None:
    source = """
        import pathlib, time
        first = pathlib.Path("/tmp/first")
        if not first.exists():
            first.touch()
            time.sleep(60)
        def handler(event, context): return "at last"
    """
    async with made.python(source, options={"init_timeout": 0.5}) as environment:
        assert not environment.ready
        answer = await environment.invoke(made.request())
        assert said(answer) == "at last"
        assert environment.ready
    assert "Status: timeout" in next(text for text in made.sink.texts if text.startswith("INIT_REPORT"))
    assert b"Init Duration" not in answer.log


async def test_a_suppressed_init_ends_with_the_functions_timeout(made: Made) -> None:
    options = {"init_timeout": 0.1}
    async with made.python("import time\ntime.sleep(60)", timeout=0.3, options=options) as environment:
        answer = await environment.invoke(made.request())
    assert said(answer)["errorMessage"] == "RequestId: id-1 Error: Task timed out after 0.30 seconds"


async def test_a_suppressed_init_serves_all_that_wait_for_it(made: Made) -> None:
    source = """
        import os, pathlib
        first = pathlib.Path("/tmp/first")
        if not first.exists():
            first.write_text(os.environ["AWS_LAMBDA_RUNTIME_API"])
        if first.read_text() in ("", os.environ["AWS_LAMBDA_RUNTIME_API"]):
            os._exit(1)
        def handler(event, context): return event
    """
    answers: list[object] = []
    async with made.python(source, maximum_concurrency=2) as environment:
        assert not environment.ready

        async def invoke(number: int) -> None:
            answers.append(said(await environment.invoke(made.request(number))))

        async with anyio.create_task_group() as group:
            for number in range(2):
                group.start_soon(invoke, number)
    assert sorted(answers, key=str) == [0, 1]
    assert sum(text.startswith("INIT_START") for text in made.sink.texts) == 2


async def test_an_environment_that_cannot_be_made_raises_and_leaves_nothing(
    made: Made, launchers: Launchers
) -> None:
    made.write("index.py", "def handler(event, context): pass")
    async with made.runtime().environment():
        """The launcher is there, and what it needs."""
    descriptors = len(os.listdir("/proc/self/fd"))
    folders = set(launchers._workspace.folder.iterdir())
    with pytest.raises(OSError, match=r"network|nowhere|No such file|namespace"):
        async with made.runtime(network="nowhere").environment():
            raise AssertionError("it was made")
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert set(launchers._workspace.folder.iterdir()) == folders
