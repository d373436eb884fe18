"""Streams of DynamoDB tables pass the suite of stream sources, on a server that was not written here.

What is put is a write of an item; what comes is the change. So that the suite sees what it put, the harness
reads it out of the new image: its body in an attribute, its key in the item's key.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from streamfn.core.events import DynamoDbRecord
from streamfn.core.records import Record
from streamfn.ports import Assigned, Message, Revoked, StreamShard, StreamSource, Subscription
from streamfn.testing.conformance import StreamFeatures, StreamHarness, StreamSourceSuite
from streamfn.testing.conformance.reading import LATEST, messages, numbers, reading, take
from streamfn_aws.api import Api
from streamfn_aws.dynamodb import DynamoDbStream
from streamfn_aws.lease_table import LeaseTable
from streamfn_aws.options import Connection
from tests.servers.aws import KEY, REGION, SECRET, Ministack
from tests.servers.kafka_ways import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

_KEYLESS = "keyless-"


class Put(DynamoDbRecord):
    """A change that shows what was put."""

    def __init__(self, record: DynamoDbRecord) -> None:
        self.change = record.change
        self._position = record.position

    @property
    def position(self) -> int:
        return self._position

    @property
    def key(self) -> str | None:  # type: ignore[override]
        key: str = self.change["dynamodb"]["Keys"]["id"]["S"]
        return None if key.startswith(_KEYLESS) else key

    @property
    def value(self) -> bytes:
        return b64decode(self.change["dynamodb"]["NewImage"]["body"]["B"])


class PutShard:
    """A shard of such records; all else is the connector's."""

    def __init__(self, shard: StreamShard) -> None:
        self._shard = shard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        records = await self._shard.read(limit, wait)
        return [Put(record) for record in records if isinstance(record, DynamoDbRecord)]


class PutStream(DynamoDbStream):
    @asynccontextmanager
    async def shards(self, subscription: Subscription) -> AsyncIterator[AsyncIterator[Assigned | Revoked]]:
        # A table of leases has the name of its group, and that is the same in all tests.
        apart = replace(subscription, group=f"{self.table}-{subscription.group}")
        async with super().shards(apart) as events:
            yield self._shown(events)

    async def _shown(self, events: AsyncIterator[Assigned | Revoked]) -> AsyncIterator[Assigned | Revoked]:
        async for event in events:
            yield Assigned(PutShard(event.shard)) if isinstance(event, Assigned) else event


def connection_of(server: Ministack, transport: str) -> Connection:
    return Connection(
        endpoint_url=server.endpoint,
        region=REGION,
        access_key_id=KEY,
        secret_access_key=SECRET,
        transport=transport,
    )


