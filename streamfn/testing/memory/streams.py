"""A stream in memory: groups, hand-over, lost shards, checkpoints, retention, splits."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

from anyio import lowlevel, move_on_after

from streamfn.core.events import EventShape, KinesisShape
from streamfn.core.records import StreamRecord
from streamfn.errors import PositionLost, ShardClosed, ShardLost
from streamfn.testing.clock import clock as virtual_clock
from streamfn.testing.memory.bell import Bell
from streamfn.testing.memory.faults import Faults
from streamfn.testing.memory.groups import Claim, Group, Reader
from streamfn.testing.memory.logs import Log
from streamfn.testing.memory.values import Value, unpacked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from streamfn.ports import Assigned, Checkpoint, Clock, Revoked, Subscription

StreamValue: TypeAlias = Value | StreamRecord | None
"""What may be put: None is a tombstone; a StreamRecord is kept as it is, but for its position."""


class MemoryShard:
    """A `StreamShard` of a `MemoryStream`."""

    def __init__(self, stream: MemoryStream, group: Group, claim: Claim) -> None:
        assert claim.owner is not None
        self.reader: Reader = claim.owner
        self._stream = stream
        self._group = group
        self._claim = claim
        self._log = claim.log
        self._checkpoint = claim.checkpoint
        self._cursor = claim.log.index_after(claim.checkpoint.position)
        self._lost = False

    @property
    def id(self) -> str:
        return self._log.id

    @property
    def shape(self) -> EventShape:
        return self._stream.shape(self._log.id)

    @property
    def checkpoint(self) -> Checkpoint:
        return self._checkpoint

    @property
    def note_limit(self) -> int:
        return self._stream.note_limit

    @property
    def commit_interval(self) -> float:
        return self._stream.commit_interval

    @property
    def lag(self) -> int | None:
        return self._log.trimmed + len(self._log.records) - self._cursor

    @property
    def iterator_age(self) -> float | None:
        return 0.0 if self.lag == 0 else None

    async def read(self, limit: int, wait: float) -> Sequence[StreamRecord]:
        # Cancellation comes here or while waiting, never between taking records and returning them.
        await lowlevel.checkpoint()
        self._stream.faults.before("read")
        records = self._take(limit)
        if records or wait <= 0:
            return records
        with move_on_after(wait):
            while not records:
                await self._log.changed.heard()
                records = self._take(limit)
        return records

    async def commit(self, checkpoint: Checkpoint) -> None:
        await lowlevel.checkpoint()
        self._stream.faults.before("commit")
        if self._lost:
            raise ShardLost(f"{self.id} is another reader's")
        if len(checkpoint.note) > self.note_limit:
            raise ValueError(
                f"a note of {len(checkpoint.note)} characters, above note_limit {self.note_limit}"
            )
        if checkpoint.position < self._claim.checkpoint.position:
            raise ValueError(f"{self.id}: {checkpoint} goes back behind {self._claim.checkpoint}")
        self._claim.checkpoint = checkpoint
        self._group.committed.ring()
        self._stream.faults.after("commit")

    async def close(self) -> None:
        self._group.give_back(self._claim, self)
        self._lost = True

    def lose(self) -> None:
        """Called when the shard is another's: a waiting read is told at once."""
        self._lost = True
        self._log.changed.ring()

    def _take(self, limit: int) -> Sequence[StreamRecord]:
        if self._lost:
            raise ShardLost(f"{self.id} is another reader's")
        log = self._log
        self._stream.expire(log)
        start = self._cursor - log.trimmed
        if start < 0:
            raise PositionLost(f"{self.id}: the oldest record kept is the one after {log.trimmed_to}")
        records = log.records[start : start + limit]
        if not records and log.closed:
            raise ShardClosed(f"{self.id} has ended")
        self._cursor += len(records)
        return records


