"""The other ends of stores of dead letters on AWS, and of the streams that letters tell of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Self
from uuid import uuid4

import anyio

from streamfn.core.policies import StartingPosition
from streamfn.core.records import Record
from streamfn.ports import (
    Assigned,
    LetterFetcher,
    LetterStore,
    Message,
    StreamShard,
    StreamSource,
    Subscription,
)
from streamfn.testing.conformance import LetterFetcherHarness, LetterStoreHarness
from streamfn_aws import DynamoDbFetcher, KinesisFetcher, S3Letters, SqsLetters
from streamfn_aws.dynamodb import DynamoDbStream
from streamfn_aws.kinesis import KinesisStream
from tests.aws.kinesis_made import Producer
from tests.servers.aws import KEY, REGION, SECRET, AwsServer
from tests.servers.kafka_ways import free_ports


def access(endpoint: str) -> dict[str, Any]:
    return {"endpoint_url": endpoint, "region": REGION, "access_key_id": KEY, "secret_access_key": SECRET}


def nowhere() -> str:
    return f"http://127.0.0.1:{free_ports(1)[0]}"


class LettersEnd(LetterStoreHarness):
    """A new place of one kind, and a client of its own to put letters there."""

    service: ClassVar[str]
    suffix = ""

    def __init__(self, server: AwsServer) -> None:
        self.server = server
        self.place = server.unique("letters") + self.suffix
        self.client: Any = None
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.client = await self._resources.enter_async_context(self.server.client(self.service))
        await self.create()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def create(self) -> None:
        raise NotImplementedError

    def store(self, **options: Any) -> LetterStore:
        return self.opened(self.server.endpoint, **options)

    def unreachable(self) -> LetterStore:
        return self.opened(nowhere())

    def opened(self, endpoint: str, **options: Any) -> LetterStore:
        raise NotImplementedError


class QueueLetters(LettersEnd):
    service = "sqs"
    attributes: ClassVar[Mapping[str, str]] = {}

    async def create(self) -> None:
        made = await self.client.create_queue(QueueName=self.place, Attributes=self.attributes)
        self.url: str = made["QueueUrl"]

    def opened(self, endpoint: str, **options: Any) -> SqsLetters:
        return SqsLetters(self.place, **{"wait_time_seconds": 0, **access(endpoint), **options})

    async def put(self, messages: Sequence[Message]) -> None:
        largest = max((len(message.body) for message in messages), default=0)
        step = 10 if largest < 20_000 else 1
        for first in range(0, len(messages), step):
            entries = [
                self._entry(first + index, message)
                for index, message in enumerate(messages[first : first + step])
            ]
            answer = await self.client.send_message_batch(QueueUrl=self.url, Entries=entries)
            assert not answer.get("Failed"), answer["Failed"]

    def _entry(self, index: int, message: Message) -> dict[str, Any]:
        entry: dict[str, Any] = {"Id": str(index), "MessageBody": message.body.decode()}
        if message.key is not None:
            entry["MessageGroupId"] = message.key
        if message.headers:
            entry["MessageAttributes"] = {
                name: {"DataType": "Binary", "BinaryValue": value} for name, value in message.headers
            }
        return entry

    async def counts(self) -> tuple[int, int]:
        """Messages that wait, and messages that are hidden."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = await self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        waiting, hidden = (int(found["Attributes"][name]) for name in names)
        return waiting, hidden


class FifoLetters(QueueLetters):
    """Each letter in a group of its own, unless it says otherwise; equal ones are not taken for one."""

    suffix = ".fifo"
    attributes: ClassVar[Mapping[str, str]] = {"FifoQueue": "true"}

    def _entry(self, index: int, message: Message) -> dict[str, Any]:
        own = str(uuid4())
        return {"MessageGroupId": own, "MessageDeduplicationId": own, **super()._entry(index, message)}


