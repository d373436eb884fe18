"""Streams of tables on a real server: what changes bring, where reading begins, and whole apps."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn import App
from streamfn.core.policies import StartingPosition
from streamfn.core.records import Record
from streamfn.errors import ConfigurationError, ShardClosed, SourceError
from streamfn.ports import Assigned, Checkpoint, StreamShard, Subscription
from streamfn_aws.dynamodb import DynamoDbStream
from tests.servers.aws import KEY, REGION, SECRET, Ministack
from tests.servers.microburst import Microburst, answer_lost, error, reset, throttle, unavailable
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

PATIENCE = 20.0


class Table:
    """A table with a stream, and the client of whoever writes to it."""

    def __init__(self, server: Ministack, dynamodb: Any) -> None:
        self.server = server
        self.dynamodb = dynamodb
        self.name = server.unique("flights")
        self.arn = ""
        self.stream_arn = ""

    async def create(self, view: str | None = "NEW_AND_OLD_IMAGES", *, sorted_by: str | None = None) -> None:
        keys = ["id", *([sorted_by] if sorted_by else [])]
        stream = (
            {} if view is None else {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": view}}
        )
        made = await self.dynamodb.create_table(
            TableName=self.name,
            KeySchema=[
                {"AttributeName": key, "KeyType": kind}
                for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            BillingMode="PAY_PER_REQUEST",
            **stream,
        )
        self.arn = made["TableDescription"]["TableArn"]
        self.stream_arn = made["TableDescription"].get("LatestStreamArn", "")

    async def put(self, key: str, **attributes: dict[str, Any]) -> None:
        await self.dynamodb.put_item(TableName=self.name, Item={"id": {"S": key}, **attributes})

    async def disable(self) -> None:
        await self.dynamodb.update_table(TableName=self.name, StreamSpecification={"StreamEnabled": False})

    def source(self, named: str | None = None, **options: Any) -> DynamoDbStream:
        given = {
            "endpoint_url": self.server.endpoint,
            "region": REGION,
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "leases": "memory",
            "lease_time": 3.0,
            "poll_interval": 0.05,
        }
        return DynamoDbStream(named or self.name, **{**given, **options})


@pytest.fixture
async def table(aws: Ministack) -> AsyncIterator[Table]:
    async with aws.client("dynamodb") as dynamodb:
        yield Table(aws, dynamodb)


@asynccontextmanager
async def shard_of(
    source: DynamoDbStream, start: StartingPosition = StartingPosition.TRIM_HORIZON, group: str = "group"
) -> AsyncIterator[StreamShard]:
    async with source.shards(Subscription(f"{source.table}-{group}", start)) as changes:
        event = await anext(changes)
        assert isinstance(event, Assigned)
        yield event.shard
        await event.shard.close()


async def take(shard: StreamShard, count: int) -> list[Record]:
    records: list[Record] = []
    with anyio.fail_after(PATIENCE):
        while len(records) < count:
            records += await shard.read(count - len(records), 1.0)
    return records


def items(shard: StreamShard, records: list[Record]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shard.shape.to_event(records)["Records"]
    return found


# ------------------------------------------------------------------------------------------------- changes


@pytest.mark.parametrize("transport", ["lean", "botocore"])
async def test_each_change_shows_what_was_and_what_is(table: Table, transport: str) -> None:
    await table.create()
    blob = b"\x00\x01*A"
    await table.put("LX1", gate={"S": "A1"}, raw={"B": blob}, seats={"N": "180"}, crew={"SS": ["a", "b"]})
    await table.put("LX1", gate={"S": "B2"}, legs={"L": [{"M": {"to": {"S": "JFK"}}}, {"NULL": True}]})
    await table.dynamodb.delete_item(TableName=table.name, Key={"id": {"S": "LX1"}})
    async with shard_of(table.source(transport=transport)) as shard:
        records = await take(shard, 3)
        events = items(shard, records)
    first = {
        "id": {"S": "LX1"},
        "gate": {"S": "A1"},
        # As it is on the wire.
        "raw": {"B": b64encode(blob).decode()},
        "seats": {"N": "180"},
        "crew": {"SS": ["a", "b"]},
    }
    second = {
        "id": {"S": "LX1"},
        "gate": {"S": "B2"},
        "legs": {"L": [{"M": {"to": {"S": "JFK"}}}, {"NULL": True}]},
    }
    assert [event["eventName"] for event in events] == ["INSERT", "MODIFY", "REMOVE"]
    images = [(event["dynamodb"].get("OldImage"), event["dynamodb"].get("NewImage")) for event in events]
    assert images == [(None, first), (first, second), (second, None)]
    for event in events:
        assert event["eventSource"] == "aws:dynamodb"
        assert event["eventVersion"] == "1.1"
        assert event["awsRegion"] == REGION
        assert event["eventSourceARN"] == table.stream_arn
        assert event["dynamodb"]["Keys"] == {"id": {"S": "LX1"}}
        assert event["dynamodb"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
        assert event["dynamodb"]["ApproximateCreationDateTime"] == pytest.approx(records[0].arrived_at, abs=5)
    assert len({record.key for record in records}) == 1
    assert [record.position for record in records] == sorted(record.position for record in records)


@pytest.mark.parametrize(
    ("view", "old", "new"),
    [("KEYS_ONLY", False, False), ("NEW_IMAGE", False, True), ("OLD_IMAGE", True, False)],
)
async def test_a_stream_shows_what_it_was_made_for(table: Table, view: str, *, old: bool, new: bool) -> None:
    await table.create(view)
    await table.put("LX1", gate={"S": "A1"})
    await table.put("LX1", gate={"S": "B2"})
    async with shard_of(table.source()) as shard:
        _, event = items(shard, await take(shard, 2))
    assert ("OldImage" in event["dynamodb"], "NewImage" in event["dynamodb"]) == (old, new)
    assert event["dynamodb"]["Keys"] == {"id": {"S": "LX1"}}


async def test_batches_and_transactions_bring_a_change_for_each_item(table: Table) -> None:
    await table.create(sorted_by="day")
    keys = [{"id": {"S": f"LX{number}"}, "day": {"S": "2026-01-01"}} for number in range(20)]
    await table.dynamodb.batch_write_item(
        RequestItems={table.name: [{"PutRequest": {"Item": key}} for key in keys]}
    )
    await table.dynamodb.transact_write_items(
        TransactItems=[
            {"Delete": {"TableName": table.name, "Key": keys[0]}},
            {
                "Update": {
                    "TableName": table.name,
                    "Key": keys[1],
                    "UpdateExpression": "SET gate = :g",
                    "ExpressionAttributeValues": {":g": {"S": "A1"}},
                }
            },
        ]
    )
    async with shard_of(table.source()) as shard:
        records = await take(shard, 22)
        events = items(shard, records)
    assert [event["eventName"] for event in events[:20]] == ["INSERT"] * 20
    assert sorted(event["eventName"] for event in events[20:]) == ["MODIFY", "REMOVE"]
    # Changes of one item have one key, those of others have others.
    assert len({record.key for record in records}) == 20


async def test_a_write_that_changes_nothing_is_no_change(table: Table) -> None:
    await table.create()
    for gate in ("A1", "A1", "A2"):
        await table.put("LX1", gate={"S": gate})
    async with shard_of(table.source()) as shard:
        events = items(shard, await take(shard, 2))
        assert await shard.read(10, 0.3) == ()
    assert [event["dynamodb"]["NewImage"]["gate"]["S"] for event in events] == ["A1", "A2"]


# --------------------------------------------------------------------------------------- where it begins


async def test_latest_begins_with_what_comes(table: Table) -> None:
    await table.create()
    await table.put("before")
    async with shard_of(table.source(), StartingPosition.LATEST) as shard:
        await table.put("after")
        (record,) = await take(shard, 1)
    assert record.key == '{"id":{"S":"after"}}'


@pytest.mark.parametrize("leases", ["dynamodb", "sqlite", "memory"])
async def test_a_restart_goes_on_after_the_checkpoint(table: Table, leases: str, tmp_path: Path) -> None:
    await table.create()
    for number in range(5):
        await table.put(f"LX{number}")
    options: dict[str, Any] = {"leases": leases, "state_dir": tmp_path}
    async with shard_of(table.source(**options)) as shard:
        records = await take(shard, 4)
        await shard.commit(Checkpoint(records[1].position, "a note"))
    async with shard_of(table.source(**options)) as shard:
        assert shard.checkpoint == Checkpoint(records[1].position, "a note")
        again = await take(shard, 3)
    assert [record.id for record in again[:2]] == [record.id for record in records[2:]]
    assert again[2].key == '{"id":{"S":"LX4"}}'


async def test_a_stream_that_is_switched_off_is_read_to_its_end(table: Table) -> None:
    await table.create()
    await table.put("LX1")
    source = table.source(table.stream_arn)
    await table.disable()
    async with shard_of(source) as shard:
        await take(shard, 1)
        with pytest.raises(ShardClosed), anyio.fail_after(PATIENCE):
            await shard.read(10, 5.0)


# ------------------------------------------------------------------------------------------------ check


async def test_it_is_named_by_table_and_by_arns(table: Table) -> None:
    await table.create()
    for named in (table.name, table.arn, table.stream_arn):
        source = table.source(named)
        assert source.name == f"dynamodb://{table.name}"
        await source.check()


async def test_a_table_that_is_not_there_is_said_with_the_fix(table: Table) -> None:
    source = table.source()
    with pytest.raises(ConfigurationError, match=table.name) as error:
        await source.check()
    assert error.value.field == "Source"
    assert error.value.fix
    with pytest.raises(SourceError, match=table.name):
        async with source.shards(Subscription("group")):
            pass


async def test_a_table_without_a_stream_is_said_with_the_fix(table: Table) -> None:
    await table.create(None)
    with pytest.raises(ConfigurationError, match="not enabled") as error:
        await table.source().check()
    assert "StreamViewType" in error.value.fix
    with pytest.raises(SourceError, match="not enabled") as failed:
        async with table.source().shards(Subscription("group")):
            pass
    assert not failed.value.retryable


async def test_a_stream_that_is_switched_off_fails_the_check(table: Table) -> None:
    await table.create()
    await table.put("LX1")
    await table.disable()
    with pytest.raises(ConfigurationError, match="not enabled"):
        await table.source(table.stream_arn).check()


# -------------------------------------------------------------------------------------------- whole apps


@asynccontextmanager
async def running(function: Any, source: DynamoDbStream, **options: Any) -> AsyncIterator[App]:
    app = App(name="ddb")
    app.function(name="f")(function)
    options = {"starting_position": "TRIM_HORIZON", **options}
    app.event_source_mapping("f", source, **options)
    async with app:
        yield app


async def test_an_app_gets_each_change_once_and_in_order(table: Table) -> None:
    """And goes on where it was, also after a restart."""
    await table.create()
    got: list[tuple[str, int]] = []

    async def function(event: dict[str, Any], context: Any) -> None:
        for record in event["Records"]:
            image = record["dynamodb"]["NewImage"]
            got.append((image["id"]["S"], int(image["number"]["N"])))

    group_table = f"{table.name}-leases"
    expected: list[tuple[str, int]] = []
    for first in (0, 30):
        for number in range(first, first + 30):
            await table.put(f"LX{number % 3}", number={"N": str(number)})
            expected.append((f"LX{number % 3}", number))
        source = table.source(leases="dynamodb", lease_table=group_table)
        async with running(function, source, batch_size=10, parallelization_factor=3):
            await until(lambda: len(got) == len(expected))
    assert sorted(got) == sorted(expected)
    for key in ("LX0", "LX1", "LX2"):
        assert [one for one in got if one[0] == key] == [one for one in expected if one[0] == key]


async def test_throttles_and_faults_are_waited_out(table: Table, burst: Microburst) -> None:
    """Also a commit whose answer was lost: it was done, and is not taken for another worker's."""
    await table.create()
    for number in range(50):
        await table.put(f"LX{number}")
    rules = [
        throttle("dynamodbstreams", "GetRecords", times=2),
        error("dynamodbstreams", "GetRecords", "ExpiredIteratorException", times=1),
        reset("dynamodbstreams", "GetRecords", times=1),
        throttle("dynamodb", "PutItem", times=2),
        throttle("dynamodb", "UpdateItem", times=2),
        unavailable("dynamodb", "Scan", times=1),
    ]
    source = table.source(endpoint_url=burst.endpoint, leases="dynamodb", lease_time=10.0)
    burst.rules(*rules)
    async with shard_of(source) as shard:
        records = await take(shard, 25)
        burst.rules(answer_lost("dynamodb", "UpdateItem", times=1), rules[1])
        await shard.commit(Checkpoint(records[-1].position, "done"))
        assert [fired["operation"] for fired in burst.fired("UpdateItem")] == ["UpdateItem"]
        records += await take(shard, 25)
        burst.rules(answer_lost("dynamodb", "UpdateItem", times=1))
        await shard.commit(Checkpoint(records[-1].position, "all"))
    assert len({record.id for record in records}) == 50
    async with shard_of(source) as shard:
        assert shard.checkpoint == Checkpoint(records[-1].position, "all")


async def test_a_stream_that_cannot_be_listed_at_first_says_so(table: Table, burst: Microburst) -> None:
    await table.create()
    burst.rules(throttle("dynamodbstreams", "DescribeStream"))
    with pytest.raises(SourceError, match="DescribeStream") as failed:
        async with table.source(endpoint_url=burst.endpoint).shards(Subscription("group")):
            pass
    assert failed.value.retryable
