"""Events in the broker's file: taken, remembered and found again, as work for its threads.

They are ordinary messages of a queue of their own. Beside a message stands what is remembered of its
deliveries, and who has it in hand; so what a dead process held goes on at once, and an event that kills its
process is found: of those in hand when that happens twice, each is delivered alone the third time.
"""

from __future__ import annotations

from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamfn.core.events import FRESH, EventRecord, History
from streamfn.core.outcomes import Cause, Failed
from streamfn.leasing import is_dead_here
from streamfn.local.messages import Receipt, changed, grown, refresh
from streamfn.local.schema import pack_headers, unpack_headers, unpack_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from streamfn.local.queues import Queue
    from streamfn.ports import Event
    from streamfn.stores.database import Transaction

_SUSPICIOUS: Final = 2
"""Times that a message was in the hands of a process that died, after which it is delivered alone."""
_READ_BYTES: Final = 16 * 1024 * 1024
_AT_ONCE: Final = 64
"""Events of one statement."""

_COLUMNS: Final = "id, receive_count, message_id, sent_at, key, headers, value, note"


def put(transaction: Transaction, queue: Queue, events: Sequence[Event], now: float) -> None:
    """Appends events. Raises OSError(ENOENT) where the queue was deleted."""
    connection = transaction.connection
    first = grown(transaction, queue, len(events))
    for start in range(0, len(events), _AT_ONCE):
        some = events[start : start + _AT_ONCE]
        values: list[Any] = [queue.id, now, first + start]
        for request_id, payload, headers in some:
            values += (request_id, pack_headers(headers) if headers else None, payload)
        connection.execute(_insertion(len(some)), values)


@cache
def _insertion(count: int) -> str:
    """A statement for so many events: one for many takes half the time of many for one."""
    rows = (f"(?3+{row},?1,0,?2,?{3 * row + 4},?2,?{3 * row + 5},?{3 * row + 6})" for row in range(count))
    return (
        "INSERT INTO messages (id, queue, fifo, visible_at, message_id, sent_at, headers, value) VALUES "
        + ",".join(rows)
    )


def register(transaction: Transaction, queue: Queue, owner: str) -> int:
    """Notes a reader: its number."""
    row = transaction.connection.execute(
        "INSERT INTO readers (queue, owner) VALUES (?, ?) RETURNING id", (queue.id, owner)
    ).fetchone()
    return int(row[0])


def leave(transaction: Transaction, reader: int) -> None:
    """Forgets a reader that has nothing in hand any more."""
    transaction.connection.execute("DELETE FROM readers WHERE id = ?", (reader,))


def dead_readers(connection: sqlite3.Connection, queue: Queue) -> list[int]:
    """Readers of a queue that were processes of this machine and are no more."""
    rows = connection.execute("SELECT id, owner FROM readers WHERE queue = ?", (queue.id,)).fetchall()
    return [number for number, owner in rows if is_dead_here(owner)]


def inherit(transaction: Transaction, queue: Queue, readers: Sequence[int], now: float) -> None:
    """Lets what dead readers had in hand be taken again at once."""
    connection = transaction.connection
    groups: set[bytes | None] = set()
    for reader in readers:
        rows = connection.execute(
            "UPDATE messages SET visible_at = ?1, receipt = NULL, reader = NULL "
            "WHERE queue = ?2 AND fifo = ?3 AND visible_at > ?1 AND receipt IS NOT NULL AND reader = ?4 "
            "RETURNING key",
            (now, queue.id, queue.fifo, reader),
        )
        groups.update(key for (key,) in rows.fetchall())
        connection.execute("DELETE FROM readers WHERE id = ?", (reader,))
    refresh(connection, queue, groups)
    changed(transaction, queue, 0)


def depth(connection: sqlite3.Connection, queue: Queue) -> int:
    """Messages in the queue, those in hand included."""
    row = connection.execute("SELECT messages FROM queues WHERE id = ?", (queue.id,)).fetchone()
    return int(row[0])


def take(
    transaction: Transaction, queue: Queue, reader: int, limit: int, now: float, *, alone: bool
) -> list[EventRecord]:
    """Up to `limit` events that are due, the longest due first, hidden for the queue's visibility timeout.

    A suspicious one is given alone, and only to who has nothing else in hand (`alone`); until then nothing
    behind it is given.
    """
    connection = transaction.connection
    rows: list[Any] = []
    size = 0
    for row in _due(connection, queue, limit, now):
        if row[1] >= _SUSPICIOUS and (rows or not alone):
            break
        rows.append(row)
        size += len(row[6])
        if row[1] >= _SUSPICIOUS or size >= _READ_BYTES:
            break
    if not rows:
        return []
    stamp = transaction.stamp
    connection.executemany(
        "UPDATE messages SET visible_at = ?, receive_count = receive_count + 1, receipt = ?, reader = ? "
        "WHERE id = ?",
        [(now + queue.visibility_timeout, stamp, reader, row[0]) for row in rows],
    )
    refresh(connection, queue, {row[4] for row in rows})
    return [_record(row, stamp) for row in rows]


