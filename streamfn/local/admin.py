"""Looking at the broker's streams and queues, and putting them in order: for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from streamfn.errors import ConfigurationError
from streamfn.local import messages, queues, streams
from streamfn.local.queues import Queue, QueueOptions
from streamfn.local.schema import PER_PARENT
from streamfn.local.sequences import queue_of
from streamfn.local.streams import Stream, lease_group

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from streamfn.core.records import QueueRecord, StreamRecord
    from streamfn.local.broker import Broker
    from streamfn.stores.database import Transaction


_PEEK_BYTES = 16 * 1024 * 1024
"""One look at a queue stops after so many bytes."""


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """Readers of a stream that share their checkpoints."""

    group: str
    lag: int
    """Records that wait for them."""
    owners: tuple[str, ...]
    """Workers that hold shards now, as far as the leases tell."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    name: str
    shards: int
    records: int
    bytes: int
    groups: tuple[GroupStatus, ...]


@dataclass(frozen=True, slots=True)
class QueueStatus:
    name: str
    visible: int
    in_flight: int
    """Received and not settled yet."""
    delayed: int
    """Not visible yet, and in nobody's hands."""
    oldest_sent_at: float | None
    dead_letter: str | None
    max_receive_count: int | None
    dead_letters_of: tuple[str, ...]
    """The queues whose dead letters it takes."""


@dataclass(frozen=True, slots=True)
class SequenceStatus:
    """Dead letters of a sequenced mapping, and what waits behind them."""

    group: str
    letters: int
    behind: int
    """Records that wait, or are delivered after a redrive."""
    oldest_sent_at: float | None


async def list_streams(broker: Broker) -> Sequence[StreamStatus]:
    """All streams, by name."""
    return await broker.database.read(_list_streams)


async def list_queues(broker: Broker) -> Sequence[QueueStatus]:
    """All queues, by name. Counts messages one by one."""
    now = broker.clock()
    return await broker.database.read(lambda connection: _list_queues(connection, now))


async def list_sequences(broker: Broker) -> Sequence[SequenceStatus]:
    """The sequences of all mappings that have any, by name. Counts messages one by one."""
    return await broker.database.read(_list_sequences)


async def peek_stream(
    broker: Broker, name: str, *, shard: int, after: int, limit: int
) -> Sequence[StreamRecord]:
    """Records of one shard after a position; nothing changes."""

    def work(connection: sqlite3.Connection) -> Sequence[StreamRecord]:
        stream = _stream(connection, name)
        return streams.read(connection, name, stream.shards[shard], after, limit, resume=True)[0]

    return await broker.database.read(work)


async def peek(broker: Broker, name: str, *, limit: int = 100, after: int = 0) -> Sequence[QueueRecord]:
    """Messages of a queue in the order they came, those in flight too; nothing changes.

    `after` is the `receipt.id` of the last one seen. `receive_count` is how often each was received so far.
    Of large ones it gives fewer at once; none means that there are no more.
    """
    return await broker.database.read(lambda connection: _peek(connection, name, limit, after))


async def has_stream(broker: Broker, name: str) -> bool:
    return await broker.database.read(lambda connection: streams.find(connection, name) is not None)


async def has_queue(broker: Broker, name: str) -> bool:
    return await broker.database.read(lambda connection: queues.find(connection, name) is not None)


async def count_stream(broker: Broker, name: str) -> int:
    """Records of a stream."""
    return await broker.database.read(
        lambda connection: sum(
            streams.latest(connection, shard) - streams.horizon(connection, shard)
            for shard in _stream(connection, name).shards
        )
    )


async def count(broker: Broker, name: str) -> int:
    """Messages of a queue, those in flight too."""

    def work(connection: sqlite3.Connection) -> int:
        row = connection.execute(
            "SELECT messages FROM queues WHERE id = ?", (_queue(connection, name).id,)
        ).fetchone()
        return int(row[0])

    return await broker.database.read(work)


async def ends(broker: Broker, name: str) -> Sequence[int]:
    """The last position of each shard of a stream; -1 where nothing was ever put."""
    return await broker.database.read(
        lambda connection: [streams.latest(connection, shard) for shard in _stream(connection, name).shards]
    )


