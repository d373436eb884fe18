"""HttpRuntime and AWS's own Runtime Interface Emulator, with a function under AWS's own awslambdaric."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio import to_thread

from streamfn.core.outcomes import Failed
from streamfn.ports import Environment, Runtime
from streamfn.testing.conformance import RuntimeFeatures, RuntimeHarness, RuntimeSuite
from streamfn.testing.conformance.runtimes import request
from streamfn_http import HttpRuntime
from tests.servers.rie import Emulator, find_rie

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class EmulatorHarness(RuntimeHarness):
    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator

    def runtime(self) -> Runtime:
        # The emulator tells of a timeout itself, a moment after it.
        return HttpRuntime(self.emulator.url, timeout=self.emulator.timeout + 2)

    async def spoil(self, environment: Environment) -> None:
        await to_thread.run_sync(self.emulator.kill)


class TestEmulator(RuntimeSuite):
    features = RuntimeFeatures(
        timeout=2.0,
        arns="it has an ARN of its own",
        traces="it keeps them to itself",
        logs="it prints them",
        apart="it is one environment",
        slow_init="it initialises within its first invocation",
        init="it initialises within its first invocation",
        cutting="it goes on",
        unusable="the suite of other addresses has that",
    )

    @pytest.fixture
    def harness(self, program: Path) -> Iterator[RuntimeHarness]:
        with Emulator(program, timeout=2) as emulator:
            yield EmulatorHarness(emulator)


@pytest.fixture
def program() -> Path:
    found = find_rie()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.mark.anyio
async def test_an_init_that_fails_is_an_answer(program: Path) -> None:
    with Emulator(program, timeout=1) as emulator:
        (emulator.data_dir / "function.py").write_text("raise ValueError('no init')\n")
        runtime = HttpRuntime(emulator.url, timeout=5)
        async with runtime.environment() as environment:
            outcome = (await environment.invoke(request())).outcome
        await runtime.close()
    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.message) == ("ValueError", "no init")
