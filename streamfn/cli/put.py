"""`streamfn put`: the records of a file into a destination."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from streamfn import plugins
from streamfn.cli import CLEAN, CUT_OFF, logs
from streamfn.cli.reading import Input, Line, format_of, lines, opened
from streamfn.core.policies import Backoff
from streamfn.errors import PayloadTooLarge, SourceError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from streamfn.ports import Destination

TRIES: Final = 6
_BACKOFF: Final = Backoff(first=0.1, cap=5.0)
_OUT_OF_REACH: Final = (OSError, SourceError)
_SHOWN: Final = 20
"""Lines that are told of one by one; the rest is a number."""


@dataclass(slots=True)
class Result:
    """What became of a file."""

    sent: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)
    """Line and reason."""
    stopped_at: int | None = None
    """The line from which on nothing was sent, because the destination was out of reach."""


def put(options: argparse.Namespace) -> int:
    """Sends a file and says how much of it arrived. 1: not all."""
    logs.configure("warning")
    destination = plugins.destination(
        options.destination, {"state_dir": Path(options.state_dir or ".streamfn")}
    )
    begun = time.perf_counter()
    with opened(options.file) as source, _progress(source) as advance:
        records = lines(source.stream, options.format or format_of(options.file), options.key)
        result = asyncio.run(_all(destination, records, options.batch, advance))
    seconds = time.perf_counter() - begun
    _tell(result, destination.name, seconds)
    return CUT_OFF if result.problems or result.stopped_at is not None else CLEAN


async def _all(
    destination: Destination, records: Iterator[Line], size: int, advance: Callable[[int], None]
) -> Result:
    result = Result()
    try:
        while batch := list(islice(records, size)):
            result.problems += ((line.number, line.problem) for line in batch if line.message is None)
            try:
                await _send(destination, [line for line in batch if line.message is not None], result)
            except _OUT_OF_REACH as error:
                result.stopped_at = batch[0].number
                result.problems.append((batch[0].number, f"{destination.name} cannot be reached: {error}"))
                break
            advance(result.sent)
    finally:
        with anyio.move_on_after(10, shield=True):
            await destination.close()
    return result


async def _send(destination: Destination, batch: Sequence[Line], result: Result) -> None:
    """Sends lines, those that fail again and again. Raises what the destination does when it takes none."""
    waiting = list(batch)
    for tried in range(1, TRIES + 1):
        if not waiting:
            return
        last = tried == TRIES
        try:
            failures = await destination.send([line.message for line in waiting if line.message])
        except PayloadTooLarge as error:
            if len(waiting) == 1:
                result.problems.append((waiting[0].number, str(error)))
                return
            # One of them is too large: the halves tell which.
            half = len(waiting) // 2
            await _send(destination, waiting[:half], result)
            await _send(destination, waiting[half:], result)
            return
        except _OUT_OF_REACH as error:
            if last or (isinstance(error, SourceError) and not error.retryable):
                raise
        else:
            result.sent += len(waiting) - len(failures)
            lost = [failure for failure in failures if last or not failure.retryable]
            result.problems += ((waiting[failure.index].number, failure.reason) for failure in lost)
            gone = {failure.index for failure in lost}
            waiting = [waiting[failure.index] for failure in failures if failure.index not in gone]
        if waiting and not last:
            await anyio.sleep(_BACKOFF.delay(tried))


def _tell(result: Result, name: str, seconds: float) -> None:
    for number, reason in result.problems[:_SHOWN]:
        sys.stderr.write(f"streamfn: line {number}: {reason}\n")
    if len(result.problems) > _SHOWN:
        sys.stderr.write(f"streamfn: and {len(result.problems) - _SHOWN:,} more lines\n")
    rate = result.sent / seconds if seconds else 0.0
    sys.stderr.write(f"{result.sent:,} records in {seconds:.1f} s ({rate:,.0f}/s) to {name}")
    if result.stopped_at is not None:
        sys.stderr.write(f"; nothing from line {result.stopped_at} on was confirmed")
    elif result.problems:
        sys.stderr.write(f"; {len(result.problems):,} lines were not taken")
    sys.stderr.write("\n")


@contextmanager
def _progress(source: Input) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda sent: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[sent]:,} records"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=source.size, sent=0)
        yield lambda sent: bar.update(task, completed=source.read, sent=sent)
