"""The functions of tests/functions in environments, and what these leave behind."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import gt
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import orjson
import psutil

from streamfn.engine.environments import Environments
from streamfn.ports import Answer, Deployment, Request
from streamfn.runtimes.process.launchers import Launchers
from streamfn.runtimes.process.runtime import ProcessRuntime
from streamfn.testing import MemoryTelemetry
from tests.waiting import until

FUNCTIONS = Path(__file__).parents[1] / "functions"
PYTHON = f"python3.{sys.version_info.minor}"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:corpus"


class Silence:
    """A log sink that nobody reads."""

    enabled = False

    def line(self, function: str, version: str, stream: str, request_id: str, text: str) -> None:
        """Never called."""

    def close(self) -> None:
        """Nothing is open."""


class Corpus:
    """Makes environments of functions. `mark` names the processes that functions leave behind."""

    def __init__(self, launchers: Launchers) -> None:
        self.launchers = launchers
        self.mark = f"left-{uuid4().hex}"

    def runtime(
        self,
        handler: str,
        runtime: str = PYTHON,
        folder: Path | str = "python",
        *,
        init_timeout: float = 10.0,
        **fields: Any,
    ) -> ProcessRuntime:
        """The runtime of a function, with one vCPU, so that a test takes no longer than it must."""
        fields = {"memory_size": 1769, "timeout": 10.0, **fields}
        deployment = Deployment("corpus", str(FUNCTIONS / folder), runtime, handler, **fields)
        return ProcessRuntime(deployment, self.launchers, sink=Silence(), init_timeout=init_timeout)

    @asynccontextmanager
    async def environments(self, runtime: ProcessRuntime, **options: Any) -> AsyncIterator[Environments]:
        """The environments of a function at work."""
        telemetry = MemoryTelemetry()
        environments = Environments(
            runtime, function="corpus", version="$LATEST", telemetry=telemetry, **options
        )
        async with anyio.create_task_group() as tasks:
            await tasks.start(environments.run)
            try:
                yield environments
            finally:
                with anyio.CancelScope(shield=True):
                    await environments.stop()

    def request(self, event: object) -> Request:
        """With a request id of its own."""
        return Request(str(uuid4()), orjson.dumps(event), ARN)

    def harm(self, how: str, **more: object) -> Request:
        """A request to `harms.handler`."""
        return self.request({"how": how, "mark": self.mark, **more})


def said(answer: Answer) -> Any:
    """The answer's payload, read."""
    return orjson.loads(answer.payload)


class Traces:
    """What environments may leave behind: descriptors, processes, folders, control groups."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        launchers = corpus.launchers._launchers.values()
        self._launchers = [one for one in launchers if one._program is not None]
        self._programs = [psutil.Process(one._program.pid) for one in self._launchers if one._program]
        gc.collect()  # What earlier tests have left is not to hide what is left here.
        self._before = self._descriptors()
        self._zombies = _zombies()

    def _descriptors(self) -> list[int]:
        return [len(os.listdir("/proc/self/fd")), *(program.num_fds() for program in self._programs)]

    async def are_gone(self) -> None:
        """Nothing is there that was not before. Zombies, too, are processes."""
        await until(lambda: not [child for one in self._programs for child in one.children(recursive=True)])
        assert not [
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if self._corpus.mark in (process.info["cmdline"] or ())
        ]
        await until(lambda: _zombies() <= self._zombies)
        await until(lambda: not any(map(gt, self._descriptors(), self._before)))
        folder = self._corpus.launchers._workspace.folder
        assert [path.name for path in folder.iterdir() if _is_scratch(path)] == []
        for launcher, program in zip(self._launchers, self._programs, strict=True):
            if launcher.capabilities.memory:
                groups = os.listdir(launcher.capabilities.memory)
                assert [name for name in groups if name.startswith(f"streamfn-{program.pid}-")] == []


def _zombies() -> set[psutil.Process]:
    """Children of ours that have ended and that nobody waits for."""
    return {child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE}


def _is_scratch(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith("python-")
