"""What keeps mappings going: starts them, restarts those that crash, changes and drains them on demand."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import anyio

from streamfn.core.lifecycle import MappingEvent, MappingState, TransitionReason, transition
from streamfn.core.policies import Backoff
from streamfn.errors import ConfigurationError, SourceError
from streamfn.telemetry import MappingCrashed, StateChanged

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from anyio.abc import TaskGroup

    from streamfn.engine.mapping import Mapping
    from streamfn.engine.plan import MappingPlan
    from streamfn.ports import Telemetry

_RESTART = Backoff(first=1.0, factor=2.0, cap=60.0)

_STEADY = 60.0
"""Seconds after which a mapping counts as well again, and its next crash as its first."""


class Run:
    """A mapping at work from when it is started until it is stopped, however often it crashes meanwhile."""

    def __init__(self) -> None:
        self.mapping: Mapping | None = None
        self.stop = asyncio.Event()
        self.scope = anyio.CancelScope()
        self.ended = asyncio.Event()


class Supervised:
    """One mapping as the supervisor sees it: what it is to do, its state, and the run that is on now."""

    def __init__(self, plan: MappingPlan) -> None:
        self.plan = plan
        self.state = MappingState.CREATING
        stream = hasattr(plan.source, "shards") and not plan.source.name.startswith("kafka:")
        self.reason = (TransitionReason.USER_ACTION if stream else TransitionReason.USER_INITIATED).value
        self.run: Run | None = None
        self.changing = asyncio.Lock()
        """Changes to one mapping are made one after the other."""

    @property
    def mapping(self) -> Mapping | None:
        """What runs now, if it does."""
        return None if self.run is None else self.run.mapping


class Supervisor:
    """Runs mappings, each on its own: one that crashes starts again after a while and harms no other."""

    def __init__(self, make: Callable[[MappingPlan], Mapping], telemetry: Telemetry, random: Random) -> None:
        self._make = make
        self._telemetry = telemetry
        self._random = random
        self._tasks: TaskGroup
        self.mappings: dict[str, Supervised] = {}
        self._relieved: set[Run] = set()
        """Runs that end what they have in flight while others have taken their places."""

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Owns the tasks of all mappings until it is cancelled."""
        async with anyio.create_task_group() as self._tasks:
            task_status.started()
            await asyncio.Event().wait()

    async def add(self, plan: MappingPlan, *, enabled: bool = True) -> None:
        """Starts a mapping. Raises ConfigurationError when one of that name is there."""
        if plan.name in self.mappings:
            raise ConfigurationError(
                f"a mapping named {plan.name!r} is already there",
                field="Name",
                fix="give it another name, or update the one that is there",
            )
        item = self.mappings[plan.name] = Supervised(plan)
        async with item.changing:
            if enabled:
                self._start(item)
            else:
                self._move(item, MappingEvent.STOPPED)

    async def update(self, plan: MappingPlan, grace: float) -> None:
        """Drains the mapping of that name and goes on with another plan, from its checkpoints."""
        item = self._item(plan.name)
        async with item.changing:
            running = item.state is MappingState.ENABLED
            self._move(item, MappingEvent.UPDATE)
            if running:
                await self._stop(item.run, grace)
            item.plan = plan
            if running:
                self._start(item)
            else:
                self._move(item, MappingEvent.STOPPED)

    async def relieve(self, plan: MappingPlan) -> None:
        """Goes on with another plan at once, while what is in flight ends by the last one: for sources that
        any number may read.
        """
        item = self._item(plan.name)
        async with item.changing:
            item.plan = plan
            if item.run is not None:
                self._relieved.add(item.run)
                self._tasks.start_soon(self._let_end, item.run)
                self._start(item)

    async def _let_end(self, run: Run) -> None:
        await self._stop(run, math.inf)
        self._relieved.discard(run)

    async def pause(self, name: str, grace: float) -> None:
        """Drains it and keeps its place."""
        item = self._item(name)
        async with item.changing:
            if item.state is MappingState.ENABLED:
                self._move(item, MappingEvent.DISABLE)
                await self._stop(item.run, grace)
                self._move(item, MappingEvent.STOPPED)

    async def resume(self, name: str) -> None:
        """Goes on from its checkpoints."""
        item = self._item(name)
        async with item.changing:
            if item.state is MappingState.DISABLED:
                self._move(item, MappingEvent.ENABLE)
                self._start(item)

    async def remove(self, name: str, grace: float) -> None:
        """Drains and forgets it. Its checkpoints stay in the source."""
        item = self._item(name)
        async with item.changing:
            self._move(item, MappingEvent.DELETE)
            await self._stop(item.run, grace)
            self._move(item, MappingEvent.STOPPED)
            del self.mappings[name]

    async def drain(self, grace: float) -> bool:
        """Stops all mappings together. False if something had to be cut off."""
        clean: list[bool] = []

        async def stop(run: Run) -> None:
            clean.append(await self._stop(run, grace))

        async with anyio.create_task_group() as stops:
            for run in self._runs():
                stops.start_soon(stop, run)
        return all(clean)

    def cut(self) -> None:
        """Ends a drain now: what is still in flight is cut off."""
        for run in self._runs():
            run.scope.cancel()

    def _runs(self) -> list[Run]:
        now = [item.run for item in self.mappings.values() if item.run is not None]
        return [*now, *self._relieved]

    def _item(self, name: str) -> Supervised:
        try:
            return self.mappings[name]
        except KeyError:
            known = ", ".join(sorted(self.mappings)) or "none"
            raise ConfigurationError(
                f"there is no mapping named {name!r}", field="Name", fix=f"take one of: {known}"
            ) from None

    def _move(self, item: Supervised, event: MappingEvent) -> None:
        item.state = transition(item.state, event)
        self._telemetry.emit(StateChanged(item.plan.name, item.state.value, item.reason))

    def _start(self, item: Supervised) -> None:
        item.run = Run()
        self._tasks.start_soon(self._keep_going, item, item.run)

    async def _stop(self, run: Run | None, grace: float) -> bool:
        if run is None:
            return True
        run.stop.set()
        if run.mapping is not None:
            run.mapping.drain()
        with anyio.move_on_after(grace) as waiting:
            await run.ended.wait()
        if waiting.cancelled_caught:
            run.scope.cancel()
            await run.ended.wait()
        return not run.scope.cancel_called

    async def _keep_going(self, item: Supervised, run: Run) -> None:
        crashes = 0
        try:
            with run.scope:
                while not run.stop.is_set():
                    begun = asyncio.get_running_loop().time()
                    try:
                        run.mapping = self._make(item.plan)
                        if item.state is not MappingState.ENABLED:
                            self._move(item, MappingEvent.STARTED)
                        await run.mapping.run()
                        if not run.stop.is_set():
                            raise SourceError(f"{item.plan.source.name} ended without being told to")
                    except Exception as error:  # noqa: BLE001
                        steady = asyncio.get_running_loop().time() - begun > _STEADY
                        crashes = 1 if steady else crashes + 1
                        await self._wait_to_restart(item, run, plain(error), crashes)
        finally:
            run.mapping = None
            run.ended.set()
            if item.run is run:
                item.run = None

    async def _wait_to_restart(self, item: Supervised, run: Run, error: BaseException, crashes: int) -> None:
        pause = _RESTART.delay(crashes) * self._random.uniform(0.5, 1.0)
        run.mapping = None
        self._telemetry.emit(MappingCrashed(item.plan.name, error, pause))
        with anyio.move_on_after(pause):
            await run.stop.wait()


def plain(error: BaseException) -> BaseException:
    """The error itself where a group holds but one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
