"""Queues in the broker's file: what is sent, received and settled, as work for the database's threads.

A message is hidden by the instant at which it is visible again. Each delivery has a number of its own, and
settling names it: what was delivered again meanwhile is not touched by who had it before. In a FIFO queue a
group is ready when its first message is; so a message that is in flight, or waits, holds back all behind it.
"""

from __future__ import annotations

import errno
import hashlib
import uuid
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from streamfn.core.records import Headers, QueueRecord
from streamfn.errors import ConfigurationError
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
_ALL = 1e300


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """How a queue works. What is None is left as it is, or as it begins (the values of SQS)."""

    visibility_timeout: float | None = None
    """Seconds for which a message that was received is hidden; 30."""
    delay: float | None = None
    """Seconds before a new message is visible; 0."""
    retention: float | None = None
    """Seconds after which a message is removed; never."""
    max_receive_count: int | None = None
    """Receives after which a message goes to the dead-letter queue instead of being received again."""
    dead_letter: str | None = None
    """The name of the dead-letter queue."""
    content_based_deduplication: bool | None = None
    """FIFO: the body's digest is the deduplication id of a message that has none; off."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as the file has it."""

    id: int
    name: str
    visibility_timeout: float
    delay: float
    retention: float | None
    max_receive_count: int | None
    dead_letter: str | None
    content_based_deduplication: bool

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    @property
    def arn(self) -> str:
        return arn_of(self.name)


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


@dataclass(frozen=True, slots=True)
class Receipt:
    """The source's handle on one delivery of a message."""

    id: int
    number: int
    """Of the delivery: no two of a file have the same."""
    group: bytes | None


def arn_of(name: str) -> str:
    return f"arn:aws:sqs:local:000000000000:{name}"


# --------------------------------------------------------------------------------------------- definition

_COLUMNS = (
    "id, name, visibility_timeout, delay, retention, max_receive_count, dead_letter, "
    "content_based_deduplication"
)


def find(connection: sqlite3.Connection, name: str) -> Queue | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM queues WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    number, _, visibility_timeout, delay, retention, max_receive_count, dead_letter, by_content = row
    return Queue(
        number, name, visibility_timeout, delay, retention, max_receive_count, dead_letter, bool(by_content)
    )


def get(connection: sqlite3.Connection, name: str) -> Queue:
    """The queue. Raises OSError(ENOENT) where there is none."""
    queue = find(connection, name)
    if queue is None:
        raise OSError(errno.ENOENT, f"there is no local:queue/{name}")
    return queue


def ensure(transaction: Transaction, name: str, options: QueueOptions, now: float) -> Queue:
    """The queue, made if need be, with its dead-letter queue. Raises ConfigurationError for what cannot
    be.
    """
    connection = transaction.connection
    known = find(connection, name)
    if known is None:
        connection.execute(
            "INSERT INTO queues "
            "(name, visibility_timeout, delay, content_based_deduplication, created_at, changed) "
            "VALUES (?, 30, 0, 0, ?, ?)",
            (name, now, transaction.stamp),
        )
    for field in fields(options):
        value = getattr(options, field.name)
        if value is not None:
            connection.execute(f"UPDATE queues SET {field.name} = ? WHERE name = ?", (value, name))
    queue = get(connection, name)
    _check_redrive(queue)
    if queue.dead_letter is not None and find(connection, queue.dead_letter) is None:
        ensure(transaction, queue.dead_letter, QueueOptions(), now)
    return queue


def _check_redrive(queue: Queue) -> None:
    where = f"local:queue/{queue.name}"
    if (queue.dead_letter is None) is not (queue.max_receive_count is None):
        missing = "dead_letter" if queue.dead_letter is None else "max_receive_count"
        raise ConfigurationError(
            f"{where}: dead_letter and max_receive_count go together, and {missing} is not given",
            field=missing,
            fix=f"write {where}?max_receive_count=5&dead_letter=NAME",
        )
    if queue.dead_letter == queue.name:
        raise ConfigurationError(
            f"{where} is its own dead-letter queue", field="dead_letter", fix="name another"
        )
    if queue.dead_letter is not None and queue.dead_letter.endswith(".fifo") is not queue.fifo:
        raise ConfigurationError(
            f"{where}: the dead-letter queue of a FIFO queue is a FIFO queue, and of no other",
            field="dead_letter",
            fix=f"name it {queue.dead_letter.removesuffix('.fifo')}{'.fifo' if queue.fifo else ''}",
        )


def delete(transaction: Transaction, name: str) -> bool:
    """Removes a queue and its messages."""
    queue = find(transaction.connection, name)
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
    _changed(transaction, queue, -gone)
    return gone


# ------------------------------------------------------------------------------------------------ sending


def send(transaction: Transaction, queue: Queue, messages: Sequence[QueueMessage], now: float) -> list[str]:
    """Appends messages: their ids. A duplicate in a FIFO queue gets the id of the first and is not
    appended.
    """
    if queue.fifo:
        messages = [
            message if message.key is not None else replace(message, key=NO_GROUP) for message in messages
        ]
    ids = [str(uuid.uuid4()) for _ in messages]
    rows: list[_Row] = []
    for index, message in enumerate(messages):
        name = _deduplication_id(queue, message)
        if name is not None:
            known = _known(transaction.connection, queue, name, ids[index], now)
            if known is not None:
                ids[index] = known
                continue
        delay = queue.delay if message.delay is None or queue.fifo else message.delay
        rows.append(
            (
                now + delay,
                ids[index],
                now,
                pack_text(message.key),
                name,
                None,
                pack_headers(message.headers),
                message.body,
            )
        )
    _append(transaction, queue, rows)
    return ids


