"""Shards that are split and merged while two workers read: parents before children, and nothing is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn import App, Batch
from streamfn.errors import PositionLost
from streamfn.ports import Checkpoint, Message, Subscription
from streamfn.testing.conformance.reading import LATEST, TRIM_HORIZON, numbers, reading, take
from tests.aws.kinesis_made import Producer, Waiting, ended, producer, source
from tests.servers.aws import Ministack
from tests.servers.kinesis_local import KinesisLocal
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

KEYS = [f"key-{number}" for number in range(16)]


@pytest.fixture
async def stream(kinesis_local: KinesisLocal) -> AsyncIterator[Producer]:
    async with producer(kinesis_local) as stream:
        yield stream


class Noted:
    """What two workers of one process did, in the order they did it."""

    def __init__(self) -> None:
        self.numbers: defaultdict[str, list[int]] = defaultdict(list)
        self.shards: defaultdict[str, set[str]] = defaultdict(set)
        """Which worker was given records of which shards."""
        self.done = 0

    def worker(self, name: str, place: Any, **options: Any) -> App:
        app = App(name="reshard")

        @app.function(name="note", batch=True)
        async def note(batch: Batch) -> None:
            for record, shown in zip(batch, batch.to_event()["Records"], strict=True):
                self.numbers[record.key or ""].append(int(record.value or b""))
                self.shards[name].add(shown["eventID"].partition(":")[0])
            self.done += len(batch)

        app.event_source_mapping("note", place, StartingPosition="TRIM_HORIZON", **options)
        return app


async def test_two_workers_read_on_while_shards_are_split_and_merged(
    stream: Producer, kinesis_local: KinesisLocal, tmp_path: Path
) -> None:
    await stream.create(2)
    noted = Noted()
    put = 0

    async def some() -> None:
        nonlocal put
        for _ in range(3):
            await stream.put([Message(str(put + n).encode(), key) for n, key in enumerate(KEYS)])
            put += len(KEYS)

    async with AsyncExitStack() as workers:
        apps = [
            await workers.enter_async_context(
                noted.worker(name, source(kinesis_local, stream.name, tmp_path))
            )
            for name in ("one", "other")
        ]
        # Each its share, before there is anything to read.
        await until(lambda: [app.statuses()[0].shards for app in apps] == [1, 1])
        await some()
        await stream.split(0)
        await some()
        await stream.split(2)
        await some()
        await until(lambda: noted.done >= put)
        await stream.merge(0)
        await some()
        await stream.merge(1)
        await some()
        await until(lambda: noted.done >= put)
    shards = noted.shards["one"] | noted.shards["other"]
    assert len(shards) >= 6
    assert noted.shards["one"]
    assert noted.shards["other"]
    assert noted.done == put
    for place, key in enumerate(KEYS):
        assert noted.numbers[key] == list(range(place, put, len(KEYS)))


async def test_a_child_is_read_when_its_parents_are_done(
    stream: Producer, kinesis_local: KinesisLocal, tmp_path: Path
) -> None:
    await stream.create(2)
    for shard in range(2):
        await stream.put([Message(b"1")], shard)
    await stream.merge(0)
    await stream.put([Message(b"2")], 0)
    harness = Waiting()
    async with reading(harness, source(kinesis_local, stream.name, tmp_path), 10.0) as reader:
        await reader.holds(2)
        parents = dict(reader.held)
        for shard in parents.values():
            (record,) = await take(harness, shard, 1, 10.0)
            await shard.commit(Checkpoint(record.position))
        child = "shardId-000000000002"
        first, second = parents.values()
        await ended(first)
        await harness.until(lambda: len(reader.held) == 1, 10.0)
        await harness.never(lambda: child in reader.held, 1.0)
        await ended(second)
        assert numbers(await take(harness, await reader.shard(child), 1, 10.0)) == [2]
        await reader.give_back()


async def test_latest_reads_what_comes_into_the_children_of_now(
    stream: Producer, kinesis_local: KinesisLocal, tmp_path: Path
) -> None:
    """A parent that has ended is not read; a shard that came from one we know is read from its beginning."""
    await stream.create(1)
    await stream.put([Message(b"1")], 0)
    await stream.split(0)
    await stream.put([Message(b"2")], 0)
    harness, place = Waiting(), source(kinesis_local, stream.name, tmp_path)
    async with reading(harness, place, 10.0, LATEST) as reader:
        await reader.holds(2)
        assert "shardId-000000000000" not in reader.held
        await stream.put([Message(b"3")], 0)
        await stream.split(0)
        await stream.put([Message(b"4")], 0)
        shard = await reader.shard("shardId-000000000001")
        (record,) = await take(harness, shard, 1, 10.0)
        assert numbers([record]) == [3]
        await shard.commit(Checkpoint(record.position))
        await ended(shard)
        child = await reader.shard("shardId-000000000003")
        assert numbers(await take(harness, child, 1, 10.0)) == [4]
        await reader.give_back()


async def test_all_pages_of_many_shards_are_found(
    stream: Producer, kinesis_local: KinesisLocal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamfn_aws.kinesis.stream._PAGE", 2)
    await stream.create(5)
    harness, place = Waiting(), source(kinesis_local, stream.name, tmp_path)
    await place.check()
    async with reading(harness, place, 10.0) as reader:
        await reader.holds(5)
        await reader.give_back()


async def test_pages_are_found_where_a_token_needs_the_name(
    aws: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamfn_aws.kinesis.stream._PAGE", 2)
    async with producer(aws) as stream:
        await stream.create(5)
        harness = Waiting()
        async with reading(harness, source(aws, stream.name, tmp_path), 10.0, Subscription("g")) as reader:
            await reader.holds(5)
            await reader.give_back()


async def test_a_shard_that_was_taken_away_is_a_lost_position(aws: Ministack, tmp_path: Path) -> None:
    """This server forgets a shard with all its records when it is split."""
    async with producer(aws) as stream:
        await stream.create(1)
        harness = Waiting()
        async with reading(harness, source(aws, stream.name, tmp_path), 10.0, TRIM_HORIZON) as reader:
            shard = await reader.shard()
            await stream.split(0)
            with anyio.fail_after(10), pytest.raises(PositionLost, match="is gone"):
                while True:
                    assert not await shard.read(1, 1.0)
            await reader.give_back()
