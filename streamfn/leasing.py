"""Shards by leases: for sources that have no group protocol of their own.

`LeasedShards` turns a lease store and three calls of a source into `StreamSource.shards`: it looks at the
leases, follows `plan_leases`, renews what it has, and gives back what others ask for. Commits go through the
lease, so a worker that lost a shard cannot move its checkpoint.
"""

from __future__ import annotations

import math
import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import anyio
import structlog

from streamfn.core.leasing import Creation, LeaseView, ShardNode, plan_creations, plan_leases, request
from streamfn.errors import ShardClosed, ShardLost, SourceError
from streamfn.ports import Assigned, Checkpoint, Lease, LeaseStore, Reason, Revoked, Subscription

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from streamfn.core.events import EventShape
    from streamfn.core.records import Record

_log = structlog.get_logger("streamfn.leasing")

_OURS = 0.9
"""Share of the lease time after which an owner that could not renew lets go: before any other may take it."""
_ONE_AFTER_ANOTHER = 32
"""Renewals in a row, before a task of its own is worth its price."""
_GOODBYE = 5.0
"""Seconds that giving back may take; after that the lease runs out by itself."""

Pause = Callable[[float], Awaitable[object]]
"""Waits that many seconds, or less if the leases of the group may have changed."""


class ShardReader(Protocol):
    """A shard as its source reads it, from the checkpoint of the lease it was opened with."""

    @property
    def shape(self) -> EventShape: ...
    @property
    def lag(self) -> int | None: ...

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        """As `Shard.read`. Raises ShardClosed when all the shard will ever have was read."""

    async def close(self) -> None:
        """Lets go of what it holds. Never raises."""


class Shardable(Protocol):
    """What a source tells `LeasedShards`. All three raise SourceError where the source cannot be read."""

    async def discover(self) -> Sequence[ShardNode]:
        """The shards the source has now, with those they came from."""

    async def begin(self, creation: Creation, at: float | None) -> Checkpoint:
        """The checkpoint that a shard's first lease begins with; `at` goes with AT_TIMESTAMP."""

    async def open(self, lease: Lease) -> ShardReader:
        """A reader of the lease's shard, after the lease's checkpoint."""


