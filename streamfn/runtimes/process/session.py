"""One life of a runtime in an execution environment: from the start of its process to its end."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from anyio import CancelScope

from streamfn.runtimes.process.api import Ending, Invocation, Mark, RuntimeApi
from streamfn.runtimes.process.launcher import Exit, Launcher, Process
from streamfn.runtimes.process.logs import LogStream, Output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.ports import Request
    from streamfn.runtimes.process.sandbox import Module, Sandbox

TERMINATE_SECONDS: Final = 0.3
"""Between SIGTERM and SIGKILL, of a runtime that is to end."""
_MEMORY_SECONDS: Final = 0.1
"""The peak of memory is not read more often."""
_WORKER_SECONDS: Final = 0.1
"""How long the end of a worker may be the first sign of the end of its whole environment."""


_WORKER_LOST: Final = Exit(0)


class Session:
    """A runtime's process, the API that it talks to, and the pipe that it prints to."""

    def __init__(self, process: Process, api: RuntimeApi, output: Output) -> None:
        self.began = asyncio.get_running_loop().time()
        self.spoiled = False
        """Whether it is to end, and gets no more invocations."""
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._api = api
        self._output = output
        self._peak = 0
        self._peak_at = -1.0
        self._killing: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        process.when_ended(self._ended)

    @classmethod
    async def open(
        cls,
        launcher: Launcher,
        command: Sequence[str] | Module,
        environment: Mapping[str, str],
        sandbox: Sandbox,
        log: LogStream,
        capacity: int,
        *,
        workers: bool,
    ) -> Session:
        """Starts one. Raises OSError."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        output = Output(reading, log.write)
        try:
            process = await launcher.start(command, environment, sandbox, writing)
        except BaseException:
            output.close()
            raise
        finally:
            os.close(writing)
        api = RuntimeApi(capacity, process.owns)
        session = cls(process, api, output)
        if workers:
            api.when_lost(session._worker_lost)
        try:
            await api.open(process.listener)
        except BaseException:
            with CancelScope(shield=True):
                await session.close()
            raise
        return session

    @property
    def usable(self) -> bool:
        """Whether it takes invocations."""
        return not self.spoiled and not self._gone.is_set()

    async def initialised(self, deadline: float) -> Ending:
        """How the initialisation ended; TIMED_OUT at a time of the loop's clock."""
        future = self._api.initialised
        timer = self._loop.call_at(deadline, _settle, future, Mark.TIMED_OUT)
        try:
            ending = await asyncio.shield(future)
        finally:
            timer.cancel()
        self._output.drain()
        if ending is Mark.READY:
            self._process.initialised()
        return ending

    def give(self, request: Request, deadline_ms: int) -> Invocation:
        """Hands over an invocation, whose end comes in its `done`. Only while it is usable."""
        invocation = Invocation(request, deadline_ms, self._loop.create_future())
        self._api.give(invocation)
        return invocation

    def finish(self, invocation: Invocation, *, posted: bool) -> None:
        """After the end of an invocation, so that what it printed has been read. One whose end the runtime
        did not post, though it had it, takes the session along, as soon as the others that run have ended.
        """
        self._output.drain()
        if not posted and not self._api.withdraw(invocation):
            self.spoiled = True
        if self.spoiled and not self._api.running:
            self.stop()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to all that is left a moment later. Returns at once; `gone` waits."""
        self.spoiled = True
        if self._killing is None and not self._gone.is_set():
            self._process.terminate()
            self._killing = self._loop.call_later(TERMINATE_SECONDS, self._process.kill)

    async def gone(self) -> None:
        """Waits for the end of all that runs in it."""
        await self._gone.wait()

    async def close(self) -> None:
        """Kills what runs, and waits for its end. Nothing is left then."""
        self.spoiled = True
        self._process.kill()
        await self._gone.wait()
        self._api.close()

    def peak_memory(self) -> int:
        """Bytes, the most that it has used; not quite up to date."""
        now = self._loop.time()
        if now >= self._peak_at + _MEMORY_SECONDS and not self._gone.is_set():
            self._peak_at = now
            self._peak = max(self._peak, self._process.memory().peak)
        return self._peak

    def _ended(self, process: Process) -> None:
        exited = process.exit
        self._gone.set()
        self._peak = max(self._peak, exited.max_rss)
        self._output.close()
        self._api.fail(exited)
        process.abandon()
        if self._killing is not None:
            self._killing.cancel()

    def _worker_lost(self, invocation: Invocation) -> None:
        self.spoiled = True
        self._loop.call_later(_WORKER_SECONDS, _settle, invocation.done, _WORKER_LOST)


def _settle(future: asyncio.Future[Ending], ending: Ending) -> None:
    if not future.done():
        future.set_result(ending)
