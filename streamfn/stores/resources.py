"""What was made through Lambda's API, in a SQLite file that one daemon has for itself."""

from __future__ import annotations

import fcntl
import os
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import orjson

from streamfn.errors import ConfigurationError
from streamfn.ports.resources import Resource
from streamfn.stores.database import Database

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from streamfn.stores.database import Transaction

FILE: Final = "control.db"
"""In the state directory."""

LOCK: Final = "control.lock"
"""Beside it, held by the daemon that has it; its process id is what it says."""

SCHEMA: Final = """
CREATE TABLE resources (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    document TEXT NOT NULL,
    UNIQUE (kind, key)
)
"""


class SqliteResourceStore:
    """A ResourceStore in `STATE_DIR/control.db`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    @asynccontextmanager
    async def at(cls, state_dir: Path) -> AsyncIterator[SqliteResourceStore]:
        """The store of a state directory, made if need be, for this process alone.

        Raises ConfigurationError where another process has it, OSError where it cannot be used.
        """
        with _alone(state_dir):
            database = Database(state_dir / FILE, (SCHEMA,))
            await database.open()
            try:
                yield cls(database)
            finally:
                await database.close()

    async def resources(self) -> Sequence[Resource]:
        return await self._database.read(_all)

    async def write(self, changes: Sequence[Resource]) -> None:
        rows = [(change.kind, change.key, _text(change)) for change in changes]

        def work(transaction: Transaction) -> None:
            for kind, key, text in rows:
                if text is None:
                    transaction.connection.execute(_DELETE, (kind, key))
                else:
                    transaction.connection.execute(_PUT, (kind, key, text))

        if rows:
            await self._database.write(work)


_DELETE: Final = "DELETE FROM resources WHERE kind = ? AND key = ?"
_PUT: Final = (
    "INSERT INTO resources (kind, key, document) VALUES (?, ?, ?) "
    "ON CONFLICT (kind, key) DO UPDATE SET document = excluded.document"
)


def _text(resource: Resource) -> str | None:
    return None if resource.document is None else orjson.dumps(dict(resource.document)).decode()


def _all(connection: sqlite3.Connection) -> list[Resource]:
    rows = connection.execute("SELECT kind, key, document FROM resources ORDER BY kind, place")
    return [Resource(kind, key, orjson.loads(document)) for kind, key, document in rows]


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """Held by the one daemon of a state directory. It ends with its process, however that ends."""
    state_dir.mkdir(parents=True, exist_ok=True)
    # Not inherited by what the daemon starts, so no function keeps the next daemon out.
    with (state_dir / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigurationError(
                f"another streamfn serves the API of this state directory (pid {file.read().strip()})",
                field="state_dir",
                where=str(state_dir),
                fix="give another --state-dir, or end that one first",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
