"""`streamfn dlq export`, `import` and `audit`."""

from __future__ import annotations

import asyncio
import os
import sys
import zipfile
import zlib
from contextlib import aclosing, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import anyio

from streamfn import plugins
from streamfn.cli import CLEAN, CUT_OFF
from streamfn.cli.dlq import (
    SHOWN,
    age,
    clock,
    command,
    dumps,
    opened,
    resolver,
    selection,
    state_dir,
    store_and_rest,
)
from streamfn.cli.reading import opened as opened_file
from streamfn.cli.table import table
from streamfn.core.rendering import iso_millis
from streamfn.errors import ConfigurationError
from streamfn.letters import Audit, alone
from streamfn.letters.portable import line_of, message_of
from streamfn.letters.sending import deliver

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from streamfn.cli.reading import Bytes
    from streamfn.letters import Entry, Run
    from streamfn.ports import Message

_BATCH: Final = 200
"""Letters that are put back together."""


@command
def export(options: argparse.Namespace) -> int:
    """Writes letters to a file, which is there whole or not at all. 1: ids that the store does not have."""
    store, rest = store_and_rest(options.places)
    if len(rest) > 1:
        raise ConfigurationError("there is one file to write", fix="name single letters with --id")
    file = rest[0] if rest else "-"
    with _written(file) as out:
        number, missing = asyncio.run(_export(options, store, out))
    name = "standard output" if file == "-" else file
    sys.stderr.write(f"{number:,} letters of {store.partition('?')[0]} to {name}\n")
    for one in sorted(missing):
        sys.stderr.write(f"streamfn: there is no letter {one} in {store}\n")
    return CUT_OFF if missing else CLEAN


async def _export(options: argparse.Namespace, store: str, out: IO[bytes]) -> tuple[int, set[str]]:
    chosen = selection(options, options.ids)
    number, missing = 0, set(options.ids)
    async with opened(options, store) as box, aclosing(box.letters(chosen)) as chunks:
        async for chunk in chunks:
            for found in chunk:
                missing.discard(found.stored.id)
                if not found.is_done:
                    out.write(line_of(found.stored) + b"\n")
                    number += 1
    return number, missing


@contextmanager
def _written(file: str) -> Iterator[IO[bytes]]:
    """A file that takes the place of another when all of it is on the disk."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@command
def load(options: argparse.Namespace) -> int:
    """Puts exported letters into a store. 1: not all of them."""
    with alone(state_dir(options)), opened_file(options.file) as source:
        number, problems, where = asyncio.run(_load(options, source.stream))
    for line, problem in problems[:SHOWN]:
        sys.stderr.write(f"streamfn: line {line}: {problem}\n")
    if len(problems) > SHOWN:
        sys.stderr.write(f"streamfn: and {len(problems) - SHOWN:,} more lines\n")
    sys.stderr.write(f"{number:,} letters to {where}\n")
    return CUT_OFF if problems else CLEAN


async def _load(options: argparse.Namespace, stream: Bytes) -> tuple[int, list[tuple[int, str]], str]:
    destination = plugins.destination(resolver(options)(options.store), {"state_dir": state_dir(options)})
    number, problems = 0, list[tuple[int, str]]()
    lines = _messages(stream, problems)
    try:
        while batch := list(islice(lines, _BATCH)):
            delivery = await deliver(destination, [message for _, message in batch])
            number += len(batch) - len(delivery.failures)
            problems += ((batch[index][0], reason) for index, reason in delivery.failures.items())
            if delivery.out_of_reach is not None:
                problems.append((batch[-1][0] + 1, "nothing from here on was sent"))
                break
    finally:
        with anyio.move_on_after(10, shield=True):
            await destination.close()
    return number, sorted(problems), destination.name


def _messages(stream: Bytes, problems: list[tuple[int, str]]) -> Iterator[tuple[int, Message]]:
    number = 0
    try:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                message = message_of(line)
            except ValueError as error:
                problems.append((number, str(error)))
            else:
                yield number, message
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        problems.append((number + 1, f"cannot be read from here on: {error}"))


@command
def audit(options: argparse.Namespace) -> int:
    """Lists runs, or the letters of one. 1: there is no such run."""
    return asyncio.run(_audit(options))


async def _audit(options: argparse.Namespace) -> int:
    async with Audit.at(state_dir(options), clock) as book:
        if options.run is None:
            runs = await book.runs(options.limit)
            _print(options, [_of_run(run) for run in runs], _runs(runs), "nothing was redriven or purged yet")
            return CLEAN
        run = await book.run(options.run)
        if run is None:
            sys.stderr.write(f"streamfn: there is no run {options.run}: `streamfn dlq audit` lists them\n")
            return CUT_OFF
        entries = [entry for _, entry in await book.entries(run.id, 0, options.limit + 1)]
        shown = entries[: options.limit]
        _print(options, [_of_entry(entry) for entry in shown], _entries(shown), "no letter was changed by it")
        if len(entries) > options.limit:
            sys.stderr.write(f"and more: --limit {2 * options.limit} shows more of them\n")
        return CLEAN


def _print(options: argparse.Namespace, rows: list[dict[str, Any]], text: str, nothing: str) -> None:
    if options.json:
        sys.stdout.write(dumps(rows))
    else:
        sys.stdout.write(text if rows else f"{nothing}\n")


def _runs(runs: Sequence[Run]) -> str:
    now = clock()
    cells = [
        (
            run.id,
            age(run.begun_at, now),
            run.action,
            run.store,
            f"{run.user}@{run.host}",
            _result(run),
            run.asked,
        )
        for run in runs
    ]
    return table(("RUN", "AGE", "WHAT", "STORE", "BY", "RESULT", "ASKED"), cells)


def _result(run: Run) -> str:
    if run.ended_at is None:
        return "not ended"
    done = ", ".join(f"{number:,} {fate}" for fate, number in (run.counts or {}).items())
    # Not every store tells how much it has purged.
    return done or ("all purged" if run.action == "purge" else "nothing")


def _entries(entries: Sequence[Entry]) -> str:
    cells = [
        (entry.letter, iso_millis(entry.at), entry.done.value, entry.target, entry.redrives)
        for entry in entries
    ]
    return table(("LETTER", "AT", "DONE", "TO", "REDRIVES"), cells)


def _of_run(run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "action": run.action,
        "store": run.store,
        "asked": run.asked,
        "user": run.user,
        "host": run.host,
        "begunAt": iso_millis(run.begun_at),
        "endedAt": None if run.ended_at is None else iso_millis(run.ended_at),
        "counts": run.counts,
    }


def _of_entry(entry: Entry) -> dict[str, Any]:
    return {
        "run": entry.run,
        "store": entry.store,
        "id": entry.letter,
        "storedAt": None if entry.stored_at is None else iso_millis(entry.stored_at),
        "done": entry.done.value,
        "target": entry.target,
        "redrives": entry.redrives,
        "at": iso_millis(entry.at),
    }
