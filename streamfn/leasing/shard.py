"""One shard, held by lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio
import structlog

from streamfn.errors import ShardClosed, ShardLost, SourceError
from streamfn.ports import Assigned, Checkpoint, Lease, LeaseStore, Reason, Revoked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.events import EventShape
    from streamfn.core.records import Record
    from streamfn.leasing.asked import Shardable, ShardReader

_log = structlog.get_logger("streamfn.leasing")

_OURS = 0.9
"""Share of the lease time after which an owner that could not renew lets go: before any other may take it."""
_GOODBYE = 5.0
"""Seconds that giving back may take; after that the lease runs out by itself."""


class Holder(Protocol):
    """Whose shard it is: a worker of a group, and what it is told."""

    group: str
    worker: str
    store: LeaseStore
    lease_time: float
    renew_every: float
    note_limit: int
    commit_interval: float

    def tell(self, event: Assigned | Revoked) -> None:
        """Something for who reads the shards."""

    def lost(self, shard: LeasedShard) -> None:
        """The shard is another's."""

    def closed(self, shard: LeasedShard, *, unasked: bool) -> None:
        """Its worker is done with the shard."""


class LeasedShard:
    """A shard that this worker has by a lease. Settled by position, and every commit is a renewal."""

    def __init__(self, leases: Holder, lease: Lease, sent_at: float) -> None:
        self._leases = leases
        self._lease = lease
        self.checkpoint = lease.checkpoint
        self._reader: ShardReader
        self._opened = False
        self._sent_at = self._ours_until = 0.0
        self.due_at = 0.0
        """When the next renewal is to be tried."""
        self._extend(sent_at)
        self._last_read = lease.checkpoint.position
        self.at_end = False
        """All that the shard will ever have was read."""
        self._revoked: Reason | None = None
        self._closed = False
        self._reading = anyio.CancelScope()
        """Of the present read: a shard that is lost is read no more."""
        self._changing = anyio.Lock()
        """One change of the lease at a time: each is fenced by the counter that the one before it left."""

    @property
    def id(self) -> str:
        return self._lease.key

    @property
    def shape(self) -> EventShape:
        return self._reader.shape

    @property
    def note_limit(self) -> int:
        return self._leases.note_limit

    @property
    def commit_interval(self) -> float:
        return self._leases.commit_interval

    @property
    def lag(self) -> int | None:
        return self._reader.lag

    @property
    def iterator_age(self) -> float | None:
        return self._reader.iterator_age

    async def open(self, source: Shardable) -> None:
        """Before anything else."""
        self._reader = await source.open(self._lease)
        self._opened = True

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        self._check()
        records: Sequence[Record] = ()
        try:
            with anyio.CancelScope() as self._reading:
                records = await self._reader.read(limit, wait)
        except ShardClosed:
            self.at_end = True
            self.revoke(Reason.ENDED)
            raise
        self._check()
        if records:
            self._last_read = records[-1].position
        return records

    async def commit(self, checkpoint: Checkpoint) -> None:
        self._check()
        try:
            async with self._changing:
                await self._change(self._leases.worker, checkpoint=checkpoint)
        except OSError as error:
            raise SourceError(f"shard {self.id}: the checkpoint was not written: {error}") from error

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        asked = self._revoked
        with anyio.move_on_after(_GOODBYE, shield=True):
            if asked is not Reason.LOST:
                await self._give_back()
            if self._opened:
                await self._reader.close()
        self._leases.closed(self, unasked=asked is None and self._opened)

    def revoke(self, reason: Reason) -> None:
        """Tells the worker that the shard is to be given up. Only a higher rank is told again."""
        if self._revoked is None or reason > self._revoked:
            self._revoked = reason
            if self._opened and not self._closed:
                self._leases.tell(Revoked(self.id, reason))

    def notice(self, row: Lease | None) -> None:
        """What the table says of it: it may be another's already, or be gone."""
        gone = row is None or (row.counter > self._lease.counter and row.owner != self._leases.worker)
        if gone and not self._closed:
            self._lose()

    async def renew(self) -> None:
        """Moves the counter in time, or loses the shard. Does not raise."""
        now = anyio.current_time()
        if now >= self._ours_until:
            self._lose()
            return
        # Tried again soon: a try that hangs or fails must leave time for the next, and for other shards.
        self.due_at = min(now + self._leases.renew_every / 4, self._ours_until)
        reason = "no answer in time"
        with anyio.CancelScope(deadline=min(now + self._leases.renew_every / 2, self._ours_until)):
            try:
                async with self._changing:
                    # A commit may have come between, which is as good; and what is given back stays so.
                    if self._sent_at < now and not self._closed:
                        await self._change(self._leases.worker)
                return
            except ShardLost:
                return
            except (OSError, SourceError) as error:
                reason = str(error)
        _log.warning("lease_not_renewed", group=self._leases.group, shard=self.id, reason=reason)

    # --------------------------------------------------------------------------------------------- lease

    def _extend(self, sent_at: float) -> None:
        # Others count from when they see the counter, which is after it was sent: we count from before.
        self._sent_at = sent_at
        self._ours_until = sent_at + self._leases.lease_time * _OURS
        # Rounded down, so that those of many sources come together: a store may write them in one go.
        grid = self._leases.renew_every / 20
        self.due_at = (sent_at + self._leases.renew_every) // grid * grid

    def _check(self) -> None:
        if self._revoked is not Reason.LOST and anyio.current_time() >= self._ours_until:
            self._lose()
        if self._revoked is Reason.LOST or self._closed:
            raise ShardLost(f"shard {self.id} of {self._leases.group} is another worker's")

    def _lose(self) -> None:
        self.revoke(Reason.LOST)
        self._reading.cancel()
        self._leases.lost(self)

    async def _give_back(self) -> None:
        done = self.at_end and self._lease.checkpoint.position >= self._last_read
        try:
            async with self._changing:
                await self._change(None, ended=done)
        except ShardLost:
            pass
        except (OSError, SourceError) as error:
            _log.warning("lease_not_released", group=self._leases.group, shard=self.id, reason=str(error))

    async def _change(
        self, owner: str | None, *, checkpoint: Checkpoint | None = None, ended: bool = False
    ) -> None:
        """Moves the lease by compare-and-set. Raises ShardLost, and is lost, when it is another's."""
        store, group = self._leases.store, self._leases.group
        while True:
            sent_at = anyio.current_time()
            changed = self._lease.moved(owner, checkpoint=checkpoint, ended=ended)
            if await store.update(group, self._lease, changed):
                self._lease = changed
                self._extend(sent_at)
                return
            if self._revoked is Reason.LOST:
                raise ShardLost(f"shard {self.id} of {group} is another worker's")
            # Another has it, or it was us: a change whose answer never came, for nobody else has our name.
            found = next((row for row in await store.list(group) if row.key == self.id), None)
            if found is None or found.owner != self._leases.worker or found.counter <= self._lease.counter:
                self._lose()
                raise ShardLost(f"shard {self.id} of {group} is another worker's")
            self._lease = found
