"""The process runtime passes the suite of runtimes, in real time."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamfn.ports import Deployment, Environment, Runtime
from streamfn.runtimes.process.environment import ProcessEnvironment
from streamfn.runtimes.process.launchers import Launchers
from streamfn.runtimes.process.runtime import ProcessRuntime
from streamfn.testing.conformance import RuntimeFeatures, RuntimeHarness, RuntimeSuite, function
from tests.runtimes.process.streaming import INDEX

FAILS = """
import pathlib
tries = pathlib.Path("/tmp/tries")
tries.write_text((tries.read_text() if tries.exists() else "") + "x")
if len(tries.read_text()) <= {times}:
    raise ValueError("no init")
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class ProcessHarness(RuntimeHarness):
    def __init__(self, launchers: Launchers, folder: Path) -> None:
        self.launchers = launchers
        self.folder = folder

    def made(self, before: str = "", **changed: Any) -> Runtime:
        self.folder.mkdir(exist_ok=True)
        source = Path(str(function.__file__)).read_text()
        future = "from __future__ import annotations\n"
        (self.folder / "function.py").write_text(source.replace(future, future + before))
        runtime = f"python3.{sys.version_info.minor}"
        deployment = Deployment("conformance", str(self.folder), runtime, "function.handler", timeout=2.0)
        return ProcessRuntime(replace(deployment, **changed), self.launchers)

    def runtime(self) -> Runtime:
        return self.made()

    async def running(self) -> int:
        """Folders that environments have for their /tmp: removed when all that ran in one has ended."""
        scratch = await self.launchers.scratch()
        scratch.rmdir()
        return len([one for one in scratch.parent.iterdir() if one.is_dir() and len(one.name) == 32])

    def failing(self, times: int | None) -> Runtime:
        return self.made(FAILS.format(times=10**6 if times is None else times))

    def streaming(self) -> Runtime:
        runtime = self.made()
        (self.folder / "function.py").write_text(INDEX)
        return runtime

    async def spoil(self, environment: Environment) -> None:
        assert isinstance(environment, ProcessEnvironment)
        await environment.close()

    def unusable(self) -> Runtime:
        return self.made(runtime="java21")


class TestProcess(RuntimeSuite):
    features = RuntimeFeatures(
        timeout=2.0,
        ending=3.0,
        streaming=True,
        slow_init="it takes ten seconds on the wall, and has a test of its own",
        unusable="what cannot be run is a ConfigurationError at once",
    )

    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[RuntimeHarness]:
        async with Launchers(tmp_path / "run") as launchers:
            yield ProcessHarness(launchers, tmp_path / "code")
        shutil.rmtree(tmp_path / "code", ignore_errors=True)
