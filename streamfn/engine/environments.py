"""The execution environments of one version of a function: made on demand, used again, and left.

Each environment has a task that makes it, waits until it is to go, and leaves it. A request takes an idle one
at once; where there is none, one is made, and the request is served by whichever comes first: the new one, or
one that becomes free. So who stops waiting leaves nothing behind but an environment for the next.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio

from streamfn.core.admission import CONCURRENCY_EXCEEDED, ScaleUp
from streamfn.core.outcomes import Throttled
from streamfn.engine.held import Generation, Held
from streamfn.engine.provisioning import INIT_FAILURE, Provisioned, ProvisionedStatus
from streamfn.engine.signal import Signal
from streamfn.engine.supervisor import plain
from streamfn.ports import Answer
from streamfn.telemetry import (
    EnvironmentEnded,
    EnvironmentFailed,
    EnvironmentStarted,
    InvocationThrottled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup, TaskStatus

    from streamfn.ports import Environment, Request, Runtime, Telemetry

IDLE_TIMEOUT = 600.0
"""Seconds after which an environment that is not used is left."""

LIFETIME = 7200.0
"""Seconds after which an environment is replaced, used or not (Lambda: every few hours)."""

_RETRY_AFTER = 1.0
"""Seconds after which somebody may try again whose environment could not be made, or could not work."""

_LOOK = 10.0
"""Seconds between two looks at whether an idle environment that is kept initialised still is."""

_STOPPING = "the function is being stopped"

_CLOSING = 5.0
"""Seconds that a runtime has to let go of what its environments shared."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What there is at this moment, and what was since the beginning."""

    in_use: int
    """Invocations that run."""
    idle: int
    """Environments that nothing runs in."""
    environments: int
    """All that are initialised, and were not left yet."""
    starting: int
    waiting: int
    """Requests that wait for an environment."""
    provisioned: ProvisionedStatus
    cold_starts: int
    """Requests that had to wait for an environment."""
    throttles: int


Waiter: TypeAlias = "asyncio.Future[Held | Throttled]"
"""Somebody who gets an environment with room for one invocation, or is sent away."""