class BucketLetters(LettersEnd):
    service = "s3"
    prefix = "dead/letters"
    count = 0

    async def create(self) -> None:
        await self.client.create_bucket(Bucket=self.place)
        await self.client.put_object(Bucket=self.place, Key="other/object", Body=b"another's")

    def opened(self, endpoint: str, **options: Any) -> S3Letters:
        return S3Letters(f"{self.place}/{self.prefix}", **{**access(endpoint), **options})

    async def put(self, messages: Sequence[Message]) -> None:
        limit = anyio.CapacityLimiter(8)

        async def put(number: int, body: bytes) -> None:
            async with limit:
                await self.client.put_object(Bucket=self.place, Key=f"{self.prefix}/{number:08}", Body=body)

        async with anyio.create_task_group() as tasks:
            for message in messages:
                self.count += 1
                tasks.start_soon(put, self.count, message.body)

    async def keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.place)
        return [item["Key"] async for page in pages for item in page.get("Contents", ())]


class StreamRecords(LetterFetcherHarness):
    """A stream whose records are read by its connector as a mapping would, from a place of their own."""

    def __init__(self, server: AwsServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.place = server.unique("stream")
        self.client: Any = None
        self._count = 0

    def options(self) -> dict[str, Any]:
        return {
            **access(self.server.endpoint),
            "leases": "sqlite",
            "state_dir": self.folder,
            "lease_time": 2.0,
        }

    def source(self) -> StreamSource:
        raise NotImplementedError

    async def write(self, messages: Sequence[Message]) -> None:
        raise NotImplementedError

    async def put(self, messages: Sequence[Message]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        before, behind = Message(b"before"), Message(b"behind")
        await self.write([before, *messages, behind])
        self._count += len(messages) + 2
        async with self.shard() as shard:
            records = (await self.take(shard, self._count))[-1 - len(messages) : -1]
            (info,) = shard.shape.batch_info(records).values()
            return shard.shape.to_event(records), info

    @asynccontextmanager
    async def shard(self) -> AsyncIterator[StreamShard]:
        """The first shard, from its oldest record."""
        group = Subscription(self.server.unique("group"), StartingPosition.TRIM_HORIZON)
        async with self.source().shards(group) as changes:
            event = await anext(changes)
            assert isinstance(event, Assigned)
            yield event.shard
            await event.shard.close()

    async def take(self, shard: StreamShard, count: int) -> list[Record]:
        records: list[Record] = []
        async with self.within(20.0):
            while len(records) < count:
                records += await shard.read(count - len(records), 1.0)
        return records


class KinesisRecords(StreamRecords):
    async def create(self, shards: int = 1) -> None:
        await Producer(self.client, self.place).create(shards)

    def source(self) -> StreamSource:
        return KinesisStream(self.place, poll_interval=0.2, **self.options())

    def fetcher(self) -> LetterFetcher:
        return KinesisFetcher(self.place, **access(self.server.endpoint))

    def unreachable(self) -> LetterFetcher:
        return KinesisFetcher(self.place, **access(nowhere()))

    async def write(self, messages: Sequence[Message]) -> None:
        for message in messages:
            await self.client.put_record(
                StreamName=self.place, Data=message.body, PartitionKey=message.key or "key"
            )


class TableRecords(StreamRecords):
    async def create(self) -> None:
        await self.client.create_table(
            TableName=self.place,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )

    def source(self) -> StreamSource:
        return DynamoDbStream(self.place, poll_interval=0.05, **self.options())

    def fetcher(self) -> LetterFetcher:
        return DynamoDbFetcher(self.place, **access(self.server.endpoint))

    def unreachable(self) -> LetterFetcher:
        return DynamoDbFetcher(self.place, **access(nowhere()))

    async def write(self, messages: Sequence[Message]) -> None:
        for number, message in enumerate(messages):
            item = {"id": {"S": message.key or "key"}, "n": {"N": str(number)}, "data": {"B": message.body}}
            await self.client.put_item(TableName=self.place, Item=item)
