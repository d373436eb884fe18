"""A daemon that ends between any two steps: what was answered holds, and the rest is as if never asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn import App
from streamfn.config import EventSourceMapping
from streamfn.control.mapping_states import KIND
from streamfn.ports import Resource
from streamfn.testing.resources import MemoryResourceStore
from tests.control.mapping_daemon import QUEUE, STREAM, Daemon, LocalApp
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Killed(BaseException):
    """The end of the process."""


class Steps:
    """Counts the steps that leave a trace, and ends the process at one of them."""

    def __init__(self) -> None:
        self.left: int | None = None

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed


class SteppingStore(MemoryResourceStore):
    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    async def write(self, changes: Sequence[Resource]) -> None:
        self._steps.step()
        await super().write(changes)
        self._steps.step()


class SteppingApp(LocalApp):
    steps: Steps

    async def add_mapping(self, mapping: EventSourceMapping, *, missing_function: bool = False) -> None:
        self.steps.step()
        await super().add_mapping(mapping, missing_function=missing_function)
        self.steps.step()

    async def remove_mapping(self, name: str) -> None:
        self.steps.step()
        await super().remove_mapping(name)
        self.steps.step()


class SteppingDaemon(Daemon):
    def __init__(self, state_dir: Path) -> None:
        super().__init__(state_dir)
        self.steps = Steps()
        self.store = SteppingStore(self.steps)
        self.asked: dict[str, dict[str, Any] | None] = {}
        """By source: what was asked for last, and may or may not be; None: that it goes."""
        self.answered: dict[str, dict[str, Any] | None] = {}

    def make(self) -> App:
        app = SteppingApp(state_dir=self.state_dir)
        app.steps = self.steps
        return app

    async def live(self) -> None:
        """All that may happen to mappings, each change when the one before is done."""
        for arn in (QUEUE, STREAM):
            wanted: dict[str, Any] = {"Enabled": True, "BatchSize": 3}
            self.asked[arn] = wanted
            uuid = (await self.create(arn, **wanted))["UUID"]
            self.answered[arn] = wanted
            await self.reaches(uuid, "Enabled")
            for change in ({"BatchSize": 4}, {"Enabled": False}, {"BatchSize": 5}, {"Enabled": True}):
                wanted = {**wanted, **change}
                self.asked[arn] = wanted
                await self.call("UpdateEventSourceMapping", UUID=uuid, **change)
                self.answered[arn] = wanted
                await self.reaches(uuid, "Enabled" if wanted["Enabled"] else "Disabled")
            if arn == QUEUE:
                self.asked[arn] = None
                await self.call("DeleteEventSourceMapping", UUID=uuid)
                self.answered[arn] = None
                await self.reaches(uuid, "gone")

    async def settled(self) -> None:
        """What is wanted is what runs, and what was answered is what is wanted."""
        running = self.plane.app.declared
        found = {
            str(document["EventSourceArn"]): document
            for document in self.plane.resources.all(KIND).values()
            if not document.get("Deleting")
        }
        for arn, asked in self.asked.items():
            document = found.pop(arn, None)
            told = document and {name: document[name] for name in ("Enabled", "BatchSize")}
            assert told in (asked, self.answered.get(arn))
            if document is not None:
                uuid = document["UUID"]
                await self.reaches(uuid, "Enabled" if document["Enabled"] else "Disabled")
                assert (uuid in running) is document["Enabled"]
                assert uuid not in running or running[uuid].batch_size == document["BatchSize"]
        assert not found
        await until(lambda: not any(one.get("Deleting") for one in self.plane.resources.all(KIND).values()))
        assert set(running) <= set(self.plane.resources.all(KIND))


async def killed_at(daemon: SteppingDaemon, step: int) -> bool:
    """Whether the daemon came that far; then it ended there."""
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(daemon.run)
            daemon.steps.left = step
            with anyio.fail_after(20):
                await daemon.live()
            daemon.steps.left = None
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        ended, others = group.split(Killed)
        assert ended is not None
        assert others is None
        return True
    except Killed:
        return True
    finally:
        daemon.steps.left = None
    return False


@pytest.mark.timeout(120)
async def test_whatever_step_is_the_last_the_next_start_goes_on(tmp_path: Path) -> None:
    step = 0
    while True:
        daemon = SteppingDaemon(tmp_path / str(step))
        ended = await killed_at(daemon, step)
        async with anyio.create_task_group() as tasks:
            await tasks.start(daemon.run)
            await daemon.settled()
            tasks.cancel_scope.cancel()
        if not ended:
            break
        step += 1
    # Twice: writes before and after for each change, what the app does, and what is taken away.
    assert step > 30
    assert daemon.answered == {QUEUE: None, STREAM: {"Enabled": True, "BatchSize": 5}}


@pytest.mark.timeout(60)
async def test_a_start_that_ends_is_begun_again(tmp_path: Path) -> None:
    daemon = SteppingDaemon(tmp_path)
    assert not await killed_at(daemon, 10_000)
    for step in range(2):
        daemon.steps.left = step
        with pytest.raises(BaseExceptionGroup) as group:
            async with anyio.create_task_group() as tasks:
                await tasks.start(daemon.run)
                tasks.cancel_scope.cancel()
                raise AssertionError("it was to end while it starts")
        assert group.group_contains(Killed, depth=None)
        daemon.steps.left = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        await daemon.settled()
        tasks.cancel_scope.cancel()
