"""SQLite alone, committing rows as `enqueue` does: the same table, indexes and values, one thread."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from streamfn.local.schema import FILE, SCRIPTS

Row = dict[str, Any]
"""A row of `messages` as it was enqueued, what is NULL left out."""

_OF_A_DELIVERY = ("receive_count", "receipt", "first_received_at", "reader")


def newest(state_dir: Path) -> Row:
    """The event that was enqueued last. It may have been received, of which nothing is left here."""
    with closing(sqlite3.connect(state_dir / FILE)) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute("SELECT * FROM messages ORDER BY id DESC LIMIT 1").fetchone()
    values = dict(row).items()
    return {name: value for name, value in values if value is not None and name not in _OF_A_DELIVERY}


def commit_rate(row: Row, group: int, rows: int) -> float:
    """Rows per second, so many a transaction."""
    columns = list(row)
    statement = f"INSERT INTO messages ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    others = [_another(row, number) for number in range(rows)]
    groups = [others[start : start + group] for start in range(0, rows, group)]
    with (
        tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder,
        closing(_database(Path(folder, "bare.sqlite3"))) as connection,
    ):
        began = time.perf_counter()
        for one in groups:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, one)
            connection.execute("COMMIT")
        return rows / (time.perf_counter() - began)


def _another(row: Row, number: int) -> tuple[Any, ...]:
    """A row of the same size that comes after it."""
    changed = {
        "id": row["id"] + number,
        "message_id": f"{number:08x}-0000-4000-a000-000000000000",
        "visible_at": row["sent_at"] + number / 1e5,
    }
    return tuple((row | changed).values())


def _database(file: Path) -> sqlite3.Connection:
    """A file with the schema and the settings of the embedded broker."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 2000")
    connection.execute("PRAGMA synchronous = FULL")
    for script in SCRIPTS:
        connection.executescript(script)
    return connection
