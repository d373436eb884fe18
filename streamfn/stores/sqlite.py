"""Leases in a SQLite file: for the processes of one machine."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from streamfn.core.leasing import Checkpoint, Lease
from streamfn.stores.database import Database, Transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Sequence
    from pathlib import Path

LEASE_SCHEMA = """
CREATE TABLE leases (
  grp TEXT NOT NULL,
  key TEXT NOT NULL,
  owner TEXT,
  counter INTEGER NOT NULL,
  position INTEGER NOT NULL,
  note TEXT NOT NULL,
  parents TEXT NOT NULL,
  ended INTEGER NOT NULL,
  changed INTEGER NOT NULL,
  PRIMARY KEY (grp, key)
) WITHOUT ROWID;
CREATE TABLE stamp (value INTEGER NOT NULL);
INSERT INTO stamp VALUES (0)
"""
"""Tables of a database that holds leases; `changed` is the stamp of the last change of hands."""

WIDE_POSITIONS = """
ALTER TABLE leases RENAME COLUMN position TO narrow;
ALTER TABLE leases ADD COLUMN position TEXT NOT NULL DEFAULT '-1';
UPDATE leases SET position = narrow;
ALTER TABLE leases DROP COLUMN narrow
"""
"""The next step: positions as text, for an integer of this database ends at 64 bits. Kinesis has 186."""

LEASE_SCRIPTS = (LEASE_SCHEMA, WIDE_POSITIONS)
"""The steps of a database of leases alone."""


def channel(group: str) -> Hashable:
    """What `Database.on_commit` is told when leases of a group change hands."""
    return "leases", group


class SqliteLeaseStore:
    """A LeaseStore in a database that took the steps of `LEASE_SCRIPTS`: one of its own, or another's.

    A renewal alone is not fsynced: after a power failure there is nobody left who would need it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    @asynccontextmanager
    async def at(cls, path: str | Path) -> AsyncIterator[SqliteLeaseStore]:
        """A store with a file of its own, made if need be."""
        database = Database(path, LEASE_SCRIPTS)
        await database.open()
        try:
            yield cls(database)
        finally:
            await database.close()

    async def list(self, group: str) -> Sequence[Lease]:
        return await self._database.read(
            lambda connection: [
                _lease(row)
                for row in connection.execute(f"SELECT {_COLUMNS} FROM leases WHERE grp = ?", (group,))
            ]
        )

    async def create(self, group: str, lease: Lease) -> bool:
        def work(transaction: Transaction) -> bool:
            row = (group, *_row(lease), _hands_changed(transaction, group))
            return _one(
                transaction,
                f"INSERT OR IGNORE INTO leases (grp, {_COLUMNS}, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

        return await self._database.write(work)

    async def update(self, group: str, lease: Lease, new: Lease) -> bool:
        handed = (lease.owner, lease.ended) != (new.owner, new.ended)

        def work(transaction: Transaction) -> bool:
            changed = ", changed = ?" if handed else ""
            stamp = (_hands_changed(transaction, group),) if handed else ()
            return _one(
                transaction,
                "UPDATE leases SET owner = ?, counter = ?, position = ?, note = ?, parents = ?, ended = ?"
                f"{changed} WHERE grp = ? AND key = ? AND counter = ?",
                (*_row(new)[1:], *stamp, group, lease.key, lease.counter),
            )

        durable = handed or lease.checkpoint != new.checkpoint
        return await self._database.write(work, durable=durable)

    async def delete(self, group: str, lease: Lease) -> bool:
        def work(transaction: Transaction) -> bool:
            return _one(
                transaction,
                "DELETE FROM leases WHERE grp = ? AND key = ? AND counter = ?",
                (group, lease.key, lease.counter),
            )

        return await self._database.write(work)


_COLUMNS = "key, owner, counter, position, note, parents, ended"


def _hands_changed(transaction: Transaction, group: str) -> int:
    transaction.changes[channel(group)] = transaction.stamp
    return transaction.stamp


def _one(transaction: Transaction, statement: str, row: Sequence[Any]) -> bool:
    return transaction.connection.execute(statement, row).rowcount == 1


def _row(lease: Lease) -> tuple[Any, ...]:
    place = lease.checkpoint
    parents = orjson.dumps(lease.parents).decode()
    return lease.key, lease.owner, lease.counter, str(place.position), place.note, parents, lease.ended


def _lease(row: Sequence[Any]) -> Lease:
    key, owner, counter, position, note, parents, ended = row
    place = Checkpoint(int(position), note)
    return Lease(key, owner, counter, place, tuple(orjson.loads(parents)), bool(ended))