_Row = tuple[float, str, float, bytes | None, str | None, str | None, bytes | None, bytes]
"""visible_at, message_id, sent_at, key, deduplication_id, source, headers, value."""


def _append(transaction: Transaction, queue: Queue, rows: Sequence[_Row]) -> None:
    connection = transaction.connection
    found = connection.execute(
        "SELECT next FROM queues WHERE id = ? AND name = ?", (queue.id, queue.name)
    ).fetchone()
    if found is None:
        raise OSError(errno.ENOENT, f"local:queue/{queue.name} was deleted")
    first = queue.id * PER_PARENT + found[0]
    connection.executemany(
        "INSERT INTO messages "
        "(id, queue, fifo, visible_at, message_id, sent_at, key, deduplication_id, source, "
        "headers, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(number, queue.id, queue.fifo, *row) for number, row in enumerate(rows, first)],
    )
    if queue.fifo:
        connection.executemany(
            "INSERT OR IGNORE INTO message_groups VALUES (?, ?, ?)",
            [(queue.id, row[3], row[0]) for row in rows],
        )
    connection.execute("UPDATE queues SET next = next + ? WHERE id = ?", (len(rows), queue.id))
    _changed(transaction, queue, len(rows))


def _deduplication_id(queue: Queue, message: QueueMessage) -> str | None:
    if not queue.fifo:
        return None
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
    dead = [row for row in rows if queue.max_receive_count is not None and row[2] >= queue.max_receive_count]
    expired = [row for row in rows if queue.retention is not None and row[5] <= now - queue.retention]
    if dead or expired:
        _bury(transaction, queue, dead, expired, now)
        gone = {row[0] for row in (*dead, *expired)}
        rows = [row for row in rows if row[0] not in gone]
    if rows:
        stamp = transaction.stamp
        connection.executemany(
            "UPDATE messages SET visible_at = ?, receive_count = receive_count + 1, receipt = ?, "
            "first_received_at = ifnull(first_received_at, ?) WHERE id = ?",
            [(now + queue.visibility_timeout, stamp, now, row[0]) for row in rows],
        )
    if rows or dead or expired:
        _refresh(connection, queue, {row[6] for row in (*rows, *dead, *expired)})
    records = [record_of(row, transaction.stamp, now, fifo=queue.fifo) for row in rows]
    return Received(records, _next_at(connection, queue), found[0] - len(dead) - len(expired))


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
    for (group,) in groups:
        for row in connection.execute(
            f"SELECT {MESSAGE} FROM messages WHERE queue = ? AND fifo = 1 AND key = ? ORDER BY id LIMIT ?",
            (queue.id, group, limit),
        ):
            if row[1] > now:
                break
            yield row
            limit -= 1
        if limit <= 0:
            return


def _next_at(connection: sqlite3.Connection, queue: Queue) -> float:
    statement = (
        "SELECT min(ready_at) FROM message_groups WHERE queue = ?"
        if queue.fifo
        else "SELECT min(visible_at) FROM messages WHERE queue = ? AND fifo = 0"
    )
    found = connection.execute(statement, (queue.id,)).fetchone()[0]
    return _ALL if found is None else float(found)


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
        unpack_headers(headers),
        sent_at,
        now if first is None else first,
        count + 1,
        attributes or None,
        Receipt(number, stamp, key),
    )


def _bury(
    transaction: Transaction, queue: Queue, dead: Sequence[Any], expired: Sequence[Any], now: float
) -> None:
    moved = [row for row in dead if row not in expired]
    if moved and queue.dead_letter is not None:
        target = ensure(transaction, queue.dead_letter, QueueOptions(), now)
        move(transaction, target, moved, queue.name, now)
    remove(transaction, queue, [row[0] for row in (*moved, *expired)])


def move(
    transaction: Transaction, target: Queue, rows: Sequence[Any], source: str | None, now: float
) -> None:
    """Appends messages of another queue under their ids, never received; the others stay where they are."""
    group = pack_text(NO_GROUP) if target.fifo else None
    _append(
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
    _refresh(connection, queue, groups)
    _changed(transaction, queue, -gone)
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
    _refresh(transaction.connection, queue, {receipt.group for receipt in receipts})


def _settled(transaction: Transaction, queue: Queue, receipts: Sequence[Receipt], messages: int) -> None:
    _refresh(transaction.connection, queue, {receipt.group for receipt in receipts})
    _changed(transaction, queue, messages)


def _refresh(connection: sqlite3.Connection, queue: Queue, groups: Iterable[bytes | None]) -> None:
    """Notes when each group is ready: when its first message is visible."""
    if not queue.fifo:
        return
    for group in groups:
        head = connection.execute(
            "SELECT visible_at FROM messages WHERE queue = ? AND fifo = 1 AND key = ? ORDER BY id LIMIT 1",
            (queue.id, group),
        ).fetchone()
        if head is None:
            connection.execute("DELETE FROM message_groups WHERE queue = ? AND key = ?", (queue.id, group))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO message_groups VALUES (?, ?, ?)", (queue.id, group, *head)
            )


def _changed(transaction: Transaction, queue: Queue, messages: int) -> None:
    transaction.connection.execute(
        "UPDATE queues SET messages = messages + ?, changed = ? WHERE id = ?",
        (messages, transaction.stamp, queue.id),
    )
    transaction.changes[queue_channel(queue.id)] = transaction.stamp
