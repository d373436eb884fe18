"""The embedded broker passes the suites of sources, destinations and lease stores, on real files."""

from __future__ import annotations

import shutil
import sqlite3
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.local import (
    Broker,
    LocalDestination,
    LocalQueue,
    LocalStream,
    QueueMessage,
    StreamOptions,
    admin,
)
from streamfn.local.schema import FILE, unpack_headers, unpack_text
from streamfn.local.streams import lease_group
from streamfn.ports import Destination, LeaseStore, Message, QueueSource, StreamSource
from streamfn.stores import SqliteLeaseStore
from streamfn.stores.database import Database
from streamfn.stores.sqlite import LEASE_SCRIPTS
from streamfn.testing.clock import clock, virtual_backend
from streamfn.testing.conformance import (
    DestinationFeatures,
    DestinationHarness,
    DestinationSuite,
    LeaseStoreHarness,
    LeaseStoreSuite,
    QueueFeatures,
    QueueHarness,
    QueueSourceSuite,
    StreamFeatures,
    StreamHarness,
    StreamSourceSuite,
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


class Files:
    """A state directory, and another broker on it: as a second process would be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "state-0"
        self.names = 0
        self.resources = AsyncExitStack()
        self.broker: Broker

    async def open(self) -> None:
        self.broker = await self.resources.enter_async_context(Broker(self.state_dir / FILE, clock=clock))

    async def pull_the_plug(self) -> None:
        """Goes on with the files as they are now, with what an open connection has not put in order yet."""
        old = self.state_dir
        self.state_dir = self.folder / f"{old.name}-"
        await anyio.to_thread.run_sync(self._copy, old)
        await self.resources.aclose()
        await self.open()

    def _copy(self, old: Path) -> None:
        self.state_dir.mkdir()
        for name in (FILE, f"{FILE}-wal"):
            if (old / name).exists():
                shutil.copy(old / name, self.state_dir / name)

    def new_name(self) -> str:
        self.names += 1
        return f"conformance-{self.names}"

    def nowhere(self) -> Path:
        """A place below a file, where no folder can be."""
        file = self.folder / "file"
        file.touch()
        return file / "state"


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    files = Files(tmp_path)
    await files.open()
    yield files
    await files.resources.aclose()


def key_of(shard: int, shards: int) -> str:
    return next(key for key in map(str, range(1000)) if zlib.crc32(key.encode()) % shards == shard)


class LocalStreamHarness(StreamHarness):
    def __init__(self, files: Files) -> None:
        self.files = files
        self.name = ""

    def now(self) -> float:
        return clock()

    async def create(self, shards: int) -> None:
        self.name = self.files.new_name()
        await self.files.broker.stream(self.name, StreamOptions(shards=shards))

    def source(self) -> StreamSource:
        return LocalStream(self.name, state_dir=self.files.state_dir, clock=clock)

    async def put(self, messages: Sequence[Message], shard: int = 0) -> None:
        stream = await self.files.broker.stream(self.name)
        shards = len(stream.shards)
        if shards > 1:
            messages = [replace(message, key=key_of(shard, shards)) for message in messages]
        await self.files.broker.put(stream, messages)

    async def lose(self, shard: str, group: str) -> None:
        leases, group = self.files.broker.leases, lease_group(self.name, group)
        (lease,) = [lease for lease in await leases.list(group) if lease.key == shard]
        assert await leases.update(group, lease, lease.moved("another"))
        # And it leaves again, so that the next reader need not wait for a lease to expire.
        assert await leases.update(group, lease.moved("another"), lease.moved("another").moved(None))

    async def trim(self) -> None:
        await admin.purge_stream(self.files.broker, self.name)

    async def restart(self) -> None:
        await self.files.pull_the_plug()

    def unreachable(self) -> StreamSource:
        return LocalStream("stream", state_dir=self.files.nowhere())


class TestLocalStream(StreamSourceSuite):
    features = StreamFeatures(
        tombstones="what is put into a local stream has a value",
        ending="the shards of a local stream never end",
    )

    @pytest.fixture
    def harness(self, files: Files) -> StreamHarness:
        return LocalStreamHarness(files)


class LocalQueueHarness(QueueHarness):
    def __init__(self, files: Files) -> None:
        self.files = files
        self.name = ""
        self.options: dict[str, object] = {}

    def now(self) -> float:
        return clock()

    async def create(self, visibility_timeout: float, *, fifo: bool = False) -> None:
        self.name = self.files.new_name() + (".fifo" if fifo else "")
        self.options = {"visibility_timeout": visibility_timeout}

    def source(self) -> QueueSource:
        return LocalQueue(self.name, state_dir=self.files.state_dir, clock=clock, **self.options)

    async def put(self, messages: Sequence[Message]) -> None:
        queue = await self.files.broker.queue(self.name)
        await self.files.broker.send(queue, [QueueMessage(m.body, m.key, m.headers) for m in messages])

    async def restart(self) -> None:
        await self.files.pull_the_plug()

    def unreachable(self) -> QueueSource:
        return LocalQueue("queue", state_dir=self.files.nowhere())


class TestLocalQueue(QueueSourceSuite):
    features = QueueFeatures(max_batch=10_000)

    @pytest.fixture
    def harness(self, files: Files) -> QueueHarness:
        return LocalQueueHarness(files)


class LocalDestinationHarness(DestinationHarness):
    def __init__(self, files: Files, uri: str, table: str) -> None:
        self.files = files
        self.uri = uri
        self.table = table

    def destination(self) -> Destination:
        return LocalDestination(self.uri, state_dir=self.files.state_dir, clock=clock)

    async def received(self) -> Sequence[Message]:
        connection = sqlite3.connect(self.files.state_dir / FILE)
        try:
            rows = connection.execute(f"SELECT value, key, headers FROM {self.table} ORDER BY id").fetchall()
        finally:
            connection.close()
        return [Message(value, unpack_text(key), unpack_headers(headers)) for value, key, headers in rows]

    def unreachable(self) -> Destination:
        return LocalDestination(self.uri, state_dir=self.files.nowhere())


class TestLocalStreamAsDestination(DestinationSuite):
    features = DestinationFeatures(refusing="a local stream takes every message")

    @pytest.fixture
    def harness(self, files: Files) -> DestinationHarness:
        return LocalDestinationHarness(files, "local:letters?shards=1", "records")


class TestLocalQueueAsDestination(DestinationSuite):
    features = DestinationFeatures(refusing="a local queue takes every message")

    @pytest.fixture
    def harness(self, files: Files) -> DestinationHarness:
        return LocalDestinationHarness(files, "local:queue/letters", "messages")


class SqliteLeaseStoreHarness(LeaseStoreHarness):
    def __init__(self, path: Path) -> None:
        self.database = Database(path, LEASE_SCRIPTS)

    def store(self) -> LeaseStore:
        return SqliteLeaseStore(self.database)

    async def reopen(self) -> None:
        await self.database.close()
        await self.database.open()


class TestSqliteLeaseStore(LeaseStoreSuite):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[LeaseStoreHarness]:
        harness = SqliteLeaseStoreHarness(tmp_path / "leases.sqlite3")
        await harness.database.open()
        yield harness
        await harness.database.close()


class BrokerLeaseStoreHarness(LeaseStoreHarness):
    """The leases beside the streams, with a second broker on the file."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.calls = 0

    def store(self) -> LeaseStore:
        return self.files.broker.leases

    async def reopen(self) -> None:
        await self.files.pull_the_plug()


class TestLeasesOfABroker(LeaseStoreSuite):
    @pytest.fixture
    def harness(self, files: Files) -> LeaseStoreHarness:
        return BrokerLeaseStoreHarness(files)
