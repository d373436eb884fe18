"""The demo without its words: write the flights, let the app take them, redrive the rest, count it all."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import anyio
import orjson

from streamfn import plugins
from streamfn.cli.reading import Line, format_of, lines, opened
from streamfn.demo import flights
from streamfn.errors import ConfigurationError, StreamfnError

if TYPE_CHECKING:
    from pathlib import Path

WRITTEN_AT_ONCE: Final = 2_000
LOOK_EVERY: Final = 0.1
STALLED_AFTER: Final = 60.0
COLUMNS: Final = ("carrier", "arr_delay", "dep_delay")


class Stalled(StreamfnError):
    """Nothing was done for a while."""


@dataclass(slots=True)
class Counts:
    """How far it is."""

    written: int = 0
    all_written: bool = False
    processed: int = 0
    """By the function, without an error."""
    dead_letters: int = 0
    batches: int = 0
    retries: int = 0
    bisections: int = 0
    redriven: int = 0
    """Dead letters that the fixed function took."""
    seconds: float = 0.0

    @property
    def resolved(self) -> int:
        return self.processed + self.dead_letters

    @property
    def accounted_for(self) -> bool:
        """Each flight was processed or is a dead letter, and the fixed function took every dead letter."""
        return self.all_written and self.written == self.resolved and self.redriven == self.dead_letters


@dataclass(frozen=True, slots=True)
class Carrier:
    """What was found of one carrier."""

    code: str
    arrived: int
    mean_delay: float | None
    """Minutes; None where no flight arrived."""
    late: int
    """Arrived 15 minutes late or more."""
    cancelled: int
    diverted: int
    """Departed and not said to have arrived where they should."""

    @property
    def flights(self) -> int:
        return self.arrived + self.cancelled + self.diverted


Look = Callable[[Counts], None]
"""Told the counts every now and then."""


def fresh(source: str = "local:flights") -> None:
    """Makes the app anew, with nothing counted, on this source."""
    before = os.environ.get("FLIGHTS")
    os.environ["FLIGHTS"] = source
    try:
        importlib.reload(flights)
    finally:
        if before is None:
            del os.environ["FLIGHTS"]
        else:
            os.environ["FLIGHTS"] = before


async def stream(file: str, state_dir: Path, limit: int | None, look: Look) -> Counts:
    """Writes the flights of a file while the app, which runs, takes them; returns when all are resolved.

    Raises ConfigurationError for a file of something else, and Stalled.
    """
    counts = Counts()
    begun = time.perf_counter()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_write, file, state_dir, limit, counts)
            await _until(
                lambda: counts.all_written and counts.resolved >= counts.written, counts, begun, look
            )
    except ExceptionGroup as errors:
        # There is one thing at a time that can be wrong, and it is for people.
        raise errors.exceptions[0] from None
    return counts


async def redrive(counts: Counts, look: Look) -> None:
    """Feeds the dead letters to the fixed function, and counts what it takes."""
    begun = time.perf_counter() - counts.seconds
    await flights.app.resume("redrive")
    await _until(lambda: counts.redriven >= counts.dead_letters, counts, begun, look)


def carriers() -> list[Carrier]:
    """What the functions found, the carrier with the most flights first."""
    found = []
    for code in flights.delays.keys() | flights.missing.keys():
        delays, missing = flights.delays[code], flights.missing[code]
        mean = delays.minutes / delays.flights if delays.flights else None
        found.append(
            Carrier(code, delays.flights, mean, delays.late, missing["cancelled"], missing["diverted"])
        )
    return sorted(found, key=lambda carrier: (-carrier.flights, carrier.code))


async def _write(file: str, state_dir: Path, limit: int | None, counts: Counts) -> None:
    destination = plugins.destination(flights.FLIGHTS, {"state_dir": state_dir})
    try:
        with opened(file) as source:
            found = islice(lines(source.stream, format_of(file), "carrier"), limit)
            while batch := list(islice(found, WRITTEN_AT_ONCE)):
                messages = [line.message for line in batch if line.message is not None]
                if len(messages) < len(batch) or not counts.written:
                    _check(file, batch)
                if failures := await destination.send(messages):
                    raise StreamfnError(f"{destination.name} did not take a flight: {failures[0].reason}")
                counts.written += len(batch)
    finally:
        await destination.close()
    if not counts.written:
        raise ConfigurationError(
            "has no flights", where=file, fix="give a file like the package's flights.csv"
        )
    counts.all_written = True


def _check(file: str, batch: list[Line]) -> None:
    for line in batch:
        if line.message is None:
            raise ConfigurationError(line.problem, where=f"{file}:{line.number}")
    first = batch[0].message
    missing = [column for column in COLUMNS if first is not None and column not in orjson.loads(first.body)]
    if missing:
        raise ConfigurationError(
            f"has no column {missing[0]}", where=file, fix="give a file like the package's flights.csv"
        )


async def _until(done: Callable[[], bool], counts: Counts, begun: float, look: Look) -> None:
    moved, seen = time.perf_counter(), -1
    while True:
        _count(counts)
        now = time.perf_counter()
        counts.seconds = now - begun
        look(counts)
        if done():
            return
        progress = counts.written + counts.resolved + counts.redriven
        if progress != seen:
            moved, seen = now, progress
        elif now - moved > STALLED_AFTER:
            raise Stalled(f"nothing was done for {STALLED_AFTER:.0f} s; the mappings say: {_said()}")
        await anyio.sleep(LOOK_EVERY)


def _count(counts: Counts) -> None:
    of = flights.app.counters.of("delays")
    counts.dead_letters = of.get("OnFailureDestinationDeliveredEventCount", 0)
    counts.batches = of.get("Batches", 0)
    counts.retries = of.get("Retries", 0)
    counts.bisections = of.get("Bisections", 0)
    counts.processed = sum(carrier.flights for carrier in flights.delays.values())
    counts.redriven = sum(carrier.total() for carrier in flights.missing.values())


def _said() -> str:
    return "; ".join(
        f"{status.name} is {status.state} ({status.state_transition_reason or status.last_processing_result})"
        for status in flights.app.statuses()
    )
