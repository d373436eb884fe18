"""Deployed functions through a whole app: from a source through a process and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import orjson
import psutil
import pytest

from streamfn import App
from streamfn.errors import TooManyRequests
from streamfn.ports import Message
from streamfn.telemetry import EnvironmentStarted
from streamfn.testing import MemoryTelemetry
from tests.proof.corpus import FUNCTIONS, PYTHON
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(60)]


class Stage:
    """An app, what it told, and how it is fed."""

    def __init__(self, folder: Path) -> None:
        self.telemetry = MemoryTelemetry()
        self.app = App(name="proof", state_dir=folder / "state", telemetry=[self.telemetry])

    def deploy(self, handler: str, **options: object) -> None:
        """A function `f` of the corpus."""
        settings = {"runtime": PYTHON, "code_uri": str(FUNCTIONS / "python"), "memory_size": 1769}
        self.app.deploy("f", handler=handler, **settings | options)

    async def put(self, *records: object) -> None:
        """Records for `local:queue/in`."""
        destination = self.app.destination_of("local:queue/in")
        assert destination is not None
        failures = await destination.send([Message(orjson.dumps(record)) for record in records])
        assert not failures
        await destination.close()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    before = _family()
    yield Stage(tmp_path)
    await until(lambda: _family() <= before)


def _family() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


async def test_the_function_errors_of_invoke(stage: Stage) -> None:
    stage.deploy("raises.handler")
    async with stage.app:
        response = await stage.app.invoke("f", {"what": "pears"})
    assert (response.function_error, response.executed_version) == ("Unhandled", "$LATEST")
    assert orjson.loads(response.payload)["errorType"] == "OutOfStock"


async def test_invocations_at_a_time_have_environments_of_their_own(stage: Stage) -> None:
    # Each stays until a slow machine has started all.
    source = "import time\ncount = 0\ndef handler(event, context):\n"
    source += "    global count\n    count += 1\n    time.sleep(1.5)\n    return count\n"
    stage.deploy("index.handler", inline_code=source, code_uri=None, reserved_concurrency=3)
    counts: list[int] = []

    async def ask() -> None:
        counts.append(orjson.loads((await stage.app.invoke("f", None)).payload))

    async with stage.app:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            await until(lambda: len(stage.telemetry.of(EnvironmentStarted)) == 3)
            with pytest.raises(TooManyRequests) as refused:
                await stage.app.invoke("f", None)
        assert refused.value.reason == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert counts == [1, 1, 1]


async def test_a_batch_of_a_queue_reaches_a_function_and_its_failures_come_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    source = """
import json, os

def handler(event, context):
    failed = []
    for record in event["Records"]:
        body = json.loads(record["body"])
        first = record["attributes"]["ApproximateReceiveCount"] == "1"
        if body["n"] == 13 and first:
            os._exit(1)
        if body["n"] % 5 == 0 and first:
            failed.append({"itemIdentifier": record["messageId"]})
        else:
            print(body["n"], "done")
    return {"batchItemFailures": failed}
"""
    caplog.set_level("INFO", "streamfn.function")
    stage.deploy("index.handler", inline_code=source, code_uri=None, timeout=10)
    stage.app.event_source_mapping(
        "f",
        "local:queue/in",
        batch_size=5,
        function_response_types=["ReportBatchItemFailures"],
        retry_delay=0.1,
    )
    await stage.put(*({"n": number} for number in range(40)))

    def done() -> set[int]:
        return {int(line.split()[-2]) for line in caplog.messages if line.endswith(" done")}

    async with stage.app:
        await until(lambda: done() == set(range(40)))
    assert any("Runtime exited with error: exit status 1" in line for line in caplog.messages)
