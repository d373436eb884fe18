"""`streamfn dlq redrive` and `purge`: what takes letters out of their store."""

from __future__ import annotations

import asyncio
import getpass
import shlex
import socket
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from streamfn.cli import CLEAN, CUT_OFF
from streamfn.cli.control import NoWorker, ask
from streamfn.cli.dlq import (
    SHOWN,
    clock,
    command,
    dumps,
    opened,
    resolver,
    selection,
    state_dir,
    stoppable,
    store_and_rest,
)
from streamfn.errors import ConfigurationError, SourceError
from streamfn.letters import Ends, Fate, Order, Redrive, Report, Run, Selection, alone, new_run, writable
from streamfn.letters import purge as purge_letters

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import anyio

    from streamfn.letters import Box

_SAID_EVERY: Final = 5.0
"""Seconds between two lines of a run that nobody watches."""


@command
def redrive(options: argparse.Namespace) -> int:
    """Redrives letters. 1: not all that was asked for."""
    store, ids = store_and_rest(options.places)
    chosen = selection(options, ids)
    order = Order(options.to, options.max_redrives, options.force, writable)
    resolve = resolver(options)
    if order.uri is not None and resolve(order.uri).partition("?")[0] == resolve(store).partition("?")[0]:
        raise ConfigurationError(
            "letters would be redriven into their own store", field="--to", fix="say another place"
        )
    with ExitStack() as stack:
        if not options.dry_run:
            stack.enter_context(alone(state_dir(options)))
        report = asyncio.run(_redrive(options, store, chosen, order, resolve))
    if options.json:
        sys.stdout.write(dumps({"store": store.partition("?")[0], **report.document()}))
    else:
        _say(report, store.partition("?")[0])
    _complain(report, store.partition("?")[0])
    return CLEAN if report.is_clean else CUT_OFF


async def _redrive(
    options: argparse.Namespace,
    store: str,
    chosen: Selection,
    order: Order,
    resolve: Callable[[str], str],
) -> Report:
    ends = Ends({"state_dir": state_dir(options)}, resolve)
    async with opened(options, store, resolve) as box:
        try:
            run = _run(options, "redrive", box)
            if run is not None and order.uri is not None:
                await ends.check(order.uri)
            total = len(chosen.ids) or options.limit or (await box.count() if chosen.takes_all else None)
            with _progress("redriven", total, Fate.SENT) as tell, stoppable() as (stop, scope):
                redriving = Redrive(
                    box, ends, chosen, order, stop, run, rate=options.rate, limit=options.limit, tell=tell
                )
                with _ending(redriving.report):
                    await redriving()
            report = await _ended(box, run, redriving.report, scope)
        finally:
            await ends.close()
    if run is not None:
        _tell_workers(state_dir(options), report)
    return report


def _tell_workers(folder: Path, report: Report) -> None:
    """Workers that have not served the events of these functions yet do so now."""
    for target in report.targets:
        if target.startswith("function:"):
            with suppress(NoWorker):
                ask(folder / "run", {"op": "events", "name": target.removeprefix("function:")})


@command
def purge(options: argparse.Namespace) -> int:
    """Purges letters. 1: not all that was asked for."""
    store, ids = store_and_rest(options.places)
    chosen = selection(options, ids)
    name = store.partition("?")[0]
    if not options.dry_run and not options.yes:
        raise ConfigurationError(
            f"{'all' if chosen.takes_all else 'these'} dead letters of {name} would be gone for good",
            fix="say --yes if you mean it; --dry-run counts them, and `streamfn dlq export` keeps a copy",
        )
    with ExitStack() as stack:
        if not options.dry_run:
            stack.enter_context(alone(state_dir(options)))
        report = asyncio.run(_purge(options, store, chosen))
    if options.json:
        sys.stdout.write(dumps({"store": name, **report.document()}))
    else:
        _say(report, name)
    _complain(report, name)
    return CLEAN if report.is_clean else CUT_OFF


async def _purge(options: argparse.Namespace, store: str, chosen: Selection) -> Report:
    report = Report()
    async with opened(options, store) as box:
        run = _run(options, "purge", box)
        with (
            _progress("purged", len(chosen.ids) or None, Fate.PURGED) as tell,
            stoppable() as (stop, scope),
            _ending(report),
        ):
            await purge_letters(box, chosen, run, report, stop, tell)
        return await _ended(box, run, report, scope)


@contextmanager
def _ending(report: Report) -> Iterator[None]:
    """A store or an audit that fails ends the run, which has something to tell all the same."""
    try:
        yield
    except (OSError, SourceError) as error:
        report.broken = str(error)


