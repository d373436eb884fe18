"""The fakes pass the suites that real connectors pass, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from streamfn.ports import Destination, FunctionStore, LeaseStore, Message, QueueSource, StreamSource
from streamfn.stores.memory import MemoryLeaseStore
from streamfn.testing.clock import clock, virtual_backend
from streamfn.testing.conformance import (
    DestinationFeatures,
    DestinationHarness,
    DestinationSuite,
    FunctionStoreFeatures,
    FunctionStoreHarness,
    FunctionStoreSuite,
    LeaseStoreFeatures,
    LeaseStoreHarness,
    LeaseStoreSuite,
    QueueFeatures,
    QueueHarness,
    QueueSourceSuite,
    StreamFeatures,
    StreamHarness,
    StreamSourceSuite,
)
from streamfn.testing.functions_store import MemoryFunctionStore
from streamfn.testing.memory import MemoryDestination, MemoryQueue, MemoryStream

DIES = "the memory of a process does not survive it"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


class MemoryStreamHarness(StreamHarness):
    stream: MemoryStream

    def now(self) -> float:
        return clock()

    async def create(self, shards: int) -> None:
        self.stream = self.make(shards)

    def make(self, shards: int) -> MemoryStream:
        return MemoryStream("conformance", shards, stride=3)

    def source(self) -> StreamSource:
        return self.stream

    async def put(self, messages: Sequence[Message], shard: int = 0) -> None:
        self.stream.put(messages, shard=self.stream.shard_ids[shard])

    async def put_tombstone(self, key: str) -> None:
        self.stream.put([None], key=key)

    async def lose(self, shard: str, group: str) -> None:
        self.stream.lose(shard, group)

    async def trim(self) -> None:
        self.stream.trim(self.stream.records()[-1].position)

    async def end(self) -> None:
        self.stream.end(self.stream.shard_ids[0])

    def unreachable(self) -> StreamSource:
        stream = MemoryStream("unreachable")
        stream.cut()
        return stream


class TestMemoryStream(StreamSourceSuite):
    features = StreamFeatures(restarting=DIES)

    @pytest.fixture
    def harness(self) -> StreamHarness:
        return MemoryStreamHarness()


class MemoryQueueHarness(QueueHarness):
    queue: MemoryQueue

    def now(self) -> float:
        return clock()

    async def create(self, visibility_timeout: float, *, fifo: bool = False) -> None:
        self.queue = self.make(visibility_timeout, fifo)

    def make(self, visibility_timeout: float, fifo: bool) -> MemoryQueue:
        return MemoryQueue("conformance", visibility_timeout, fifo)

    def source(self) -> QueueSource:
        return self.queue

    async def put(self, messages: Sequence[Message]) -> None:
        self.queue.put(messages)

    def unreachable(self) -> QueueSource:
        queue = MemoryQueue("unreachable")
        queue.faults.down = True
        return queue


class TestMemoryQueue(QueueSourceSuite):
    features = QueueFeatures(restarting=DIES)

    @pytest.fixture
    def harness(self) -> QueueHarness:
        return MemoryQueueHarness()


class MemoryDestinationHarness(DestinationHarness):
    def __init__(self) -> None:
        self._destination = MemoryDestination("conformance", max_size=DestinationFeatures().max_payload)

    def destination(self) -> Destination:
        return self._destination

    async def received(self) -> Sequence[Message]:
        return self._destination.messages

    def refused(self) -> Message:
        return Message(b"x" * (DestinationFeatures().max_payload + 1))

    def unreachable(self) -> Destination:
        destination = MemoryDestination("unreachable")
        destination.faults.down = True
        return destination


class TestMemoryDestination(DestinationSuite):
    @pytest.fixture
    def harness(self) -> DestinationHarness:
        return MemoryDestinationHarness()


class MemoryLeaseStoreHarness(LeaseStoreHarness):
    def __init__(self) -> None:
        self._store = MemoryLeaseStore()

    def store(self) -> LeaseStore:
        return self._store


class TestMemoryLeaseStore(LeaseStoreSuite):
    features = LeaseStoreFeatures(reopening=DIES)

    @pytest.fixture
    def harness(self) -> LeaseStoreHarness:
        return MemoryLeaseStoreHarness()


class MemoryFunctionStoreHarness(FunctionStoreHarness):
    def __init__(self) -> None:
        self._store = MemoryFunctionStore()

    def now(self) -> float:
        return clock()

    def store(self) -> FunctionStore:
        return self._store


class TestMemoryFunctionStore(FunctionStoreSuite):
    features = FunctionStoreFeatures(reopening=DIES)

    @pytest.fixture
    def harness(self) -> FunctionStoreHarness:
        return MemoryFunctionStoreHarness()
