"""The other ends of destinations on AWS: what has come out of a queue, topic, bucket, bus or stream."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Self

from streamfn.ports import Destination, Message, SendFailure
from streamfn.testing.conformance import DestinationHarness
from streamfn_aws.destinations import (
    EventBridgeDestination,
    KinesisDestination,
    S3Destination,
    SnsDestination,
    SqsDestination,
)
from tests.servers.aws import ACCOUNT, KEY, REGION, SECRET, AwsServer
from tests.servers.kafka_ways import free_ports

TOO_LARGE = Message(b"x" * (2**20 + 1))


class End(DestinationHarness):
    """A new place of one kind, and clients of its own to look at it."""

    kind: ClassVar[type]
    services: ClassVar[Sequence[str]]
    suffix = ""

    def __init__(self, server: AwsServer) -> None:
        self.server = server
        self.place = server.unique("end") + self.suffix
        self.clients: dict[str, Any] = {}
        self.came: list[Message] = []
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for service in self.services:
            client = await self._resources.enter_async_context(self.server.client(service))
            self.clients[service] = client
        await self.create()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def create(self) -> None:
        raise NotImplementedError

    def destination(self, **options: Any) -> Destination:
        return self.at(self.server.endpoint, **options)

    def at(self, endpoint: str, **options: Any) -> Destination:
        given: Mapping[str, Any] = {
            "endpoint_url": endpoint,
            "region": REGION,
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            **options,
        }
        made: Destination = self.kind(self.place, **given)
        return made

    def unreachable(self) -> Destination:
        return self.at(f"http://127.0.0.1:{free_ports(1)[0]}")

    def refused(self) -> Message:
        return TOO_LARGE

    # -- a queue to look into ------------------------------------------------------------

    @property
    def sqs(self) -> Any:
        return self.clients["sqs"]

    async def queue(self, name: str, **attributes: str) -> str:
        made = await self.sqs.create_queue(QueueName=name, Attributes=attributes)
        url: str = made["QueueUrl"]
        return url

    async def drain(self, url: str) -> list[dict[str, Any]]:
        """All messages that wait in a queue; they are taken out."""
        found: list[dict[str, Any]] = []
        while True:
            answer = await self.sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                AttributeNames=["All"],
            )
            messages = answer.get("Messages", [])
            if not messages:
                return found
            found += messages
            await self.sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(messages)],
            )


def as_message(message: Mapping[str, Any]) -> Message:
    headers = [
        (name, value["BinaryValue"] if "BinaryValue" in value else value["StringValue"].encode())
        for name, value in message.get("MessageAttributes", {}).items()
    ]
    return Message(
        message["Body"].encode(), message.get("Attributes", {}).get("MessageGroupId"), tuple(headers)
    )


class QueueEnd(End):
    kind = SqsDestination
    services = ("sqs",)
    attributes: ClassVar[Mapping[str, str]] = {}

    async def create(self) -> None:
        self.url = await self.queue(self.place, **self.attributes)

    async def received(self) -> Sequence[Message]:
        self.came += map(as_message, await self.drain(self.url))
        return self.came


class FifoEnd(QueueEnd):
    suffix = ".fifo"
    attributes: ClassVar[Mapping[str, str]] = {"FifoQueue": "true"}


class TopicEnd(End):
    kind = SnsDestination
    services = ("sns", "sqs")
    raw = True

    async def create(self) -> None:
        made = await self.clients["sns"].create_topic(
            Name=self.place, Attributes={"FifoTopic": "true"} if self.suffix else {}
        )
        self.arn = made["TopicArn"]
        name = self.place.removesuffix(self.suffix) + "-out" + self.suffix
        self.url = await self.queue(name, **({"FifoQueue": "true"} if self.suffix else {}))
        await self.clients["sns"].subscribe(
            TopicArn=self.arn,
            Protocol="sqs",
            Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}",
            Attributes={"RawMessageDelivery": "true"} if self.raw else {},
        )

    async def received(self) -> Sequence[Message]:
        self.came += map(as_message, await self.drain(self.url))
        return self.came


class FifoTopicEnd(TopicEnd):
    suffix = ".fifo"


class BucketEnd(End):
    kind = S3Destination
    services = ("s3",)

    async def create(self) -> None:
        await self.clients["s3"].create_bucket(Bucket=self.place)

    def refused(self) -> Message:
        return Message(b"{}", "k" * 1025)

    async def received(self) -> Sequence[Message]:
        s3 = self.clients["s3"]
        found: list[Message] = []
        async for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.place):
            for listed in page.get("Contents", []):
                held = await s3.get_object(Bucket=self.place, Key=listed["Key"])
                found.append(Message(await held["Body"].read(), listed["Key"]))
        return found


class InDetail(EventBridgeDestination):
    """Any text as the detail of an event, which is an object: it stands in there."""

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        return await super().send([self._dressed(message) for message in messages])

    def _dressed(self, message: Message) -> Message:
        if message.body == b"refused":
            return message
        return Message(json.dumps({"text": message.body.decode()}).encode())


class BusEnd(End):
    kind: ClassVar[type] = EventBridgeDestination
    services = ("events", "sqs")

    async def create(self) -> None:
        events = self.clients["events"]
        await events.create_event_bus(Name=self.place)
        self.url = await self.queue(self.place)
        pattern = json.dumps({"account": [ACCOUNT]})
        await events.put_rule(Name=self.place, EventBusName=self.place, EventPattern=pattern)
        await events.put_targets(
            Rule=self.place,
            EventBusName=self.place,
            Targets=[{"Id": "1", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.place}"}],
        )

    def refused(self) -> Message:
        return Message(b"refused")

    async def events(self) -> list[dict[str, Any]]:
        """The events that have come since it was asked."""
        return [json.loads(message["Body"]) for message in await self.drain(self.url)]

    async def received(self) -> Sequence[Message]:
        self.came += [Message(event["detail"]["text"].encode()) for event in await self.events()]
        return self.came


class DressedBusEnd(BusEnd):
    kind = InDetail


class StreamEnd(End):
    kind = KinesisDestination
    services = ("kinesis",)
    shards = 2

    async def create(self) -> None:
        kinesis = self.clients["kinesis"]
        await kinesis.create_stream(StreamName=self.place, ShardCount=self.shards)
        await kinesis.get_waiter("stream_exists").wait(StreamName=self.place)

    async def received(self) -> Sequence[Message]:
        kinesis = self.clients["kinesis"]
        found: list[Message] = []
        for shard in (await kinesis.list_shards(StreamName=self.place))["Shards"]:
            answer = await kinesis.get_shard_iterator(
                StreamName=self.place, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            iterator = answer["ShardIterator"]
            while True:
                page = await kinesis.get_records(ShardIterator=iterator)
                found += [Message(record["Data"], record["PartitionKey"]) for record in page["Records"]]
                iterator = page["NextShardIterator"]
                if page["MillisBehindLatest"] == 0 and not page["Records"]:
                    break
        return found


def data(text: str) -> bytes:
    """What stands in an event as base64."""
    return base64.b64decode(text)
