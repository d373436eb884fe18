"""An execution environment whose function runs in a process of its own: init, invoke, reset.

(Developer Guide: lambda-runtime-environment.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
from anyio import CancelScope

from streamfn.core.outcomes import Cause, Succeeded
from streamfn.core.reports import ERROR, SUCCESS, TIMEOUT, InitReport, Report
from streamfn.ports import Answer
from streamfn.runtimes.process import endings
from streamfn.runtimes.process.api import Ending, Mark
from streamfn.runtimes.process.connection import Posted
from streamfn.runtimes.process.running import Exit

if TYPE_CHECKING:
    from streamfn.core.reports import Platform
    from streamfn.ports import Clock, Deployment, Request
    from streamfn.runtimes.process.logs import LogStream
    from streamfn.runtimes.process.session import Session

Open: TypeAlias = Callable[[], Awaitable["Session"]]
"""Starts a session. Raises OSError."""

ON_DEMAND: Final = "on-demand"
PROVISIONED: Final = "provisioned-concurrency"


class ProcessEnvironment:
    """One environment. Its `/tmp` outlives what its processes do; their memory does not."""

    def __init__(
        self,
        deployment: Deployment,
        open_session: Open,
        log: LogStream,
        platform: Platform,
        clock: Clock,
        *,
        provisioned: bool = False,
    ) -> None:
        self._deployment = deployment
        self._open = open_session
        self._log = log
        self._platform = platform
        self._clock = clock
        self._type = PROVISIONED if provisioned else ON_DEMAND
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._starting = anyio.Lock()
        self._init_duration: float | None = None
        self._closed = False

    @property
    def capacity(self) -> int:
        """Invocations that it takes at a time."""
        return self._deployment.maximum_concurrency

    @property
    def ready(self) -> bool:
        """Whether the next invocation finds a runtime that is initialised."""
        return self._session is not None and self._session.usable

    async def initialise(self, seconds: float) -> None:
        """The cold start. Raises OSError where no process can be started."""
        ending, duration = await self._initialise(self._loop.time() + seconds, "init")
        if ending is Mark.READY and self._type == ON_DEMAND:
            self._init_duration = duration

    async def invoke(self, request: Request) -> Answer:
        """Runs the function. See the port."""
        began = self._loop.time()
        deadline = began + self._deployment.timeout
        deadline_ms = int((self._clock() + self._deployment.timeout) * 1000)
        self._log.begin(request.request_id, self._platform.start(self._clock(), request.request_id))
        try:
            while True:
                session = self._session
                if session is None or not session.usable:
                    ending = await self._revive(deadline)
                    if ending is not Mark.READY:
                        break
                    continue
                ending, given = await self._run(session, request, deadline, deadline_ms)
                if given or not isinstance(ending, Exit):
                    break
        except BaseException:
            self._log.end(request.request_id)
            raise
        return self._answer(request, ending, self._loop.time() - began)

    async def close(self) -> None:
        """Ends all that runs in it."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._log.flush()

    async def _run(
        self, session: Session, request: Request, deadline: float, deadline_ms: int
    ) -> tuple[Ending, bool]:
        """How the invocation ended, and whether the runtime had it at all."""
        invocation = session.give(request, deadline_ms)
        timer = self._loop.call_at(deadline, _expire, invocation.done)
        ending: Ending = Mark.TIMED_OUT
        try:
            ending = await invocation.done
        finally:
            timer.cancel()
            session.finish(invocation, posted=isinstance(ending, Posted))
        return ending, invocation.given is not None

    async def _revive(self, deadline: float) -> Ending:
        """The suppressed init: one that comes within an invocation, once for all that wait for it."""
        with CancelScope(deadline=deadline) as waiting:
            await self._starting.acquire()
        if waiting.cancelled_caught:
            return Mark.TIMED_OUT
        try:
            if self.ready:
                return Mark.READY
            await self._leave_session(deadline)
            ending, _ = await self._initialise(deadline, "invoke")
            return ending
        finally:
            self._starting.release()

    async def _leave_session(self, deadline: float) -> None:
        if self._session is not None:
            with CancelScope(deadline=deadline) as waiting:
                await self._session.gone()
            if waiting.cancelled_caught:
                raise OSError("what ran in the environment before has not ended yet")
            self._session = None

    async def _initialise(self, deadline: float, phase: str) -> tuple[Ending, float]:
        if self._closed:
            raise OSError("the environment is closed")
        began = self._loop.time()
        self._log.say(self._platform.init_start(self._clock(), self._type, phase))
        session = await self._open()
        ending: Ending = Mark.TIMED_OUT
        try:
            ending = await session.initialised(deadline)
        finally:
            if ending is Mark.READY:
                self._session = session
            else:
                with CancelScope(shield=True):
                    await session.close()
        duration = self._loop.time() - began
        if ending is not Mark.READY or (self._type == PROVISIONED and phase == "init"):
            self._report_init(ending, duration, phase)
        return ending, duration

    def _report_init(self, ending: Ending, duration: float, phase: str) -> None:
        status, error_type = endings.status(ending)
        report = InitReport(duration, self._type, phase, status, error_type)
        self._log.say(self._platform.init_report(self._clock(), report))

    def _answer(self, request: Request, ending: Ending, duration: float) -> Answer:
        now = self._clock()
        session = self._session
        status, error_type = SUCCESS, ""
        outcome: endings.Ended = _SUCCEEDED
        payload = b""
        if isinstance(ending, Posted) and not ending.failed and not ending.too_large:
            payload = ending.body
        else:
            outcome, payload = endings.failure(ending, request.request_id, self._deployment.timeout)
            if outcome.cause is not Cause.FUNCTION:
                status, error_type = endings.status(ending)
            self._tell(request.request_id, ending, status, error_type)
        report = Report(
            request.request_id,
            duration,
            self._deployment.memory_size,
            session.peak_memory() if session is not None else 0,
            self._init_duration,
            status,
            error_type,
        )
        self._init_duration = None
        self._log.say(self._platform.end(now, report), request.request_id)
        return Answer(outcome, payload, self._log.end(request.request_id))

    def _tell(self, request_id: str, ending: Ending, status: str, error_type: str) -> None:
        if status == TIMEOUT:
            line = self._platform.timed_out(self._clock(), request_id, self._deployment.timeout)
            self._log.say(line, request_id)
        elif isinstance(ending, Exit) and status == ERROR:
            line = self._platform.exited(request_id, endings.message(ending), error_type)
            self._log.say(line, request_id)


_SUCCEEDED: Final = Succeeded()


def _expire(done: asyncio.Future[Ending]) -> None:
    if not done.done():
        done.set_result(Mark.TIMED_OUT)
