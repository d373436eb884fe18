"""Streams of the embedded broker: keys, retention, positions that are lost, and starting positions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.core.policies import StartingPosition
from streamfn.errors import ConfigurationError, PositionLost, SourceError
from streamfn.local import Broker, LocalDestination, LocalSource, LocalStream, StreamOptions, admin
from streamfn.local.schema import FILE
from streamfn.local.streams import shard_of
from streamfn.ports import Assigned, Checkpoint, Message, StreamShard, StreamSource, Subscription
from streamfn.testing.clock import clock


@asynccontextmanager
async def reading(
    tmp_path: Path, name: str = "s", subscription: Subscription = Subscription("group"), **options: Any
) -> AsyncIterator[StreamShard]:
    """The one shard of a stream."""
    async with LocalStream(name, state_dir=tmp_path, clock=clock, **options).shards(subscription) as changes:
        change = await anext(changes)
        assert isinstance(change, Assigned)
        yield change.shard


def numbered(count: int, first: int = 0, key: str | None = None) -> list[Message]:
    return [Message(str(number).encode(), key) for number in range(first, first + count)]


async def values(shard: StreamShard, limit: int = 1000) -> list[int]:
    return [int(record.value or b"") for record in await shard.read(limit, 0)]


async def test_records_of_a_key_are_in_one_shard_and_the_shard_of_a_key_never_changes(broker):
    stream = await broker.stream("s", StreamOptions(shards=8))
    await broker.put(stream, [Message(b"", f"key-{number % 20}") for number in range(200)])
    places: dict[str, set[int]] = {}
    for shard in range(8):
        for record in await admin.peek_stream(broker, "s", shard=shard, after=-1, limit=1000):
            places.setdefault(record.key or "", set()).add(shard)
    assert len(places) == 20
    assert all(len(shards) == 1 for shards in places.values())
    # Part of the file's format.
    assert [shard_of(key, 8) for key in (b"", b"a", b"flight-1", "Zürich".encode())] == [0, 3, 6, 6]


async def test_records_without_a_key_go_to_the_shards_in_turn(broker):
    stream = await broker.stream("s", StreamOptions(shards=4))
    for number in range(8):
        await broker.put(stream, numbered(1, number))
    for shard in range(4):
        assert len(await admin.peek_stream(broker, "s", shard=shard, after=-1, limit=10)) == 2


async def test_keys_that_are_no_text_and_headers_come_back_as_they_were(broker, tmp_path):
    stream = await broker.stream("s", StreamOptions(shards=1))
    key = b"\xff\x00k".decode("utf-8", "surrogateescape")
    headers = ((key, b"\x00\xff"), ("a", b""), ("a", b"2"))
    await broker.put(stream, [Message(b"v", key, headers)])
    async with reading(tmp_path) as shard:
        (record,) = await shard.read(1, 0)
        assert (record.key, tuple(record.headers), record.position) == (key, headers, 0)
        event = shard.shape.to_event([record])
        assert event["Records"][0]["eventSourceARN"] == "arn:aws:kinesis:local:000000000000:stream/s"


async def test_the_number_of_shards_stays_as_it_was_made(broker, tmp_path):
    stream = await broker.stream("s", StreamOptions(shards=2))
    await broker.put(stream, numbered(1))
    assert len((await broker.stream("s", StreamOptions(shards=2, retention=60))).shards) == 2
    with pytest.raises(ConfigurationError, match="has 2 shards, and 3 are asked for") as error:
        await LocalStream("s", state_dir=tmp_path, shards=3).check()
    assert error.value.field == "shards"
    assert len((await broker.stream("other")).shards) == 4


async def test_a_stream_that_nobody_used_yet_gets_the_shards_that_are_asked_for(broker, tmp_path):
    destination = LocalDestination("local:s?retention=60", state_dir=tmp_path, clock=clock)
    await destination.check()
    stream = await broker.stream("s", StreamOptions(shards=1))
    assert (len(stream.shards), stream.retention) == (1, 60)
    # Who had it open before goes on with what it is now.
    await destination.send(numbered(3))
    await destination.close()
    assert len(await admin.peek_stream(broker, "s", shard=0, after=-1, limit=10)) == 3
    await broker.stream("read")
    async with LocalStream("read", state_dir=tmp_path, clock=clock).shards(Subscription("group")):
        with pytest.raises(ConfigurationError):
            await broker.stream("read", StreamOptions(shards=1))


async def test_retention_by_age_removes_what_is_older_and_nothing_else(broker):
    stream = await broker.stream("s", StreamOptions(shards=1, retention=60))
    await broker.put(stream, numbered(10))
    await anyio.sleep(40)
    await broker.put(stream, numbered(10, 10))
    await anyio.sleep(30)
    await broker.put(stream, numbered(1, 20))
    assert [
        int(r.value or b"") for r in await admin.peek_stream(broker, "s", shard=0, after=-1, limit=99)
    ] == [*range(10, 21)]


async def test_retention_by_count_and_by_bytes(broker):
    counted = await broker.stream("counted", StreamOptions(shards=1, max_records=5))
    weighed = await broker.stream("weighed", StreamOptions(shards=1, max_bytes=1000))
    for number in range(20):
        await broker.put(counted, numbered(1, number))
        await broker.put(weighed, [Message(b"x" * 300)])
    (first, second) = await admin.list_streams(broker)
    assert (first.records, second.records, second.bytes) == (5, 3, 900)


async def test_a_position_that_was_removed_is_said_to_be_lost(broker, tmp_path):
    stream = await broker.stream("s", StreamOptions(shards=1, max_records=3))
    await broker.put(stream, numbered(3))
    async with reading(tmp_path) as shard:
        assert await values(shard, 1) == [0]
        await shard.commit(Checkpoint(0))
        await broker.put(stream, numbered(3, 3))
        with pytest.raises(PositionLost, match="removed the records 1 to 2 before they were read") as error:
            await shard.read(10, 0)
        assert not error.value.retryable
        # Still: nothing is passed over until somebody says so.
        with pytest.raises(PositionLost):
            await shard.read(10, 0)


@pytest.mark.parametrize(("policy", "goes_on_with"), [("trim_horizon", [3, 4, 5]), ("latest", [6])])
async def test_a_lost_position_is_passed_over_where_the_option_says_so(
    broker, tmp_path, policy, goes_on_with
):
    stream = await broker.stream("s", StreamOptions(shards=1, max_records=3))
    await broker.put(stream, numbered(3))
    async with reading(tmp_path, on_position_lost=policy) as shard:
        assert await values(shard, 1) == [0]
        await broker.put(stream, numbered(3, 3))
        if policy == "latest":
            assert await values(shard) == []
            await broker.put(stream, numbered(1, 6))
        assert await values(shard) == goes_on_with


async def test_a_reader_that_begins_at_the_horizon_is_not_told_of_what_went_before_it_began(broker, tmp_path):
    stream = await broker.stream("s", StreamOptions(shards=1, max_records=3))
    await broker.put(stream, numbered(3))
    async with reading(tmp_path) as shard:
        await broker.put(stream, numbered(2, 3))
        assert await values(shard) == [2, 3, 4]


async def test_starting_positions(broker, tmp_path):
    stream = await broker.stream("s", StreamOptions(shards=1))
    await broker.put(stream, numbered(3))
    await anyio.sleep(100)
    at = clock()
    await broker.put(stream, numbered(3, 3))
    for number, (position, expected) in enumerate(
        [
            (Subscription("a"), [*range(6)]),
            (Subscription("b", StartingPosition.AT_TIMESTAMP, at), [3, 4, 5]),
            (Subscription("c", StartingPosition.AT_TIMESTAMP, 0.0), [*range(6)]),
            (Subscription("d", StartingPosition.AT_TIMESTAMP, at + 1), []),
            (Subscription("e", StartingPosition.LATEST), []),
        ]
    ):
        async with reading(tmp_path, subscription=position) as shard:
            assert await values(shard) == expected, number


async def test_a_read_is_bounded_in_bytes(broker, tmp_path):
    stream = await broker.stream("s", StreamOptions(shards=1))
    await broker.put(stream, [Message(b"x" * 6_000_000)] * 4)
    async with reading(tmp_path) as shard:
        assert len(await shard.read(10, 0)) == 3
        assert len(await shard.read(10, 0)) == 1


async def test_a_stream_that_is_deleted_ends_its_readers_with_an_error(broker, tmp_path):
    await broker.stream("s", StreamOptions(shards=1))
    async with reading(tmp_path) as shard, anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(SourceError, match="was deleted"):
                await shard.read(1, 1000)

        tasks.start_soon(wait)
        assert await admin.delete_stream(broker, "s")
    assert not await admin.delete_stream(broker, "s")
    with pytest.raises(OSError, match="was deleted"):
        await broker.put(await Stale(broker).stream(), numbered(1))


class Stale:
    """A stream that was deleted behind a writer's back."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def stream(self) -> Any:
        stream = await self._broker.stream("stale", StreamOptions(shards=1))
        await admin.delete_stream(self._broker, "stale")
        return stream


