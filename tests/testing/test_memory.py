"""What the fakes do beyond what every source does: splits, retention, faults, and waiting."""

from __future__ import annotations

import json
import time
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.outcomes import Succeeded
from streamfn.core.policies import StartingPosition
from streamfn.core.records import StreamRecord
from streamfn.errors import ConfigurationError, PositionLost, ShardLost, SourceError
from streamfn.ports import (
    Assigned,
    Checkpoint,
    Message,
    Reason,
    Revoked,
    SendFailure,
    StreamShard,
    Subscription,
)
from streamfn.telemetry import BatchDelivered, BatchRetried
from streamfn.testing.clock import EPOCH, VirtualTimeLoop, clock, virtual_backend
from streamfn.testing.memory import MemoryDestination, MemoryQueue, MemoryStream, MemoryTelemetry

GROUP = Subscription("group")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


async def assigned(events: Any) -> StreamShard:
    event = await anext(events)
    assert isinstance(event, Assigned)
    return event.shard


# ---------------------------------------------------------------------------------------------- streams


async def test_what_may_be_put_into_a_stream() -> None:
    stream = MemoryStream()
    kept = StreamRecord(99, b"own", "k", 5.0)
    values = [b"bytes", "text", {"n": 1}, [1, 2], 3, Message(b"m", "own key", (("h", b"1"),)), None, kept]
    records = stream.put(values, key="key")
    assert [record.value for record in records] == [
        b"bytes", b"text", b'{"n": 1}', b"[1, 2]", b"3", b"m", None, b"own"
    ]  # fmt: skip
    assert [record.key for record in records] == ["key"] * 5 + ["own key", "key", "k"]
    assert [record.position for record in records] == list(range(8))
    assert records[5].headers == (("h", b"1"),)
    assert records[7] is kept
    assert (kept.arrived_at, records[0].arrived_at) == (5.0, EPOCH)


def test_a_stream_can_be_filled_before_there_is_a_loop() -> None:
    stream = MemoryStream()
    stream.put(range(3))

    async def main() -> int:
        async with stream.shards(GROUP) as events:
            return len(await (await assigned(events)).read(10, 0))

    assert anyio.run(main) == 3


async def test_records_of_a_key_share_a_shard_and_others_take_turns() -> None:
    stream = MemoryStream(shards=3)
    stream.put([Message(b"", f"key-{n % 5}") for n in range(100)])
    homes: dict[str | None, set[str]] = {}
    for shard in stream.shard_ids:
        for record in stream.records(shard):
            homes.setdefault(record.key, set()).add(shard)
    assert all(len(shards) == 1 for shards in homes.values())
    stream.put([b""] * 30)
    assert [sum(r.key is None for r in stream.records(shard)) for shard in stream.shard_ids] == [10, 10, 10]


async def test_positions_may_have_gaps() -> None:
    stream = MemoryStream(stride=10)
    assert [record.position for record in stream.put(range(3))] == [0, 10, 20]
    async with stream.shards(GROUP) as events:
        shard = await assigned(events)
        await shard.commit(Checkpoint(10))
    async with stream.shards(GROUP) as events:
        assert [record.position for record in await (await assigned(events)).read(9, 0)] == [20]


async def test_retention_removes_what_is_old() -> None:
    stream = MemoryStream(retention=60)
    stream.put(range(2))
    await anyio.sleep(50)
    stream.put(range(2))
    async with stream.shards(GROUP) as events:
        shard = await assigned(events)
        await anyio.sleep(20)
        with pytest.raises(PositionLost):
            await shard.read(10, 0)
    # A group that begins now begins with what there is.
    async with stream.shards(Subscription("another")) as events:
        shard = await assigned(events)
        assert shard.checkpoint.position == 1
        assert [record.position for record in await shard.read(10, 0)] == [2, 3]


async def test_the_children_of_a_shard_are_read_when_it_is_done() -> None:
    stream = MemoryStream()
    stream.put(range(2))
    async with stream.shards(GROUP) as events:
        parent = await assigned(events)
        children = stream.split(parent.id)
        stream.put(range(10))
        with anyio.move_on_after(60):
            await anext(events)
            pytest.fail("a child was assigned before its parent was done")
        await parent.read(10, 0)
        await parent.commit(Checkpoint(1))
        await parent.close()
        assert {(await assigned(events)).id for _ in children} == set(children)
    with pytest.raises(ValueError, match="ended"):
        stream.put([b""], shard=parent.id)


