"""Kinesis passes the suite of stream sources: by polling on both transports, and by enhanced fan-out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamfn.ports import Message, StreamSource
from streamfn.stores import SqliteLeaseStore
from streamfn.testing.conformance import StreamFeatures, StreamHarness, StreamSourceSuite
from tests.aws.kinesis_made import Producer, producer, source
from tests.servers.aws import AwsServer, Ministack
from tests.servers.kinesis_local import KinesisLocal

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    # What the producer of these tests sends may be large.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]

MINISTACK = StreamFeatures(
    headers="a Kinesis record has none",
    tombstones="a Kinesis record has data always",
    trimming="Kinesis begins with the oldest record and does not say that others were removed",
    ending="ministack takes a shard away when it is split",
    restarting="see test_kinesis_faults: the server of these tests is shared",
)


class KinesisHarness(StreamHarness):
    def __init__(self, server: AwsServer, folder: Path, **options: Any) -> None:
        self.server = server
        self.folder = folder
        self.options = options
        self.resources = AsyncExitStack()
        self.producer: Producer

    async def create(self, shards: int) -> None:
        self.producer = await self.resources.enter_async_context(producer(self.server))
        await self.producer.create(shards)

    def source(self) -> StreamSource:
        return source(self.server, self.producer.name, self.folder, **self.options)

    async def put(self, messages: Sequence[Message], shard: int = 0) -> None:
        await self.producer.put(messages, shard)

    async def lose(self, shard: str, group: str) -> None:
        arn = (await self.producer.active())["StreamARN"]
        async with SqliteLeaseStore.at(self.folder / "leases.db") as leases:
            group = f"{group} {arn}"
            (lease,) = [lease for lease in await leases.list(group) if lease.key == shard]
            taken = replace(lease.moved("another"), counter=lease.counter + 10)
            assert await leases.update(group, lease, taken)
            # And it leaves again, so that the next reader need not wait for a lease to expire.
            assert await leases.update(group, taken, taken.moved(None))

    async def end(self) -> None:
        await self.producer.split(0)

    def unreachable(self) -> StreamSource:
        return source(
            self.server, "stream", self.folder, **{"endpoint_url": "http://127.0.0.1:9", **self.options}
        )


async def _harness(server: AwsServer, folder: Path, **options: Any) -> AsyncIterator[StreamHarness]:
    harness = KinesisHarness(server, folder, **options)
    async with harness.resources:
        yield harness


class TestPolling(StreamSourceSuite):
    features = MINISTACK

    @pytest.fixture
    async def harness(self, aws: Ministack, tmp_path: Path) -> AsyncIterator[StreamHarness]:
        async for harness in _harness(aws, tmp_path):
            yield harness


class TestPollingThroughBotocore(StreamSourceSuite):
    features = MINISTACK

    @pytest.fixture
    async def harness(self, aws: Ministack, tmp_path: Path) -> AsyncIterator[StreamHarness]:
        async for harness in _harness(aws, tmp_path, transport="botocore"):
            yield harness


class TestFanOut(StreamSourceSuite):
    features = MINISTACK

    @pytest.fixture
    async def harness(self, aws: Ministack, tmp_path: Path) -> AsyncIterator[StreamHarness]:
        async for harness in _harness(aws, tmp_path, consumer="conformance"):
            yield harness


class TestShardsThatEnd(StreamSourceSuite):
    """On a server that reshards as AWS does."""

    features = replace(MINISTACK, ending=True)

    @pytest.fixture
    async def harness(self, kinesis_local: KinesisLocal, tmp_path: Path) -> AsyncIterator[StreamHarness]:
        async for harness in _harness(kinesis_local, tmp_path):
            yield harness