def worker_name() -> str:
    """A name for a worker that no other ever had."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def is_dead_here(worker: str) -> bool:
    """Whether a worker was a process of this machine that is no more. False where that can't be known.

    A process id that was given out again only means that the lease time has to pass.
    """
    host, _, rest = worker.rpartition("-")[0].rpartition("-")
    if host != socket.gethostname() or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


class LeasedShards:
    """The shards of one source that one worker of a group has, as they come and go.

    A shard is given back gracefully: `Revoked(REQUESTED)`, then its owner commits and closes it, and only
    then may another take it. One that cannot be renewed in time is lost by our own clock (`Revoked(LOST)`)
    before another could take it. A shard whose reader came to its end is `Revoked(ENDED)`; when it is closed
    with everything committed, its lease is marked and its children start. A worker that closes a shard
    without being asked is about to leave: for a lease time it takes nothing.
    """

    def __init__(
        self,
        store: LeaseStore,
        source: Shardable,
        subscription: Subscription,
        *,
        group: str | None = None,
        note_limit: int = 65_536,
        lease_time: float = 30.0,
        renew_every: float | None = None,
        discover_every: float = 60.0,
        pause: Pause = anyio.sleep,
        is_dead: Callable[[str], bool] = lambda owner: False,
    ) -> None:
        """`is_dead` may know that a worker is no more, so that its shards need not wait for the lease
        time.
        """
        self.group = subscription.group if group is None else group
        self.worker = worker_name()
        self.store = store
        self.lease_time = lease_time
        self.renew_every = lease_time / 3 if renew_every is None else renew_every
        self.note_limit = note_limit
        self._source = source
        self._subscription = subscription
        self._discover_every = discover_every
        self._pause = pause
        self._is_dead = is_dead
        self._shards: dict[str, LeasedShard] = {}
        self._cut_off: dict[str, float] = {}
        """Shards lost and not closed yet, or that could not be opened, and until when they are left alone."""
        self._away_until = -math.inf
        self._view = LeaseView(lease_time)
        self._discovered_at = -math.inf
        self._worth_a_look = False
        """Something changed on our side: the next look is now."""
        self._resting = anyio.CancelScope()
        self._has_shards = anyio.Event()
        self._events: MemoryObjectSendStream[Assigned | Revoked | BaseException]

    @asynccontextmanager
    async def shards(self) -> AsyncIterator[AsyncIterator[Assigned | Revoked]]:
        """As `StreamSource.shards`. To be entered once."""
        self._events, events = anyio.create_memory_object_stream[Assigned | Revoked | BaseException](math.inf)
        with self._events, events:
            try:
                await self._look_and_act()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._keep_looking)
                    tasks.start_soon(self._keep_renewing)
                    yield _Events(events)
                    tasks.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                # Our tasks raise nothing: it is what the caller's block raised, and to be seen as it was.
                if len(group.exceptions) == 1:
                    raise group.exceptions[0] from None
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    async with anyio.create_task_group() as tasks:
                        for shard in tuple(self._shards.values()):
                            tasks.start_soon(shard.close)

    # ------------------------------------------------------------------------------------- what shards tell

    def tell(self, event: Assigned | Revoked | BaseException) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._events.send_nowait(event)

    def lost(self, shard: LeasedShard) -> None:
        """Another has it. Not taken again before it was closed, if it can be helped: its worker still cuts
        off.
        """
        if self._shards.get(shard.id) is shard:
            del self._shards[shard.id]
            self._cut_off[shard.id] = anyio.current_time() + self.lease_time
        self._look_soon()

    def closed(self, shard: LeasedShard, *, unasked: bool) -> None:
        """Its worker is done with it."""
        if self._shards.get(shard.id) is shard:
            del self._shards[shard.id]
        self._cut_off.pop(shard.id, None)
        if unasked:
            self._away_until = anyio.current_time() + self.lease_time
        self._look_soon()

    def _look_soon(self) -> None:
        self._worth_a_look = True
        self._resting.cancel()

    # --------------------------------------------------------------------------------------------- looking

    async def _keep_looking(self) -> None:
        while True:
            await self._wait_for_look()
            try:
                await self._look_and_act()
            except (OSError, SourceError) as error:
                self._failed(error)

    def _failed(self, error: OSError | SourceError) -> None:
        if isinstance(error, SourceError) and not error.retryable:
            self.tell(error)
        else:
            _log.warning("leases_out_of_reach", group=self.group, reason=str(error))

    async def _wait_for_look(self) -> None:
        if not self._worth_a_look:
            with anyio.CancelScope() as self._resting:
                await self._pause(self.renew_every)
        self._worth_a_look = False

    async def _look_and_act(self) -> None:
        now = anyio.current_time()
        shards = None
        if now - self._discovered_at >= self._discover_every or self._view.shards is None:
            shards = await self._source.discover()
            self._discovered_at = now
        leases = await self.store.list(self.group)
        known = shards if shards is not None else tuple((self._view.shards or {}).values())
        creations = plan_creations(known, leases, self._subscription.starting_position)
        for creation in creations:
            # One after the other: a child's lease without its parent's would mean that the parent is done.
            checkpoint = await self._source.begin(creation, self._subscription.starting_at)
            lease = Lease(creation.shard.id, checkpoint=checkpoint, parents=creation.shard.parents)
            await self.store.create(self.group, lease)
        if creations:
            leases = await self.store.list(self.group)
        now = anyio.current_time()
        self._cut_off = {key: until for key, until in self._cut_off.items() if until > now}
        rows = {lease.key: lease for lease in leases}
        for key, shard in tuple(self._shards.items()):
            shard.notice(rows.get(key))
        self._view = self._view.observe(
            leases,
            now,
            shards=shards,
            held=self._shards.keys(),
            declined=self._cut_off.keys(),
            dead={lease.owner for lease in leases if lease.owner is not None and self._is_dead(lease.owner)},
        )
        await self._act(now)

    async def _act(self, now: float) -> None:
        plan = plan_leases(self._view, self.worker, now)
        for lease in plan.release:
            self._shards[lease.key].revoke(Reason.REQUESTED)
        if now < self._away_until:
            plan = replace(plan, take=(), steal=())
        async with anyio.create_task_group() as tasks:
            for lease in plan.take:
                tasks.start_soon(self._try, self._take, lease)
            for lease in plan.steal:
                tasks.start_soon(self._try, self._ask, lease)
            for lease in plan.renew:
                tasks.start_soon(self._try, self._ask_on, lease)
            for lease in plan.delete:
                tasks.start_soon(self._try, self._delete, lease)

    async def _try(self, action: Callable[[Lease], Awaitable[object]], lease: Lease) -> None:
        try:
            await action(lease)
        except (OSError, SourceError) as error:
            self._failed(error)

    async def _ask(self, lease: Lease) -> None:
        await self.store.create(self.group, request(lease.key, self.worker))

    async def _ask_on(self, row: Lease) -> None:
        await self.store.update(self.group, row, row.moved(self.worker))

    async def _delete(self, row: Lease) -> None:
        await self.store.delete(self.group, row)

    async def _take(self, lease: Lease) -> None:
        sent_at = anyio.current_time()
        mine = lease.moved(self.worker)
        if not await self.store.update(self.group, lease, mine):
            return
        shard = LeasedShard(self, mine, sent_at)
        self._shards[shard.id] = shard
        try:
            await shard.open(self._source)
        except BaseException:
            await shard.close()
            self._cut_off[shard.id] = anyio.current_time() + self.lease_time
            raise
        self._has_shards.set()
        self.tell(Assigned(shard))

    # -------------------------------------------------------------------------------------------- renewing

    async def _keep_renewing(self) -> None:
        while True:
            if not self._shards:
                self._has_shards = anyio.Event()
                await self._has_shards.wait()
            # Nothing comes due before the first of these: what is taken meanwhile is due later than all of
            # them.
            await anyio.sleep_until(min((shard.due_at for shard in self._shards.values()), default=0.0))
            now = anyio.current_time()
            due = [shard for shard in self._shards.values() if shard.due_at <= now]
            if len(due) <= _ONE_AFTER_ANOTHER:
                await _renew(due)
                continue
            async with anyio.create_task_group() as tasks:
                for start in range(0, len(due), _ONE_AFTER_ANOTHER):
                    tasks.start_soon(_renew, due[start : start + _ONE_AFTER_ANOTHER])


async def _renew(shards: Sequence[LeasedShard]) -> None:
    for shard in shards:
        await shard.renew()


class LeasedShard:
    """A shard that this worker has by a lease. Settled by position, and every commit is a renewal."""

    def __init__(self, leases: LeasedShards, lease: Lease, sent_at: float) -> None:
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
        self._at_end = False
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
    def lag(self) -> int | None:
        return self._reader.lag

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
            self._at_end = True
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
        with anyio.CancelScope(deadline=self.due_at):
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
        done = self._at_end and self._lease.checkpoint.position >= self._last_read
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


class _Events:
    """What is told of shards; an error of the source is raised in its place."""

    def __init__(self, events: MemoryObjectReceiveStream[Assigned | Revoked | BaseException]) -> None:
        self._events = events

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> Assigned | Revoked:
        event = await self._events.receive()
        if isinstance(event, BaseException):
            raise event
        return event
