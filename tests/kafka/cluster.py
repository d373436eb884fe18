"""A broker as the tests use it: topics, records, and what the groups have committed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import LeaveGroupRequest

from streamfn.ports import Message, Subscription
from streamfn.testing.conformance.harness import Harness
from streamfn.testing.conformance.reading import Reading, reading
from streamfn_kafka import KafkaSource
from tests.servers.kafka import KafkaServer, add_partitions, create_topic

PATIENCE = 20.0


class Cluster(Harness):
    """One broker, by other means than the connector's."""

    def __init__(self, server: KafkaServer) -> None:
        self.server = server

    @property
    def bootstrap(self) -> str:
        return self.server.bootstrap

    async def topic(self, partitions: int = 1, **config: str) -> str:
        """A new topic. Options as Kafka has them, with underscores for dots."""
        options = {name.replace("_", "."): value for name, value in config.items()}
        return await create_topic(self.bootstrap, partitions=partitions, config=options)

    async def is_well(self) -> bool:
        """Whether a topic can be made: a broker that was gone is not let in again at once."""
        try:
            await self.topic(1)
        except (KafkaError, AttributeError):
            return False
        return True

    async def grow(self, topic: str, total: int) -> None:
        await add_partitions(self.bootstrap, topic, total)

    def source(self, topic: str, **options: Any) -> KafkaSource:
        """A source that finds things out sooner than the default one."""
        return KafkaSource(
            topic, self.bootstrap, **{"session_timeout": 3, "rebalance_timeout": 10, **options}
        )

    @asynccontextmanager
    async def reading(
        self,
        source: KafkaSource,
        subscription: Subscription = Subscription("group"),
        *,
        give_back: bool = True,
    ) -> AsyncIterator[Reading]:
        async with reading(self, source, PATIENCE, subscription, give_back=give_back) as reader:
            yield reader

    @asynccontextmanager
    async def producing(self, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, **options)
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def put(
        self, topic: str, values: Iterable[object], partition: int | None = 0, key: str | None = None
    ) -> None:
        """Records that hold the text of the values."""
        async with self.producing() as producer:
            sent = [
                await producer.send(topic, str(value).encode(), key=key and key.encode(), partition=partition)
                for value in values
            ]
            for delivered in sent:
                await delivered

    async def all_of(self, topic: str, partitions: int = 1, **options: Any) -> Sequence[Message]:
        """Every record there is, in the order of its partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, **options)
        await consumer.start()
        try:
            own = [TopicPartition(topic, number) for number in range(partitions)]
            consumer.assign(own)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(own)
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

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def coordinator(self, admin: AIOKafkaAdminClient, group: str) -> int:
        """The broker of a group; a new cluster has to make room for groups first."""
        found: list[int] = []

        async def find() -> bool:
            try:
                found.append(await admin.find_coordinator(group))
            except KafkaError:
                return False
            return True

        await self.until(find, PATIENCE)
        return found[0]

    async def trim(self, topic: str, before: int, partition: int = 0) -> None:
        """Removes the records before an offset, as retention does."""
        async with self.admin() as admin:
            await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)})

    async def committed(self, topic: str, group: str = "group") -> dict[int, int]:
        """What the group has committed."""
        async with self.admin() as admin:
            coordinator = await self.coordinator(admin, group)
            found = await admin.list_consumer_group_offsets(group, group_coordinator_id=coordinator)
        return {tp.partition: stored.offset for tp, stored in found.items() if tp.topic == topic}

    async def commit_as_nobody(self, topic: str, offsets: Mapping[int, int], group: str = "group") -> None:
        """Commits for a group that has no members, as tools do that reset offsets."""
        rows = [(partition, offset, "by a tool") for partition, offset in offsets.items()]
        async with self.admin() as admin:
            coordinator = await self.coordinator(admin, group)
            answer = await admin._send_request(
                OffsetCommitRequest(group, -1, "", -1, [(topic, rows)]), coordinator
            )
        assert {code for _, found in answer.topics for _, code in found} == {0}

    async def members(self, group: str = "group") -> list[str]:
        """The ids of the group's members."""
        async with self.admin() as admin:
            (described,) = await admin.describe_consumer_groups(
                [group], group_coordinator_id=await self.coordinator(admin, group)
            )
        return [member[0] for member in described.groups[0][5]]

    async def kick(self, *members: str, group: str = "group") -> None:
        """Removes members from a group, as when their session ends."""
        async with self.admin() as admin:
            coordinator = await self.coordinator(admin, group)
            for member in members:
                await admin._send_request(LeaveGroupRequest(group, member), coordinator)
