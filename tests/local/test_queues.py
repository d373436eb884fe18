"""Queues of the embedded broker: receipts, groups, deduplication, dead letters, and looking on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.core.records import QueueRecord
from streamfn.errors import ConfigurationError, SourceError
from streamfn.local import LocalDestination, LocalQueue, LocalSource, QueueMessage, QueueOptions, admin
from streamfn.local.source import LocalQueueShard
from streamfn.ports import Message, QueueSource
from streamfn.testing.clock import clock
from tests.local.gate import Gate


@asynccontextmanager
async def opened(tmp_path: Path, name: str, **options: Any) -> AsyncIterator[LocalQueueShard]:
    async with LocalQueue(name, state_dir=tmp_path, clock=clock, **options).open() as shard:
        yield shard


def numbered(count: int, first: int = 0, key: str | None = None) -> list[QueueMessage]:
    return [QueueMessage(str(number).encode(), key) for number in range(first, first + count)]


def numbers(records: Sequence[Any]) -> list[int]:
    return [int(record.value or b"") for record in records]


async def take(shard: LocalQueueShard, limit: int = 10_000, wait: float = 0.0) -> list[QueueRecord]:
    return [record for record in await shard.read(limit, wait) if isinstance(record, QueueRecord)]


async def test_one_read_brings_ten_thousand(broker, tmp_path):
    await broker.send(await broker.queue("q"), numbered(10_001))
    async with opened(tmp_path, "q") as shard:
        records = await take(shard)
        assert numbers(records) == list(range(10_000))
        await shard.ack(records)
        assert numbers(await take(shard)) == [10_000]
        assert shard.depth == 0


async def test_a_message_comes_back_when_it_is_visible_again_and_not_a_moment_later(broker, tmp_path):
    await broker.send(await broker.queue("q"), numbered(1))
    async with opened(tmp_path, "q", visibility_timeout=7) as shard:
        (first,) = await take(shard)
        began = clock()
        (again,) = await take(shard, wait=100)
        assert clock() - began == pytest.approx(7, abs=0.1)
        assert (first.id, first.receive_count, again.receive_count) == (again.id, 1, 2)
        assert again.first_received_at == first.first_received_at


async def test_a_late_settlement_does_not_touch_the_other_delivery(broker, tmp_path):
    await broker.send(await broker.queue("q"), numbered(1))
    async with opened(tmp_path, "q", visibility_timeout=5) as slow, opened(tmp_path, "q") as other:
        late = await take(slow)
        await anyio.sleep(5)
        taken = await take(other)
        await slow.ack(late)
        await slow.extend(late, 1000)
        await slow.release(late, 0)
        assert await take(slow) == []
        (status,) = await admin.list_queues(broker)
        assert status.in_flight == 1
        await other.ack(taken)
        (status,) = await admin.list_queues(broker)
        assert (status.visible, status.in_flight, status.delayed) == (0, 0, 0)


async def test_an_expired_delivery_that_nobody_else_had_yet_can_be_acknowledged(broker, tmp_path):
    await broker.send(await broker.queue("q"), numbered(1))
    async with opened(tmp_path, "q", visibility_timeout=5) as shard:
        records = await take(shard)
        await anyio.sleep(6)
        await shard.ack(records)
        assert await take(shard) == []


async def test_delays_of_queues_and_of_messages(broker, tmp_path):
    queue = await broker.queue("q", QueueOptions(delay=10))
    await broker.send(queue, [QueueMessage(b"0"), QueueMessage(b"1", delay=3), QueueMessage(b"2", delay=0)])
    async with opened(tmp_path, "q") as shard:
        came = []
        began = clock()
        while len(came) < 3:
            records = await take(shard, wait=100)
            came += [(number, round(clock() - began)) for number in numbers(records)]
        assert came == [(2, 0), (1, 3), (0, 10)]
        (status,) = await admin.list_queues(broker)
        assert status.in_flight == 3


async def test_a_queues_retention_removes_old_messages(broker, tmp_path):
    queue = await broker.queue("q", QueueOptions(retention=60))
    await broker.send(queue, numbered(1))
    await anyio.sleep(61)
    await broker.send(queue, numbered(1, 1))
    async with opened(tmp_path, "q") as shard:
        assert numbers(await take(shard)) == [1]
        assert shard.depth == 0


async def test_a_message_received_too_often_becomes_a_dead_letter(broker, tmp_path):
    options = {"visibility_timeout": 5, "max_receive_count": 3, "dead_letter": "dead"}
    async with opened(tmp_path, "q", **options) as shard:
        (message_id,) = await broker.send(
            await broker.queue("q"), [QueueMessage(b"poison", "key", (("h", b"1"),))]
        )
        for count in range(1, 4):
            (record,) = await take(shard, wait=100)
            assert record.receive_count == count
        # A release that takes the receive back does not bring it nearer to its end.
        await shard.release([record], 0)
        (record,) = await take(shard)
        assert record.receive_count == 3
        sent_at = record.sent_at
        assert await take(shard, wait=6) == []
    async with opened(tmp_path, "dead") as dead:
        (record,) = await take(dead)
        assert (record.id, record.value, record.key) == (message_id, b"poison", "key")
        assert (record.receive_count, record.sent_at, tuple(record.headers)) == (1, sent_at, (("h", b"1"),))
        (event,) = dead.shape.to_event([record])["Records"]
        assert event["attributes"]["DeadLetterQueueSourceArn"] == "arn:aws:sqs:local:000000000000:q"


async def test_dead_letters_are_looked_at_and_sent_back(broker, tmp_path):
    options = {"visibility_timeout": 1, "max_receive_count": 1, "dead_letter": "dead"}
    async with opened(tmp_path, "q", **options) as shard:
        ids = await broker.send(await broker.queue("q"), numbered(3))
        await take(shard)
        assert await take(shard, wait=2) == []
        letters = await admin.peek(broker, "dead", limit=2)
        assert [letter.id for letter in letters] == list(ids[:2])
        assert [letter.receive_count for letter in letters] == [0, 0]
        (last,) = await admin.peek(broker, "dead", after=letters[-1].receipt.id)
        assert last.id == ids[2]
        dead, q = await admin.list_queues(broker)
        assert (dead.visible, dead.dead_letters_of, q.dead_letter, q.visible) == (3, ("q",), "dead", 0)
        assert await admin.redrive(broker, "dead", message_ids=[ids[1]]) == 1
        assert await admin.delete_messages(broker, "dead", [ids[0], "unknown"]) == 1
        assert await admin.redrive(broker, "dead", to="elsewhere") == 1
        assert [(r.id, r.receive_count) for r in await take(shard)] == [(ids[1], 1)]
    async with opened(tmp_path, "elsewhere") as elsewhere:
        assert [record.id for record in await take(elsewhere)] == [ids[2]]


async def test_a_message_that_came_from_no_queue_is_not_sent_back_to_none(broker):
    await broker.send(await broker.queue("q"), numbered(1))
    with pytest.raises(ConfigurationError, match="came from no queue"):
        await admin.redrive(broker, "q")
    assert len(await admin.peek(broker, "q")) == 1


async def test_purging_and_deleting(broker, tmp_path):
    queue = await broker.queue("q.fifo")
    await broker.send(queue, [*numbered(3, key="a"), *numbered(3, key="b")])
    async with opened(tmp_path, "q.fifo") as shard:
        held = await take(shard, 2)
        assert await admin.purge(broker, "q.fifo") == 6
        await shard.ack(held)
        assert await take(shard) == []
        await broker.send(queue, numbered(1, 9, "a"))
        assert numbers(await take(shard)) == [9]
        assert await admin.delete_queue(broker, "q.fifo")
        assert not await admin.delete_queue(broker, "q.fifo")
        assert await admin.list_queues(broker) == []
        with pytest.raises(SourceError, match="was deleted") as error:
            await shard.read(1, 100)
        assert not error.value.retryable
    with pytest.raises(OSError, match="was deleted"):
        await broker.send(queue, numbered(1))
    with pytest.raises(ConfigurationError, match="there is no local:queue/q.fifo"):
        await admin.peek(broker, "q.fifo")


class TestFifo:
    async def test_a_group_waits_while_one_of_it_is_in_flight_and_others_do_not(self, broker, tmp_path):
        await broker.send(await broker.queue("q.fifo"), [*numbered(4, 0, "a"), *numbered(4, 10, "b")])
        async with opened(tmp_path, "q.fifo") as shard:
            first = await take(shard, 4)
            assert numbers(first) == [0, 1, 10, 11], "some of each"
            assert await take(shard) == []
            await shard.ack(first[1:])
            assert numbers(await take(shard, 1)) == [12]
            assert await take(shard) == [], "the first of one group is still in flight, and one of the other"
            await shard.ack(first[:1])
            assert numbers(await take(shard)) == [2, 3]

    async def test_what_comes_back_comes_before_what_follows(self, broker, tmp_path):
        await broker.send(await broker.queue("q.fifo"), numbered(4, 0, "a"))
        async with opened(tmp_path, "q.fifo", visibility_timeout=5) as shard:
            records = await take(shard, 2)
            await shard.ack(records[:1])
            assert await take(shard, wait=4) == []
            assert numbers(await take(shard, wait=2)) == [1, 2, 3]

    async def test_a_delayed_release_holds_its_group_back(self, broker, tmp_path):
        await broker.send(await broker.queue("q.fifo"), numbered(2, 0, "a"))
        async with opened(tmp_path, "q.fifo") as shard:
            await shard.release(await take(shard, 1), 10)
            assert await take(shard, wait=9) == []
            assert numbers(await take(shard, wait=2)) == [0, 1]

    async def test_an_extended_message_holds_its_group_back(self, broker, tmp_path):
        await broker.send(await broker.queue("q.fifo"), numbered(2, 0, "a"))
        async with opened(tmp_path, "q.fifo", visibility_timeout=5) as shard:
            held = await take(shard, 1)
            await anyio.sleep(4)
            await shard.extend(held, 5)
            assert await take(shard, wait=4) == []
            assert numbers(await take(shard, wait=2)) == [0, 1]

    async def test_a_dead_letter_lets_its_group_go_on(self, broker, tmp_path):
        options = {"visibility_timeout": 1, "max_receive_count": 1, "dead_letter": "dead.fifo"}
        async with opened(tmp_path, "q.fifo", **options) as shard:
            await broker.send(await broker.queue("q.fifo"), numbered(2, 0, "a"))
            await take(shard, 1)
            assert numbers(await take(shard, wait=3)) == [1]
        (letter,) = await admin.peek(broker, "dead.fifo")
        assert (letter.key, letter.value) == ("a", b"0")

    async def test_a_deduplication_id_is_taken_once_in_five_minutes(self, broker, tmp_path):
        queue = await broker.queue("q.fifo")
        message = QueueMessage(b"1", "a", deduplication_id="once")
        (first,) = await broker.send(queue, [message])
        assert list(await broker.send(queue, [message, message])) == [first, first]
        async with opened(tmp_path, "q.fifo") as shard:
            records = await take(shard)
            assert [
                (record.id, (record.attributes or {})["MessageDeduplicationId"]) for record in records
            ] == [(first, "once")]
            await shard.ack(records)
            await anyio.sleep(200)
            assert list(await broker.send(queue, [message])) == [first], "also when it is done already"
            await anyio.sleep(101)
            (second,) = await broker.send(queue, [message])
            assert second != first
            assert len(await take(shard)) == 1

    async def test_the_body_may_be_the_deduplication_id(self, broker, tmp_path):
        queue = await broker.queue("q.fifo", QueueOptions(content_based_deduplication=True))
        await broker.send(queue, [QueueMessage(b"1", "a"), QueueMessage(b"1", "b"), QueueMessage(b"2", "a")])
        async with opened(tmp_path, "q.fifo") as shard:
            assert numbers(await take(shard)) == [1, 2]

    async def test_a_message_without_a_group_is_in_the_default_one(self, broker, tmp_path):
        destination = LocalDestination("local:queue/q.fifo", state_dir=tmp_path, clock=clock)
        await destination.send(
            [Message(b"1"), Message(b"2"), Message(b"3", "g", (("MessageDeduplicationId", b"d"),))]
        )
        await destination.send([Message(b"3", "g", (("MessageDeduplicationId", b"d"),))])
        await destination.close()
        async with opened(tmp_path, "q.fifo") as shard:
            records = await take(shard)
            assert sorted((record.key, int(record.value)) for record in records) == [
                ("default", 1),
                ("default", 2),
                ("g", 3),
            ]
            event = shard.shape.to_event(records)["Records"][0]
            assert {"MessageGroupId", "SequenceNumber", "MessageDeduplicationId"} <= event[
                "attributes"
            ].keys()
            assert event["messageAttributes"] == {}

    async def test_many_groups_and_readers_keep_the_order(self, broker, tmp_path):
        queue = await broker.queue("q.fifo")
        await broker.send(queue, [QueueMessage(str(n).encode(), f"g{n % 17}") for n in range(500)])
        came: dict[str | None, list[int]] = {}
        left = 500

        async def work() -> None:
            nonlocal left
            async with opened(tmp_path, "q.fifo") as shard:
                while left:
                    records = await take(shard, 7, wait=0.1)
                    for record in records:
                        came.setdefault(record.key, []).extend(numbers([record]))
                    left -= len(records)
                    await shard.ack(records)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(work)
        assert came == {f"g{g}": list(range(g, 500, 17)) for g in range(17)}
        assert (await admin.list_queues(broker))[0].visible == 0


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("local:queue/q?dead_letter=dead", "max_receive_count is not given"),
        ("local:queue/q?max_receive_count=3", "dead_letter is not given"),
        ("local:queue/q?max_receive_count=3&dead_letter=q", "its own dead-letter queue"),
        ("local:queue/q?max_receive_count=3&dead_letter=d.fifo", "FIFO"),
        ("local:queue/q.fifo?max_receive_count=3&dead_letter=d", "FIFO"),
    ],
)
async def test_a_redrive_policy_that_cannot_be_is_refused_and_makes_nothing(broker, tmp_path, uri, problem):
    source = LocalSource.from_uri(uri, {"state_dir": tmp_path})
    assert isinstance(source, LocalQueue)
    with pytest.raises(ConfigurationError, match=problem) as error:
        await source.check()
    assert error.value.fix
    assert await admin.list_queues(broker) == []


async def test_options_change_a_queue_and_no_option_leaves_it(broker, tmp_path):
    async with opened(tmp_path, "q", visibility_timeout=5) as shard:
        assert shard.visibility_timeout == 5
    async with opened(tmp_path, "q") as shard:
        assert shard.visibility_timeout == 5
    assert LocalQueue("q").name == "local:queue/q"


async def test_a_read_that_is_cancelled_when_its_receive_has_begun_gives_back(broker, tmp_path):
    await broker.send(await broker.queue("q"), numbered(5))
    before, beside = Gate(), Gate()
    async with opened(tmp_path, "q", visibility_timeout=1000) as shard, anyio.create_task_group() as tasks:
        share = shard._broker
        tasks.start_soon(share.database.write, before)
        await before.entered.wait()
        tasks.start_soon(share.database.write, beside)
        ended = anyio.Event()
        scope = anyio.CancelScope()

        async def read() -> None:
            try:
                with scope:
                    await shard.read(5, 0)
            finally:
                ended.set()

        tasks.start_soon(read)
        # Until it stands in line behind the first: its look at the file's version takes a thread.
        while len(share.database._writes._waiting) < 2:
            await anyio.lowlevel.checkpoint()
        before.opened.set()
        await beside.entered.wait()
        scope.cancel()
        beside.opened.set()
        await ended.wait()
        assert scope.cancelled_caught
        assert [record.receive_count for record in await take(shard)] == [1] * 5


def _conforms(source: QueueSource) -> None: ...


def test_a_local_queue_is_a_queue_source():
    _conforms(LocalQueue("q"))
