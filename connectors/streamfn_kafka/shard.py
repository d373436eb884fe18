"""One partition while it is ours: a buffer that the fetch loop fills and a worker empties."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from streamfn.errors import ShardLost, StreamfnError
from streamfn_kafka.records import FetchedRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.events import EventShape
    from streamfn.ports import Checkpoint
    from streamfn_kafka.client import Claim

_LOOK = 0.05
"""Seconds between looks at whether the group has heard of us again."""


class Owner(Protocol):
    """What a shard asks of the membership it belongs to."""

    @property
    def is_member(self) -> bool:
        """Whether nobody else can have our partitions yet."""

    def has_room(self) -> None:
        """A shard has become hungry."""

    def lag(self, shard: KafkaShard) -> int | None:
        """Records that wait behind those read."""

    async def commit(self, shard: KafkaShard, checkpoint: Checkpoint) -> None:
        """Stores a checkpoint."""

    def closed(self, shard: KafkaShard) -> None:
        """A worker has given a shard back."""


class KafkaShard:
    """A partition of a topic, from its assignment to its revocation.

    Its position is the offset of the last record that is done; Kafka's committed offset is the one after it.
    """

    def __init__(
        self,
        partition: int,
        checkpoint: Checkpoint,
        claim: Claim,
        owner: Owner,
        shape: EventShape,
        *,
        note_limit: int,
        most_records: int,
        most_bytes: int,
    ) -> None:
        self.partition = partition
        self.claim = claim
        self.checkpoint = checkpoint
        """The last one committed when this shard was assigned; reading begins after it."""
        self.id = str(partition)
        self.shape = shape
        self.note_limit = note_limit
        self.commit_interval = 0.0
        self.next_fetch = checkpoint.position + 1
        """What the fetch loop brings is never before it."""
        self.next_read = self.next_fetch
        self.is_closed = False
        self.is_lost = False
        self.stalled = False
        """The fetch loop leaves it alone: it is being given back, or its position is being found anew."""
        self._failure: StreamfnError | None = None
        self._owner = owner
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._chunks: deque[_Chunk] = deque()
        self.buffered = 0
        """Records that wait to be read."""
        self._bytes = 0
        self._reader: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        state = "lost" if self.is_lost else "closed" if self.is_closed else "open"
        return f"<KafkaShard {self.id} at {self.next_read} {state}>"

    # ------------------------------------------------------------------------------------- for workers

    async def read(self, limit: int, wait: float) -> Sequence[FetchedRecord]:
        """Up to `limit` records, waiting at most `wait` seconds for the first; empty when none came.

        A cancelled read loses nothing. Gives nothing while the group may have taken us for dead. Raises
        ShardLost when the partition is another's, and what ended the reading: PositionLost, SourceError.
        """
        if not self._readable():
            loop = asyncio.get_running_loop()
            until = loop.time() + wait
            while not self._readable() and (left := until - loop.time()) > 0:
                await self._arrival(min(left, _LOOK) if self.buffered else left)
            if not self._readable():
                return ()
        was_hungry = self.hungry
        records = self._pop(limit)
        if self.hungry and not was_hungry:
            self._owner.has_room()
        return records

    async def commit(self, checkpoint: Checkpoint) -> None:
        """Durable when it returns. Raises ShardLost when the partition is another's: nothing was written.

        Raises SourceError when the brokers did not take it in time: it may be written or not, and may be
        tried again.
        """
        self._check_lost()
        await self._owner.commit(self, checkpoint)

    async def close(self) -> None:
        """Gives the partition back: its worker has committed for the last time. Never raises."""
        if not self.is_closed:
            self.is_closed = True
            self._clear()
            self._owner.closed(self)

    @property
    def lag(self) -> int | None:
        """Records known to wait after those read; None when unknown. Counts offsets, so gaps too."""
        return self._owner.lag(self)

    @property
    def iterator_age(self) -> float | None:
        """Known where nothing waits: brokers tell offsets, and no times."""
        return 0.0 if self.lag == 0 else None

    # -------------------------------------------------------------------------------- for the membership

    @property
    def hungry(self) -> bool:
        """Whether records may be brought."""
        return (
            self.buffered < self._most_records
            and self._bytes < self._most_bytes
            and not (self.stalled or self.is_closed or self.is_lost)
        )

    def feed(self, records: list[Any]) -> None:
        """Records that were fetched, in order."""
        chunk = _Chunk(records)
        self._chunks.append(chunk)
        self.buffered += len(records)
        self._bytes += chunk.bytes
        self.next_fetch = records[-1].offset + 1
        self._wake()

    def fail(self, error: StreamfnError) -> None:
        """Whoever reads it from now on gets the error, once what is buffered is read."""
        self._failure = self._failure or error
        self._wake()

    def lose(self) -> None:
        """It is another's: nothing is read or committed any more."""
        self.is_lost = True
        self._clear()
        self._wake()

    # ------------------------------------------------------------------------------------------ inside

    def _readable(self) -> bool:
        self._check_lost()
        if self.buffered:
            return self._owner.is_member
        if self._failure is not None:
            raise self._failure
        return False

    def _check_lost(self) -> None:
        if self.is_lost or self.is_closed:
            raise ShardLost(f"partition {self.id} is no longer ours")

    async def _arrival(self, wait: float) -> None:
        """Waits until something changes, or for that long."""
        loop = asyncio.get_running_loop()
        reader = self._reader = loop.create_future()
        timer = loop.call_later(wait, self._wake)
        try:
            await reader
        finally:
            timer.cancel()
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _pop(self, limit: int) -> list[FetchedRecord]:
        popped: list[FetchedRecord] = []
        while self._chunks and (room := limit - len(popped)) > 0:
            chunk = self._chunks[0]
            if not chunk.head and len(chunk.records) <= room:
                taken = chunk.records
            else:
                taken = chunk.records[chunk.head : chunk.head + room]
            chunk.head += len(taken)
            if chunk.head >= len(chunk.records):
                self._chunks.popleft()
                self._bytes -= chunk.bytes
            popped.extend(map(FetchedRecord, taken))
        if popped:
            self.buffered -= len(popped)
            self.next_read = popped[-1].offset + 1
        return popped

    def _clear(self) -> None:
        self._chunks.clear()
        self.buffered = self._bytes = 0


class _Chunk:
    """Records that came together. Their bytes count until the last of them is read."""

    __slots__ = ("bytes", "head", "records")

    def __init__(self, records: list[Any]) -> None:
        self.records = records
        self.head = 0
        self.bytes = sum(record.serialized_value_size for record in records)