class Environments:
    """Runs requests in environments of a runtime, which it closes in the end.

    It works while `run` does. Times are in seconds by the loop's clock.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        function: str,
        version: str,
        telemetry: Telemetry,
        capacity: int = 1,
        idle_timeout: float = IDLE_TIMEOUT,
        lifetime: float = LIFETIME,
        scale_up: ScaleUp | None = None,
    ) -> None:
        self._function, self._version = function, version
        self._telemetry = telemetry
        self._idle_timeout = idle_timeout
        self._lifetime = lifetime
        self._scale_up = scale_up or ScaleUp()
        self._generation = Generation(runtime)
        self._capacity = capacity
        """Invocations that an environment takes at a time: what the last one said."""
        self._all: dict[Held, None] = {}
        """Every environment from before it is made until it is left."""
        self._on_demand: list[Held] = []
        self._provisioned: list[Held] = []
        """Environments with room: the one used last is at the end, and is used next."""
        self._waiting: deque[Waiter] = deque()
        self._starting = 0
        """Environments being made for those that wait."""
        self._in_use = 0
        self._peak = 0
        self._cold_starts = 0
        self._throttles = 0
        self._now: Callable[[], float]
        self._tasks: TaskGroup
        self._open = False
        self._stop = anyio.Event()
        self._grace = 0.0
        self._emptied = Signal()
        self._ended = anyio.Event()
        self._keeper = Provisioned(partial(self._make, provisioned=True))

    # ------------------------------------------------------------------------------------------ life

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Owns all environments until `stop`, or until it is cancelled; then they are left, all at once."""
        self._now = asyncio.get_running_loop().time
        try:
            async with anyio.create_task_group() as self._tasks:
                try:
                    self._open = True
                    self._tasks.start_soon(self._keeper.run)
                    task_status.started()
                    await self._stop.wait()
                finally:
                    self._open = False
                    self._keeper.request(0)
                    self._retire("Stopped")
                    self._disappoint(_STOPPING)
                with anyio.move_on_after(self._grace):
                    while self._all:
                        self._emptied.clear()
                        await self._emptied.wait()
                self._tasks.cancel_scope.cancel()
        finally:
            await self._close(self._generation.runtime)
            self._ended.set()

    async def stop(self, grace: float = 0.0) -> None:
        """Takes no more requests, gives invocations so many seconds to end, and leaves all environments.
        Returns when `run` has ended.
        """
        self._open = False
        self._grace = grace
        self._stop.set()
        await self._ended.wait()

    def retire(self) -> None:
        """No environment of now is used again: idle ones are left at once, busy ones after their invocations.

        Requests that wait get new ones.
        """
        self._retire("Retired")
        self._demand()

    def replace(
        self, runtime: Runtime, idle_timeout: float | None = None, scaling_rate: int | None = None
    ) -> None:
        """Makes environments of another runtime from now on; those of the last one are retired, and it is
        closed when they are gone. The others are as for a new one; None: as before.
        """
        if idle_timeout is not None:
            self._idle_timeout = idle_timeout
        if scaling_rate is not None:
            self._scale_up.limit = scaling_rate
        old, self._generation = self._generation, Generation(runtime)
        old.current = False
        self.retire()
        self._close_unused(old)

    def provision(self, number: int) -> None:
        """Keeps so many environments initialised from now on; those that are too many are left."""
        self._keeper.request(number)
        self._shed()

    @property
    def statistics(self) -> Statistics:
        """What there is at this moment."""
        there = [held for held in self._all if held.capacity]
        return Statistics(
            in_use=self._in_use,
            idle=sum(not held.in_use for held in there),
            environments=len(there),
            starting=len(self._all) - len(there),
            waiting=len(self._waiting),
            provisioned=self._keeper.status,
            cold_starts=self._cold_starts,
            throttles=self._throttles,
        )

    def peak(self) -> int:
        """The most invocations at a time since this was asked last."""
        peak, self._peak = self._peak, self._in_use
        return peak

    # -------------------------------------------------------------------------------------- requests

    async def invoke(self, request: Request) -> Answer:
        """Runs a request. `Throttled` where no environment could be had, or it could not work: nothing ran.

        Cancelled, the invocation is cut off.
        """
        shelf = self._provisioned or self._on_demand
        if shelf:
            held = shelf[-1]
            self._take(held)
        else:
            came = await self._wait()
            if isinstance(came, Throttled):
                return Answer(came)
            held = came
        try:
            return await held.environment.invoke(request)
        except OSError as error:
            self._end(held, f"Failed: {error}")
            return Answer(self._throttle(f"the environment cannot work: {error}"))
        except Exception as error:
            self._end(held, f"Failed: {error!r}")
            raise
        finally:
            self._release(held)

    def _take(self, held: Held) -> None:
        held.in_use += 1
        held.invocations += 1
        self._in_use += 1
        if self._in_use > self._peak:
            self._peak = self._in_use
        if held.shelved and held.in_use >= held.capacity:
            # It is the last one whenever somebody takes it from there.
            held.shelf.pop()
            held.shelved = False

    def _release(self, held: Held) -> None:
        held.in_use -= 1
        self._in_use -= 1
        held.idle_since = now = self._now()
        if held.provisioned and not held.environment.ready:
            self._end(held, "Reset")
        elif now >= held.until:
            self._wear(held)
        if held.reason:
            if not held.in_use:
                held.signal.set()
            return
        if self._waiting:
            self._serve(held)
        if not held.shelved and held.in_use < held.capacity:
            self._shelve(held)

    def _shelve(self, held: Held) -> None:
        """It can be taken. One that has to be initialised again comes after all others."""
        held.shelved = True
        if held.environment.ready:
            held.shelf.append(held)
        else:
            held.shelf.insert(0, held)

    def _serve(self, held: Held) -> None:
        """Gives the room there is to those who wait longest."""
        while self._waiting and held.in_use < held.capacity:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._take(held)
                waiter.set_result(held)

    async def _wait(self) -> Held | Throttled:
        """An environment with room for one invocation, which is taken; or why there is none."""
        if not self._open:
            return self._throttle(_STOPPING)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._demand()
        self._cold_starts += not waiter.done()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and isinstance(came := waiter.result(), Held):
                self._release(came)
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _demand(self) -> None:
        """Makes as many environments as are missing for those that wait. Who came last is sent away where
        they would be too many at a time.
        """
        while len(self._waiting) > self._starting * self._capacity:
            delay = self._scale_up.admit(self._now())
            if delay:
                self._refuse(self._waiting.pop(), CONCURRENCY_EXCEEDED, delay)
            else:
                self._starting += 1
                self._make(provisioned=False)

    def _disappoint(self, reason: str) -> None:
        """Sends away those that wait for an environment that does not come."""
        while len(self._waiting) > self._starting * self._capacity:
            self._refuse(self._waiting.popleft(), reason)

    def _refuse(self, waiter: Waiter, reason: str, delay: float = _RETRY_AFTER) -> None:
        if not waiter.done():
            waiter.set_result(self._throttle(reason, delay))

    def _throttle(self, reason: str, delay: float = _RETRY_AFTER) -> Throttled:
        self._throttles += 1
        self._telemetry.emit(InvocationThrottled(self._function, self._version, reason))
        return Throttled(delay, reason)

    # ---------------------------------------------------------------------------------- environments

    def _make(self, *, provisioned: bool) -> None:
        shelf = self._provisioned if provisioned else self._on_demand
        held = Held(self._generation, shelf, self._now(), provisioned=provisioned)
        self._all[held] = None
        held.generation.environments += 1
        self._tasks.start_soon(self._keep, held)

    async def _keep(self, held: Held) -> None:
        """One environment, from before it is made until it is left."""
        try:
            with held.scope:
                runtime = held.generation.runtime
                async with runtime.environment(provisioned=held.provisioned) as environment:
                    try:
                        self._made(held, environment)
                        await self._until_over(held)
                    finally:
                        # Cancelled by whoever ends this, or by the environment, something of which broke.
                        self._end(held, "Broken" if self._open else "Stopped")
        except Exception as error:  # noqa: BLE001 - a runtime's fault is to harm its own function only
            fault = plain(error)
            self._fail(held, str(fault) or repr(fault))
        finally:
            self._leave(held)

    def _made(self, held: Held, environment: Environment) -> None:
        if held.reason:  # It was given up in the very moment.
            return
        held.environment = environment
        now = self._now()
        if held.provisioned and not environment.ready:
            self._fail(held, INIT_FAILURE)
            return
        held.capacity = self._capacity = environment.capacity
        held.idle_since, held.until = now, now + self._lifetime
        seconds = now - held.began_at
        self._telemetry.emit(EnvironmentStarted(self._function, self._version, seconds, held.provisioned))
        if held.provisioned:
            self._keeper.made()
        else:
            self._starting -= 1
        self._serve(held)
        if held.in_use < held.capacity:
            self._shelve(held)
        self._demand()
        self._shed()

    async def _until_over(self, held: Held) -> None:
        while not held.reason or held.in_use:
            with anyio.move_on_after(self._due_at(held) - self._now()):
                await held.signal.wait()
            if not held.reason and not held.in_use:
                self._age(held)

    def _due_at(self, held: Held) -> float:
        """When to look at it again, unless something happens to it."""
        if held.in_use:
            return self._now() + self._idle_timeout
        wait = self._now() + _LOOK if held.provisioned else held.idle_since + self._idle_timeout
        return min(held.until, wait)

    def _age(self, held: Held) -> None:
        now = self._now()
        if held.provisioned and not held.environment.ready:
            self._end(held, "Reset")
        elif now >= held.until:
            self._wear(held)
        elif not held.provisioned and now >= held.idle_since + self._idle_timeout:
            self._end(held, "Idle")

    def _wear(self, held: Held) -> None:
        """Its life is over. One that is kept initialised stays until another has taken its place."""
        if held.provisioned:
            held.until = math.inf
            held.worn = True
            self._keeper.wore()
        else:
            self._end(held, "Lifetime")

    def _end(self, held: Held, reason: str) -> None:
        """It gets no more invocations, and goes when it has none."""
        if not held.reason:
            held.reason = reason
            if not held.capacity:
                self._give_up(held)
                held.scope.cancel()
                return
            if held.shelved:
                held.shelf.remove(held)
                held.shelved = False
            if held.provisioned:
                self._keeper.lost(worn=held.worn)
        if not held.in_use:
            held.signal.set()

    def _give_up(self, held: Held) -> None:
        """It is not wanted any more before it is there."""
        if held.provisioned:
            self._keeper.cancelled()
        else:
            self._starting -= 1

    def _fail(self, held: Held, reason: str) -> None:
        """It could not be made, or not be left."""
        self._tell(reason, provisioned=held.provisioned)
        if held.reason:
            return
        held.reason = reason
        if held.provisioned:
            self._keeper.failed(reason)
        else:
            self._starting -= 1
            self._disappoint(f"no environment could be made: {reason}")

    def _tell(self, reason: str, *, provisioned: bool = False) -> None:
        self._telemetry.emit(EnvironmentFailed(self._function, self._version, reason, provisioned))

    def _leave(self, held: Held) -> None:
        del self._all[held]
        if held.capacity:
            self._telemetry.emit(
                EnvironmentEnded(self._function, self._version, held.reason, held.invocations)
            )
        if not self._all:
            self._emptied.set()
        held.generation.environments -= 1
        self._close_unused(held.generation)

    def _retire(self, reason: str) -> None:
        for held in list(self._all):
            self._end(held, reason)

    def _shed(self) -> None:
        """Ends provisioned environments that are too many: worn ones first, then idle ones."""
        keeper = self._keeper
        if keeper.missing >= 0 and keeper.surplus <= 0:
            return
        mine = [held for held in self._all if held.provisioned and not held.reason]
        making = [held for held in mine if not held.capacity]
        made = sorted((held for held in mine if held.capacity), key=lambda held: (not held.worn, held.in_use))
        for held in (*making[: max(0, -keeper.missing)], *made[: max(0, keeper.surplus)]):
            self._end(held, "Surplus")

    def _close_unused(self, generation: Generation) -> None:
        if not generation.current and not generation.environments:
            self._tasks.start_soon(self._close, generation.runtime)

    async def _close(self, runtime: Runtime) -> None:
        try:
            with anyio.move_on_after(_CLOSING, shield=True):
                await runtime.close()
        except Exception as error:  # noqa: BLE001 - as above
            self._tell(f"{runtime.name} could not be closed: {error}")