async def test_a_parent_that_is_closed_unfinished_is_assigned_again() -> None:
    stream = MemoryStream()
    stream.put(range(2))
    async with stream.shards(GROUP) as events:
        parent = await assigned(events)
        stream.split(parent.id)
        await parent.close()
        assert (await assigned(events)).id == parent.id


async def test_a_lost_shard_goes_to_another_reader() -> None:
    stream = MemoryStream()
    async with stream.shards(GROUP) as first, stream.shards(GROUP) as second:
        lost = await assigned(first)
        stream.lose(lost.id)
        assert await anext(first) == Revoked(lost.id, Reason.LOST)
        gained = await assigned(second)
        assert gained.id == lost.id
        with pytest.raises(ShardLost):
            await lost.commit(Checkpoint(0))
        await gained.commit(Checkpoint(-1, "mine"))


async def test_a_lost_shard_comes_back_to_the_only_reader_when_it_has_closed_it() -> None:
    stream = MemoryStream()
    async with stream.shards(GROUP) as events:
        lost = await assigned(events)
        stream.lose(lost.id, tell=False)
        with anyio.move_on_after(60):
            await anext(events)
            pytest.fail("it was assigned while its worker was at work")
        with pytest.raises(ShardLost):
            await lost.commit(Checkpoint(0))
        await lost.close()
        assert (await assigned(events)).id == lost.id


async def test_commits_fail_as_planned() -> None:
    stream = MemoryStream()
    stream.put(range(5))
    async with stream.shards(GROUP) as events:
        shard = await assigned(events)
        stream.fail_next_commits(2)
        for _ in range(2):
            with pytest.raises(SourceError) as error:
                await shard.commit(Checkpoint(1))
            assert error.value.retryable
        assert stream.checkpoint() == Checkpoint(-1)
        stream.fail_next_commits(error=OSError("cut"), after=True)
        with pytest.raises(OSError, match="cut"):
            await shard.commit(Checkpoint(1))
        assert stream.checkpoint() == Checkpoint(1), "it was durable, only the answer was lost"
        await shard.commit(Checkpoint(2))
        assert stream.faults.calls["commit"] == 4


async def test_a_fake_is_stricter_than_brokers_about_commits() -> None:
    stream = MemoryStream(note_limit=3)
    stream.put(range(5))
    async with stream.shards(GROUP) as events:
        shard = await assigned(events)
        await shard.commit(Checkpoint(3))
        with pytest.raises(ValueError, match="goes back"):
            await shard.commit(Checkpoint(2))
        with pytest.raises(ValueError, match="note_limit"):
            await shard.commit(Checkpoint(3, "four"))


async def test_a_stream_can_be_cut_off() -> None:
    stream = MemoryStream()
    async with stream.shards(GROUP) as events:
        shard = await assigned(events)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1)
            stream.cut()
            with pytest.raises(SourceError):
                await anext(events)
        with pytest.raises(SourceError):
            await shard.read(1, 0)
        with pytest.raises(SourceError):
            await stream.check()
        stream.faults.down = False
        assert list(await shard.read(1, 0)) == []


async def test_at_timestamp_needs_a_time() -> None:
    subscription = Subscription("group", StartingPosition.AT_TIMESTAMP)
    with pytest.raises(ConfigurationError, match="StartingPositionTimestamp"):
        async with MemoryStream().shards(subscription):
            pass


async def test_a_test_can_wait_for_commits() -> None:
    stream = MemoryStream(shards=2)
    stream.put(range(4))

    async def work() -> None:
        async with stream.shards(GROUP) as events:
            shards = [await assigned(events), await assigned(events)]
            for shard in shards:
                for record in await shard.read(10, 0):
                    await anyio.sleep(10)
                    await shard.commit(Checkpoint(record.position))

    assert not stream.is_done()
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await stream.wait_committed(0, "shard-0")
        assert clock() == EPOCH + 10
        await stream.wait_done()
        assert clock() == EPOCH + 40
        await stream.wait_done("group")
    with pytest.raises(KeyError):
        stream.checkpoint(group="nobody")


async def test_one_of_several_groups_has_to_be_named() -> None:
    stream = MemoryStream()
    async with stream.shards(Subscription("a")), stream.shards(Subscription("b")):
        with pytest.raises(LookupError, match="name one of"):
            stream.checkpoint()
        assert stream.is_done("a")
        assert not stream.is_done("c")


