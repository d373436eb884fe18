"""Environments over a scripted runtime, at work for the time of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from streamfn.core.outcomes import Outcome
from streamfn.engine.environments import Environments
from streamfn.ports import Answer, Request
from streamfn.testing.runtimes import ScriptedRuntime
from tests.engine.conftest import Seen

REQUEST = Request("1", b"{}", "arn:aws:lambda:local:000000000000:function:f")


class Calls:
    """Requests that are under way at the same time, and what came of them."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        self.answers: list[Answer] = []
        self.scopes: list[anyio.CancelScope] = []

    @property
    def outcomes(self) -> list[Outcome]:
        return [answer.outcome for answer in self.answers]

    async def one(self, scope: anyio.CancelScope, request: Request = REQUEST) -> None:
        with scope:
            self.answers.append(await self._environments.invoke(request))


class Desk:
    """Environments, and a task group for those who call them."""

    def __init__(self, environments: Environments, seen: Seen, tasks: anyio.abc.TaskGroup) -> None:
        self.environments = environments
        self.seen = seen
        self.tasks = tasks
        self.calls = Calls(environments)

    def call(self, number: int = 1) -> list[anyio.CancelScope]:
        """Begins so many requests."""
        scopes = [anyio.CancelScope() for _ in range(number)]
        for scope in scopes:
            self.tasks.start_soon(self.calls.one, scope)
        return scopes

    async def ask(self) -> Answer:
        return await self.environments.invoke(REQUEST)


@asynccontextmanager
async def desk(runtime: ScriptedRuntime, **options: Any) -> AsyncIterator[Desk]:
    """Works within; afterwards nothing may be left."""
    seen = Seen()
    environments = Environments(runtime, function="f", version="7", telemetry=seen, **options)
    async with anyio.create_task_group() as tasks:
        await tasks.start(environments.run)
        yield Desk(environments, seen, tasks)
        await environments.stop()
    assert not runtime.alive
    assert runtime.closed
    there = environments.statistics
    assert (there.in_use, there.environments, there.starting, there.waiting) == (0, 0, 0, 0)
