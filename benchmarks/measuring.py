"""The ways of measuring that several scenarios share."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scenario import Group, NotHere, Result, Settings, Side
from streamfn import App
from streamfn.ports import Source

ROOT = Path(__file__).parent.parent

PATIENCE = 120.0
"""Seconds after which a measurement that does not end is given up."""


class Watch:
    """Times deliveries, from the first batch to the last record. The first batch starts it, uncounted.

    Joining a group, opening a file and filling the first buffer come before, on both sides alike.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._left = total
        self._counted = 0
        self._began = 0.0
        self._ended = 0.0
        self._used = 0.0
        self._done = asyncio.Event()

    def saw(self, records: int) -> None:
        """Some records were delivered."""
        if self._left == self._total:
            self._began = time.perf_counter()
            self._used = -time.process_time()
            self._counted = self._total - records
        self._left -= records
        if self._left <= 0 and not self._ended:
            self._ended = time.perf_counter()
            self._used += time.process_time()
            self._done.set()

    @property
    def is_done(self) -> bool:
        return self._left <= 0

    async def rate(self) -> float:
        """Records per second, when all were delivered."""
        async with asyncio.timeout(PATIENCE):
            await self._done.wait()
        return self._counted / (self._ended - self._began)

    @property
    def per_cpu(self) -> float:
        """Records per second of this process' CPU, once all were delivered."""
        return self._counted / self._used


_apps = iter(range(1_000_000_000))


@asynccontextmanager
async def delivering(
    function: Callable[..., Any], source: Source | str, *, batch: bool = True, **options: Any
) -> AsyncIterator[App]:
    """An app with one mapping, at work; a group of its own, so that it reads from the beginning."""
    state_dir = options.pop("state_dir", ".streamfn")
    app = App(name=f"bench{next(_apps)}", state_dir=state_dir)
    app.function(name="f", batch=batch)(function)
    app.event_source_mapping("f", source, name="m", **options)
    async with app:
        yield app


def measure(group: Group, settings: Settings, progress: Callable[[str], None]) -> list[Result]:
    """The scenarios of a group, each side measured in turn: A B A B, never A A B B."""
    results = [Result(scenario) for scenario in group.scenarios]
    try:
        with group.prepared(settings) as sides:
            values: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(group.repeats(settings)):
                for name, side in sides.items():
                    gc.collect()
                    values[name].append(side())
                    progress(f"{name} {values[name][-1]:,.4g}")
    except NotHere as reason:
        for result in results:
            result.skipped = str(reason)
        return results
    for result in results:
        result.values = values[result.scenario.side]
        if result.scenario.bare is not None:
            result.bare_values = values[result.scenario.bare]
    return results


def figures(name: str, measured: Callable[[], Mapping[str, float]], *others: str) -> dict[str, Side]:
    """Sides of one measurement that gives several figures: `name` makes it and gives the one called so,
    `others` give theirs of the same measurement.
    """
    last: dict[str, float] = {}

    def makes_it() -> float:
        last.update(measured())
        return last[name]

    return {name: makes_it, **{other: functools.partial(last.__getitem__, other) for other in others}}


def rates(
    way: str,
    total: int,
    reads: Callable[[Watch], Awaitable[object]],
    settings: Settings,
    prepare: Callable[[], object] = lambda: None,
) -> dict[str, Side]:
    """Sides for a way of reading: `way`, records per second, and `WAY-cpu`, per second of this process' CPU.

    `reads` ends when the watch has seen all; `prepare` comes before each measurement.
    """

    async def work() -> Mapping[str, float]:
        watch = Watch(total)
        await reads(watch)
        return {way: await watch.rate(), f"{way}-cpu": watch.per_cpu}

    def measured() -> Mapping[str, float]:
        prepare()
        return settings.run(work())

    return figures(way, measured, f"{way}-cpu")


# ----------------------------------------------------------------------------------------- processes


def whole_process(command: Sequence[str]) -> Side:
    """Milliseconds from starting a program to its end."""

    def side() -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        return (time.perf_counter() - began) * 1000

    return side


@contextmanager
def program(name: str, *arguments: object) -> Iterator[Lines]:
    """A program of `benchmarks.programs` at work, and what it says; ended when the context is left."""
    command = [sys.executable, "-m", f"benchmarks.programs.{name}", *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    try:
        yield Lines(process)
    finally:
        process.terminate()
        process.communicate()


class Lines:
    """What a program says, line by line as JSON, and what it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def next(self) -> Any:
        """Waits for the next line. Raises RuntimeError where the program ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with code {self._process.wait()}")
        return json.loads(line)

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


class Trip:
    """Records under way, each of which carries when it was sent: nanoseconds by the monotonic clock, which
    on Linux is one for all processes of a machine.

    The first only shows that the reader is there; then the others are to be sent.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._took: list[float] = []
        self.there = asyncio.Event()
        self.done = asyncio.Event()

    def arrived(self, value: bytes | None) -> None:
        """One is there."""
        now = time.monotonic_ns()
        if not self.there.is_set():
            self.there.set()
            return
        self._took.append((now - int(value or b"0")) / 1e6)
        if len(self._took) >= self.count:
            self.done.set()

    def took(self, percent: float) -> float:
        """Milliseconds. The first sixth is for warming up: connections, metadata, code that runs first."""
        return percentile(self._took[len(self._took) // 6 :], percent)


async def worked_off(name: str, *arguments: object) -> None:
    """Has a program of `benchmarks.programs` do its work, which shares no loop with what is measured."""

    def work() -> None:
        with program(name, *arguments) as at_work:
            at_work.next()

    await asyncio.to_thread(work)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
