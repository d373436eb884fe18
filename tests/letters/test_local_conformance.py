"""Queues and streams of the embedded broker pass the suites of dead letters, on real files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.core.records import Record
from streamfn.local import (
    Broker,
    LocalFetcher,
    LocalLetters,
    LocalStream,
    QueueMessage,
    QueueOptions,
    StreamOptions,
)
from streamfn.local.schema import FILE
from streamfn.ports import Assigned, LetterFetcher, LetterStore, Message, Subscription
from streamfn.testing.clock import clock, virtual_backend
from streamfn.testing.conformance import (
    LetterFetcherHarness,
    LetterFetcherSuite,
    LetterStoreFeatures,
    LetterStoreHarness,
    LetterStoreSuite,
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with Broker(tmp_path / FILE, clock=clock) as broker:
        yield broker


def broken(folder: Path) -> Path:
    """A state directory whose file is no database."""
    state_dir = folder / "broken"
    state_dir.mkdir()
    (state_dir / FILE).write_bytes(b"no database " * 1000)
    return state_dir


class LocalLettersHarness(LetterStoreHarness):
    def __init__(self, broker: Broker, folder: Path, uri: str) -> None:
        self.broker = broker
        self.folder = folder
        self.uri = uri

    def now(self) -> float:
        return clock()

    def store(self) -> LetterStore:
        return LocalLetters.from_uri(self.uri, {"state_dir": self.folder, "clock": clock})

    async def put(self, messages: Sequence[Message]) -> None:
        if self.uri.startswith("local:queue/"):
            queue = await self.broker.queue("dead")
            await self.broker.send(queue, [QueueMessage(m.body, m.key, m.headers) for m in messages])
        else:
            await self.broker.put(await self.broker.stream("dead"), messages)

    def unreachable(self) -> LetterStore:
        return LocalLetters.from_uri(self.uri, {"state_dir": broken(self.folder), "clock": clock})


class TestLocalQueue(LetterStoreSuite):
    @pytest.fixture
    async def harness(self, broker: Broker, tmp_path: Path) -> LetterStoreHarness:
        await broker.queue("dead", QueueOptions())
        return LocalLettersHarness(broker, tmp_path, "local:queue/dead")


class TestLocalStream(LetterStoreSuite):
    features = LetterStoreFeatures(removes="a stream is a log")

    @pytest.fixture
    async def harness(self, broker: Broker, tmp_path: Path) -> LetterStoreHarness:
        await broker.stream("dead", StreamOptions(shards=1))
        return LocalLettersHarness(broker, tmp_path, "local:dead")


class LocalFetcherHarness(LetterFetcherHarness):
    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.count = 0

    def now(self) -> float:
        return clock()

    def fetcher(self) -> LetterFetcher:
        return LocalFetcher.from_uri("local:readings", {"state_dir": self.folder, "clock": clock})

    async def put(self, messages: Sequence[Message]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        stream = await self.broker.stream("readings", StreamOptions(shards=1))
        await self.broker.put(stream, [Message(b"before"), *messages, Message(b"behind")])
        first, self.count = self.count + 1, self.count + len(messages) + 2
        source = LocalStream("readings", state_dir=self.folder, clock=clock)
        async with source.shards(Subscription(f"group-{self.count}")) as changes:
            event = await anext(changes)
            assert isinstance(event, Assigned)
            read: list[Record] = []
            with anyio.fail_after(10):
                while len(read) < self.count:
                    read += await event.shard.read(self.count - len(read), 1.0)
            await event.shard.close()
        records = read[first : first + len(messages)]
        (info,) = event.shard.shape.batch_info(records).values()
        return event.shard.shape.to_event(records), info

    async def trim(self, event: Mapping[str, Any], keep: int) -> Mapping[str, Any]:
        kept = event["Records"][len(event["Records"]) - keep :]
        # Beside those the one behind them, and the one that makes the broker look.
        stream = await self.broker.stream("readings", StreamOptions(max_records=keep + 2))
        await self.broker.put(stream, [Message(b"later")])
        return {**event, "Records": kept}

    def unreachable(self) -> LetterFetcher:
        return LocalFetcher.from_uri("local:readings", {"state_dir": broken(self.folder), "clock": clock})


class TestLocalFetcher(LetterFetcherSuite):
    @pytest.fixture
    async def harness(self, broker: Broker, tmp_path: Path) -> LetterFetcherHarness:
        return LocalFetcherHarness(broker, tmp_path)
