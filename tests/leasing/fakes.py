"""Sources, readers and workers of leased shards, as plain as can be, and a store that fails when told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from streamfn.core.events import EventShape, KinesisShape
from streamfn.core.leasing import Creation, Lease, ShardNode
from streamfn.core.policies import StartingPosition
from streamfn.core.records import Record, StreamRecord
from streamfn.errors import ShardClosed, SourceError
from streamfn.leasing import LeasedShards
from streamfn.ports import Assigned, Checkpoint, LeaseStore, Reason, Revoked, StreamShard, Subscription
from streamfn.stores import MemoryLeaseStore

GROUP = "group"


class FlakyStore(MemoryLeaseStore):
    """One that can be told to fail, to hang, or to lose its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.hanging = False
        self.answers_lost = 0

    async def list(self, group: str) -> Sequence[Lease]:
        await self._trouble()
        return await super().list(group)

    async def update(self, group: str, lease: Lease, new: Lease) -> bool:
        await self._trouble()
        done = await super().update(group, lease, new)
        if self.answers_lost:
            self.answers_lost -= 1
            raise ConnectionError("the answer is lost")
        return done

    async def _trouble(self) -> None:
        if self.hanging:
            await anyio.Event().wait()
        if self.down:
            raise ConnectionError("the store is down")


class FarStore(MemoryLeaseStore):
    """One whose answers take their time, and are old by then."""

    def __init__(self, *, listing: float = 0.4, writing: float = 0.1) -> None:
        super().__init__()
        self.listing = listing
        self.writing = writing
        self.lists = 0
        self.writes = 0
        self.listing_fails: Exception | None = None

    async def list(self, group: str) -> Sequence[Lease]:
        self.lists += 1
        if self.listing_fails is not None:
            raise self.listing_fails
        await anyio.sleep(self.listing / 2)
        rows = await super().list(group)
        await anyio.sleep(self.listing / 2)
        return rows

    async def create(self, group: str, lease: Lease) -> bool:
        await anyio.sleep(self.writing / 2)
        done = await super().create(group, lease)
        await anyio.sleep(self.writing / 2)
        return done

    async def update(self, group: str, lease: Lease, new: Lease) -> bool:
        self.writes += 1
        await anyio.sleep(self.writing / 2)
        done = await super().update(group, lease, new)
        await anyio.sleep(self.writing / 2)
        return done

    async def delete(self, group: str, lease: Lease) -> bool:
        await anyio.sleep(self.writing / 2)
        done = await super().delete(group, lease)
        await anyio.sleep(self.writing / 2)
        return done


class Source:
    """Shards as lists of positions; a closed one ends after them."""

    def __init__(self, *nodes: ShardNode) -> None:
        self.nodes = list(nodes)
        self.closed: set[str] = set()
        self.records: dict[str, list[int]] = {}
        self.error: SourceError | None = None
        self.discovering_fails: SourceError | None = None
        self.beginning_fails: SourceError | None = None
        self.began: dict[str, StartingPosition] = {}
        self.open_readers: set[str] = set()

    async def discover(self) -> Sequence[ShardNode]:
        if self.error is not None:
            raise self.error
        if self.discovering_fails is not None:
            raise self.discovering_fails
        return list(self.nodes)

    async def begin(self, creation: Creation, at: float | None) -> Checkpoint:
        if self.beginning_fails is not None:
            raise self.beginning_fails
        self.began[creation.shard.id] = creation.start
        return Checkpoint(-1)

    async def open(self, lease: Lease) -> Reader:
        if self.error is not None:
            raise self.error
        self.open_readers.add(lease.key)
        return Reader(self, lease)


class Reader:
    lag = iterator_age = None

    def __init__(self, source: Source, lease: Lease) -> None:
        self.shape: EventShape = KinesisShape(
            "arn:aws:kinesis:local:000000000000:stream/s", lease.key, "local"
        )
        self._source = source
        self._key = lease.key
        self._after = lease.checkpoint.position

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        await anyio.lowlevel.checkpoint()
        found = [p for p in self._source.records.get(self._key, ()) if p > self._after][:limit]
        if found:
            self._after = found[-1]
        elif self._key in self._source.closed:
            raise ShardClosed
        else:
            await anyio.sleep(wait)
        return [StreamRecord(position, b"") for position in found]

    async def close(self) -> None:
        self._source.open_readers.discard(self._key)


class Worker:
    """Takes what it is given, and gives it back when asked unless told to hold on."""

    def __init__(self, store: LeaseStore, source: Source, **options: Any) -> None:
        self.leased = LeasedShards(store, source, Subscription(GROUP), **{"lease_time": 30.0, **options})
        self.shards: dict[str, StreamShard] = {}
        self.told: list[Assigned | Revoked] = []
        self.polite = True
        self.error: BaseException | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Worker]:
        async with self.leased.shards() as changes, anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow, changes)
            yield self
            tasks.cancel_scope.cancel()

    async def _follow(self, changes: AsyncIterator[Assigned | Revoked]) -> None:
        try:
            async for change in changes:
                self.told.append(change)
                match change:
                    case Assigned(shard):
                        self.shards[shard.id] = shard
                    case Revoked(shard_id, Reason.LOST):
                        await self.shards.pop(shard_id).close()
                    case Revoked(shard_id) if self.polite:
                        await self.shards.pop(shard_id).close()
                    case _:
                        pass
        except SourceError as error:
            self.error = error

    @property
    def reasons(self) -> list[Reason]:
        return [change.reason for change in self.told if isinstance(change, Revoked)]


def nodes(count: int) -> list[ShardNode]:
    return [ShardNode(f"shard-{number}") for number in range(count)]


async def owners(store: LeaseStore) -> dict[str, str | None]:
    return {lease.key: lease.owner for lease in await store.list(GROUP) if not lease.key.startswith("ask:")}