async def last(broker: Broker, name: str) -> int:
    """The `receipt.id` of the last message that came to a queue, wherever it is now."""

    def work(connection: sqlite3.Connection) -> int:
        queue = _queue(connection, name)
        row = connection.execute("SELECT next FROM queues WHERE id = ?", (queue.id,)).fetchone()
        return queue.id * PER_PARENT + int(row[0]) - 1

    return await broker.database.read(work)


async def purge_stream(broker: Broker, name: str) -> int:
    """Removes all records of a stream: how many there were. Who had not read them is told so
    (PositionLost).
    """
    return await broker.database.write(
        lambda transaction: streams.purge(transaction, _stream(transaction.connection, name))
    )


async def purge(broker: Broker, name: str) -> int:
    """Removes all messages of a queue, those in flight too: how many there were."""
    return await broker.database.write(
        lambda transaction: messages.purge(transaction, _queue(transaction.connection, name))
    )


async def delete_messages(broker: Broker, name: str, message_ids: Collection[str]) -> int:
    """Removes these messages, in flight or not: how many there were."""

    def work(transaction: Transaction) -> int:
        queue = _queue(transaction.connection, name)
        return messages.remove(transaction, queue, _numbers(transaction.connection, queue, message_ids))

    return await broker.database.write(work)