async def _ended(box: Box, run: Run | None, report: Report, scope: anyio.CancelScope) -> Report:
    report.stopped = report.stopped or scope.cancelled_caught
    if report.broken is not None:
        return report
    report.in_store = await box.count()
    if run is not None and report.run is not None:
        fates = {fate.value: number for fate, number in report.fates.items() if number}
        await box.audit.end(run, fates)
    return report


def _run(options: argparse.Namespace, action: str, box: Box) -> Run | None:
    if options.dry_run:
        return None
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"  # a container may run under a number that has no name
    by = user, socket.gethostname()
    return new_run(action, box.store.name, _asked(options), by, clock())


def _asked(options: argparse.Namespace) -> str:
    """The options, without what may stand in a URI behind its question mark: a password."""
    said = []
    for name, value in sorted(vars(options).items()):
        if name in _NOT_SAID or value in (None, False, []):
            continue
        words = value if isinstance(value, list) else [] if value is True else [value]
        said += [f"--{name.replace('_', '-')}", *(str(word).partition("?")[0] for word in words)]
    return shlex.join(said)


_NOT_SAID: Final = frozenset({"command", "state_dir", "places", "json", "yes"})


# ---------------------------------------------------------------------------------------------- in words


def _say(report: Report, store: str) -> None:
    if report.run is not None:
        sys.stdout.write(f"run {report.run}\n")
    elif report.dry:
        sys.stdout.write("nothing was changed: this is what would be done\n")
    for target, number in report.targets.most_common():
        sys.stdout.write(f"{number:>9,} to {target.partition('?')[0]}\n")
    for fate, text in _WORDS.items():
        if report.fates[fate]:
            sys.stdout.write(
                f"{report.fates[fate]:>9,} {text if not report.dry else _IF_DONE.get(fate, text)}\n"
            )
    if report.purged_all and not report.dry:
        sys.stdout.write(f"{store} was purged\n")
    elif not report.fates.total():
        sys.stdout.write(f"no dead letters in {store} to be done\n")
    if report.newer:
        sys.stdout.write(f"{report.newer:>9,} came meanwhile, and wait for the next run\n")
    if report.unseen:
        sys.stdout.write(f"{store} did not show all that it has\n")
    if report.in_store is not None:
        sys.stdout.write(f"{report.in_store:>9,} in {store} now\n")
    if report.stopped or report.broken:
        sys.stdout.write("stopped: run it again for the rest\n")


_WORDS: Final = {
    Fate.SENT: "redriven",
    Fate.FINISHED: "were done by an earlier run: taken out",
    Fate.PURGED: "purged",
    Fate.REFUSED: "refused",
    Fate.FAILED: "failed, and stay",
    Fate.LEFT: "left: their turn did not come",
}


_IF_DONE: Final = {
    Fate.SENT: "would be redriven",
    Fate.FINISHED: "were done by an earlier run, and would be taken out",
    Fate.PURGED: "would be purged",
    Fate.REFUSED: "would be refused",
    Fate.FAILED: "cannot be redriven, and would stay",
    Fate.LEFT: "would be left: their turn would not come",
}


def _complain(report: Report, store: str) -> None:
    for problem in report.problems[:SHOWN]:
        sys.stderr.write(f"streamfn: {problem.letter} {problem.fate.value}: {problem.reason}\n")
    more = report.fates[Fate.REFUSED] + report.fates[Fate.FAILED] - len(report.problems[:SHOWN])
    if more > 0:
        sys.stderr.write(f"streamfn: and {more:,} more\n")
    if report.broken is not None:
        sys.stderr.write(f"streamfn: {report.broken}\n")
    for one in report.unknown:
        sys.stderr.write(f"streamfn: there is no letter {one} in {store}\n")


@contextmanager
def _progress(what: str, total: int | None, fate: Fate) -> Iterator[Callable[[Report], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(what, fate)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns: Sequence[Any] = (
        TextColumn("{task.completed:,} letters"),
        BarColumn(),
        TextColumn("{task.fields[kept]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, kept="")

        def tell(report: Report) -> None:
            kept = report.fates[Fate.REFUSED] + report.fates[Fate.FAILED]
            bar.update(task, completed=report.fates.total(), kept=f"{kept:,} stay" if kept else "")

        yield tell


def _lines(what: str, fate: Fate) -> Callable[[Report], None]:
    said_at = time.monotonic()

    def tell(report: Report) -> None:
        nonlocal said_at
        now = time.monotonic()
        if now - said_at >= _SAID_EVERY:
            said_at = now
            sys.stderr.write(f"{report.fates[fate]:,} {what}\n")

    return tell
