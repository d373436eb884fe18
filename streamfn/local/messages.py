"""Messages of queues in the broker's file: what is sent, received and settled, as work for its threads.

A message is hidden by the instant at which it is visible again. Each delivery has a number of its own, and
settling names it: what was delivered again meanwhile is not touched by who had it before. In a FIFO queue a
group is ready when its first message is; so a message that is in flight, or waits, holds back all behind it.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streamfn.core.records import Headers, QueueRecord
from streamfn.core.rendering import uuids
from streamfn.local import queues
from streamfn.local.queues import Queue, QueueOptions, arn_of
from streamfn.local.schema import (
    PER_PARENT,
    pack_headers,
    pack_text,
    queue_channel,
    unpack_headers,
    unpack_text,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from streamfn.stores.database import Transaction

DEDUPLICATION: Final = 300.0
"""Seconds within which a FIFO queue takes a deduplication id once."""
NO_GROUP: Final = "default"
"""The group of messages that come to a FIFO queue without one."""
_READ_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """What is sent to a queue."""

    body: bytes
    key: str | None = None
    """MessageGroupId in a FIFO queue; kept in others."""
    headers: Headers = ()
    deduplication_id: str | None = None
    delay: float | None = None
    """Seconds before it is visible; None: as the queue says. FIFO queues go by the queue's."""


class Receipt(NamedTuple):
    """The source's handle on one delivery of a message."""

    id: int
    number: int
    """Of the delivery: no two of a file have the same."""
    group: bytes | None


# ------------------------------------------------------------------------------------------------ sending


def send(transaction: Transaction, queue: Queue, messages: Sequence[QueueMessage], now: float) -> list[str]:
    """Appends messages: their ids. A duplicate in a FIFO queue gets the id of the first and is not
    appended.
    """
    fifo = queue.fifo
    ids = new_ids(len(messages))
    rows: list[Row] = []
    for index, message in enumerate(messages):
        key, delay, name = message.key, message.delay, None
        if fifo:
            key, delay, name = key or NO_GROUP, None, _deduplication_id(queue, message)
            known = None if name is None else _known(transaction.connection, queue, name, ids[index], now)
            if known is not None:
                ids[index] = known
                continue
        rows.append(
            (
                now + (queue.delay if delay is None else delay),
                ids[index],
                now,
                pack_text(key),
                name,
                None,
                pack_headers(message.headers) if message.headers else None,
                message.body,
            )
        )
    append(transaction, queue, rows)
    return ids


def new_ids(count: int) -> list[str]:
    """Random UUIDs, of version 4. Asking the system once is what makes them cheap."""
    return uuids(os.urandom(16 * count))


Row = tuple[float, str, float, bytes | None, str | None, str | None, bytes | None, bytes]
"""visible_at, message_id, sent_at, key, deduplication_id, source, headers, value."""


def append(transaction: Transaction, queue: Queue, rows: Sequence[Row]) -> None:
    """Appends rows as they are. Raises OSError(ENOENT) where the queue was deleted."""
    connection, fifo = transaction.connection, queue.fifo
    first = grown(transaction, queue, len(rows))
    connection.executemany(
        "INSERT INTO messages "
        "(id, queue, fifo, visible_at, message_id, sent_at, key, deduplication_id, source, "
        "headers, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(number, queue.id, fifo, *row) for number, row in enumerate(rows, first)],
    )
    if fifo:
        connection.executemany(
            "INSERT OR IGNORE INTO message_groups VALUES (?, ?, ?)",
            [(queue.id, row[3], row[0]) for row in rows],
        )


def grown(transaction: Transaction, queue: Queue, count: int) -> int:
    """The first of so many row numbers that are taken for new messages, which who waits for the queue is told
    of. Raises OSError(ENOENT) where the queue was deleted.
    """
    row = transaction.connection.execute(
        "UPDATE queues SET next = next + ?1, messages = messages + ?1, changed = ?2 "
        "WHERE id = ?3 AND name = ?4 RETURNING next - ?1",
        (count, transaction.stamp, queue.id, queue.name),
    ).fetchone()
    if row is None:
        raise OSError(errno.ENOENT, f"local:queue/{queue.name} was deleted")
    transaction.changes[queue_channel(queue.id)] = transaction.stamp
    return queue.id * PER_PARENT + int(row[0])


def _deduplication_id(queue: Queue, message: QueueMessage) -> str | None:
    if message.deduplication_id is None and queue.content_based_deduplication:
        return hashlib.sha256(message.body).hexdigest()
    return message.deduplication_id


def _known(
    connection: sqlite3.Connection, queue: Queue, name: str, message_id: str, now: float
) -> str | None:
    """The message that had this deduplication id within the time; notes it as ours where there is none."""
    connection.execute(
        "DELETE FROM deduplications WHERE queue = ? AND sent_at <= ?", (queue.id, now - DEDUPLICATION)
    )
    row = connection.execute(
        "SELECT message_id FROM deduplications WHERE queue = ? AND deduplication_id = ?", (queue.id, name)
    ).fetchone()
    if row is not None:
        return str(row[0])
    connection.execute("INSERT INTO deduplications VALUES (?, ?, ?, ?)", (queue.id, name, message_id, now))
    return None


