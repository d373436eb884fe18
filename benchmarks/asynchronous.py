"""Asynchronous invocation: events enqueued durably, processed in the same process, and left to wait."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil

from benchmarks import event_rows
from benchmarks.measuring import PATIENCE, Trip, figures, program
from benchmarks.scenario import Scenario, Settings, Side, Target
from streamfn import App

CALLERS = 256
EVENTS = 30_000
_RATE = 1000
_BODY = "x" * 180


# ------------------------------------------------------------------------------------------- measuring


@asynccontextmanager
async def _waiting(state_dir: str) -> AsyncIterator[App]:
    """An app at work whose function `waits` does not end before the context is left."""
    left = asyncio.Event()
    app = App(name="bench", state_dir=state_dir)

    @app.function(reserved_concurrency=1)
    async def waits(event: Any, context: Any) -> None:
        await left.wait()

    async with app:
        try:
            yield app
        finally:
            left.set()


async def _enqueue(app: App, function: str, callers: int, events: int) -> None:
    """So many events from so many callers, each with one after the other."""
    numbers = iter(range(events))

    async def call() -> None:
        for number in numbers:
            await app.enqueue(function, {"n": number, "body": _BODY})

    async with asyncio.timeout(PATIENCE), anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(call)


def enqueue_rate(settings: Settings, callers: int, events: int) -> float:
    """Events per second that are durable, of a function that is busy."""

    async def work(state_dir: str) -> float:
        async with _waiting(state_dir) as app:
            # The first makes the queue, and has the function busy.
            await _enqueue(app, "waits", 1, 10)
            began = time.perf_counter()
            await _enqueue(app, "waits", callers, events)
            return events / (time.perf_counter() - began)

    with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
        return settings.run(work(folder))


def end_to_end_rate(settings: Settings, events: int) -> float:
    """Events per second from the first enqueue until the last is processed, all in one process."""

    async def work(state_dir: str) -> float:
        seen = 0
        there, done = asyncio.Event(), asyncio.Event()
        app = App(name="bench", state_dir=state_dir)

        @app.function
        async def nothing(event: Any, context: Any) -> None:
            nonlocal seen
            seen += 1
            there.set()
            if seen > events:
                done.set()

        async with app:
            async with asyncio.timeout(PATIENCE):
                await app.enqueue(nothing, {})
                await there.wait()
                began = time.perf_counter()
                await _enqueue(app, "nothing", CALLERS, events)
                await done.wait()
            return events / (time.perf_counter() - began)

    with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
        return settings.run(work(folder))


# ------------------------------------------------------------------------------------------- scenarios


class Enqueue:
    """Callers that wait until their event is durable, beside SQLite that commits as many rows at once."""

    def __init__(self, callers: int, events: int) -> None:
        self._callers = callers
        self._events = events
        self.scenarios: Sequence[Scenario] = (
            Scenario(
                f"enqueue-{callers}",
                f"durable enqueues of 200 bytes by {callers} callers; bare commits as many rows at once",
                "events/s",
                "streamfn",
                "bare",
                Target("ratio", at_least=0.8),
            ),
        )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        events = settings.size(self._events, self._events // 20)
        with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
            row = settings.run(self._row(folder))
        yield {
            "bare": lambda: event_rows.commit_rate(row, self._callers, events),
            "streamfn": lambda: enqueue_rate(settings, self._callers, events),
        }

    async def _row(self, folder: str) -> event_rows.Row:
        async with _waiting(folder) as app:
            await _enqueue(app, "waits", 1, 1)
            return event_rows.newest(Path(folder))


class EndToEnd:
    """Enqueued by many and processed by the same process."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "async-end-to-end",
            f"enqueued by {CALLERS} callers and processed by a function that does nothing, in one process",
            "events/s",
            "streamfn",
            None,
            Target("figure", at_least=5_000),
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        yield {"streamfn": lambda: end_to_end_rate(settings, settings.size(EVENTS, EVENTS // 100))}


class Latency:
    """From before an enqueue to the start of the function, at a pace that nothing holds up."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "async-latency",
            f"99th percentile from before enqueue to the function, {_RATE:,} events/s",
            "ms",
            "p99",
            None,
            Target("figure", at_most=20),
        ),
        Scenario(
            "async-latency-median",
            f"median from before enqueue to the function, {_RATE:,} events/s",
            "ms",
            "p50",
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        events = settings.size(6_000, 300)

        def measured() -> Mapping[str, float]:
            with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
                trip = settings.run(self._trip(folder, events))
            return {"p99": trip.took(99), "p50": trip.took(50)}

        yield figures("p99", measured, "p50")

    async def _trip(self, state_dir: str, events: int) -> Trip:
        trip = Trip(events)
        app = App(name="bench", state_dir=state_dir)

        @app.function
        async def arrives(event: Any, context: Any) -> None:
            trip.arrived(b"%d" % event["sent"])

        async with app:
            async with asyncio.timeout(PATIENCE):
                await app.enqueue(arrives, {"sent": 0})
                await trip.there.wait()
                await self._paced(app, events)
                await trip.done.wait()
        return trip

    async def _paced(self, app: App, events: int) -> None:
        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for number in range(events):
                await asyncio.sleep(max(0.0, began + number / _RATE - time.perf_counter()))
                event = {"sent": time.monotonic_ns(), "body": _BODY}
                tasks.start_soon(app.enqueue, "arrives", event)


class Backlog:
    """An app that opens a queue in which a million events wait."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "async-backlog-memory",
            "an app with 1 million events that wait: resident memory",
            "MB",
            "memory",
            None,
            Target("figure", at_most=150),
        ),
        Scenario(
            "async-backlog-start",
            "an app with 1 million events that wait: from starting the process to the first invocation",
            "ms",
            "start",
            None,
            Target("figure", at_most=2_000),
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return min(3, settings.repeat)

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
            with program("backlog", "fill", folder, settings.size(1_000_000, 5_000)) as filling:
                filling.next()

            def measured() -> Mapping[str, float]:
                began = time.perf_counter()
                with program("backlog", "open", folder) as app:
                    app.next()
                    start = (time.perf_counter() - began) * 1000
                    time.sleep(settings.size(3, 0))  # It goes on reading for a while.
                    return {"start": start, "memory": psutil.Process(app.pid).memory_info().rss / 1e6}

            yield figures("start", measured, "memory")


GROUPS = (
    Enqueue(1, 2_000),
    Enqueue(64, 30_000),
    Enqueue(CALLERS, 60_000),
    EndToEnd(),
    Latency(),
    Backlog(),
)
