"""The event queue when things go wrong: a full disk, an end while events are written, a lost queue."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn import App
from streamfn.core.events import EventRecord, History
from streamfn.core.outcomes import Failed
from streamfn.errors import SourceError
from streamfn.local import Broker, LocalEvents
from streamfn.local.schema import FILE
from streamfn.ports import Event
from streamfn.stores.database import Transaction
from streamfn.testing.clock import clock
from tests.local.gate import Gate
from tests.local.test_database import fill
from tests.waiting import until


def event(number: int, size: int = 5000) -> Event:
    return Event(f"id-{number}", b'"%s"' % (b"x" * size))


async def test_a_full_disk_takes_no_event_and_loses_none(tmp_path: Path) -> None:
    queue = LocalEvents(tmp_path, clock=clock)
    async with Broker.shared(tmp_path / FILE, clock=clock) as broker, queue.open():
        await queue.put("f", event(0))
        await fill(broker, 20)
        taken = [0]
        with pytest.raises(OSError, match="the disk is full") as error:
            for number in range(1, 1000):
                await queue.put("f", event(number))
                taken.append(number)
        assert error.value.errno == errno.ENOSPC
        assert 10 < len(taken) < 100
        # A function that is new, whose queue is not there yet, is refused as well, and forgotten.
        with pytest.raises(OSError, match="the disk is full"):
            await queue.put("new", event(1, 100_000))
        await fill(broker, 1000)
        await queue.put("f", event(-1))
        await queue.put("new", event(-1))
        async with queue.source("f").open() as shard:
            records = await shard.read(1000, 0.0)
            assert [record.id for record in records] == [f"id-{number}" for number in [*taken, -1]]
        async with queue.source("new").open() as shard:
            assert [record.id for record in await shard.read(1000, 0.0)] == ["id--1"]


async def test_all_who_put_at_the_same_time_are_told_of_a_full_disk(tmp_path: Path) -> None:
    queue = LocalEvents(tmp_path, clock=clock)
    told: list[int] = []

    async def put(number: int) -> None:
        with pytest.raises(OSError, match="the disk is full"):
            await queue.put("f", event(number, 50_000))
        told.append(number)

    async with Broker.shared(tmp_path / FILE, clock=clock) as broker, queue.open():
        await queue.put("f", event(-1))
        await fill(broker, 2)
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(put, number)
    assert sorted(told) == list(range(20))


async def test_what_cannot_be_remembered_comes_again_without_it(tmp_path: Path) -> None:
    queue = LocalEvents(tmp_path, clock=clock)
    async with Broker.shared(tmp_path / FILE, clock=clock) as broker, queue.open():
        await queue.put("f", event(1))
        async with queue.source("f").open() as shard:
            (record,) = await shard.read(1, 0.0)
            assert isinstance(record, EventRecord)
            await fill(broker, 0)
            # With a history that needs pages of its own.
            record.history = History(1, 0, Failed("E", "x" * 100_000))
            with pytest.raises(SourceError, match="disk is full"):
                await shard.remember([record], 0.0)
            await fill(broker, 100)
            assert list(await shard.read(1, 29.0)) == []
            (again,) = await shard.read(1, 5.0)
            assert (again.id, again.attempt) == (record.id, 0)
            await shard.ack([again])


async def test_what_waits_to_be_written_is_written_also_when_all_is_cut_off(tmp_path: Path) -> None:
    """Both what is under way and what has gathered behind it; whoever waits for it is told."""
    queue = LocalEvents(tmp_path, clock=clock)
    gate = Gate()
    told: set[str] = set()

    async def put(name: str) -> None:
        await queue.put("f", Event(name, b"1"))
        told.add(name)

    async with Broker.shared(tmp_path / FILE, clock=clock) as broker, anyio.create_task_group() as tasks:
        with anyio.CancelScope() as life:
            async with queue.open():
                await queue.put("f", Event("first", b"1"))
                tasks.start_soon(broker.database.write, gate)
                await gate.entered.wait()
                tasks.start_soon(put, "written")
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(put, "gathered")
                await anyio.wait_all_tasks_blocked()
                gate.opened.set()
                life.cancel()
    assert told == {"written", "gathered"}
    async with queue.source("f").open() as shard:
        assert {record.id for record in await shard.read(10, 0.0)} == {"first", "written", "gathered"}


async def test_a_queue_that_was_removed_is_made_again(tmp_path: Path) -> None:
    queue = LocalEvents(tmp_path, clock=clock)

    def remove(transaction: Transaction) -> None:
        transaction.connection.execute("UPDATE queues SET name = name || '/gone'")

    async with Broker.shared(tmp_path / FILE, clock=clock) as broker, queue.open():
        await queue.put("f", event(1))
        await broker.database.write(remove)
        with pytest.raises(OSError, match="was deleted"):
            await queue.put("f", event(2))
        await queue.put("f", event(3))
        async with queue.source("f").open() as shard:
            assert [record.id for record in await shard.read(10, 0.0)] == ["id-3"]


async def test_what_an_app_has_in_hand_when_it_is_cut_off_comes_again_at_once(tmp_path: Path) -> None:
    app = App(state_dir=tmp_path, clock=clock)
    begun = anyio.Event()

    @app.function(name="f", reserved_concurrency=4)
    async def f(payload: int, context: Any) -> None:
        begun.set()
        await anyio.sleep_forever()

    await app.start()
    names = {await app.enqueue("f", number) for number in range(8)}
    await begun.wait()
    gate = Gate()
    async with Broker.shared(tmp_path / FILE, clock=clock) as broker, anyio.create_task_group() as tasks:
        tasks.start_soon(broker.database.write, gate)
        await gate.entered.wait()
        # What was not begun is about to be given back when all is cut off.
        tasks.start_soon(app.stop, 0.0)
        await anyio.wait_all_tasks_blocked()
        gate.opened.set()
    async with LocalEvents(tmp_path, clock=clock).source("f").open() as shard:
        records = await shard.read(10, 0.0)
        assert {record.id for record in records} == names
        assert not any(record.attempt for record in records)


async def test_an_app_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    app = App(state_dir=tmp_path, clock=clock)
    seen: list[int] = []

    @app.function(name="f")
    async def f(payload: str, context: Any) -> None:
        seen.append(len(payload))

    async with app, Broker.shared(tmp_path / FILE, clock=clock) as broker:
        await app.enqueue("f", "first")
        await fill(broker, 5)
        with pytest.raises(OSError, match="the disk is full"):
            await app.enqueue("f", "x" * 500_000)
        await fill(broker, 1000)
        await app.enqueue("f", "x" * 500_000)
        await until(lambda: len(seen) == 2)
    assert seen == [5, 500_000]
