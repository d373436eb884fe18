"""A worker's part in a group: which shards it takes, keeps, asks for and gives up."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import anyio
import structlog

from streamfn.core.leasing import LeaseView, plan_creations, plan_leases, request
from streamfn.errors import SourceError
from streamfn.leasing.names import worker_name
from streamfn.leasing.shard import LeasedShard
from streamfn.ports import Assigned, Lease, LeaseStore, Reason, Revoked, Subscription

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from streamfn.core.leasing import ShardNode
    from streamfn.leasing.asked import Shardable

_log = structlog.get_logger("streamfn.leasing")

_ONE_AFTER_ANOTHER = 32
"""Renewals in a row, before a task of its own is worth its price."""
_QUICK = 0.25
"""Seconds that such a row may take: where the store is slow, the rest of it is renewed at once."""
_FIRST_RETRY = 1.0
"""Seconds until a shard that could not be had is tried again, at most; twice as long each time after that."""
_SOONEST = 0.1
"""Seconds between two looks when nothing changed, at least."""

Pause = Callable[[float], Awaitable[object]]
"""Waits that many seconds, or less if the leases of the group may have changed."""


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
        commit_interval: float = 0.0,
        lease_time: float = 30.0,
        renew_every: float | None = None,
        look_every: float | None = None,
        discover_every: float = 60.0,
        pause: Pause = anyio.sleep,
        is_dead: Callable[[str], bool] = lambda owner: False,
    ) -> None:
        """All times are in seconds. Without `renew_every` it is a third of `lease_time`; without `look_every`
        the leases are looked at as often as they are renewed. `is_dead` may know that a worker is no more,
        so that its shards need not wait for the lease time.
        """
        self.group = subscription.group if group is None else group
        self.worker = worker_name()
        self.store = store
        self.lease_time = lease_time
        self.renew_every = lease_time / 3 if renew_every is None else renew_every
        self.note_limit = note_limit
        self.commit_interval = commit_interval
        self._look_every = self.renew_every if look_every is None else look_every
        self._source = source
        self._subscription = subscription
        self._discover_every = discover_every
        self._pause = pause
        self._is_dead = is_dead
        self._shards: dict[str, LeasedShard] = {}
        self._cut_off: dict[str, float] = {}
        """Shards lost and not closed yet, or that could not be opened, and until when they are left alone."""
        self._failures: dict[str, int] = {}
        """How often in a row a shard could not be taken or opened."""
        self._requests = count(1)
        """Counters of what this worker asks for."""
        self._away_until = -math.inf
        self._view = LeaseView(lease_time)
        self._begun = False
        """The first look was made: trouble after that passes, or is told."""
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
                async with anyio.create_task_group() as tasks:
                    # From the first: to take all there is may last longer than one lease does.
                    tasks.start_soon(self._keep_renewing)
                    await self._look_first()
                    tasks.start_soon(self._keep_looking)
                    yield _Events(events)
                    tasks.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                # Our tasks raise nothing: it is the first look's or the caller's, and to be seen as it was.
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
        if shard.at_end and not any(shard.id in node.parents for node in (self._view.shards or {}).values()):
            # What came from it is to be found now, not when the source would be asked next.
            self._discovered_at = -math.inf
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
            now = anyio.current_time()
            expiry = self._view.next_expiry(now) + _SOONEST
            next_at = min((now + self._look_every, expiry, *self._cut_off.values()))
            with anyio.CancelScope() as self._resting:
                await self._pause(max(_SOONEST, next_at - now))
        self._worth_a_look = False

    async def _look_first(self) -> None:
        try:
            await self._look_and_act()
            self._begun = True
        except OSError as error:
            raise SourceError(f"the leases of {self.group} are out of reach: {error}") from error

    async def _look_and_act(self) -> None:
        leases = await self.store.list(self.group)
        shards = await self._discover()
        if shards is not None:
            # In this order: a lease whose shard is missing is of a shard that is gone. The other way round,
            # the shard might be new, and another worker have found it.
            self._view = self._view.observe(leases, anyio.current_time(), shards=shards)
            leases = await self._create_missing(shards, leases)
        now = anyio.current_time()
        self._cut_off = {key: until for key, until in self._cut_off.items() if until > now}
        rows = {lease.key: lease for lease in leases}
        self._failures = {key: n for key, n in self._failures.items() if key in rows and not rows[key].owner}
        for key, shard in tuple(self._shards.items()):
            shard.notice(rows.get(key))
        self._view = self._view.observe(
            leases,
            now,
            held=self._shards.keys(),
            declined=self._cut_off.keys(),
            dead={lease.owner for lease in leases if lease.owner is not None and self._is_dead(lease.owner)},
        )
        await self._act(now)

    async def _discover(self) -> Sequence[ShardNode] | None:
        """The shards of the source, now and then. If it cannot say, those known go on all the same."""
        now = anyio.current_time()
        if now - self._discovered_at < self._discover_every:
            return None
        try:
            shards = await self._source.discover()
        except (OSError, SourceError) as error:
            if not self._begun:
                raise
            self._failed(error)
            return None
        self._discovered_at = now
        return shards

    async def _create_missing(self, shards: Sequence[ShardNode], leases: Sequence[Lease]) -> Sequence[Lease]:
        """The leases there are when those that were missing are created."""
        starting = self._subscription.starting_position
        if not plan_creations(shards, leases, starting):
            return leases
        # What others created since decides where a new shard begins, and what they deleted is not to return.
        rows = {lease.key: lease for lease in await self.store.list(self.group)}
        known = {lease.key: lease for lease in leases} | rows
        others_create = False
        try:
            for creation in plan_creations(shards, known.values(), starting):
                # One after the other: a child's lease without its parent's would mean that the parent is
                # done.
                checkpoint = await self._source.begin(creation, self._subscription.starting_at)
                lease = Lease(creation.shard.id, checkpoint=checkpoint, parents=creation.shard.parents)
                if await self.store.create(self.group, lease):
                    rows[lease.key] = lease
                else:
                    others_create = True
        except (OSError, SourceError) as error:
            if not self._begun:
                raise
            self._failed(error)
            self._discovered_at = -math.inf
        return await self.store.list(self.group) if others_create else tuple(rows.values())

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
        await self.store.create(self.group, request(lease.key, self.worker, next(self._requests)))

    async def _ask_on(self, row: Lease) -> None:
        await self.store.update(self.group, row, replace(row, counter=next(self._requests)))

    async def _delete(self, row: Lease) -> None:
        await self.store.delete(self.group, row)

    async def _take(self, lease: Lease) -> None:
        sent_at = anyio.current_time()
        mine = lease.moved(self.worker)
        if not await self.store.update(self.group, lease, mine):
            # Another was faster. What is left for us is to be seen soon, not at the next look.
            self._cut_off[lease.key] = sent_at + self._patience(lease.key)
            return
        shard = LeasedShard(self, mine, sent_at)
        self._shards[shard.id] = shard
        self._has_shards.set()
        try:
            with anyio.fail_after(self.lease_time):
                await shard.open(self._source)
        except BaseException:
            await shard.close()
            self._cut_off[shard.id] = anyio.current_time() + self._patience(shard.id)
            raise
        self._failures.pop(shard.id, None)
        self.tell(Assigned(shard))

    def _patience(self, key: str) -> float:
        """Seconds until a shard that could not be had is tried again here; others may try at once."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        first = min(_FIRST_RETRY, self.renew_every / 10)
        return min(self.lease_time, first * 2.0 ** min(failures - 1, 20))

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
    """One after the other while that is quick; then all that are left."""
    slow_from = anyio.current_time() + _QUICK
    for done, shard in enumerate(shards, 1):
        await shard.renew()
        if anyio.current_time() > slow_from:
            async with anyio.create_task_group() as tasks:
                for other in shards[done:]:
                    tasks.start_soon(other.renew)
            return


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
