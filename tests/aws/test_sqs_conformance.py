"""SQS queues pass the suite of queue sources, on servers that were not written here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from streamfn.ports import Message, QueueSource
from streamfn.testing.conformance import QueueFeatures, QueueHarness, QueueSourceSuite
from streamfn_aws import SqsQueue
from tests.servers.aws import KEY, REGION, SECRET, AwsServer
from tests.servers.kafka_ways import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

LARGEST = 1_048_576 - 1024


class SqsHarness(QueueHarness):
    def __init__(self, server: AwsServer, sqs: Any, transport: str) -> None:
        self.server = server
        self.sqs = sqs
        self.transport = transport
        self.name = ""
        self.url = ""

    async def create(self, visibility_timeout: float, *, fifo: bool = False) -> None:
        self.name = self.server.unique("queue") + (".fifo" if fifo else "")
        attributes = {"VisibilityTimeout": str(int(visibility_timeout))}
        if fifo:
            attributes |= {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        made = await self.sqs.create_queue(QueueName=self.name, Attributes=attributes)
        self.url = made["QueueUrl"]

    def source(self) -> QueueSource:
        return self.source_of(self.name)

    def source_of(self, name: str, endpoint: str | None = None) -> QueueSource:
        return SqsQueue(
            name,
            endpoint_url=endpoint or self.server.endpoint,
            region=REGION,
            access_key_id=KEY,
            secret_access_key=SECRET,
            transport=self.transport,
        )

    async def put(self, messages: Sequence[Message]) -> None:
        for first in range(0, len(messages), 10):
            entries = [self.entry(i, message) for i, message in enumerate(messages[first : first + 10])]
            heavy = sum(len(message.body) for message in messages) > 200_000
            for some in [[entry] for entry in entries] if heavy else [entries]:
                answer = await self.sqs.send_message_batch(QueueUrl=self.url, Entries=some)
                assert not answer.get("Failed"), answer["Failed"]

    def entry(self, index: int, message: Message) -> dict[str, Any]:
        entry: dict[str, Any] = {"Id": str(index), "MessageBody": message.body.decode()}
        if message.key is not None:
            entry["MessageGroupId"] = message.key
        if message.headers:
            entry["MessageAttributes"] = {
                name: {"DataType": "Binary", "BinaryValue": value} for name, value in message.headers
            }
        return entry

    def unreachable(self) -> QueueSource:
        return self.source_of("nowhere", f"http://127.0.0.1:{free_ports(1)[0]}")


class SqsSuite(QueueSourceSuite):
    features = QueueFeatures(
        takes_back="SQS counts each receive, whatever becomes of the message",
        headers="message attributes have neither order nor doubles: see test_sqs_events",
        keys="a key is a MessageGroupId, which is not any text: see test_sqs_events",
        any_text="SQS takes what may stand in XML, and no empty body",
        restarting="a server that keeps what is in flight is not at hand: see test_sqs_outages",
        visibility_timeout=1.0,
        max_payload=LARGEST,
    )
    transport = "lean"

    @pytest.fixture
    async def harness(self, server: AwsServer) -> AsyncIterator[SqsHarness]:  # type: ignore[override]
        async with server.client("sqs") as sqs:
            yield SqsHarness(server, sqs, self.transport)


class OnMinistack:
    @pytest.fixture
    def server(self, aws: AwsServer) -> AwsServer:
        return aws


class TestSqsOnMinistack(OnMinistack, SqsSuite):
    """By our own HTTP."""


class TestSqsByBotocore(OnMinistack, SqsSuite):
    """By the SDK."""

    transport = "botocore"


class TestSqsOnElasticMq(SqsSuite):
    """A second server, whose FIFO queues are another's work."""

    features = replace(SqsSuite.features, max_payload=250_000)

    @pytest.fixture
    def server(self, elasticmq: AwsServer) -> AwsServer:
        return elasticmq
