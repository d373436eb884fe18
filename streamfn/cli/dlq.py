"""What all actions of `streamfn dlq` share: the store and the letters that are asked for, errors, signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import orjson

from streamfn import addressing, plugins
from streamfn.cli import logs
from streamfn.cli.dlq_options import DEFAULT_STORE
from streamfn.cli.filter import text_of_pattern
from streamfn.core.patterns import compile_rules
from streamfn.errors import ConfigurationError, SourceError
from streamfn.letters import Audit, Box, Selection, moment

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from streamfn.config import Endpoint

SHOWN: Final = 20
"""Problems that are told of one by one; the rest is a number."""

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_PATIENCE: Final = 10.0
_ANSWERING: Final = 10.0
"""Seconds that a worker has to say its endpoints."""


def clock() -> float:
    return time.time()  # noqa: TID251 - a root of its own


def command(action: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """An action of which disks and networks that fail are told in one line, as other errors are."""

    @wraps(action)
    def run(options: argparse.Namespace) -> int:
        logs.configure("warning")
        try:
            return action(options)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SourceError(str(error)) from error

    return run


def state_dir(options: argparse.Namespace) -> Path:
    return Path(options.state_dir or ".streamfn")


def store_and_rest(places: Sequence[str]) -> tuple[str, list[str]]:
    """The store, which is a URI, and what stands behind it."""
    if places and _URI.match(places[0]):
        return places[0], list(places[1:])
    return DEFAULT_STORE, list(places)


def resolver(options: argparse.Namespace) -> Callable[[str], str]:
    """What says which server stands behind an ARN or a name: `--endpoints`, else a worker that runs, else the
    SDK alone.

    Raises ConfigurationError for a file that is none. What it gives raises SourceError where the worker does
    not say.
    """
    endpoints: Iterable[Endpoint] = _OfTheWorker(state_dir(options))
    if options.endpoints is not None:
        from streamfn.config.endpoints import read_endpoints

        endpoints = read_endpoints(Path(options.endpoints), os.environ)
    return partial(addressing.resolve_destination, endpoints=endpoints)


class _OfTheWorker:
    """The endpoint map of a worker of a state directory, asked for when something of AWS is named: what is
    local has to be reached while a worker hangs, too. Empty where none runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said: tuple[Endpoint, ...] | None = None

    def __iter__(self) -> Iterator[Endpoint]:
        if self._said is None:
            self._said = self._asked()
        return iter(self._said)

    def _asked(self) -> tuple[Endpoint, ...]:
        from streamfn.cli.control import NoWorker, ask

        try:
            answer = ask(self._folder / "run", {"op": "endpoints"}, wait=_ANSWERING, first=True)[-1]
        except NoWorker:
            return ()
        if "error" in answer:
            problem = f"the worker {answer['pid']} does not say its endpoints: {answer['error']}"
            raise SourceError(f"{problem}; give them by --endpoints FILE")
        from streamfn.config.endpoints import endpoints_of

        return endpoints_of(answer["endpoints"], f"the worker {answer['pid']}")


@asynccontextmanager
async def opened(
    options: argparse.Namespace, store: str, resolve: Callable[[str], str] | None = None
) -> AsyncIterator[Box]:
    """A store with the audit of the state directory. Raises ConfigurationError for one that cannot be.

    `resolve`: what `resolver` gives, where it is known already.
    """
    folder = state_dir(options)
    letters = plugins.letters((resolve or resolver(options))(store), {"state_dir": folder})
    try:
        async with Audit.at(folder, clock) as audit:
            yield Box(letters, audit)
    finally:
        with anyio.move_on_after(_PATIENCE, shield=True):
            await letters.close()


def selection(options: argparse.Namespace, ids: Sequence[str]) -> Selection:
    """Which letters are meant. Raises ConfigurationError, InvalidPattern."""
    now = clock()
    since, until = (
        None if said is None else moment(said, now, name)
        for name, said in (("--since", options.since), ("--until", options.until))
    )
    if since is not None and until is not None and since >= until:
        raise ConfigurationError("nothing is between --since and --until", fix="exchange them")
    return Selection(
        frozenset(ids),
        None if options.match is None else compile_rules(text_of_pattern(options.match)),
        since,
        until,
        frozenset(options.error),
        frozenset(options.condition),
        options.mapping,
        options.function,
    )


@contextmanager
def stoppable() -> Iterator[tuple[anyio.Event, anyio.CancelScope]]:
    """SIGINT and SIGTERM set the event; the second one cancels the scope, which is entered by this."""
    stop = anyio.Event()
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:

        def hear() -> None:
            if stop.is_set():
                scope.cancel()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, hear)
        try:
            yield stop, scope
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def dumps(value: Any) -> str:
    """One line of JSON, which any terminal takes: what is no Unicode is escaped."""
    try:
        return orjson.dumps(value).decode() + "\n"
    except TypeError:
        return json.dumps(value, separators=(",", ":")) + "\n"


def age(at: float | None, now: float) -> str:
    """How long ago, in one word."""
    if at is None:
        return "-"
    seconds = max(0.0, now - at)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"