# ---------------------------------------------------------------------------------------------- receiving


@dataclass(frozen=True, slots=True)
class Received:
    records: Sequence[QueueRecord]
    next_at: float
    """When something hidden will be visible at the earliest, if nothing else happens."""
    messages: int
    """In the queue, those in flight included."""


MESSAGE: Final = (
    "id, visible_at, receive_count, first_received_at, message_id, sent_at, key, deduplication_id, source, "
    "headers, "
    "value"
)


def receive(transaction: Transaction, queue: Queue, limit: int, now: float) -> Received:
    """Hides up to `limit` visible messages and gives them. What was received too often is moved, what is too
    old is removed."""
    connection = transaction.connection
    found = connection.execute(
        "SELECT messages FROM queues WHERE id = ? AND name = ?", (queue.id, queue.name)
    ).fetchone()
    if found is None:
        raise OSError(errno.ENOENT, f"local:queue/{queue.name} was deleted")
    rows: list[Any] = []
    size = 0
    for row in _ready(connection, queue, limit, now):
        rows.append(row)
        size += len(row[10])
        if size >= _READ_BYTES:
            break
    too_often = math.inf if queue.max_receive_count is None else queue.max_receive_count
    too_old = -math.inf if queue.retention is None else now - queue.retention
    expired = [row for row in rows if row[5] <= too_old]
    dead = [row for row in rows if row[2] >= too_often and row[5] > too_old]
    if dead or expired:
        _bury(transaction, queue, dead, expired, now)
        rows = [row for row in rows if row[2] < too_often and row[5] > too_old]
    if not rows:
        return Received((), next_at(connection, queue), found[0] - len(dead) - len(expired))
    stamp, fifo = transaction.stamp, queue.fifo
    connection.executemany(
        "UPDATE messages SET visible_at = ?, receive_count = receive_count + 1, receipt = ?, "
        "first_received_at = ifnull(first_received_at, ?) WHERE id = ?",
        [(now + queue.visibility_timeout, stamp, now, row[0]) for row in rows],
    )
    if fifo:
        refresh(connection, queue, {row[6] for row in rows})
    records = [record_of(row, stamp, now, fifo=fifo) for row in rows]
    return Received(records, next_at(connection, queue), found[0] - len(dead) - len(expired))


