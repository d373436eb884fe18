"""Kinesis under an app: named by URI, leases in DynamoDB, records packed into one, keys in parallel."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from streamfn import App, Batch
from streamfn.ports import Checkpoint, Message
from streamfn.testing.conformance.reading import LATEST, messages, numbers, reading, take
from tests.aws.kinesis_made import Producer, Waiting, producer, source
from tests.aws.unit.kinesis_packed import packed
from tests.servers.aws import KEY, SECRET, Ministack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
async def stream(aws: Ministack) -> AsyncIterator[Producer]:
    async with producer(aws) as stream:
        yield stream


def app_of(function: Any, place: Any, folder: Path, **options: Any) -> App:
    app = App(name="delivery", state_dir=folder)
    app.function(name="f", batch=True)(function)
    app.event_source_mapping("f", place, **{"StartingPosition": "TRIM_HORIZON", **options})
    return app


async def test_a_stream_by_its_arn_with_leases_in_the_state_directory(
    stream: Producer, aws: Ministack, tmp_path: Path
) -> None:
    await stream.create(1)
    arn = (await stream.active())["StreamARN"]
    options = {"endpoint_url": aws.endpoint, "access_key_id": KEY, "secret_access_key": SECRET}
    seen: list[Any] = []

    async def see(batch: Batch) -> None:
        seen.extend(batch.to_event()["Records"])

    await stream.put([Message(b"Hello, this is a test.", "1")])
    async with app_of(see, f"{arn}?{urlencode({**options, 'leases': 'sqlite'})}", tmp_path):
        await until(lambda: len(seen) == 1)
    assert seen[0]["kinesis"]["data"] == "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg=="
    assert (seen[0]["eventSourceARN"], seen[0]["awsRegion"]) == (arn, aws.region)
    assert (tmp_path / "leases.db").is_file()


@pytest.mark.parametrize("consumer", [None, "delivery"])
async def test_workers_that_share_a_table_of_leases(
    stream: Producer, aws: Ministack, tmp_path: Path, consumer: str | None
) -> None:
    """Two of them, then one that begins where they ended."""
    await stream.create(4)
    options = {"leases": "dynamodb", "lease_table": aws.unique("leases"), "consumer": consumer}
    done: Counter[int] = Counter()

    async def count(batch: Batch) -> None:
        done.update(numbers(batch))

    def worker() -> App:
        return app_of(count, source(aws, stream.name, tmp_path, **options), tmp_path)

    async with worker(), worker():
        for shard in range(4):
            await stream.put(messages(50, 50 * shard), shard)
        await until(lambda: len(done) == 200)
    async with worker():
        await stream.put(messages(1, 200), 3)
        await until(lambda: len(done) == 201)
    assert done == Counter(range(201))


async def test_latest_holds_for_a_worker_that_begins_later(
    stream: Producer, aws: Ministack, tmp_path: Path
) -> None:
    """What came while no worker was there is read, and nothing that came before the group."""
    await stream.create(1)
    options = {"leases": "dynamodb", "lease_table": aws.unique("leases")}
    await stream.put(messages(3))
    async with reading(Waiting(), source(aws, stream.name, tmp_path, **options), 10.0, LATEST) as reader:
        await reader.shard()
    await stream.put(messages(2, 3))
    async with reading(Waiting(), source(aws, stream.name, tmp_path, **options), 10.0, LATEST) as reader:
        assert numbers(await take(Waiting(), await reader.shard(), 2, 10.0)) == [3, 4]
        await reader.give_back()


def whole(first: int, count: int) -> Message:
    """So many numbers, packed into one record."""
    return Message(packed([(f"key-{n % 3}", str(n).encode()) for n in range(first, first + count)]), "whole")


@pytest.mark.parametrize("consumer", [None, "delivery"])
async def test_reading_goes_on_within_a_packed_record(
    stream: Producer, aws: Ministack, tmp_path: Path, consumer: str | None
) -> None:
    await stream.create(1)
    await stream.put([whole(0, 5), Message(b"5", "alone"), whole(6, 4)])
    options = {"aggregated": True, "consumer": consumer}
    for first, count in ((0, 3), (3, 2), (5, 1), (6, 1), (7, 3)):
        async with reading(Waiting(), source(aws, stream.name, tmp_path, **options), 15.0) as reader:
            shard = await reader.shard()
            records = await take(Waiting(), shard, count, 15.0)
            assert numbers(records) == list(range(first, first + count))
            await shard.commit(Checkpoint(records[-1].position))
            await reader.give_back()


async def test_a_failed_part_comes_again_with_those_after_it(
    stream: Producer, aws: Ministack, tmp_path: Path
) -> None:
    """All parts have one sequence number, so what is named by it is the first of them in the batch."""
    await stream.create(1)
    await stream.put([Message(b"0", "alone"), whole(1, 4)])
    batches: list[list[int]] = []

    async def fail_once(batch: Batch) -> Any:
        batches.append(numbers(batch))
        if len(batches) == 1:
            return {"batchItemFailures": [{"itemIdentifier": batch[-1].id}]}
        return None

    place = source(aws, stream.name, tmp_path, aggregated=True)
    options = {"FunctionResponseTypes": ["ReportBatchItemFailures"], "BatchSize": 10}
    async with app_of(fail_once, place, tmp_path, **options):
        await until(lambda: len(batches) == 2)
    assert batches == [[0, 1, 2, 3, 4], [1, 2, 3, 4]]


async def test_keys_in_parallel_stay_in_order(stream: Producer, aws: Ministack, tmp_path: Path) -> None:
    await stream.create(2)
    done: defaultdict[str, list[int]] = defaultdict(list)

    async def note(batch: Batch) -> None:
        for record in batch:
            done[record.key or ""].append(int(record.value or b""))

    place = source(aws, stream.name, tmp_path, aggregated=True)
    async with app_of(note, place, tmp_path, ParallelizationFactor=4, BatchSize=7):
        for first in range(0, 300, 30):
            await stream.put(
                [whole(first, 20), *(Message(str(first + n).encode(), f"key-{n}") for n in range(20, 30))]
            )
        await until(lambda: sum(map(len, done.values())) == 300)
    assert all(numbers == sorted(numbers) for numbers in done.values())
    assert sorted(n for numbers in done.values() for n in numbers) == list(range(300))
