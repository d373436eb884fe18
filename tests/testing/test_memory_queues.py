"""What the fake queue does beyond what every queue does: dead letters, delays, doubles, faults."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.errors import SourceError
from streamfn.ports import (
    Message,
)
from streamfn.testing.clock import EPOCH, VirtualTimeLoop, clock, virtual_backend
from streamfn.testing.memory import MemoryQueue


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


async def test_what_is_received_too_often_goes_to_the_dead_letters() -> None:
    dead = MemoryQueue("dead")
    queue = MemoryQueue("queue", visibility_timeout=10, max_receive_count=2, dead_letter=dead)
    (message_id,) = queue.put([Message(b"bad", None, (("h", b"1"),))])
    async with queue.open() as poller, dead.open() as undertaker:
        assert [(await poller.read(1, 60))[0].attempt for _ in range(2)] == [0, 1]
        assert list(await poller.read(1, 60)) == []
        (record,) = await undertaker.read(1, 0)
        assert (record.id, record.value, record.attempt, record.arrived_at) == (message_id, b"bad", 0, EPOCH)
        assert tuple(record.headers) == (("h", b"1"),)
        (item,) = poller.shape.to_event([record])["Records"]
        assert item["attributes"]["DeadLetterQueueSourceArn"].endswith(":queue")
    assert len(queue) == 0


async def test_without_a_dead_letter_queue_it_is_dropped() -> None:
    queue = MemoryQueue(visibility_timeout=10, max_receive_count=1)
    queue.put([b"a", b"b"])
    async with queue.open() as poller:
        records = await poller.read(10, 0)
        await poller.ack(records[:1])
        assert list(await poller.read(1, 60)) == []
    assert len(queue) == 0


async def test_the_next_of_a_key_comes_when_the_one_before_is_dead() -> None:
    dead = MemoryQueue("dead", fifo=True)
    queue = MemoryQueue("queue", 10, fifo=True, max_receive_count=1, dead_letter=dead)
    queue.put(["1", "2"], key="k")
    async with queue.open() as poller:
        assert [record.value for record in await poller.read(1, 0)] == [b"1"]
        assert [record.value for record in await poller.read(1, 60)] == [b"2"]
    assert dead.bodies() == [b"1"]


async def test_a_sent_message_may_be_delayed() -> None:
    queue = MemoryQueue()
    queue.put([b"later"], delay=100)
    assert (queue.depth, queue.in_flight) == (1, 0)
    async with queue.open() as poller:
        assert list(await poller.read(1, 99)) == []
        assert [record.value for record in await poller.read(1, 99)] == [b"later"]
    assert clock() == EPOCH + 100
    assert (queue.depth, queue.in_flight) == (0, 1)
    with pytest.raises(ValueError, match="overtake"):
        MemoryQueue(fifo=True).put([b""], delay=1)


async def test_what_is_put_later_may_come_before_what_is_hidden() -> None:
    queue = MemoryQueue(visibility_timeout=1000)
    queue.put([b"a"])
    async with queue.open() as poller, anyio.create_task_group() as group:
        await poller.read(1, 0)

        async def put_soon() -> None:
            await anyio.sleep(5)
            queue.put([b"b"])

        group.start_soon(put_soon)
        assert [record.value for record in await poller.read(1, 3600)] == [b"b"]
        assert clock() == EPOCH + 5


async def test_a_waiting_poller_is_woken_by_a_release() -> None:
    queue = MemoryQueue(visibility_timeout=1000)
    queue.put([b"a"])
    async with queue.open() as one, queue.open() as two, anyio.create_task_group() as group:
        records = await one.read(1, 0)
        group.start_soon(one.release, records, 7)
        assert len(await two.read(1, 3600)) == 1
        assert clock() == EPOCH + 7


async def test_messages_may_be_received_twice() -> None:
    queue = MemoryQueue()
    queue.put([b"a", b"b", b"c"])
    queue.duplicate(2)
    async with queue.open() as poller:
        first = await poller.read(10, 0)
        again = await poller.read(10, 0)
        assert [record.value for record in again] == [b"a", b"b"]
        assert [record.attempt for record in again] == [1, 1]
        await poller.ack(first)
        assert len(queue) == 2, "the receipts of the first two are no longer good"
        await poller.ack(again)
    assert len(queue) == 0


async def test_messages_without_a_key_wait_for_nobody() -> None:
    queue = MemoryQueue(fifo=True)
    queue.put(["1", "2"])
    async with queue.open() as poller:
        await poller.read(1, 0)
        assert [record.value for record in await poller.read(1, 0)] == [b"2"]


async def test_a_queue_can_be_purged_and_waited_for() -> None:
    queue = MemoryQueue()
    async with anyio.create_task_group() as group, queue.open() as poller:
        group.start_soon(queue.wait_depth, 2)
        queue.put([b"a", b"b"])
        records = await poller.read(1, 0)
        group.start_soon(queue.wait_empty)
        queue.purge()
        await poller.ack(records)
        await poller.release(records, 0)
        assert (len(queue), queue.depth, queue.in_flight) == (0, 0, 0)


async def test_settling_fails_as_planned() -> None:
    queue = MemoryQueue()
    queue.put([b"a"])
    async with queue.open() as poller:
        records = await poller.read(1, 0)
        queue.faults.fail_next("ack")
        with pytest.raises(SourceError):
            await poller.ack(records)
        assert len(queue) == 1
        queue.faults.fail_next("ack", after=True)
        with pytest.raises(SourceError):
            await poller.ack(records)
        assert len(queue) == 0


async def test_a_hook_sees_each_operation_first() -> None:
    seen: list[str] = []
    queue = MemoryQueue()
    queue.faults.hook = seen.append
    queue.put([b"a"])
    async with queue.open() as poller:
        records = await poller.read(1, 0)
        await poller.extend(records, 5)
        await poller.release(records, None)
        await poller.ack(records)
    assert seen == ["open", "read", "extend", "release", "ack"]


@given(st.data())
def test_a_queue_loses_nothing_and_repeats_nothing_done(data: st.DataObject) -> None:
    """A model of one queue: whatever a poller does, each message is done once, and keys keep their order."""

    async def main() -> None:
        fifo = data.draw(st.booleans())
        queue = MemoryQueue(visibility_timeout=10, fifo=fifo)
        count = data.draw(st.integers(1, 12))
        queue.put([Message(str(n).encode(), f"k{n % 3}") for n in range(count)])
        done: list[int] = []
        held: list[Any] = []
        async with queue.open() as poller:
            for _ in range(data.draw(st.integers(0, 30))):
                match data.draw(st.sampled_from(["read", "ack", "release", "extend", "wait"])):
                    case "read":
                        held += await poller.read(data.draw(st.integers(1, 4)), 0)
                    case "ack" if held:
                        record = held.pop(0)
                        before = len(queue)
                        await poller.ack([record])
                        if len(queue) < before:
                            done.append(int(record.value))
                    case "release" if held:
                        await poller.release([held.pop()], data.draw(st.sampled_from([None, 0, 3.0])))
                    case "extend" if held:
                        await poller.extend(held, 12.0)
                    case "wait":
                        await anyio.sleep(data.draw(st.sampled_from([1.0, 9.0, 30.0])))
                    case _:
                        pass
            await anyio.sleep(30)
            while records := await poller.read(3, 30):
                await poller.ack(records)
                done += [int(record.value) for record in records]
        assert sorted(done) == list(range(count))
        assert (len(queue), queue.depth, queue.in_flight) == (0, 0, 0)

    anyio.run(main, backend_options={"loop_factory": VirtualTimeLoop})