class DynamoDbHarness(StreamHarness):
    def __init__(self, server: Ministack, dynamodb: Any, transport: str) -> None:
        self.server = server
        self.dynamodb = dynamodb
        self.transport = transport
        self.table = ""
        self.stream_arn = ""
        self.written = count()

    async def create(self, shards: int) -> None:
        assert shards == 1, "this server gives a stream one shard"
        self.table = self.server.unique("items")
        made = await self.dynamodb.create_table(
            TableName=self.table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self.stream_arn = made["TableDescription"]["LatestStreamArn"]

    def source(self) -> StreamSource:
        return self.source_of(self.table, self.server.endpoint)

    def source_of(self, table: str, endpoint: str) -> StreamSource:
        return PutStream(
            table,
            lease_time=3.0,
            poll_interval=0.05,
            endpoint_url=endpoint,
            region=REGION,
            access_key_id=KEY,
            secret_access_key=SECRET,
            transport=self.transport,
        )

    async def put(self, messages: Sequence[Message], shard: int = 0) -> None:
        for message in messages:
            number = next(self.written)
            # A write that changes nothing is no change, so each item says how many were before.
            await self.dynamodb.put_item(
                TableName=self.table,
                Item={
                    "id": {"S": f"{_KEYLESS}{number}" if message.key is None else message.key},
                    "number": {"N": str(number)},
                    "body": {"B": message.body},
                },
            )

    async def lose(self, shard: str, group: str) -> None:
        async with Api.shared(connection_of(self.server, self.transport), "dynamodb") as api:
            store = LeaseTable(api, self.stream_arn.partition("/stream/")[0])
            group = f"{self.table}-{group}"
            while True:
                (lease,) = [lease for lease in await store.list(group) if lease.key == shard]
                theirs = lease.moved("another")
                if await store.update(group, lease, theirs):
                    # And it leaves again, so that the next reader need not wait for a lease to expire.
                    assert await store.update(group, theirs, theirs.moved(None))
                    return

    async def end(self) -> None:
        await self.dynamodb.update_table(TableName=self.table, StreamSpecification={"StreamEnabled": False})

    def unreachable(self) -> StreamSource:
        return self.source_of("nowhere", f"http://127.0.0.1:{free_ports(1)[0]}")


class DynamoDbSuite(StreamSourceSuite):
    features = StreamFeatures(
        shares="the server gives a stream one shard: see test_lease_table for fleets",
        at_timestamp="DynamoDB knows none",
        headers="an item has none",
        tombstones="a deleted item is a change like others: see test_dynamodb_stream",
        trimming="the server removes records after 24 hours only: see unit/test_dynamodb_polling",
        restarting="the server does not keep streams over a restart",
        max_payload=390_000,
        patience=15.0,
    )
    transport = "lean"

    @pytest.fixture
    async def harness(self, aws: Ministack) -> AsyncIterator[DynamoDbHarness]:
        # Held open, for to open them is most of the time that a test takes.
        connection = connection_of(aws, self.transport)
        async with (
            Api.shared(connection, "dynamodb"),
            Api.shared(connection, "dynamodbstreams"),
            aws.client("dynamodb") as dynamodb,
        ):
            yield DynamoDbHarness(aws, dynamodb, self.transport)  # type: ignore[abstract]

    async def test_a_shard_is_named_the_same_each_time(self, harness: StreamHarness) -> None:
        """As in the suite, with the one shard that there is."""
        await harness.create(1)
        names = []
        for _ in range(2):
            async with reading(harness, harness.source(), self.features.patience) as reader:
                await reader.holds(1)
                names.append(set(reader.held))
                await reader.give_back()
        assert names[0] == names[1]

    async def test_latest_is_settled_at_the_first_subscription(self, harness: StreamHarness) -> None:
        """As in the suite, in another second: changes are stamped with whole ones."""
        await harness.create(1)
        await harness.put(messages(3))
        second = int(harness.now())
        await harness.until(lambda: int(harness.now()) > second, self.features.patience)
        async with reading(harness, harness.source(), self.features.patience, LATEST) as reader:
            await reader.shard()
        await harness.put(messages(2, 3))
        async with reading(harness, harness.source(), self.features.patience, LATEST) as reader:
            shard = await reader.shard()
            assert numbers(await take(harness, shard, 2, self.features.patience)) == [3, 4]
            await reader.give_back()

    async def test_of_the_second_of_latest_nothing_is_missed(self, harness: StreamHarness) -> None:
        """What comes meanwhile is not missed; what came before in the same second may come as well."""
        await harness.create(1)
        await harness.put(messages(1))
        async with reading(harness, harness.source(), self.features.patience, LATEST) as reader:
            await reader.shard()
        await harness.put(messages(2, 1))
        async with reading(harness, harness.source(), self.features.patience, LATEST) as reader:
            shard = await reader.shard()
            got: list[int] = []
            while got[-1:] != [2]:
                got += numbers(await take(harness, shard, 1, self.features.patience))
            assert got in ([1, 2], [0, 1, 2])
            await reader.give_back()


class TestDynamoDb(DynamoDbSuite):
    """By our own HTTP."""


class TestDynamoDbByBotocore(DynamoDbSuite):
    """By the SDK."""

    transport = "botocore"
