"""Filter patterns on SQS, Kinesis and DynamoDB Streams: recorded on AWS, and by its tables of formats."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streamfn import App
from streamfn.ports import Message
from tests.aws.kinesis_made import Producer, producer, source
from tests.aws.queues import SqsEnd, queue_end
from tests.aws.test_dynamodb_stream import Table
from tests.servers.aws import Ministack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(90)]


@pytest.fixture
async def queue(aws: Ministack) -> AsyncIterator[SqsEnd]:
    async with queue_end(aws) as end:
        yield end


@pytest.fixture
async def stream(aws: Ministack) -> AsyncIterator[Producer]:
    async with producer(aws) as stream:
        yield stream


@pytest.fixture
async def table(aws: Ministack) -> AsyncIterator[Table]:
    async with aws.client("dynamodb") as dynamodb:
        yield Table(aws, dynamodb)


class Filtered:
    """A mapping with filters, and the records that came through."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.records: list[dict[str, Any]] = []

    @property
    def filtered(self) -> int:
        (status,) = self.app.statuses()
        return status.counters.get("FilteredOutEventCount", 0)


@asynccontextmanager
async def running(source: Any, *patterns: Any, **options: Any) -> AsyncIterator[Filtered]:
    """The body of CreateEventSourceMapping that has these patterns, at work."""
    app = App(name="filters")
    seen = Filtered(app)

    @app.function(name="f")
    async def see(event: dict[str, Any], context: Any) -> None:
        seen.records += event["Records"]

    texts = [pattern if isinstance(pattern, str) else json.dumps(pattern) for pattern in patterns]
    criteria = {"Filters": [{"Pattern": text} for text in texts]}
    app.event_source_mapping("f", source, FilterCriteria=criteria, **options)
    async with app:
        yield seen


# ---------------------------------------------------------------------------------------------- SQS


async def test_a_plain_body_is_removed_without_an_invocation(queue: SqsEnd) -> None:
    """A16."""
    await queue.create()
    await queue.put(["my-value", "12", "{oops"])
    async with running(queue.uri(), '{"body":{"my-key":["my-value"]}}') as seen:
        await queue.empty()
        assert (seen.records, seen.filtered) == ([], 3)


BODIES = ['{"kind": "a"}', '{"kind": "b"}', '[{"kind": "a"}]', "plain", "12"]


@pytest.mark.parametrize(
    ("pattern", "through"),
    [
        ({"body": {"kind": ["a"]}}, ['{"kind": "a"}', '[{"kind": "a"}]']),
        ({"body": ["plain"]}, ["plain"]),
        ({"body": [{"prefix": ""}]}, ["plain", "12"]),
        ({"messageAttributes": {"size": {"stringValue": ["large"]}}}, []),
        ({"eventSource": ["aws:sqs"]}, BODIES),
    ],
)
async def test_bodies_of_each_kind_against_patterns_of_each_kind(
    queue: SqsEnd, pattern: dict[str, Any], through: list[str]
) -> None:
    await queue.create()
    await queue.put(BODIES)
    async with running(queue.uri(), pattern) as seen:
        await queue.empty()
        assert {record["body"] for record in seen.records} == set(through)
        assert seen.filtered == len(BODIES) - len(through)


async def test_a_fifo_queue_keeps_the_order_of_what_fits(queue: SqsEnd) -> None:
    await queue.create(fifo=True)
    await queue.put([json.dumps({"n": n}) for n in range(20)], lambda body: "one")
    pattern = {"body": {"n": [{"numeric": [">=", 5]}]}, "attributes": {"MessageGroupId": ["one"]}}
    async with running(queue.uri(), pattern) as seen:
        await queue.empty()
        assert [json.loads(record["body"])["n"] for record in seen.records] == [*range(5, 20)]
        assert seen.filtered == 5


# ------------------------------------------------------------------------------------------- Kinesis


async def test_records_of_a_stream_by_data_and_by_key(
    stream: Producer, aws: Ministack, tmp_path: Path
) -> None:
    await stream.create(1)
    bodies = [b'{"kind": "a"}', b'{"kind": "b"}', b"plain", b"\xff\x00", b"12"]
    await stream.put([Message(body, key) for key in ("k", "l") for body in bodies])
    patterns = {"data": {"kind": ["a"]}, "partitionKey": ["k"]}, {"data": {"kind": ["b"]}}
    options = {"StartingPosition": "TRIM_HORIZON"}
    async with running(source(aws, stream.name, tmp_path), *patterns, **options) as seen:
        await until(lambda: len(seen.records) + seen.filtered == 10)
        found = [(record["kinesis"]["partitionKey"], record["kinesis"]["data"]) for record in seen.records]
    assert found == [("k", "eyJraW5kIjogImEifQ=="), *((key, "eyJraW5kIjogImIifQ==") for key in "kl")]


async def test_a_shard_where_nothing_fits_is_passed(stream: Producer, aws: Ministack, tmp_path: Path) -> None:
    """What was filtered is not read again by the worker that comes next."""
    await stream.create(1)
    options = {"StartingPosition": "TRIM_HORIZON", "Name": "m"}
    await stream.put([Message(b'{"kind": "b"}', "k")] * 50)
    async with running(source(aws, stream.name, tmp_path), {"data": {"kind": ["a"]}}, **options) as seen:
        await until(lambda: seen.filtered == 50)
        assert seen.records == []
    await stream.put([Message(b'{"kind": "c"}', "k")])
    async with running(source(aws, stream.name, tmp_path), **options) as seen:
        await until(lambda: len(seen.records) == 1)
        assert seen.records[0]["kinesis"]["data"] == "eyJraW5kIjogImMifQ=="


# ------------------------------------------------------------------------------------------ DynamoDB


async def changes_through(table: Table, pattern: dict[str, Any]) -> list[str]:
    """The keys of the changes that a pattern lets through, of two that are there."""
    await table.create()
    await table.put("small", number={"N": "99"})
    await table.put("large", number={"N": "101"}, note={"S": "here"})
    options = {"StartingPosition": "TRIM_HORIZON"}
    async with running(table.source(), pattern, **options) as seen:
        await until(lambda: len(seen.records) + seen.filtered == 2)
        return [record["dynamodb"]["Keys"]["id"]["S"] for record in seen.records]


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ({"dynamodb": {"NewImage": {"number": {"N": [{"numeric": [">", 100]}]}}}}, []),
        ({"dynamodb": {"NewImage": {"number": {"N": ["101"]}}}}, ["large"]),
        ({"dynamodb": {"NewImage": {"note": {"S": [{"exists": True}]}}}}, ["large"]),
        ({"dynamodb": {"NewImage": {"note": {"S": [{"exists": False}]}}}}, ["small"]),
        (
            {"dynamodb": {"ApproximateCreationDateTime": [{"numeric": [">", 1_000_000_000]}]}},
            ["small", "large"],
        ),
        ({"dynamodb": {"ApproximateCreationDateTime": [{"numeric": ["<", 1_000_000_000]}]}}, []),
        ({"eventName": ["INSERT"], "dynamodb": {"Keys": {"id": {"S": [{"prefix": "sm"}]}}}}, ["small"]),
        ({"eventName": ["REMOVE"]}, []),
    ],
)
async def test_changes_of_a_table(table: Table, pattern: dict[str, Any], keys: list[str]) -> None:
    """A17: numbers of items are text, the time of a change is a number."""
    assert await changes_through(table, pattern) == keys