def _due(connection: sqlite3.Connection, queue: Queue, limit: int, now: float) -> Iterator[Any]:
    if not queue.fifo:
        yield from connection.execute(
            f"SELECT {_COLUMNS} FROM messages WHERE queue = ? AND fifo = 0 AND visible_at <= ? "
            "ORDER BY visible_at, id LIMIT ?",
            (queue.id, now, limit),
        )
        return
    groups = connection.execute(
        "SELECT key FROM message_groups WHERE queue = ? AND ready_at <= ? ORDER BY ready_at LIMIT ?",
        (queue.id, now, limit),
    ).fetchall()
    # One of each: should it fail, the next of its group must not be in hand.
    for (group,) in groups:
        yield connection.execute(
            f"SELECT {_COLUMNS} FROM messages WHERE queue = ? AND fifo = 1 AND key = ? ORDER BY id LIMIT 1",
            (queue.id, group),
        ).fetchone()


def release(
    transaction: Transaction, queue: Queue, records: Sequence[EventRecord], delay: float, now: float
) -> None:
    """Gives events back as they came: with delay 0 they were never taken, and no process died of them."""
    back = 1 if delay == 0 else 0
    transaction.connection.executemany(
        "UPDATE messages SET visible_at = ?, receipt = NULL, reader = NULL, "
        "receive_count = receive_count - ?, note = ? WHERE id = ? AND receipt = ?",
        [
            (
                now + delay,
                back,
                None if record.history is FRESH else _note(record.history),
                record.receipt.id,
                record.receipt.number,
            )
            for record in records
        ],
    )
    refresh(transaction.connection, queue, {record.receipt.group for record in records})
    changed(transaction, queue, 0)


def remember(
    transaction: Transaction, queue: Queue, records: Sequence[EventRecord], delay: float, now: float
) -> None:
    """Gives events back with their histories; of how they were in hand stays only what these say."""
    transaction.connection.executemany(
        "UPDATE messages SET visible_at = ?, receipt = NULL, reader = NULL, receive_count = ?, note = ? "
        "WHERE id = ? AND receipt = ?",
        [
            (
                now + delay,
                _SUSPICIOUS if record.history.suspect else 0,
                _note(record.history),
                record.receipt.id,
                record.receipt.number,
            )
            for record in records
        ],
    )
    refresh(transaction.connection, queue, {record.receipt.group for record in records})
    changed(transaction, queue, 0)


def bury(transaction: Transaction, queue: Queue, record: EventRecord, letter: bytes) -> None:
    """Closes the group of a record, which stands there as a letter from now on."""
    transaction.connection.execute(
        "UPDATE messages SET visible_at = ?, receipt = NULL, reader = NULL, receive_count = 0, note = NULL, "
        "value = ? WHERE id = ? AND receipt = ?",
        (inf, letter, record.receipt.id, record.receipt.number),
    )
    refresh(transaction.connection, queue, {record.receipt.group})
    changed(transaction, queue, 0)


def expose(transaction: Transaction, record: EventRecord) -> None:
    """Notes that an event is about to be delivered alone."""
    transaction.connection.execute(
        "UPDATE messages SET note = ? WHERE id = ? AND receipt = ?",
        (_note(record.history, exposed=True), record.receipt.id, record.receipt.number),
    )


def _record(row: Sequence[Any], stamp: int) -> EventRecord:
    number, receives, message_id, sent_at, key, headers, value, note = row
    history = FRESH
    if note is not None or receives >= _SUSPICIOUS:
        history = _history(note, suspect=receives >= _SUSPICIOUS)
    return EventRecord(
        message_id,
        value,
        sent_at,
        () if headers is None else unpack_headers(headers),
        unpack_text(key),
        history,
        Receipt(number, stamp, key),
    )


def _note(history: History, *, exposed: bool = False) -> bytes:
    """A history as JSON."""
    failure = history.failure
    return orjson.dumps(
        {
            "attempts": history.attempts,
            "throttles": history.throttles,
            "exposed": exposed,
            "failure": failure
            and {
                "type": failure.type,
                "message": failure.payload("")["errorMessage"],
                "stack": list(failure.stack),
                "cause": failure.cause.value,
            },
        }
    )


def _history(note: bytes | None, *, suspect: bool) -> History:
    if note is None:
        return History(suspect=suspect)
    said = orjson.loads(note)
    failed = said["failure"]
    return History(
        said["attempts"],
        said["throttles"],
        failed and Failed(failed["type"], failed["message"], failed["stack"], Cause(failed["cause"])),
        suspect,
        died=said["exposed"],
    )