async def test_lag_and_status(broker, tmp_path):
    stream = await broker.stream("s", StreamOptions(shards=1))
    await broker.put(stream, numbered(5))
    async with reading(tmp_path) as shard:
        await values(shard, 2)
        assert shard.lag == 3
        await shard.commit(Checkpoint(1))
        (status,) = await admin.list_streams(broker)
        (group,) = status.groups
        assert (status.records, group.group, group.lag, len(group.owners)) == (5, "group", 3, 1)


async def test_a_stream_is_read_and_written_by_its_uri(tmp_path, monkeypatch):
    monkeypatch.setenv("STREAMFN_STATE_DIR", str(tmp_path))
    source = LocalSource.from_uri("local:flights?shards=1&retention=3600", {"on_position_lost": "fail"})
    assert isinstance(source, LocalStream)
    assert source.name == LocalStream.from_uri("local:stream/flights", {}).name == "local:flights"
    destination = LocalDestination.from_uri("local:flights", {})
    async with source.shards(Subscription("group")) as changes:
        change = await anext(changes)
        assert isinstance(change, Assigned)
        await destination.send([Message(b"1")])
        assert await values(change.shard) == [1]
    await destination.check()
    await destination.close()
    assert (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("uri", "options", "field"),
    [
        ("local:", {}, "Source"),
        ("local:topic/name", {}, "Source"),
        ("local:na me", {}, "Source"),
        ("local:s?shard=4", {}, "shard"),
        ("local:s?shards=0", {}, "shards"),
        ("local:s?retention=soon", {}, "retention"),
        ("local:s", {"visibility_timeout": 3}, "visibility_timeout"),
        ("local:s", {"on_position_lost": "ignore"}, "on_position_lost"),
        ("local:queue/q?content_based_deduplication=perhaps", {}, "content_based_deduplication"),
        ("local:queue/q?dead_letter=a/b", {}, "dead_letter"),
    ],
)
def test_a_uri_that_is_wrong_says_what_and_how_to_put_it_right(uri, options, field):
    with pytest.raises(ConfigurationError) as error:
        LocalSource.from_uri(uri, options)
    assert error.value.field == field
    assert error.value.fix


def test_a_stream_is_no_queue_and_a_queue_no_stream():
    for cls, uri in (
        (LocalStream, "local:queue/q"),
        (type(LocalSource.from_uri("local:queue/q", {})), "local:s"),
    ):
        with pytest.raises(ConfigurationError):
            cls.from_uri(uri, {})


def _conforms(source: StreamSource) -> None: ...


def test_a_local_stream_is_a_stream_source():
    _conforms(LocalStream("s"))
