"""What the suites read with."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from streamfn.core.policies import StartingPosition
from streamfn.ports import Assigned, Message, Reason, Revoked, Shard, StreamShard, StreamSource, Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from anyio.abc import TaskGroup

    from streamfn.core.records import Record
    from streamfn.testing.conformance.harness import Harness

TRIM_HORIZON = Subscription("conformance")
LATEST = Subscription("conformance", StartingPosition.LATEST)


@asynccontextmanager
async def tasks() -> AsyncIterator[TaskGroup]:
    """A task group that raises what a test raised, not a group of one: pytest skips by exception."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup) and len(first.exceptions) == 1:
            first = first.exceptions[0]
        raise first from None


class Reading:
    """One reader of a source: what it holds, and what it was told."""

    def __init__(self, harness: Harness, patience: float, *, give_back: bool) -> None:
        self.held: dict[str, StreamShard] = {}
        self.revoked: list[Revoked] = []
        self._harness = harness
        self._patience = patience
        self._give_back = give_back
        self._leaves = False

    async def shard(self, shard_id: str | None = None) -> StreamShard:
        """That shard, or the only one, when it is assigned."""
        await self._harness.until(
            lambda: self.held if shard_id is None else shard_id in self.held, self._patience
        )
        return self.held[shard_id] if shard_id is not None else next(iter(self.held.values()))

    async def holds(self, count: int) -> None:
        """Returns when it holds so many shards."""
        await self._harness.until(lambda: len(self.held) == count, self._patience)

    async def told(self, reason: Reason) -> None:
        """Returns when a shard was revoked for that reason."""
        await self._harness.until(lambda: reason in [event.reason for event in self.revoked], self._patience)

    async def give_back(self) -> None:
        """Closes all that it holds, and takes no more: what is given back may be offered again."""
        self._leaves = True
        while self.held:
            await self.held.popitem()[1].close()

    async def follow(self, events: AsyncIterator[Assigned | Revoked]) -> None:
        async for event in events:
            if isinstance(event, Assigned):
                if self._leaves:
                    continue
                assert event.shard.id not in self.held, f"{event.shard.id} is assigned twice"
                self.held[event.shard.id] = event.shard
                continue
            self.revoked.append(event)
            if event.reason is Reason.LOST:
                self.held.pop(event.shard_id, None)
            elif self._give_back and event.shard_id in self.held:
                await self.held.pop(event.shard_id).close()


@asynccontextmanager
async def reading(
    harness: Harness,
    source: StreamSource,
    patience: float,
    subscription: Subscription = TRIM_HORIZON,
    *,
    give_back: bool = True,
) -> AsyncIterator[Reading]:
    """A reader while the block lasts. At its end it leaves without a word: closing is up to the test."""
    reader = Reading(harness, patience, give_back=give_back)
    async with source.shards(subscription) as events, tasks() as group:
        group.start_soon(reader.follow, events)
        yield reader
        group.cancel_scope.cancel()


async def take(
    harness: Harness, shard: Shard, count: int, patience: float, limit: int = 1000
) -> list[Record]:
    """So many records, in as many reads as it takes. No read brings more than its limit."""
    records: list[Record] = []
    try:
        async with harness.within(patience):
            while len(records) < count:
                at_most = min(limit, count - len(records))
                got = await shard.read(at_most, patience)
                assert len(got) <= at_most, f"a read of {at_most} brought {len(got)}"
                records += got
    except AssertionError as error:
        raise AssertionError(f"{len(records)} of {count} records came: {error}") from error
    return records


async def read_on(shard: Shard) -> None:
    """Reads until that raises. No record comes before."""
    while True:
        records = await shard.read(10, 60.0)
        assert list(records) == [], "a record came where an error was due"


def messages(count: int, first: int = 0, key: str | None = None) -> list[Message]:
    """Messages that carry their number."""
    return [Message(str(first + number).encode(), key) for number in range(count)]


def numbers(records: Sequence[Record]) -> list[int]:
    """The numbers that they carry."""
    return [int(record.value or b"") for record in records]
