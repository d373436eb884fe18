"""The event queues, in memory and in the broker's file, pass the suite of event queues in virtual time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.local import LocalEvents
from streamfn.ports import EventQueue
from streamfn.testing.clock import clock, virtual_backend
from streamfn.testing.conformance import EventQueueHarness, EventQueueSuite
from streamfn.testing.memory import MemoryEvents

READER = Path(__file__).with_name("events_reader.py")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


class MemoryEventsHarness(EventQueueHarness):
    def __init__(self) -> None:
        self.events = MemoryEvents()

    def now(self) -> float:
        return clock()

    def queue(self) -> EventQueue:
        return self.events

    async def die(self, function: str, count: int, *, exposed: bool = False) -> Sequence[str]:
        async with self.events.source(function).open() as shard:
            records = await shard.read(count, 10.0)
            while len(records) < count:
                records = [*records, *await shard.read(count - len(records), 10.0)]
            for record in records if exposed else ():
                await shard.expose(record)
            shard.die()
        return [record.id for record in records]

    def unusable(self) -> EventQueue:
        events = MemoryEvents()
        events.faults.down = True
        return events


class TestMemoryEvents(EventQueueSuite):
    @pytest.fixture
    def harness(self) -> EventQueueHarness:
        return MemoryEventsHarness()


class LocalEventsHarness(EventQueueHarness):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "state"

    def now(self) -> float:
        return clock()

    def queue(self) -> EventQueue:
        return LocalEvents(self.state_dir, clock=clock)

    async def die(self, function: str, count: int, *, exposed: bool = False) -> Sequence[str]:
        """A process of its own, which kills itself as hard as it can."""
        arguments = [str(self.state_dir), str(clock()), function, str(count)]
        command = [sys.executable, str(READER), *arguments, *(["exposed"] if exposed else [])]
        done = await anyio.run_process(command, check=False, stderr=None)
        assert done.returncode == -9
        return done.stdout.decode().split()

    def unusable(self) -> EventQueue:
        file = self.folder / "file"
        file.touch()
        return LocalEvents(file / "state", clock=clock)


class TestLocalEvents(EventQueueSuite):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> EventQueueHarness:
        return LocalEventsHarness(tmp_path)
