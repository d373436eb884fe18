"""Dead letters in the embedded broker: looking, taking out, and fetching records back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn import plugins
from streamfn.core.letters import Stored
from streamfn.errors import ConfigurationError, SourceError
from streamfn.local import (
    LocalFetcher,
    LocalLetters,
    LocalQueue,
    QueueMessage,
    QueueOptions,
    StreamOptions,
    admin,
)
from streamfn.local.schema import FILE
from streamfn.ports import LetterFetcher, LetterStore, Message
from streamfn.testing.clock import clock


def letters(tmp_path: Path, uri: str = "local:queue/dead-letters") -> LocalLetters:
    return LocalLetters(uri, state_dir=tmp_path, clock=clock)


async def all_of(store: LocalLetters) -> list[Stored]:
    return [stored async for stored in store.scan()]


async def test_they_are_what_plugins_give(tmp_path):
    store: LetterStore = plugins.letters("local:queue/q", {"state_dir": tmp_path})
    stream: LetterStore = plugins.letters("local:s", {"state_dir": tmp_path})
    fetcher: LetterFetcher = plugins.fetcher("local:s", {"state_dir": tmp_path})
    assert (store.name, store.removes, stream.name, stream.removes) == (
        "local:queue/q",
        True,
        "local:s",
        False,
    )
    assert isinstance(fetcher, LocalFetcher)
    await store.close()
    with pytest.raises(ConfigurationError, match="names no stream or queue"):
        plugins.letters("local:queue/a/b", {})


async def test_looking_makes_nothing(tmp_path):
    store = letters(tmp_path / "state")
    assert (await all_of(store), await store.count(), await store.purge()) == ([], 0, 0)
    await store.remove([Stored("1", b"", receipt=1)])
    await store.close()
    assert not (tmp_path / "state").exists()


async def test_the_default_store_is_empty_at_first_and_another_is_missing(broker, tmp_path):
    assert await all_of(letters(tmp_path)) == []
    for uri in ("local:queue/other", "local:dead-letters"):
        with pytest.raises(ConfigurationError, match=f"there is no {uri}. Fix: `streamfn dlq stores`"):
            await all_of(letters(tmp_path, uri))
        assert await letters(tmp_path, uri).count() == 0
        assert await letters(tmp_path, uri).purge() == 0


async def test_messages_are_seen_whatever_their_state_and_taken_out(broker, tmp_path):
    queue = await broker.queue("dead-letters", QueueOptions(visibility_timeout=60))
    await broker.send(queue, [QueueMessage(b"%d" % n, f"k{n}", (("h", b"\xff"),)) for n in range(1003)])
    await broker.receive(queue, 2)
    await broker.send(queue, [QueueMessage(b"later", delay=900)])
    store = letters(tmp_path)
    found = await all_of(store)
    assert [stored.body for stored in found] == [*(b"%d" % n for n in range(1003)), b"later"]
    assert (found[7].key, found[7].headers, found[7].came_from) == ("k7", (("h", b"\xff"),), None)
    assert found[7].stored_at == pytest.approx(clock())
    assert await store.count() == 1004
    await store.remove(found[:1000])
    await store.remove(found[:1001])
    assert [stored.body for stored in await all_of(store)] == [b"1001", b"1002", b"later"]
    assert await store.count() == 3
    assert await store.purge() == 3
    assert await all_of(store) == []
    await store.close()


async def test_a_scan_ends_where_it_began_to(broker, tmp_path):
    queue = await broker.queue("dead-letters")
    await broker.send(queue, [QueueMessage(b"1"), QueueMessage(b"2")])
    store = letters(tmp_path)
    seen = []
    async for stored in store.scan():
        await broker.send(queue, [QueueMessage(stored.body)])
        seen.append(stored.body)
    assert seen == [b"1", b"2"]
    await store.close()


async def test_large_letters_come_a_few_at_a_time(broker, tmp_path):
    queue = await broker.queue("dead-letters")
    large = b"x" * (9 * 1024 * 1024)
    for _ in range(3):
        await broker.send(queue, [QueueMessage(large)])
    assert len(await admin.peek(broker, "dead-letters")) == 2
    store = letters(tmp_path)
    assert [len(stored.body) async for stored in store.scan()] == [len(large)] * 3
    await store.close()


async def test_a_message_tells_the_queue_whose_redrive_policy_brought_it(broker, tmp_path):
    source = LocalQueue("orders", state_dir=tmp_path, clock=clock, max_receive_count=1, dead_letter="failed")
    async with source.open() as shard:
        await broker.send(await broker.queue("orders"), [QueueMessage(b"x")])
        await shard.release(await shard.read(1, 0), 5)
        await anyio.sleep(6)
        assert await shard.read(1, 0) == ()
    (stored,) = await all_of(letters(tmp_path, "local:queue/failed"))
    assert stored.came_from == "arn:aws:sqs:local:000000000000:orders"


async def test_ids_stay_and_are_nobody_elses_when_the_queue_is_made_anew(broker, tmp_path):
    store = letters(tmp_path)
    await broker.send(await broker.queue("dead-letters"), [QueueMessage(b"1")])
    before = await all_of(store)
    assert [stored.id for stored in await all_of(store)] == [stored.id for stored in before]
    await admin.delete_queue(broker, "dead-letters")
    await store.remove(before)
    await broker.send(await broker.queue("dead-letters"), [QueueMessage(b"2")])
    await store.remove(before)
    assert [stored.body for stored in await all_of(store)] == [b"2"]
    await store.close()


async def test_a_stream_is_seen_in_the_order_of_time(broker, tmp_path):
    stream = await broker.stream("dead", StreamOptions(shards=3))
    for number in range(30):
        await broker.put(stream, [Message(b"%d" % number, f"k{number % 7}", (("h", b"1"),))])
        await anyio.sleep(1)
    store = letters(tmp_path, "local:dead")
    found = await all_of(store)
    assert [stored.body for stored in found] == [b"%d" % number for number in range(30)]
    assert len({stored.id for stored in found}) == 30
    assert found[0].headers == (("h", b"1"),)
    assert await store.count() == 30
    assert await store.purge() == 30
    assert (await all_of(store), await store.count()) == ([], 0)
    await store.close()


async def test_a_stream_that_is_longer_than_a_page(broker, tmp_path):
    stream = await broker.stream("dead", StreamOptions(shards=1))
    await broker.put(stream, [Message(b"%d" % number) for number in range(1200)])
    store = letters(tmp_path, "local:dead")
    found = []
    async for stored in store.scan():
        if not found:
            await broker.put(stream, [Message(b"later")])
        found.append(stored)
    assert [stored.id for stored in found] == [f"0-{number}" for number in range(1200)]
    await store.close()


# --------------------------------------------------------------------------------------------- fetching


def info(first: object, last: object, shard: str = "shardId-000000000000") -> dict[str, Any]:
    return {"shardId": shard, "startSequenceNumber": first, "endSequenceNumber": last}


async def fetched(tmp_path: Path, info: dict[str, Any], uri: str = "local:orders") -> list[str] | None:
    fetcher = LocalFetcher.from_uri(uri, {"state_dir": tmp_path, "clock": clock})
    event = await fetcher.fetch(info)
    await fetcher.close()
    if event is None:
        return None
    assert {record["eventSourceARN"] for record in event["Records"]} == {
        "arn:aws:kinesis:local:000000000000:stream/orders"
    }
    return [record["kinesis"]["sequenceNumber"] for record in event["Records"]]


async def test_records_are_fetched_back_as_far_as_they_exist(broker, tmp_path):
    stream = await broker.stream("orders", StreamOptions(shards=1, max_records=1500))
    await broker.put(stream, [Message(b"%d" % number) for number in range(1400)])
    assert await fetched(tmp_path, info("7", "9")) == ["7", "8", "9"]
    assert await fetched(tmp_path, info("7", "7")) == ["7"]
    assert len(await fetched(tmp_path, info("0", "1399")) or ()) == 1400
    assert await fetched(tmp_path, info("1398", "2000")) == ["1398", "1399"]
    await broker.put(stream, [Message(b"x") for _ in range(110)])
    assert await fetched(tmp_path, info("7", "11")) == ["10", "11"]
    assert await fetched(tmp_path, info("7", "9")) is None


async def test_what_is_gone_is_none(broker, tmp_path):
    assert await fetched(tmp_path, info("1", "2")) is None
    assert await fetched(tmp_path / "nothing", info("1", "2")) is None
    await broker.stream("orders", StreamOptions(shards=1))
    assert await fetched(tmp_path, info("1", "2")) is None
    assert await fetched(tmp_path, info("1", "2", "shardId-000000000004")) is None
    assert await fetched(tmp_path, {"messageIds": ["1"]}, "local:queue/orders") is None
    assert (tmp_path / FILE).exists()


@pytest.mark.parametrize("wrong", [{}, info("a", "2"), info(None, "2"), info("1", "2", "x")])
async def test_what_does_not_name_records_is_an_error(broker, tmp_path, wrong):
    await broker.stream("orders")
    with pytest.raises(SourceError, match="does not say which records") as caught:
        await fetched(tmp_path, wrong)
    assert not caught.value.retryable
