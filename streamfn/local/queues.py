"""Queues in the broker's file: how each works."""

from __future__ import annotations

import errno
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    import sqlite3

    from streamfn.stores.database import Transaction


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
