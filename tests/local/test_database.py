"""The broker's file when things go wrong: full disks, locks, damage, other schemas, cancellation."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.errors import ConfigurationError, SourceError
from streamfn.local import (
    Broker,
    LocalDestination,
    LocalQueue,
    LocalStream,
    QueueMessage,
    StreamOptions,
    admin,
)
from streamfn.local.schema import FILE, SCRIPTS
from streamfn.ports import Assigned, Checkpoint, Lease, Message, Subscription
from streamfn.stores import SqliteLeaseStore, database
from streamfn.stores.database import Database, Transaction
from streamfn.testing.clock import clock
from tests.local.gate import Gate

SCHEMA = ["CREATE TABLE stamp (value INTEGER NOT NULL); INSERT INTO stamp VALUES (0); CREATE TABLE t (v)"]


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Database]:
    plain = Database(tmp_path / "plain.sqlite3", SCHEMA)
    await plain.open()
    yield plain
    await plain.close()


def insert(value: object) -> Any:
    return lambda transaction: transaction.connection.execute("INSERT INTO t VALUES (?)", (value,)).rowcount


async def contents(plain: Database) -> list[object]:
    return await plain.read(lambda c: [value for (value,) in c.execute("SELECT v FROM t ORDER BY rowid")])


async def fill(broker: Broker, pages: int) -> None:
    """The file may grow by so many pages."""

    def limit(transaction: Transaction) -> None:
        (size,) = transaction.connection.execute("PRAGMA page_count").fetchone()
        transaction.connection.execute(f"PRAGMA max_page_count = {size + pages}")

    await broker.database.write(limit)


async def test_a_full_disk_is_said_to_be_and_nothing_that_was_acknowledged_is_lost(broker, tmp_path):
    destination = LocalDestination("local:s?shards=1", state_dir=tmp_path, clock=clock)
    target = await broker.stream("s", StreamOptions(shards=1))
    await fill(broker, 20)
    acknowledged = 0
    with pytest.raises(OSError, match="the disk is full") as error:
        for number in range(1000):
            await broker.put(target, [Message(f"{number:04}".encode() + b"x" * 5000)])
            acknowledged += 1
    assert error.value.errno == errno.ENOSPC
    assert 10 < acknowledged < 100
    # A source is told in its own words, and goes on when there is room.
    async with LocalStream("s", state_dir=tmp_path, clock=clock).shards(Subscription("group")) as changes:
        change = await anext(changes)
        assert isinstance(change, Assigned)
        records = await change.shard.read(1000, 0)
        assert [int((record.value or b"")[:4]) for record in records] == list(range(acknowledged))
    await fill(broker, 1000)
    await broker.put(target, [Message(b"room")])
    await destination.close()


async def test_a_commit_on_a_full_disk_is_a_source_error_and_the_shard_is_kept(tmp_path):
    async with Broker.shared(tmp_path / FILE, clock=clock) as broker:
        await broker.stream("s", StreamOptions(shards=1))
        async with LocalStream("s", state_dir=tmp_path, clock=clock).shards(Subscription("group")) as changes:
            change = await anext(changes)
            assert isinstance(change, Assigned)
            await fill(broker, 0)
            with pytest.raises(SourceError, match="disk is full"):
                await change.shard.commit(Checkpoint(5, "x" * 60_000))
            await fill(broker, 100)
            await change.shard.commit(Checkpoint(6, "x" * 60_000))


async def test_one_write_that_fails_does_not_take_others_with_it(plain):
    gate = Gate()
    told: list[object] = []

    def refuse(transaction: Transaction) -> None:
        insert("undone")(transaction)
        raise ConfigurationError("no")

    async def write(work: Any) -> None:
        try:
            told.append(await plain.write(work))
        except ConfigurationError:
            told.append("refused")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(plain.write, gate)
        await gate.entered.wait()
        for work in (insert(1), refuse, insert(2)):
            tasks.start_soon(write, work)
        await anyio.lowlevel.checkpoint()
        gate.opened.set()
    assert sorted(map(str, told)) == ["1", "1", "refused"]
    assert await contents(plain) == [1, 2]


async def test_writes_that_come_together_are_one_transaction(plain):
    gate = Gate()
    commits: list[str] = []
    plain._writer.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(plain.write, gate)
        await gate.entered.wait()
        for number in range(50):
            tasks.start_soon(plain.write, insert(number))
        await anyio.lowlevel.checkpoint()
        gate.opened.set()
    assert len(commits) == 2
    assert await contents(plain) == list(range(50))


@pytest.mark.parametrize("native", [False, True])
async def test_a_write_is_cancelled_before_it_begins_or_not_at_all(plain, native):
    gate = Gate()

    async def write(work: Any, ended: anyio.Event) -> None:
        try:
            await plain.write(work)
        finally:
            ended.set()

    loop = asyncio.get_running_loop()
    ended = [anyio.Event() for _ in range(3)]
    scope = anyio.CancelScope()

    async def in_scope(work: Any, event: anyio.Event) -> None:
        with scope:
            await write(work, event)

    async with anyio.create_task_group() as tasks:
        if native:
            running = loop.create_task(write(gate, ended[0]))
        else:
            tasks.start_soon(in_scope, gate, ended[0])
        await gate.entered.wait()
        waiting = loop.create_task(write(insert("never"), ended[1]))
        tasks.start_soon(write, insert("after"), ended[2])
        await anyio.lowlevel.checkpoint()
        waiting.cancel()
        if native:
            running.cancel()
        else:
            scope.cancel()
        await ended[1].wait()
        gate.opened.set()
        await ended[2].wait()
        await ended[0].wait()
    assert await contents(plain) == ["after"]
    await plain.write(insert("and on"))


async def test_a_leader_that_is_cancelled_before_its_thread_hands_on(plain):
    loop = asyncio.get_running_loop()
    for steps in range(6):
        leader = loop.create_task(plain.write(insert("led")))
        async with anyio.create_task_group() as tasks:
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(plain.write, insert("followed"))
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            leader.cancel()
        await asyncio.wait([leader])
    assert (await contents(plain)).count("followed") == 6


async def test_a_file_of_a_newer_streamfn_is_refused(tmp_path):
    async with Broker(tmp_path / FILE, clock=clock):
        pass
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="has schema 99, .* a newer one wrote it") as error:
        await LocalStream("s", state_dir=tmp_path).check()
    assert "upgrade" in error.value.fix


async def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path):
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("CREATE TABLE theirs (v)")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigurationError, match="something else"):
        await LocalQueue("q", state_dir=tmp_path).check()


async def test_a_file_that_is_no_database_is_an_error_that_says_so(tmp_path):
    (tmp_path / FILE).write_bytes(b"not a database" * 1000)
    with pytest.raises(SourceError, match="no database"):
        await LocalStream("s", state_dir=tmp_path).check()
    destination = LocalDestination("local:s", state_dir=tmp_path)
    with pytest.raises(OSError, match="no database"):
        await destination.send([Message(b"")])
    await destination.close()


async def test_a_damaged_file_is_an_error_and_never_an_empty_read(tmp_path):
    async with Broker(tmp_path / FILE, clock=clock) as broker:
        stream = await broker.stream("s", StreamOptions(shards=1))
        await broker.put(stream, [Message(b"x" * 4000)] * 200)
    size = os.path.getsize(tmp_path / FILE)
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(size // 4)
        # No page begins with this byte; random ones now and then look like a page.
        file.write(b"\xff" * (size // 2))
    async with Broker(tmp_path / FILE, clock=clock) as broker:
        with pytest.raises(OSError, match="is damaged"):
            await admin.peek_stream(broker, "s", shard=0, after=-1, limit=1000)


async def test_a_file_that_another_process_locks_for_too_long_is_an_error(broker, tmp_path, monkeypatch):
    queue = await broker.queue("q")
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(database, "_PATIENCE", 0.05)
    with pytest.raises(OSError, match="locked by another process") as error:
        await broker.send(queue, [QueueMessage(b"1")])
    assert error.value.errno == errno.EBUSY
    other.execute("ROLLBACK")
    other.close()
    await broker.send(queue, [QueueMessage(b"2")])
    assert [message.value for message in await admin.peek(broker, "q")] == [b"2"]


async def test_those_who_make_a_file_at_once_all_get_it(tmp_path):
    for number in range(40):
        users = [Database(tmp_path / str(number), ["CREATE TABLE note (text)"]) for _ in range(8)]
        async with anyio.create_task_group() as group:
            for user in users:
                group.start_soon(user.open)
        for user in users:
            await user.close()


async def test_a_file_that_was_closed_is_an_error(tmp_path):
    async with Broker(tmp_path / FILE, clock=clock) as broker:
        queue = await broker.queue("q")
    with pytest.raises(OSError, match="not open"):
        await broker.send(queue, [QueueMessage(b"1")])
    with pytest.raises(OSError, match="not open"):
        await broker.queue("q")
    with pytest.raises(OSError, match="not open"):
        broker.database.version()


async def test_closing_ends_those_who_wait(tmp_path):
    async with anyio.create_task_group() as tasks, Broker(tmp_path / FILE, clock=clock) as broker:
        waiting = anyio.Event()

        async def wait() -> None:
            with pytest.raises(OSError, match="was closed"):
                waiting.set()
                await broker.watch.wait("channel", 0, 1000)

        tasks.start_soon(wait)
        await waiting.wait()


async def test_users_of_a_file_share_one_broker_and_the_last_closes_it(tmp_path):
    async with Broker.shared(tmp_path / FILE, clock=clock) as one:
        async with Broker.shared(tmp_path / "." / FILE, clock=clock) as two:
            assert one is two
        assert one.database.is_open
    assert not one.database.is_open
    async with Broker.shared(tmp_path / FILE, clock=clock) as again:
        assert again is not one


async def test_a_step_added_to_the_schema_is_made_up_for(tmp_path):
    older = Database(tmp_path / "d", SCHEMA)
    await older.open()
    await older.write(insert(1))
    await older.close()
    newer = Database(tmp_path / "d", [*SCHEMA, "CREATE TABLE u (v)"])
    await newer.open()
    assert await contents(newer) == [1]
    assert await newer.read(lambda c: c.execute("SELECT count(*) FROM u").fetchone()) == (0,)
    await newer.close()


async def test_a_schema_that_fails_leaves_nothing_half_made(tmp_path):
    broken = Database(tmp_path / "d", ["CREATE TABLE t (v); CREATE TABLE t (v)"])
    with pytest.raises(OSError, match="already exists"):
        await broken.open()
    whole = Database(tmp_path / "d", SCHEMA)
    await whole.open()
    await whole.close()


async def test_a_lease_store_has_a_file_of_its_own_where_wanted(tmp_path):
    async with SqliteLeaseStore.at(tmp_path / "leases.sqlite3") as store:
        assert await store.list("group") == []


async def test_a_file_of_the_first_schema_keeps_its_leases_and_takes_wider_positions(tmp_path):
    """Positions were integers of 64 bits once; files that hold such are brought up to date in place."""
    path = tmp_path / FILE
    old = sqlite3.connect(path)
    old.executescript(SCRIPTS[0] + "; PRAGMA user_version = 1")
    rows = [
        ("s/g", "shard-0", "worker-1", 7, 41, "sfn1 clean", "[]", 0, 3),
        ("s/g", "shard-1", None, 1, -1, "", '["shard-0"]', 1, 4),
        ("s/g", "shard-2", None, 2, 2**62, "note", "[]", 0, 5),
    ]
    old.executemany("INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    old.commit()
    old.close()
    for _ in range(2):
        async with Broker.shared(path, clock=clock) as broker:
            kept = {lease.key: lease for lease in await broker.leases.list("s/g")}
            assert kept == {
                "shard-0": Lease("shard-0", "worker-1", 7, Checkpoint(41, "sfn1 clean")),
                "shard-1": Lease("shard-1", None, 1, Checkpoint(-1), ("shard-0",), ended=True),
                "shard-2": Lease("shard-2", None, 2, Checkpoint(2**62, "note")),
            }
            columns = await broker.database.read(
                lambda c: {row[1]: row[2] for row in c.execute("PRAGMA table_info(leases)")}
            )
            assert columns["position"] == "TEXT"
            assert await broker.database.read(
                lambda c: c.execute("SELECT name FROM sqlite_schema WHERE name = 'leases_changed'").fetchall()
            )
    async with Broker.shared(path, clock=clock) as broker:
        wide = kept["shard-0"].moved("worker-1", checkpoint=Checkpoint(2**210))
        assert await broker.leases.update("s/g", kept["shard-0"], wide)
    async with Broker.shared(path, clock=clock) as broker:
        assert wide in await broker.leases.list("s/g")
