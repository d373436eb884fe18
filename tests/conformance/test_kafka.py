"""The Kafka connector passes the suites of sources and destinations, on a real broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.protocol.group import LeaveGroupRequest
from anyio import to_thread

from streamfn.ports import Destination, Message, StreamSource
from streamfn.testing.conformance import (
    DestinationFeatures,
    DestinationHarness,
    DestinationSuite,
    StreamFeatures,
    StreamHarness,
    StreamSourceSuite,
)
from streamfn_kafka import KafkaDestination, KafkaSource
from tests.servers.kafka import KafkaServer, create_topic, free_ports, need_restart, run_kafka, topic_name

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

LARGEST = 1_000_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    with run_kafka() as running:
        yield running


class KafkaStreamHarness(StreamHarness):
    def __init__(self, server: KafkaServer, resources: AsyncExitStack) -> None:
        self.server = server
        self.resources = resources
        self.topic = ""
        self.producer: AIOKafkaProducer | None = None

    async def create(self, shards: int) -> None:
        self.topic = await create_topic(self.server.bootstrap, partitions=shards)

    def source(self) -> StreamSource:
        return KafkaSource(self.topic, self.server.bootstrap, session_timeout=3, rebalance_timeout=10)

    async def put(self, messages: Sequence[Message], shard: int = 0) -> None:
        producer = await self._producer()
        for message in messages:
            key = None if message.key is None else message.key.encode()
            headers = list(message.headers)
            sent = await producer.send(self.topic, message.body, key=key, partition=shard, headers=headers)
        await sent

    async def put_tombstone(self, key: str) -> None:
        producer = await self._producer()
        await producer.send_and_wait(self.topic, None, key=key.encode(), partition=0)

    async def lose(self, shard: str, group: str) -> None:
        admin = await self._admin()
        (described,) = await admin.describe_consumer_groups([group])
        (_, _, _, _, _, members, *_) = described.groups[0]
        coordinator = await admin.find_coordinator(group)
        for member in members:
            await admin._send_request(LeaveGroupRequest(group, member[0]), coordinator)

    async def trim(self) -> None:
        admin = await self._admin()
        first = TopicPartition(self.topic, 0)
        await admin.delete_records({first: RecordsToDelete(before_offset=-1)})

    async def restart(self) -> None:
        need_restart(self.server)
        await self.resources.aclose()
        self.producer = None
        await to_thread.run_sync(self.server.kill)
        await to_thread.run_sync(self.server.start)

    def unreachable(self) -> StreamSource:
        return KafkaSource("nowhere", f"127.0.0.1:{free_ports(1)[0]}")

    async def _producer(self) -> AIOKafkaProducer:
        if self.producer is None:
            self.producer = AIOKafkaProducer(
                bootstrap_servers=self.server.bootstrap, max_request_size=2 * LARGEST
            )
            await self.producer.start()
            self.resources.push_async_callback(self.producer.stop)
        return self.producer

    async def _admin(self) -> AIOKafkaAdminClient:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.server.bootstrap)
        await admin.start()
        self.resources.push_async_callback(admin.close)
        return admin


class TestKafkaSource(StreamSourceSuite):
    features = StreamFeatures(
        ending="a partition never ends",
        max_payload=LARGEST,
        patience=20.0,
    )

    @pytest.fixture
    async def harness(self, server: KafkaServer) -> AsyncIterator[KafkaStreamHarness]:  # type: ignore[override]
        async with AsyncExitStack() as resources:
            harness = KafkaStreamHarness(server, resources)
            yield harness
            await harness.resources.aclose()


class KafkaDestinationHarness(DestinationHarness):
    def __init__(self, server: KafkaServer, topic: str) -> None:
        self.server = server
        self.topic = topic

    def destination(self) -> Destination:
        return KafkaDestination(self.topic, self.server.bootstrap)

    async def received(self) -> Sequence[Message]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.server.bootstrap)
        await consumer.start()
        try:
            partitions = [TopicPartition(self.topic, number) for number in range(3)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(partitions)
            found = []
            for partition, end in ends.items():
                while await consumer.position(partition) < end:
                    for records in (await consumer.getmany(partition, timeout_ms=1000)).values():
                        found += records
        finally:
            await consumer.stop()
        return [
            Message(record.value, record.key and record.key.decode(), tuple(record.headers))
            for record in found
        ]

    def refused(self) -> Message:
        return Message(b"x" * (LARGEST - 1000))

    def unreachable(self) -> Destination:
        return KafkaDestination(self.topic, f"127.0.0.1:{free_ports(1)[0]}", timeout=2)


class TestKafkaDestination(DestinationSuite):
    # The topic takes less than the client: so the broker is who refuses.
    features = DestinationFeatures(patience=20.0, max_payload=LARGEST // 2)

    @pytest.fixture
    async def harness(self, server: KafkaServer) -> KafkaDestinationHarness:  # type: ignore[override]
        name = topic_name("dead")
        limit = {"max.message.bytes": str(LARGEST // 2 + 10_000)}
        await create_topic(server.bootstrap, name, partitions=3, config=limit)
        return KafkaDestinationHarness(server, name)
