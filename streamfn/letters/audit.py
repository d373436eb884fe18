"""What was done to dead letters, by whom and when: in a SQLite file of the state directory.

It is also what makes redriving safe to interrupt. A letter is known by its store, its id and when it was
stored; one that stands here as done is never sent again, and is taken out of its store where that can be
done.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import orjson

from streamfn.core.rendering import iso_millis
from streamfn.stores.database import Database

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from streamfn.core.letters import Stored
    from streamfn.ports import Clock
    from streamfn.stores.database import Transaction

_T = TypeVar("_T")

FILE: Final = "letters.sqlite3"
_SCHEMA: Final = """
CREATE TABLE runs (
  id TEXT PRIMARY KEY,
  action TEXT NOT NULL,
  store TEXT NOT NULL,
  asked TEXT NOT NULL,
  user TEXT NOT NULL,
  host TEXT NOT NULL,
  begun_at REAL NOT NULL,
  ended_at REAL,
  counts TEXT NOT NULL
);
CREATE TABLE entries (
  id INTEGER PRIMARY KEY,
  run TEXT NOT NULL,
  store TEXT NOT NULL,
  letter TEXT NOT NULL,
  stored_at REAL,
  done TEXT NOT NULL,
  target TEXT,
  redrives INTEGER,
  at REAL NOT NULL
);
CREATE INDEX entries_of_letter ON entries (store, letter);
CREATE INDEX entries_of_run ON entries (run)
"""


class Done(Enum):
    """What was done to a letter."""

    REDRIVEN = "redriven"
    REOPENED = "reopened"
    """Given to its sequenced mapping once more, with what waits behind it. Given up again, it is back under
    the same id, and counts that itself.
    """
    PARTLY = "partly"
    """Redriven as far as its records still existed; it stays."""
    PURGED = "purged"

    @property
    def is_final(self) -> bool:
        """Whether it is over with the letter, though it may still be in its store."""
        return self in (Done.REDRIVEN, Done.PURGED)


@dataclass(frozen=True, slots=True)
class Run:
    """One command that changed something."""

    id: str
    action: str
    """`redrive` or `purge`."""
    store: str
    asked: str
    """The command's arguments."""
    user: str
    host: str
    begun_at: float
    ended_at: float | None = None
    """None while it runs, and for one that was killed."""
    counts: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What one run did to one letter."""

    run: str
    store: str
    letter: str
    stored_at: float | None
    done: Done
    target: str | None
    """Where it was sent."""
    redrives: int | None
    """How often it has been redriven by then."""
    at: float


Key: TypeAlias = tuple[str, float | None]


def key_of(stored: Stored) -> Key:
    """What a letter is known by in its store."""
    return stored.id, stored.stored_at


def new_run(action: str, store: str, asked: str, by: tuple[str, str], now: float) -> Run:
    """A run that begins now. `by` is user and host."""
    stamp = iso_millis(now)[:19].replace("-", "").replace(":", "")
    return Run(f"{stamp}-{os.urandom(3).hex()}", action, store, asked, *by, now)


class Audit:
    """The audit of one state directory. Nothing is made before something is written.

    Raises OSError where the file cannot be used; what raised was not written.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self.clock = clock

    @classmethod
    @asynccontextmanager
    async def at(cls, state_dir: Path, clock: Clock) -> AsyncIterator[Audit]:
        database = Database(state_dir / FILE, (_SCHEMA,))
        try:
            yield cls(database, clock)
        finally:
            if database.is_open:
                await database.close()

    async def begin(self, run: Run) -> None:
        """Writes down that a run begins, before it changes anything."""
        row = (run.id, run.action, run.store, run.asked, run.user, run.host, run.begun_at)
        await self._write(
            lambda connection: connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, NULL, '{}')", row
            )
        )

    async def record(self, entries: Sequence[Entry]) -> None:
        """Writes down what was done. Durable when it returns."""
        rows = [
            (e.run, e.store, e.letter, e.stored_at, e.done.value, e.target, e.redrives, e.at) for e in entries
        ]
        if rows:
            await self._write(
                lambda connection: connection.executemany(
                    "INSERT INTO entries (run, store, letter, stored_at, done, target, redrives, at) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    rows,
                )
            )

    async def end(self, run: Run, counts: Mapping[str, int]) -> None:
        """Writes down what a run came to."""
        said = orjson.dumps(dict(counts)).decode()
        row = (self.clock(), said, run.id)
        await self._write(
            lambda connection: connection.execute(
                "UPDATE runs SET ended_at = ?, counts = ? WHERE id = ?", row
            )
        )

    async def known(self, store: str, letters: Sequence[Stored]) -> dict[Key, Entry]:
        """The last entry of each letter that has any."""

        def work(connection: sqlite3.Connection) -> dict[Key, Entry]:
            found: dict[Key, Entry] = {}
            for stored in letters:
                row = connection.execute(
                    "SELECT run, store, letter, stored_at, done, target, redrives, at FROM entries "
                    "WHERE store = ? AND letter = ? AND stored_at IS ? ORDER BY id DESC LIMIT 1",
                    (store, *key_of(stored)),
                ).fetchone()
                if row is not None:
                    found[key_of(stored)] = _entry(row)
            return found

        return await self._read(work) or {}

    async def runs(self, limit: int) -> list[Run]:
        """The last runs, the newest first."""
        rows = await self._read(
            lambda connection: connection.execute(
                "SELECT id, action, store, asked, user, host, begun_at, ended_at, counts FROM runs "
                "ORDER BY begun_at DESC, rowid DESC LIMIT ?",
                (limit,),
            ).fetchall()
        )
        return [_run(row) for row in rows or ()]

    async def run(self, run_id: str) -> Run | None:
        """The run of that id."""
        rows = await self._read(
            lambda connection: connection.execute(
                "SELECT id, action, store, asked, user, host, begun_at, ended_at, counts FROM runs "
                "WHERE id = ?",
                (run_id,),
            ).fetchall()
        )
        return _run(rows[0]) if rows else None

    async def entries(self, run_id: str, after: int, limit: int) -> list[tuple[int, Entry]]:
        """Entries of a run in order, each with its number, from behind that number on."""
        rows = await self._read(
            lambda connection: connection.execute(
                "SELECT run, store, letter, stored_at, done, target, redrives, at, id FROM entries "
                "WHERE run = ? AND id > ? ORDER BY id LIMIT ?",
                (run_id, after, limit),
            ).fetchall()
        )
        return [(int(row[-1]), _entry(row[:-1])) for row in rows or ()]

    async def _write(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        if not self._database.is_open:
            await self._database.open()

        def within(transaction: Transaction) -> None:
            work(transaction.connection)

        await self._database.write(within)

    async def _read(self, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """None where nothing was ever written."""
        if not self._database.is_open:
            if not self._database.path.exists():
                return None
            await self._database.open()
        return await self._database.read(work)


def _entry(row: Sequence[Any]) -> Entry:
    run, store, letter, stored_at, done, target, redrives, at = row
    return Entry(run, store, letter, stored_at, Done(done), target, redrives, at)


def _run(row: Sequence[Any]) -> Run:
    run_id, action, store, asked, user, host, begun_at, ended_at, counts = row
    return Run(run_id, action, store, asked, user, host, begun_at, ended_at, orjson.loads(counts))