class MemoryStream:
    """A `StreamSource` in memory. Not for use from several threads.

    Groups share the shards evenly; a shard that moves is asked for with REQUESTED and moves when its worker
    has closed it. Checkpoints outlive readers. Records are shown to functions as Kinesis records.
    """

    def __init__(
        self,
        name: str = "stream",
        shards: int = 1,
        *,
        retention: float | None = None,
        note_limit: int = 4096,
        commit_interval: float = 0.0,
        stride: int = 1,
        clock: Clock = virtual_clock,
    ) -> None:
        """`retention` and `commit_interval` are in seconds; `stride` is how far positions lie apart."""
        self.faults = Faults()
        self.note_limit = note_limit
        self.commit_interval = commit_interval
        self._name = name
        self._retention = retention
        self._stride = stride
        self._clock = clock
        self._logs: dict[str, Log] = {}
        self._groups: dict[str, Group] = {}
        self._committed = Bell()
        self._turn = 0
        for _ in range(shards):
            self._add()

    @property
    def name(self) -> str:
        return self._name

    @property
    def shard_ids(self) -> list[str]:
        """All shards, those that have ended included."""
        return list(self._logs)

    # ------------------------------------------------------------------------------ the port

    @asynccontextmanager
    async def shards(self, subscription: Subscription) -> AsyncIterator[AsyncIterator[Assigned | Revoked]]:
        await lowlevel.checkpoint()
        self.faults.before("shards")
        group = self._groups.get(subscription.group)
        if group is None:
            group = Group(subscription, self._committed, lambda group, claim: MemoryShard(self, group, claim))
            group.begin(self._logs.values())
            self._groups[subscription.group] = group
        reader = Reader(self._check_reach)
        group.join(reader)
        try:
            yield reader
        finally:
            group.leave(reader)

    async def check(self) -> None:
        await lowlevel.checkpoint()
        self.faults.before("check")

    # --------------------------------------------------------------------- the other side of it

    def put(
        self, values: Iterable[StreamValue], *, key: str | None = None, shard: str | None = None
    ) -> list[StreamRecord]:
        """Appends records, and wakes their readers. Gives the records, which now have positions.

        Without a shard named, records with a key go where their key belongs and the others take turns. `key`
        is for values without one.
        """
        now = self._clock()
        records = [_record(value, key, now) for value in values]
        targets = [log for log in self._logs.values() if not log.closed]
        if shard is not None or len(targets) == 1:
            (self._logs[shard] if shard is not None else targets[0]).append(records)
            return records
        parted: dict[str, list[StreamRecord]] = {log.id: [] for log in targets}
        for record in records:
            if record.key is None:
                place = self._turn = self._turn + 1
            else:
                place = crc32(record.key.encode("utf-8", "surrogatepass"))
            parted[targets[place % len(targets)].id].append(record)
        for shard_id, its in parted.items():
            self._logs[shard_id].append(its)
        return records

    def end(self, shard: str) -> None:
        """No more records come to the shard: who has read it to the end is told ShardClosed."""
        self._logs[shard].close()
        for group in self._groups.values():
            group.rebalance()

    def split(self, shard: str) -> tuple[str, str]:
        """Ends a shard and makes two that follow it: they are read when all of it is committed and closed."""
        children = self._add((shard,)), self._add((shard,))
        self.end(shard)
        return children

    def trim(self, through: int, shard: str | None = None) -> None:
        """Removes the records up to and including a position, as retention does with time."""
        self._logs[shard or next(iter(self._logs))].trim(through)

    def expire(self, log: Log) -> None:
        if self._retention is not None:
            log.expire(self._clock() - self._retention)

    def lose(self, shard: str, group: str | None = None, *, tell: bool = True) -> None:
        """Takes a shard away, as when its lease expires. Without `tell` the next commit brings it out.

        Another reader gets it at once; a group's only one, when it has closed what it lost.
        """
        self._group(group).lose(shard, tell=tell)

    def fail_next_commits(
        self, times: int = 1, error: Exception | None = None, *, after: bool = False
    ) -> None:
        """The next commits raise; with `after` they are durable all the same, and only the answer is lost."""
        self.faults.fail_next("commit", times, error, after=after)

    def cut(self) -> None:
        """Out of reach from now on, until `faults.down` is false: readers that wait are told."""
        self.faults.down = True
        for group in self._groups.values():
            group.wake()

    # ------------------------------------------------------------------------- looking and waiting

    def shape(self, shard: str) -> EventShape:
        arn = f"arn:aws:kinesis:local:000000000000:stream/{self._name}"
        return KinesisShape(arn, shard, "local")

    def records(self, shard: str | None = None) -> list[StreamRecord]:
        """What is kept: of one shard, or of all, one after the other."""
        logs = self._logs.values() if shard is None else [self._logs[shard]]
        return [record for log in logs for record in log.records]

    def checkpoint(self, shard: str | None = None, group: str | None = None) -> Checkpoint:
        """What is committed: of the first shard unless another is named, of the only group unless one is."""
        return self._group(group).claims[shard or next(iter(self._logs))].checkpoint

    def is_done(self, group: str | None = None) -> bool:
        """Whether a group has committed every record of every shard; false before it has read any."""
        known = self._groups if group is None else {group: self._groups.get(group)}
        return bool(known) and all(its is not None and its.is_done() for its in known.values())

    async def wait_done(self, group: str | None = None) -> None:
        """Returns when a group, or each of all, has committed every record of every shard."""
        await self._committed.until(lambda: self.is_done(group))

    async def wait_committed(self, position: int, shard: str | None = None, group: str | None = None) -> None:
        """Returns when a shard is committed up to a position or beyond."""
        await self._committed.until(
            lambda: bool(self._groups) and self.checkpoint(shard, group).position >= position
        )

    def _group(self, name: str | None) -> Group:
        if name is not None:
            return self._groups[name]
        if len(self._groups) != 1:
            raise LookupError(
                f"{self._name} is read by {len(self._groups)} groups: name one of {list(self._groups)}"
            )
        return next(iter(self._groups.values()))

    def _add(self, parents: tuple[str, ...] = ()) -> str:
        log = Log(f"shard-{len(self._logs)}", self._stride, parents)
        self._logs[log.id] = log
        for group in self._groups.values():
            group.add(log)
        return log.id

    def _check_reach(self) -> None:
        if self.faults.down:
            self.faults.before("shards")


def _record(value: StreamValue, key: str | None, now: float) -> StreamRecord:
    if isinstance(value, StreamRecord):
        if not value.arrived_at:
            value.arrived_at = now
        return value
    if value is None:
        return StreamRecord(0, None, key, now)
    body, own_key, headers = unpacked(value)
    return StreamRecord(0, body, key if own_key is None else own_key, now, headers)
