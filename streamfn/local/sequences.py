"""Sequences: dead letters by key, and the records that wait behind them, in the broker's file.

A sequence is a group of a FIFO queue of the mapping's own. Its first message is the dead letter, visible
never, so the group is closed; what comes later with its key is appended. A redrive opens the group: its
messages are delivered one after the other, and where one is given up once more, it closes the group again.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamfn.errors import SequenceFull
from streamfn.local import queues
from streamfn.local.broker import Broker
from streamfn.local.events import LocalEventSource
from streamfn.local.messages import append, changed, new_ids, refresh
from streamfn.local.queues import QueueOptions
from streamfn.local.schema import FILE, pack_text, unpack_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from streamfn.local.messages import Row
    from streamfn.local.queues import Queue
    from streamfn.ports import Clock, Parked
    from streamfn.stores.database import Transaction

_PREFIX: Final = "sequence/"


def queue_of(group: str) -> str:
    """The name of the queue that holds the sequences of a consumer group: no `local:` URI can name it."""
    return f"{_PREFIX}{group}.fifo"


def opened_sequences(state_dir: Path, clock: Clock, group: str) -> LocalEventSource:
    """What is in sequences that were opened again: the events of letters, one of each key at a time."""
    return LocalEventSource(state_dir / FILE, clock, f"sequence:{group}", queue_of(group), _event_of)


def _event_of(letter: bytes) -> Any:
    return orjson.loads(letter)["payload"]


class LocalSequences:
    """The sequences of one mapping, for all processes of one state directory."""

    def __init__(self, state_dir: Path, clock: Clock, group: str, limit: int) -> None:
        self._path = state_dir / FILE
        self._clock = clock
        self._group = group
        self._limit = limit
        self._blocked: set[str] = set()
        self._opened: tuple[Broker, Queue] | None = None

    @property
    def name(self) -> str:
        return f"sequence:{self._group}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The time within which records are buried and parked. Raises OSError."""
        async with Broker.shared(self._path, clock=self._clock) as broker:
            now = self._clock()
            queue = await broker.database.write(
                lambda transaction: queues.ensure(transaction, queue_of(self._group), QueueOptions(), now)
            )
            self._opened = broker, queue
            try:
                yield
            finally:
                self._opened = None

    async def refresh(self) -> None:
        """Learns which keys other processes have closed. Raises OSError."""
        broker, queue = self._here()
        self._blocked |= await broker.database.read(lambda connection: _keys(connection, queue))

    def holds(self, key: str | None) -> bool:
        """Whether records of a key may have to wait. Never wrong when it says no."""
        return key in self._blocked

    async def bury(self, shard: str, letters: Sequence[Parked]) -> None:
        """Closes the keys of letters, each behind what is closed already. Durable when it returns.

        Raises OSError. The limit does not hold for them: they are given up already.
        """
        broker, queue = self._here()
        now = self._clock()
        await broker.database.write(lambda transaction: _bury(transaction, queue, shard, letters, now))
        self._blocked.update(letter.key for letter in letters)

    async def park(self, shard: str, records: Sequence[Parked]) -> Sequence[Parked]:
        """Appends records to the sequences of their keys; durable when it returns. Gives those whose keys are
        open by now.

        Raises SequenceFull where the limit would be passed, OSError.
        """
        broker, queue = self._here()
        now, limit = self._clock(), self._limit
        free = await broker.database.write(
            lambda transaction: _park(transaction, queue, shard, records, limit, now)
        )
        self._blocked.difference_update(record.key for record in free)
        return free

    def _here(self) -> tuple[Broker, Queue]:
        if self._opened is None:
            raise RuntimeError(f"{self.name} is not open")
        return self._opened


def reopen(transaction: Transaction, queue: Queue, numbers: Sequence[int], now: float) -> int:
    """Lets dead letters, and what is behind them, be delivered once more: how many there were."""
    connection = transaction.connection
    groups: set[bytes | None] = set()
    for number in numbers:
        row = connection.execute(
            "UPDATE messages SET visible_at = ?, note = NULL, receive_count = 0 "
            "WHERE id = ? AND visible_at = ? RETURNING key",
            (now, number, inf),
        ).fetchone()
        if row is not None:
            groups.add(row[0])
    refresh(connection, queue, groups)
    changed(transaction, queue, 0)
    return len(groups)


def _keys(connection: sqlite3.Connection, queue: Queue) -> set[str]:
    rows = connection.execute("SELECT key FROM message_groups WHERE queue = ?", (queue.id,))
    return {unpack_text(key) or "" for (key,) in rows}


def _bury(transaction: Transaction, queue: Queue, shard: str, letters: Sequence[Parked], now: float) -> None:
    closed: set[str] = set()
    rows: list[Row] = []
    for letter in letters:
        first = letter.key not in closed and not _is_closed(transaction.connection, queue, letter.key)
        closed.add(letter.key)
        rows.append(_row(letter, shard, inf if first else now, now))
    append(transaction, queue, rows)


def _park(
    transaction: Transaction,
    queue: Queue,
    shard: str,
    records: Sequence[Parked],
    limit: int,
    now: float,
) -> list[Parked]:
    connection = transaction.connection
    last: dict[str, int] = {}
    free: list[Parked] = []
    rows: list[Row] = []
    for record in records:
        if not _is_closed(connection, queue, record.key):
            free.append(record)
            continue
        if record.key not in last:
            last[record.key] = _last_position(connection, queue, record.key, shard)
        # A worker that died after it had parked reads the records again.
        if record.position > last[record.key]:
            last[record.key] = record.position
            rows.append(_row(record, shard, now, now))
    if rows:
        held = connection.execute("SELECT messages FROM queues WHERE id = ?", (queue.id,)).fetchone()[0]
        if held + len(rows) > limit:
            raise SequenceFull(
                f"{held:,} records wait behind dead letters, and SequencedLimit is {limit:,}. "
                "Fix: redrive or purge dead letters, or raise the limit"
            )
        append(transaction, queue, rows)
    return free


def _is_closed(connection: sqlite3.Connection, queue: Queue, key: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM message_groups WHERE queue = ? AND key = ?", (queue.id, pack_text(key))
    )
    return found.fetchone() is not None


def _last_position(connection: sqlite3.Connection, queue: Queue, key: str, shard: str) -> int:
    """The position of the last message of a key, if it is of that shard; else below all."""
    row = connection.execute(
        "SELECT deduplication_id FROM messages WHERE queue = ? AND fifo = 1 AND key = ? "
        "ORDER BY id DESC LIMIT 1",
        (queue.id, pack_text(key)),
    ).fetchone()
    of, _, position = (row[0] if row and row[0] else "").rpartition(":")
    return int(position) if of == shard else -1


def _row(record: Parked, shard: str, visible_at: float, now: float) -> Row:
    (unique,) = new_ids(1)
    place = f"{shard}:{record.position}"
    return visible_at, unique, now, pack_text(record.key), place, None, None, record.body