@given(
    st.integers(1, 9),
    st.lists(st.tuples(st.sampled_from(["join", "leave", "lose", "close"]), st.integers(0, 8)), max_size=25),
)
def test_shares_are_even_and_a_shard_has_one_owner(shards: int, steps: list[tuple[str, int]]) -> None:
    async def main() -> None:
        stream = MemoryStream(shards=shards)
        readers: list[tuple[Any, Any, dict[str, Any]]] = []

        async def settle() -> None:
            """Everybody does as told, until all is quiet."""
            quiet = False
            while not quiet:
                quiet = True
                for _, events, held in readers:
                    while True:
                        event = None
                        with anyio.move_on_after(0.001):
                            event = await anext(events)
                        if event is None:
                            break
                        quiet = False
                        if isinstance(event, Assigned):
                            name = event.shard.id
                            owners = [others[name] for _, _, others in readers if name in others]
                            assert all(owner._lost for owner in owners), "two may commit"
                            held[event.shard.id] = event.shard
                        elif event.shard_id in held:
                            await held.pop(event.shard_id).close()

        for step, number in [("join", 0), *steps, ("join", 0)]:
            if step == "join":
                context = stream.shards(GROUP)
                readers.append((context, await context.__aenter__(), {}))
            elif readers and step == "leave":
                context, _, _ = readers.pop(number % len(readers))
                await context.__aexit__(None, None, None)
            elif readers and step == "lose":
                stream.lose(stream.shard_ids[number % shards])
            elif readers and step == "close":
                _, _, held = readers[number % len(readers)]
                if held:
                    await held.popitem()[1].close()
            await settle()
        sizes = [len(held) for _, _, held in readers]
        assert sum(sizes) == shards
        assert max(sizes) - min(sizes) <= 1
        for context, _, _ in readers:
            await context.__aexit__(None, None, None)

    anyio.run(main, backend_options={"loop_factory": VirtualTimeLoop})


@pytest.mark.bench
async def test_reading_what_is_there_costs_nothing_a_record() -> None:
    stream = MemoryStream()
    stream.put([StreamRecord(0, b"x") for _ in range(500_000)])
    async with stream.shards(GROUP) as events:
        shard = await assigned(events)
        began, count = time.perf_counter(), 0
        while count < 500_000:
            count += len(await shard.read(500, 1))
        assert count / (time.perf_counter() - began) > 2_000_000


# ------------------------------------------------------------------------------- destination, telemetry


async def test_a_destination_refuses_and_fails_as_planned() -> None:
    destination = MemoryDestination(max_size=3)
    destination.fail_next_sends()
    with pytest.raises(ConnectionError):
        await destination.send([Message(b"1")])
    destination.fail_indexes(1, reason="no room")
    assert await destination.send([Message(b"1"), Message(b"2")]) == [SendFailure(1, "no room")]
    destination.fail_next_sends(after=True)
    with pytest.raises(ConnectionError):
        await destination.send([Message(b"3")])
    assert await destination.send([Message(b"long")]) == [SendFailure(0, "above 3 bytes", retryable=False)]
    assert destination.bodies() == [1, 3]
    assert [len(sent) for sent in destination.sends] == [1, 2, 1, 1]
    await destination.wait_messages(2)
    await destination.wait_sends(4)
    destination.faults.down = True
    with pytest.raises(OSError, match="out of reach"):
        await destination.send([Message(b"5")])


async def test_telemetry_can_be_waited_for() -> None:
    telemetry = MemoryTelemetry()
    delivered = [BatchDelivered("m", "s", n, 0, 0, 0.1, Succeeded()) for n in range(3)]

    async def emit() -> None:
        for event in delivered:
            await anyio.sleep(1)
            telemetry.emit(event)
            telemetry.emit(BatchRetried("m", "s", 1, 1, 1, 0.0))

    async with anyio.create_task_group() as group:
        group.start_soon(emit)
        assert await telemetry.wait_for(BatchDelivered, where=lambda event: event.records == 1) == [
            delivered[1]
        ]
        assert await telemetry.wait_for(BatchRetried, 3) == telemetry.of(BatchRetried)
    assert telemetry.of(BatchDelivered) == delivered
    assert len(telemetry.events) == 6


async def test_events_of_the_fakes_are_those_of_kinesis_and_sqs() -> None:
    stream, queue = MemoryStream("orders"), MemoryQueue("orders")
    stream.put([{"n": 1}], key="k")
    queue.put([{"n": 1}], key="k")
    async with stream.shards(GROUP) as events, queue.open() as poller:
        shard = await assigned(events)
        (item,) = shard.shape.to_event(await shard.read(1, 0))["Records"]
        assert (item["eventSource"], item["eventID"]) == ("aws:kinesis", "shard-0:0")
        (item,) = poller.shape.to_event(await poller.read(1, 0))["Records"]
        assert (item["eventSource"], json.loads(item["body"])) == ("aws:sqs", {"n": 1})
