"""Streams in the broker's file: what is put, read and trimmed, as work for the database's threads."""

from __future__ import annotations

import errno
import zlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from streamfn.core.records import StreamRecord
from streamfn.errors import ConfigurationError, PositionLost
from streamfn.local.schema import (
    PER_PARENT,
    pack_headers,
    pack_text,
    shard_channel,
    unpack_headers,
    unpack_text,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from streamfn.ports import Message
    from streamfn.stores.database import Transaction

DEFAULT_SHARDS: Final = 4
_READ_BYTES = 16 * 1024 * 1024
"""One read stops after so many bytes."""
_TRIM = 1000
"""Records removed in one go, at least: the rest goes with the next put."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream is kept. What is None is left as it is, or as it begins: four shards, and everything
    kept.
    """

    shards: int | None = None
    """Cannot be changed: a key's records would be in two shards."""
    retention: float | None = None
    """Seconds for which records are kept."""
    max_records: int | None = None
    """In each shard."""
    max_bytes: int | None = None
    """In each shard."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream as the file has it."""

    id: int
    name: str
    shards: tuple[int, ...]
    """The number of each shard in the file; its place here is its number in the stream."""
    retention: float | None
    max_records: int | None
    max_bytes: int | None

    @property
    def arn(self) -> str:
        return f"arn:aws:kinesis:local:000000000000:stream/{self.name}"

    @property
    def is_trimmed(self) -> bool:
        return not (self.retention is None and self.max_records is None and self.max_bytes is None)


def shard_name(number: int) -> str:
    """As Kinesis names its shards."""
    return f"shardId-{number:012d}"


def shard_of(key: bytes, shards: int) -> int:
    """The shard of a key. Part of the file's format: it must never change."""
    return zlib.crc32(key) % shards


# --------------------------------------------------------------------------------------------- definition


def find(connection: sqlite3.Connection, name: str) -> Stream | None:
    row = connection.execute(
        "SELECT id, retention, max_records, max_bytes FROM streams WHERE name = ?", (name,)
    ).fetchone()
    if row is None:
        return None
    shards = connection.execute("SELECT id FROM shards WHERE stream = ? ORDER BY number", row[:1]).fetchall()
    return Stream(row[0], name, tuple(shard for (shard,) in shards), *row[1:])


def get(connection: sqlite3.Connection, name: str) -> Stream:
    """The stream. Raises OSError(ENOENT) where there is none."""
    stream = find(connection, name)
    if stream is None:
        raise OSError(errno.ENOENT, f"there is no local:{name}")
    return stream


def ensure(transaction: Transaction, name: str, options: StreamOptions, now: float) -> Stream:
    """The stream, made if need be. Raises ConfigurationError where it is in use with other shards."""
    connection = transaction.connection
    stream = find(connection, name)
    other = stream is not None and options.shards not in (None, len(stream.shards))
    if stream is not None and other and not _is_used(connection, stream):
        # Made by somebody who did not care, a destination say: it becomes what is asked for now.
        delete(transaction, name)
        options = StreamOptions(
            options.shards,
            options.retention if options.retention is not None else stream.retention,
            options.max_records if options.max_records is not None else stream.max_records,
            options.max_bytes if options.max_bytes is not None else stream.max_bytes,
        )
        stream = None
    if stream is None:
        connection.execute("INSERT INTO streams (name, created_at) VALUES (?, ?)", (name, now))
        row = connection.execute("SELECT id FROM streams WHERE name = ?", (name,)).fetchone()
        for number in range(options.shards or DEFAULT_SHARDS):
            connection.execute(
                "INSERT INTO shards (stream, number, changed) VALUES (?, ?, ?)",
                (*row, number, transaction.stamp),
            )
    elif other:
        raise ConfigurationError(
            f"local:{name} has {len(stream.shards)} shards, and {options.shards} are asked for: the number "
            "stays once it was written or read, or the records of a key would be out of order",
            field="shards",
            fix=f"leave the option out, or write to a stream of another name, or delete local:{name}",
        )
    for field in fields(options):
        value = getattr(options, field.name)
        if value is not None and field.name != "shards":
            connection.execute(f"UPDATE streams SET {field.name} = ? WHERE name = ?", (value, name))
    return get(connection, name)


def _is_used(connection: sqlite3.Connection, stream: Stream) -> bool:
    prefix = lease_group(stream.name, "")
    return bool(
        connection.execute(
            "SELECT EXISTS (SELECT 1 FROM shards WHERE stream = ? AND next > 0) "
            "OR EXISTS (SELECT 1 FROM leases WHERE substr(grp, 1, ?) = ?)",
            (stream.id, len(prefix), prefix),
        ).fetchone()[0]
    )


def delete(transaction: Transaction, name: str) -> bool:
    """Removes a stream, its records and the checkpoints of all who read it."""
    connection = transaction.connection
    stream = find(connection, name)
    if stream is None:
        return False
    for shard in stream.shards:
        connection.execute("DELETE FROM records WHERE id >= ? AND id < ?", _range(shard))
        # Above every position there was: whoever waits for it, in any process, looks, and sees that it is
        # gone.
        transaction.changes[shard_channel(shard)] = PER_PARENT
    connection.execute(
        "UPDATE shards SET stream = -stream, next = ?, changed = ? WHERE stream = ?",
        (PER_PARENT, transaction.stamp, stream.id),
    )
    connection.execute("DELETE FROM streams WHERE id = ?", (stream.id,))
    prefix = lease_group(name, "")
    connection.execute("DELETE FROM leases WHERE substr(grp, 1, ?) = ?", (len(prefix), prefix))
    return True


def lease_group(stream: str, group: str) -> str:
    """The leases of one group of readers of one stream."""
    return f"{stream}/{group}"


# ------------------------------------------------------------------------------------------------ writing


@dataclass(slots=True)
class Put:
    """Messages of one put, sorted into shards."""

    stream: Stream
    messages: Sequence[Message]
    spread: int
    """Which shard those without a key go to."""

    def work(self, transaction: Transaction, now: float) -> None:
        """Appends them. Raises OSError(ENOENT) when the stream was deleted."""
        by_shard: dict[int, list[tuple[Any, ...]]] = {}
        shards = self.stream.shards
        keyless = by_shard.setdefault(self.spread % len(shards), [])
        for message in self.messages:
            headers = pack_headers(message.headers) if message.headers else None
            if message.key is None:
                keyless.append((now, None, headers, message.body))
            else:
                key = pack_text(message.key) or b""
                by_shard.setdefault(shard_of(key, len(shards)), []).append((now, key, headers, message.body))
        for number, rows in by_shard.items():
            if rows:
                _append(transaction, self.stream, shards[number], rows, now)


def _append(
    transaction: Transaction, stream: Stream, shard: int, rows: list[tuple[Any, ...]], now: float
) -> None:
    connection = transaction.connection
    found = connection.execute(
        "SELECT next, oldest, bytes FROM shards WHERE id = ? AND stream > 0", (shard,)
    ).fetchone()
    if found is None:
        raise OSError(errno.ENOENT, f"local:{stream.name} was deleted")
    following, oldest, size = found
    first = shard * PER_PARENT + following
    connection.executemany(
        "INSERT INTO records VALUES (?, ?, ?, ?, ?)",
        [(number, *row) for number, row in enumerate(rows, first)],
    )
    following += len(rows)
    size += sum(len(row[3]) + len(row[1] or b"") + len(row[2] or b"") for row in rows)
    if stream.is_trimmed:
        kept, gone = _trim(connection, stream, shard, oldest, following, size, now, 2 * len(rows) + _TRIM)
        oldest, size = kept, size - gone
    connection.execute(
        "UPDATE shards SET next = ?, oldest = ?, bytes = ?, changed = ? WHERE id = ?",
        (following, oldest, size, transaction.stamp, shard),
    )
    transaction.changes[shard_channel(shard)] = following


def _trim(
    connection: sqlite3.Connection,
    stream: Stream,
    shard: int,
    oldest: int,
    following: int,
    size: int,
    now: float,
    limit: int,
) -> tuple[int, int]:
    """Removes what retention no longer keeps, up to a limit: the oldest position left, and the bytes gone."""
    expired = now - stream.retention if stream.retention is not None else -1.0
    surplus = following - oldest - stream.max_records if stream.max_records is not None else 0
    excess = size - stream.max_bytes if stream.max_bytes is not None else 0
    gone = 0
    base = shard * PER_PARENT
    kept = oldest
    for number, arrived_at, length in connection.execute(
        "SELECT id, arrived_at, length(value) + ifnull(length(key), 0) + ifnull(length(headers), 0) "
        "FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (base + oldest, base + following, limit),
    ):
        position = number - base
        if arrived_at >= expired and position - oldest >= surplus and gone >= excess:
            break
        kept = position + 1
        gone += length
    if kept > oldest:
        connection.execute("DELETE FROM records WHERE id >= ? AND id < ?", (base + oldest, base + kept))
    return kept, gone


# ------------------------------------------------------------------------------------------------ reading


def read(
    connection: sqlite3.Connection, place: str, shard: int, after: int, limit: int, *, resume: bool
) -> tuple[list[StreamRecord], int]:
    """Records after a position, and the position that comes next in the shard. `place` is what people call
    it.

    Raises PositionLost where the record after the position was removed; with `resume` it goes on at the
    oldest.
    """
    base = shard * PER_PARENT
    records: list[StreamRecord] = []
    size = 0
    connection.execute("BEGIN")
    try:
        found = connection.execute(
            "SELECT next, oldest FROM shards WHERE id = ? AND stream > 0", (shard,)
        ).fetchone()
        if found is None:
            raise OSError(errno.ENOENT, f"{place} was deleted")
        following, oldest = found
        if after + 1 < oldest and not resume:
            raise PositionLost(
                f"{place}: retention removed the records {after + 1} to {oldest - 1} before they were read. "
                "Let it keep more, or set on_position_lost to trim_horizon to go on without them."
            )
        for number, arrived_at, key, headers, value in connection.execute(
            "SELECT id, arrived_at, key, headers, value FROM records "
            "WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
            (base + after, base + PER_PARENT, limit),
        ):
            records.append(
                StreamRecord(number - base, value, unpack_text(key), arrived_at, unpack_headers(headers))
            )
            size += len(value)
            if size >= _READ_BYTES:
                break
    finally:
        connection.execute("COMMIT")
    return records, following


def purge(transaction: Transaction, stream: Stream) -> int:
    """Removes all records, and keeps the positions; how many there were."""
    connection = transaction.connection
    gone = 0
    for shard in stream.shards:
        gone += connection.execute("DELETE FROM records WHERE id >= ? AND id < ?", _range(shard)).rowcount
        connection.execute(
            "UPDATE shards SET oldest = next, bytes = 0, changed = ? WHERE id = ?", (transaction.stamp, shard)
        )
    return gone


def horizon(connection: sqlite3.Connection, shard: int) -> int:
    """The position before the oldest record there is."""
    return _ends(connection, shard)[0] - 1


def latest(connection: sqlite3.Connection, shard: int) -> int:
    """The position of the last record so far."""
    return _ends(connection, shard)[1] - 1


def before_time(connection: sqlite3.Connection, shard: int, at: float) -> int:
    """The position before the first record that arrived at a time or later."""
    base = shard * PER_PARENT
    low, high = horizon(connection, shard), latest(connection, shard)
    while low < high:
        middle = (low + high + 1) // 2
        row = connection.execute("SELECT arrived_at FROM records WHERE id = ?", (base + middle,)).fetchone()
        if row is None or row[0] < at:
            low = middle
        else:
            high = middle - 1
    return low


def _ends(connection: sqlite3.Connection, shard: int) -> tuple[int, int]:
    row = connection.execute(
        "SELECT oldest, next FROM shards WHERE id = ? AND stream > 0", (shard,)
    ).fetchone()
    if row is None:
        raise OSError(errno.ENOENT, "the stream was deleted")
    return int(row[0]), int(row[1])


def _range(shard: int) -> tuple[int, int]:
    return shard * PER_PARENT, (shard + 1) * PER_PARENT
