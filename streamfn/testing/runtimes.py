"""A runtime in memory, whose functions do as told. It works in virtual time as on the wall.

    runtime = ScriptedRuntime(returns({"a": 1}), raises("KeyError"), lasts(2), hangs(), crashes())

The first invocation gets the first step, whichever environment it is in; the last step serves all that
follow.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
from anyio import lowlevel

from streamfn.core.deployments import LATEST, Deployment
from streamfn.core.outcomes import Cause, Failed, Outcome, Succeeded, Throttled
from streamfn.errors import SourceError
from streamfn.ports import Answer, Request
from streamfn.testing.clock import clock
from streamfn.testing.memory.bell import Bell
from streamfn.testing.memory.faults import Faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from streamfn.ports import ResponseStream

INIT_TIMEOUT: Final = 10.0
PROVISIONED_INIT_TIMEOUT: Final = 130.0
_LARGEST: Final = 6_291_556


class Raised(Exception):
    """What a function raises: the name of an exception, and its text."""

    def __init__(self, type_: str, message: str) -> None:
        super().__init__(message)
        self.type = type_


class Crashed(Exception):
    """The process of the function ends: why, as `signal: killed` or `exit status 1`."""


@dataclass(eq=False)
class Invocation:
    """One invocation, or one init."""

    number: int
    """From 1, over all environments."""
    request: Request | None
    """None: it is an init."""
    environment: ScriptedEnvironment
    began_at: float
    """Epoch seconds by `streamfn.testing.clock`."""
    ended_at: float | None = None
    outcome: Outcome | None = None
    """None while it runs, and for one that was cut off."""
    log: str = ""
    """What it printed: a step adds to it."""

    @cached_property
    def event(self) -> Any:
        """The event, parsed."""
        return None if self.request is None else json.loads(self.request.payload)


Step: TypeAlias = "Callable[[Invocation], Awaitable[object]]"
"""What a function does: waits, raises, or returns its answer (an `Outcome`, or bytes, as they are)."""


def returns(value: object = None) -> Step:
    """Answers so."""

    async def step(invocation: Invocation) -> object:
        return value

    return step


async def echoes(invocation: Invocation) -> object:
    """Answers with the event."""
    return invocation.event


def raises(type_: str = "RuntimeError", message: str = "the test planned it") -> Step:
    """Raises an exception of that name."""

    async def step(invocation: Invocation) -> object:
        raise Raised(type_, message)

    return step


def lasts(seconds: float, then: Step | None = None) -> Step:
    """Takes so long, and goes on as told."""

    async def step(invocation: Invocation) -> object:
        await anyio.sleep(seconds)
        return None if then is None else await then(invocation)

    return step


def waits(event: anyio.Event, then: Step | None = None) -> Step:
    """Waits until an event is set, and goes on as told."""

    async def step(invocation: Invocation) -> object:
        await event.wait()
        return None if then is None else await then(invocation)

    return step


def hangs() -> Step:
    """Never returns."""

    async def step(invocation: Invocation) -> object:
        await anyio.sleep_forever()
        raise AssertionError("nothing wakes it")

    return step


def crashes(how: str = "exit status 1") -> Step:
    """Its process ends: by `exit status 1`, or by `signal: killed`."""

    async def step(invocation: Invocation) -> object:
        raise Crashed(how)

    return step


def streams(*pieces: bytes, content_type: str = "text/plain", then: Step | None = None) -> Step:
    """Writes its answer piece by piece, and goes on as told; what comes of that is no more of the answer."""

    async def step(invocation: Invocation) -> object:
        stream = None if invocation.request is None else invocation.request.stream
        if stream is not None:
            stream.begin(content_type)
            for piece in pieces:
                if not stream.write(piece):
                    await _read(stream)
        if then is not None:
            await then(invocation)
        return b"".join(pieces) if stream is None else b""

    return step


def throttles(retry_after: float = 0.0, reason: str = "ConcurrentInvocationLimitExceeded") -> Step:
    """Does not begin, as a function elsewhere that is at its limit."""
    return returns(Throttled(retry_after, reason))


def breaks(message: str = "the environment is gone: the test planned it") -> Step:
    """The environment cannot work, and nothing ran: raises OSError."""

    async def step(invocation: Invocation) -> object:
        raise OSError(message)

    return step


class ScriptedRuntime:
    """A `Runtime` whose environments are in memory.

    `init`: what each init does, first ones and repeated ones alike, in the order of all; its answer counts
    for nothing. `faults` knows the operations `environment` (making one, before its init), `invoke` and
    `check`; the first two raise OSError.
    """

    def __init__(
        self,
        *steps: Step,
        init: Step | Sequence[Step] = (),
        name: str = "scripted",
        timeout: float = 3.0,
        capacity: int = 1,
        deployment: Deployment | None = None,
    ) -> None:
        self.faults = Faults()
        self.deployment = deployment or Deployment(name, f"scripted:{name}", timeout=timeout, version=LATEST)
        self.capacity = capacity
        self.environments: list[ScriptedEnvironment] = []
        """All that were made, in order."""
        self.invocations: list[Invocation] = []
        """All that began, in order."""
        self.inits: list[Invocation] = []
        self.running = 0
        """Invocations at this moment."""
        self.peak = 0
        """Most invocations at a time so far."""
        self.most = 0
        """Most environments at a time so far."""
        self.closed = False
        self._name = name
        self._steps = steps or (returns(),)
        self._init = tuple(init) if isinstance(init, list | tuple) else (init,)
        self._changed = Bell()

    @property
    def name(self) -> str:
        return self._name

    @asynccontextmanager
    async def environment(self, *, provisioned: bool = False) -> AsyncIterator[ScriptedEnvironment]:
        await lowlevel.checkpoint()
        self._may("environment")
        made = ScriptedEnvironment(self, provisioned=provisioned)
        self.environments.append(made)
        self.most = max(self.most, len(self.alive))
        self._changed.ring()
        try:
            limit = INIT_TIMEOUT
            if provisioned:
                limit = max(PROVISIONED_INIT_TIMEOUT, self.deployment.timeout)
            with anyio.move_on_after(limit):
                await made.initialise()
            yield made
        finally:
            made.left = True
            self._changed.ring()

    async def check(self) -> None:
        await lowlevel.checkpoint()
        self.faults.before("check")

    async def close(self) -> None:
        assert not self.alive, "closed before its environments were left"
        self.closed = True

    # ----------------------------------------------------------------------------------- looking

    @property
    def alive(self) -> list[ScriptedEnvironment]:
        """The environments that were entered and not left yet."""
        return [environment for environment in self.environments if not environment.left]

    async def wait_invocations(self, count: int = 1) -> None:
        """Returns when at least so many invocations have begun."""
        await self._changed.until(lambda: len(self.invocations) >= count)

    async def wait_ended(self, count: int = 1) -> None:
        """Returns when at least so many invocations have ended."""
        await self._changed.until(lambda: len(self.invocations) - self.running >= count)

    async def wait_alive(self, count: int) -> None:
        """Returns when exactly so many environments are entered and not left."""
        await self._changed.until(lambda: len(self.alive) == count)

    # ------------------------------------------------------------------------- for environments

    def _may(self, operation: str) -> None:
        try:
            self.faults.before(operation)
        except SourceError as error:
            raise OSError(str(error)) from error

    def _begin(self, environment: ScriptedEnvironment, request: Request | None) -> tuple[Invocation, Step]:
        begun = self.inits if request is None else self.invocations
        steps = self._steps if request is not None else (self._init or (returns(),))
        invocation = Invocation(len(begun) + 1, request, environment, clock())
        begun.append(invocation)
        if request is not None:
            self.running += 1
            self.peak = max(self.peak, self.running)
        self._changed.ring()
        return invocation, steps[min(invocation.number, len(steps)) - 1]

    def _end(self, invocation: Invocation) -> None:
        invocation.ended_at = clock()
        self.running -= invocation.request is not None
        self._changed.ring()


@dataclass(eq=False)
class ScriptedEnvironment:
    """An `Environment` of a `ScriptedRuntime`."""

    runtime: ScriptedRuntime = field(repr=False)
    provisioned: bool
    ready: bool = False
    left: bool = False
    invocations: int = 0
    """How many it has begun since its last init."""
    running: int = 0
    _failure: Failed | None = None
    """Why its last init failed."""

    @property
    def capacity(self) -> int:
        return self.runtime.capacity

    async def initialise(self) -> None:
        """Becomes ready, or notes why not."""
        self._failure = None
        invocation, step = self.runtime._begin(self, None)
        try:
            await step(invocation)
        except (Raised, Crashed) as error:
            self._failure = invocation.outcome = _failed(error, "")
        else:
            self.ready, self.invocations = True, 0
        finally:
            self.runtime._end(invocation)

    async def invoke(self, request: Request) -> Answer:
        assert not self.left, "invoked after it was left"
        assert self.running < self.capacity, "more invocations at a time than it takes"
        self.running += 1
        try:
            await lowlevel.checkpoint()
            self.runtime._may("invoke")
            return await self._run(request)
        finally:
            self.running -= 1

    async def _run(self, request: Request) -> Answer:
        invocation, step = self.runtime._begin(self, request)
        timeout = self.runtime.deployment.timeout
        outcome: Outcome
        value: object = None
        try:
            with anyio.move_on_after(timeout) as limit:
                outcome, value = await self._answer(invocation, step, request.request_id)
            if limit.cancelled_caught:
                self.ready = False
                outcome = _timed_out(request.request_id, timeout)
            invocation.outcome = outcome
        except anyio.get_cancelled_exc_class():
            # What was cut off halfway is not to be used as it is.
            self.ready = False
            raise
        finally:
            self.runtime._end(invocation)
        return _answer(request, outcome, value, invocation.log)

    async def _answer(self, invocation: Invocation, step: Step, request_id: str) -> tuple[Outcome, object]:
        if not self.ready:
            await self.initialise()
            if self._failure is not None:
                return self._failure, None
        self.invocations += 1
        try:
            value = await step(invocation)
        except (Raised, Crashed) as error:
            self.ready = isinstance(error, Raised)
            return _failed(error, request_id), None
        if isinstance(value, Succeeded | Failed | Throttled):
            return value, None
        return Succeeded(), value


async def _read(stream: ResponseStream) -> None:
    """Returns when there is room again."""
    read = anyio.Event()
    stream.when_read(read.set)
    await read.wait()


def _failed(error: Raised | Crashed, request_id: str) -> Failed:
    if isinstance(error, Raised):
        document = {"errorMessage": str(error), "errorType": error.type, "requestId": request_id}
        return Failed(error.type, str(error), document={**document, "stackTrace": []})
    message = f"RequestId: {request_id} Error: Runtime exited with error: {error}"
    return _ended("Runtime.ExitError", message, Cause.CRASH)


def _timed_out(request_id: str, timeout: float) -> Failed:
    message = f"RequestId: {request_id} Error: Task timed out after {timeout:.2f} seconds"
    return _ended("Sandbox.Timedout", message, Cause.TIMEOUT)


def _ended(type_: str, message: str, cause: Cause) -> Failed:
    return Failed(type_, message, cause=cause, document={"errorType": type_, "errorMessage": message})


def _answer(request: Request, outcome: Outcome, value: object, printed: str) -> Answer:
    payload = b""
    if isinstance(outcome, Succeeded):
        payload = value if isinstance(value, bytes) else json.dumps(value).encode()
        if len(payload) > _LARGEST:
            message = f"Response payload size exceeded maximum allowed payload size ({_LARGEST} bytes)."
            outcome = _ended("Function.ResponseSizeTooLarge", message, Cause.RUNTIME)
    if isinstance(outcome, Failed):
        payload = json.dumps(outcome.payload(request.request_id)).encode()
    elif not isinstance(outcome, Succeeded):
        return Answer(outcome)
    of = f"RequestId: {request.request_id}"
    log = f"START {of} Version: {LATEST}\n{printed}END {of}\nREPORT {of}\n".encode()
    return Answer(outcome, payload, log[-4096:])
