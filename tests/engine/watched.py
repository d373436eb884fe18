"""A queue in memory that takes its time, and says what is under way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from streamfn.core.records import QueueRecord, Record
from streamfn.testing.clock import VirtualTimeLoop
from streamfn.testing.memory import MemoryQueue
from streamfn.testing.memory.queues import MemoryPoller


class Watched:
    """A queue far away, whose requests take a while, and that says how many of them are under way."""

    def __init__(self, queue: MemoryQueue, round_trip: float = 0.0) -> None:
        self.queue = queue
        self.round_trip = round_trip
        self.open_now = 0
        self.opened = 0
        self.reading = 0
        self.reads: list[tuple[int, float]] = []
        """Limit and wait of each read."""
        self.acking = self.acks = 0
        self.extend_hangs = 0.0
        self.whole_seconds = False
        """Reads wait as SQS does."""

    @property
    def name(self) -> str:
        return self.queue.name

    async def check(self) -> None:
        await self.queue.check()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[WatchedPoller]:
        self.opened += 1
        self.open_now += 1
        try:
            async with self.queue.open():
                yield WatchedPoller(self, self.opened)
        finally:
            self.open_now -= 1


class WatchedPoller(MemoryPoller):
    def __init__(self, watched: Watched, place: int) -> None:
        super().__init__(watched.queue, place)
        self._watched = watched

    async def read(self, limit: int, wait: float) -> Sequence[QueueRecord]:
        watched = self._watched
        watched.reads.append((limit, wait))
        watched.reading += 1
        try:
            await anyio.sleep(watched.round_trip)
            return await super().read(limit, int(wait) if watched.whole_seconds else wait)
        finally:
            watched.reading -= 1

    async def ack(self, records: Sequence[Record]) -> None:
        self._watched.acking += 1
        self._watched.acks += 1
        try:
            await anyio.sleep(self._watched.round_trip)
            await super().ack(records)
        finally:
            self._watched.acking -= 1

    async def extend(self, records: Sequence[Record], seconds: float) -> None:
        # The queue carries out what it was asked for, whether or not anybody still waits for the answer.
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self._watched.extend_hangs)
            await super().extend(records, seconds)


async def emptied(queue: MemoryQueue) -> None:
    with anyio.fail_after(3600):
        await queue.wait_empty()


def run(scenario: Any) -> None:
    loop = VirtualTimeLoop()
    try:
        loop.run_until_complete(scenario)
    finally:
        loop.close()