def _ready(connection: sqlite3.Connection, queue: Queue, limit: int, now: float) -> Iterable[Any]:
    if not queue.fifo:
        yield from connection.execute(
            f"SELECT {MESSAGE} FROM messages WHERE queue = ? AND fifo = 0 AND visible_at <= ? "
            "ORDER BY visible_at, id LIMIT ?",
            (queue.id, now, limit),
        )
        return
    groups = connection.execute(
        "SELECT key FROM message_groups WHERE queue = ? AND ready_at <= ? ORDER BY ready_at LIMIT ?",
        (queue.id, now, limit),
    ).fetchall()
    # Some of each rather than all of one: what was sent together lies together, and groups go on abreast.
    each = -(-limit // max(1, len(groups)))
    for (group,) in groups:
        for row in connection.execute(
            f"SELECT {MESSAGE} FROM messages WHERE queue = ? AND fifo = 1 AND key = ? ORDER BY id LIMIT ?",
            (queue.id, group, min(each, limit)),
        ):
            if row[1] > now:
                break
            yield row
            limit -= 1
        if limit <= 0:
            return


def next_at(connection: sqlite3.Connection, queue: Queue) -> float:
    """When something hidden will be visible at the earliest, if nothing else happens; infinity: never."""
    statement = (
        "SELECT min(ready_at) FROM message_groups WHERE queue = ?"
        if queue.fifo
        else "SELECT min(visible_at) FROM messages WHERE queue = ? AND fifo = 0"
    )
    found = connection.execute(statement, (queue.id,)).fetchone()[0]
    return math.inf if found is None else float(found)


def record_of(row: Sequence[Any], stamp: int, now: float, *, fifo: bool) -> QueueRecord:
    number, _, count, first, message_id, sent_at, key, name, source, headers, value = row
    attributes: dict[str, str] = {}
    if fifo:
        attributes["SequenceNumber"] = str(number)
        attributes["MessageDeduplicationId"] = name if name is not None else message_id
    if source is not None:
        attributes["DeadLetterQueueSourceArn"] = arn_of(source)
    return QueueRecord(
        message_id,
        value,
        unpack_text(key),
        () if headers is None else unpack_headers(headers),
        sent_at,
        now if first is None else first,
        count + 1,
        attributes or None,
        Receipt(number, stamp, key),
    )


def _bury(
    transaction: Transaction, queue: Queue, dead: Sequence[Any], expired: Sequence[Any], now: float
) -> None:
    if dead and queue.dead_letter is not None:
        target = queues.ensure(transaction, queue.dead_letter, QueueOptions(), now)
        move(transaction, target, dead, queue.name, now)
    remove(transaction, queue, [row[0] for row in (*dead, *expired)])


def move(
    transaction: Transaction, target: Queue, rows: Sequence[Any], source: str | None, now: float
) -> None:
    """Appends messages of another queue under their ids, never received; the others stay where they are."""
    group = pack_text(NO_GROUP) if target.fifo else None
    append(
        transaction,
        target,
        [(now, row[4], row[5], row[6] or group, row[7], source, row[9], row[10]) for row in rows],
    )


def remove(transaction: Transaction, queue: Queue, numbers: Sequence[int]) -> int:
    """Removes messages whatever their state: how many there were."""
    connection = transaction.connection
    groups: set[bytes | None] = set()
    gone = 0
    for number in numbers:
        row = connection.execute("DELETE FROM messages WHERE id = ? RETURNING key", (number,)).fetchone()
        if row is not None:
            groups.add(row[0])
            gone += 1
    refresh(connection, queue, groups)
    changed(transaction, queue, -gone)
    return gone


# ----------------------------------------------------------------------------------------------- settling


def ack(transaction: Transaction, queue: Queue, receipts: Sequence[Receipt]) -> int:
    """Removes messages whose delivery is still the last one; how many."""
    gone = transaction.connection.executemany(
        "DELETE FROM messages WHERE id = ? AND receipt = ?",
        [(receipt.id, receipt.number) for receipt in receipts],
    ).rowcount
    _settled(transaction, queue, receipts, -gone)
    return gone


def release(
    transaction: Transaction, queue: Queue, receipts: Sequence[Receipt], delay: float, now: float
) -> None:
    """Makes messages visible after a delay. With delay 0 the receive is taken back: it never was."""
    back = 1 if delay == 0 else 0
    transaction.connection.executemany(
        "UPDATE messages SET visible_at = ?, receipt = NULL, receive_count = receive_count - ?, "
        "first_received_at = CASE WHEN receive_count = ? THEN NULL ELSE first_received_at END "
        "WHERE id = ? AND receipt = ?",
        [(now + delay, back, back, receipt.id, receipt.number) for receipt in receipts],
    )
    _settled(transaction, queue, receipts, 0)


def extend(
    transaction: Transaction, queue: Queue, receipts: Sequence[Receipt], seconds: float, now: float
) -> None:
    """Hides messages for that long from now on."""
    transaction.connection.executemany(
        "UPDATE messages SET visible_at = ? WHERE id = ? AND receipt = ?",
        [(now + seconds, receipt.id, receipt.number) for receipt in receipts],
    )
    refresh(transaction.connection, queue, {receipt.group for receipt in receipts})


def _settled(transaction: Transaction, queue: Queue, receipts: Sequence[Receipt], messages: int) -> None:
    refresh(transaction.connection, queue, {receipt.group for receipt in receipts})
    changed(transaction, queue, messages)


def refresh(connection: sqlite3.Connection, queue: Queue, groups: Iterable[bytes | None]) -> None:
    """Notes when each group is ready: when its first message is visible."""
    if not queue.fifo:
        return
    keys = [(queue.id, group) for group in groups]
    connection.executemany(
        "INSERT OR REPLACE INTO message_groups VALUES (?1, ?2, ifnull((SELECT visible_at FROM messages "
        "WHERE queue = ?1 AND fifo = 1 AND key = ?2 ORDER BY id LIMIT 1), -1))",
        keys,
    )
    connection.executemany("DELETE FROM message_groups WHERE queue = ? AND key = ? AND ready_at = -1", keys)


def changed(transaction: Transaction, queue: Queue, messages: int) -> None:
    """Tells those who wait for the queue that so many messages came, or went."""
    transaction.connection.execute(
        "UPDATE queues SET messages = messages + ?, changed = ? WHERE id = ?",
        (messages, transaction.stamp, queue.id),
    )
    transaction.changes[queue_channel(queue.id)] = transaction.stamp


# ----------------------------------------------------------------------------------------------- removing


def delete(transaction: Transaction, name: str) -> bool:
    """Removes a queue and its messages."""
    queue = queues.find(transaction.connection, name)
    if queue is None:
        return False
    purge(transaction, queue)
    transaction.connection.execute("DELETE FROM deduplications WHERE queue = ?", (queue.id,))
    # The row stays, under a name that no queue can have: whoever waits for it, in any process, sees that it
    # is gone.
    transaction.connection.execute("UPDATE queues SET name = name || '/' || id WHERE id = ?", (queue.id,))
    return True


def purge(transaction: Transaction, queue: Queue) -> int:
    """Removes all messages, those in flight too; how many there were."""
    connection = transaction.connection
    gone = connection.execute(
        "DELETE FROM messages WHERE id >= ? AND id < ?", (queue.id * PER_PARENT, (queue.id + 1) * PER_PARENT)
    ).rowcount
    connection.execute("DELETE FROM message_groups WHERE queue = ?", (queue.id,))
    changed(transaction, queue, -gone)
    return gone