async def delete_numbers(broker: Broker, name: str, numbers: Sequence[int]) -> int:
    """Removes messages by their `receipt.id`, in flight or not: how many there were. No two messages ever
    have the same.
    """

    def work(transaction: Transaction) -> int:
        queue = queues.find(transaction.connection, name)
        if queue is None:
            return 0
        own = [number for number in numbers if number // PER_PARENT == queue.id]
        return messages.remove(transaction, queue, own)

    return await broker.database.write(work)


async def delete_queue(broker: Broker, name: str) -> bool:
    """Removes a queue; whether there was one."""
    return await broker.database.write(lambda transaction: messages.delete(transaction, name))


async def delete_stream(broker: Broker, name: str) -> bool:
    """Removes a stream with the checkpoints of all its readers; whether there was one."""
    return await broker.database.write(lambda transaction: streams.delete(transaction, name))


async def redrive(
    broker: Broker, name: str, *, to: str | None = None, message_ids: Collection[str] | None = None
) -> int:
    """Moves dead letters back to the queues they came from, or to another: how many.

    What is in flight stays. Ids stay, and receives are counted anew. Raises ConfigurationError where a
    message came from no queue and none is given.
    """
    now = broker.clock()
    return await broker.database.write(lambda transaction: _redrive(transaction, name, to, message_ids, now))


# -------------------------------------------------------------------------------------------------- work


def _stream(connection: sqlite3.Connection, name: str) -> Stream:
    stream = streams.find(connection, name)
    if stream is None:
        raise ConfigurationError(f"there is no local:{name}", fix="`streamfn dlq stores` lists what there is")
    return stream


def _queue(connection: sqlite3.Connection, name: str) -> Queue:
    queue = queues.find(connection, name)
    if queue is None:
        raise ConfigurationError(
            f"there is no local:queue/{name}", fix="`streamfn dlq stores` lists what there is"
        )
    return queue


def _list_streams(connection: sqlite3.Connection) -> Sequence[StreamStatus]:
    found = []
    for (name,) in connection.execute("SELECT name FROM streams ORDER BY name").fetchall():
        stream = _stream(connection, name)
        heads = connection.execute(
            "SELECT next, oldest, bytes FROM shards WHERE stream = ? ORDER BY number", (stream.id,)
        ).fetchall()
        found.append(
            StreamStatus(
                name,
                len(heads),
                sum(following - oldest for following, oldest, _ in heads),
                sum(size for _, _, size in heads),
                tuple(_groups(connection, stream, heads)),
            )
        )
    return found


def _groups(
    connection: sqlite3.Connection, stream: Stream, heads: Sequence[tuple[int, int, int]]
) -> list[GroupStatus]:
    prefix = lease_group(stream.name, "")
    rows = connection.execute(
        "SELECT grp, key, owner, position FROM leases WHERE substr(grp, 1, ?) = ? AND key NOT LIKE 'ask:%'",
        (len(prefix), prefix),
    ).fetchall()
    groups: dict[str, GroupStatus] = {}
    ends = {streams.shard_name(number): head for number, head in enumerate(heads)}
    for grp, key, owner, position in rows:
        name = grp[len(prefix) :]
        following, oldest, _ = ends[key]
        before = groups.get(name, GroupStatus(name, 0, ()))
        owners = {*before.owners} | ({owner} if owner is not None else set())
        waiting = following - 1 - max(int(position), oldest - 1)
        groups[name] = GroupStatus(name, before.lag + waiting, tuple(sorted(owners)))
    return [groups[name] for name in sorted(groups)]


def _list_queues(connection: sqlite3.Connection, now: float) -> Sequence[QueueStatus]:
    found = []
    rows = connection.execute("SELECT name FROM queues WHERE name NOT LIKE '%/%' ORDER BY name").fetchall()
    known = [_queue(connection, name) for (name,) in rows]
    for queue in known:
        visible, in_flight, delayed, oldest = connection.execute(
            "SELECT ifnull(sum(visible_at <= ?1), 0), "
            "ifnull(sum(visible_at > ?1 AND receipt IS NOT NULL), 0), "
            "ifnull(sum(visible_at > ?1 AND receipt IS NULL), 0), min(sent_at) "
            "FROM messages WHERE id >= ?2 AND id < ?3",
            (now, queue.id * PER_PARENT, (queue.id + 1) * PER_PARENT),
        ).fetchone()
        of = tuple(other.name for other in known if other.dead_letter == queue.name)
        found.append(
            QueueStatus(
                queue.name,
                visible,
                in_flight,
                delayed,
                oldest,
                queue.dead_letter,
                queue.max_receive_count,
                of,
            )
        )
    return found


def _list_sequences(connection: sqlite3.Connection) -> Sequence[SequenceStatus]:
    found = []
    start, end = queue_of("").split(".", 1)
    for number, name in connection.execute("SELECT id, name FROM queues ORDER BY name").fetchall():
        if name.startswith(start) and name.endswith(f".{end}"):
            heads, others, oldest = connection.execute(
                "SELECT ifnull(sum(visible_at = ?1), 0), ifnull(sum(visible_at < ?1), 0), "
                "min(CASE WHEN visible_at = ?1 THEN sent_at END) FROM messages WHERE queue = ?2 AND fifo = 1",
                (inf, number),
            ).fetchone()
            if heads or others:
                group = name.removeprefix(start).removesuffix(f".{end}")
                found.append(SequenceStatus(group, heads, others, oldest))
    return found


def _peek(connection: sqlite3.Connection, name: str, limit: int, after: int) -> Sequence[QueueRecord]:
    queue = _queue(connection, name)
    rows = connection.execute(
        f"SELECT {messages.MESSAGE} FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
        (max(after, queue.id * PER_PARENT), (queue.id + 1) * PER_PARENT, limit),
    )
    records: list[QueueRecord] = []
    size = 0
    for row in rows:
        record = messages.record_of(row, 0, 0.0, fifo=queue.fifo)
        record.receive_count -= 1  # it was not received by this
        records.append(record)
        size += len(record.value)
        if size >= _PEEK_BYTES:
            break
    rows.close()
    return records


def _numbers(connection: sqlite3.Connection, queue: Queue, message_ids: Collection[str]) -> list[int]:
    wanted = set(message_ids)
    rows = connection.execute(
        "SELECT id, message_id FROM messages WHERE id >= ? AND id < ?",
        (queue.id * PER_PARENT, (queue.id + 1) * PER_PARENT),
    )
    return [number for number, message_id in rows if message_id in wanted]


def _redrive(
    transaction: Transaction, name: str, to: str | None, message_ids: Collection[str] | None, now: float
) -> int:
    connection = transaction.connection
    queue = _queue(connection, name)
    wanted = None if message_ids is None else set(message_ids)
    rows = [
        row
        for row in connection.execute(
            f"SELECT {messages.MESSAGE} FROM messages "
            "WHERE id >= ? AND id < ? AND visible_at <= ? ORDER BY id",
            (queue.id * PER_PARENT, (queue.id + 1) * PER_PARENT, now),
        )
        if wanted is None or row[4] in wanted
    ]
    by_target: dict[str, list[tuple[object, ...]]] = {}
    for row in rows:
        target = to if to is not None else row[8]
        if target is None:
            raise ConfigurationError(
                f"message {row[4]} of local:queue/{name} came from no queue",
                fix="say which queue it is to go to",
            )
        by_target.setdefault(target, []).append(row)
    for target, moved in by_target.items():
        messages.move(transaction, queues.ensure(transaction, target, QueueOptions(), now), moved, None, now)
    return messages.remove(transaction, queue, [row[0] for row in rows])
