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
from streamfn.local.messages import append, changed, new_ids, refresh, remove
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
_STROKE: Final = "/"


def queue_of(mapping: str) -> str:
    """The name of the queue that holds the sequences of `app.mapping`: no `local:` URI can name it."""
    return f"{_PREFIX}{mapping}.fifo"


def opened_sequences(state_dir: Path, clock: Clock, mapping: str) -> LocalEventSource:
    """What is in sequences that were opened again: the events of letters, one of each key at a time."""
    return LocalEventSource(state_dir / FILE, clock, f"sequence:{mapping}", queue_of(mapping), _event_of)


def _event_of(letter: bytes) -> Any:
    return orjson.loads(letter)["payload"]


class LocalSequences:
    """The sequences of one mapping, for all processes of one state directory."""

    def __init__(self, state_dir: Path, clock: Clock, mapping: str, limit: int) -> None:
        self._path = state_dir / FILE
        self._clock = clock
        self._mapping = mapping
        self._limit = limit
        self._blocked: set[str] = set()
        self._opened: tuple[Broker, Queue] | None = None

    @property
    def name(self) -> str:
        return f"sequence:{self._mapping}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The time within which records are buried and parked. Raises OSError."""
        async with Broker.shared(self._path, clock=self._clock) as broker:
            now = self._clock()
            queue = await broker.database.write(
                lambda transaction: queues.ensure(transaction, queue_of(self._mapping), QueueOptions(), now)
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
        # Ahead: should this be cut off, it may be written all the same.
        self._blocked.update(letter.key for letter in letters)
        await broker.database.write(lambda transaction: _bury(transaction, queue, shard, letters, now))

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


def give_up(transaction: Transaction, queue: Queue, numbers: Sequence[int]) -> int:
    """Removes dead letters that wait for a redrive: how many there were. What is behind them is due.

    Not one that was opened again meanwhile: it may be in delivery, and nothing may overtake it.
    """
    waiting = [
        number
        for number in numbers
        if transaction.connection.execute(
            "SELECT 1 FROM messages WHERE id = ? AND visible_at = ?", (number, inf)
        ).fetchone()
    ]
    return remove(transaction, queue, waiting)


def _keys(connection: sqlite3.Connection, queue: Queue) -> set[str]:
    rows = connection.execute("SELECT key FROM message_groups WHERE queue = ?", (queue.id,))
    return {unpack_text(key) or "" for (key,) in rows}


def _bury(transaction: Transaction, queue: Queue, shard: str, letters: Sequence[Parked], now: float) -> None:
    inside = _Inside(transaction.connection, queue, shard)
    rows = []
    for letter in letters:
        visible_at = now if inside.is_closed(letter.key) else inf
        if inside.is_new(letter):
            rows.append(_row(letter, shard, visible_at, now))
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
    inside = _Inside(connection, queue, shard)
    closed = [record for record in records if inside.is_closed(record.key)]
    rows = [_row(record, shard, now, now) for record in closed if inside.is_new(record)]
    if rows:
        held = connection.execute("SELECT messages FROM queues WHERE id = ?", (queue.id,)).fetchone()[0]
        if held + len(rows) > limit:
            raise SequenceFull(
                f"{held:,} records wait behind dead letters, and SequencedLimit is {limit:,}. "
                "Fix: redrive or purge dead letters, or raise the limit"
            )
        append(transaction, queue, rows)
    return [record for record in records if not inside.is_closed(record.key)]


class _Inside:
    """What is in the sequences of some keys already: a worker that died before its commit reads again what it
    had parked.

    As a rule positions grow, and the last one says enough; else all places of a key are looked at.
    """

    def __init__(self, connection: sqlite3.Connection, queue: Queue, shard: str) -> None:
        self._connection = connection
        self._queue = queue
        self._shard = shard
        self._last: dict[str, str | None] = {}
        """The place of the last one of each key; None where its sequence is empty."""
        self._places: dict[str, set[str]] = {}

    def is_closed(self, key: str) -> bool:
        if key not in self._last:
            row = self._connection.execute(
                "SELECT deduplication_id FROM messages WHERE queue = ? AND fifo = 1 AND key = ? "
                "ORDER BY id DESC LIMIT 1",
                (self._queue.id, pack_text(key)),
            ).fetchone()
            self._last[key] = None if row is None else row[0]
        return self._last[key] is not None

    def is_new(self, record: Parked) -> bool:
        """Notes it as inside, and says whether it was not."""
        key, place = record.key, _place(self._shard, record)
        last, places = self._last[key], self._places.get(key)
        if places is None and last is not None and not self._follows(record, last):
            places = self._places[key] = self._all_places(key)
        if places is not None:
            if place in places:
                return False
            places.add(place)
        self._last[key] = place
        return True

    def _follows(self, record: Parked, last: str) -> bool:
        shard, position, _ = last.rsplit(_STROKE, 2)
        return shard == self._shard and record.position > int(position)

    def _all_places(self, key: str) -> set[str]:
        rows = self._connection.execute(
            "SELECT deduplication_id FROM messages WHERE queue = ? AND fifo = 1 AND key = ?",
            (self._queue.id, pack_text(key)),
        )
        return {place for (place,) in rows}


def _place(shard: str, record: Parked) -> str:
    """Where a record stood. With its time, for a stream that was made anew has the same positions again."""
    return f"{shard}{_STROKE}{record.position}{_STROKE}{record.arrived_at!r}"


def _row(record: Parked, shard: str, visible_at: float, now: float) -> Row:
    (unique,) = new_ids(1)
    place = _place(shard, record)
    return visible_at, unique, now, pack_text(record.key), place, None, None, record.body
