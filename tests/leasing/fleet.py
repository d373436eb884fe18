"""A fleet of workers on one store of leases: what must hold of it, whichever store it is.

The scenarios at the end take a store and the lease time, so that they run in virtual time against memory and
in real time against a server. While they run, the fleet watches: no two workers at work have one shard, an
owner begins where the last commit stands, and a child is read when all of its parents are done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any

import anyio
from anyio.abc import TaskGroup

from streamfn.core.leasing import Lease, ShardNode
from streamfn.errors import ShardClosed, ShardLost, SourceError
from streamfn.leasing import LeasedShards
from streamfn.ports import Assigned, Checkpoint, LeaseStore, Reason, Revoked, StreamShard, Subscription
from tests.leasing.fakes import GROUP, Source


class Line:
    """One worker's way to the store, which may be cut, and lose answers."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._store = fleet.store
        self.cut = False
        self.answers_lost = 0

    async def list(self, group: str) -> Sequence[Lease]:
        self._check()
        return await self._store.list(group)

    async def create(self, group: str, lease: Lease) -> bool:
        self._check()
        return await self._store.create(group, lease)

    async def update(self, group: str, lease: Lease, new: Lease) -> bool:
        self._check()
        done = await self._store.update(group, lease, new)
        if done and new.checkpoint != lease.checkpoint:
            self._fleet.commits(lease.key, new.checkpoint.position)
        if self.answers_lost:
            self.answers_lost -= 1
            raise ConnectionError("the answer is lost")
        return done

    async def delete(self, group: str, lease: Lease) -> bool:
        self._check()
        return await self._store.delete(group, lease)

    def _check(self) -> None:
        if self.cut:
            raise ConnectionError("the line to the store is cut")


class Member:
    """A worker that reads, commits record by record, and gives back what it is asked for."""

    def __init__(self, fleet: Fleet, **options: Any) -> None:
        self.line = Line(fleet)
        self.shards: dict[str, StreamShard] = {}
        self.lost = 0
        """Shards that were lost, and not given back."""
        self.gone = anyio.Event()
        self._fleet = fleet
        self._options = options
        self._scope = anyio.CancelScope()
        self._asked: dict[str, anyio.CancelScope] = {}
        """What ends the work on a shard."""

    def leave(self) -> None:
        """In good order: what it has it gives back."""
        self._scope.cancel()

    def die(self) -> None:
        """Without a word: from now on nothing of it reaches the store."""
        self.line.cut = True
        for shard_id in tuple(self.shards):
            self._fleet.lets_go(self, shard_id)
        self._scope.cancel()

    async def run(self) -> None:
        with self._scope:
            while True:
                try:
                    await self._run()
                except SourceError:
                    # Its first look failed: it starts again, as a mapping does.
                    await anyio.sleep(self._fleet.lease_time / 10)
        self.gone.set()

    async def _run(self) -> None:
        fleet = self._fleet
        leased = LeasedShards(
            self.line, fleet.source, Subscription(fleet.group), lease_time=fleet.lease_time, **self._options
        )
        # By its name a worker chooses what to reach for first: by chance that would differ from run to run.
        leased.worker = f"worker-{next(fleet.numbers)}"
        async with leased.shards() as changes:
            try:
                async with anyio.create_task_group() as tasks:
                    async for change in changes:
                        match change:
                            case Assigned(shard):
                                fleet.takes(self, shard)
                                tasks.start_soon(self._work, shard)
                            case Revoked(shard_id, reason):
                                self._revoke(shard_id, reason)
            finally:
                for shard_id in tuple(self.shards):
                    fleet.lets_go(self, shard_id)

    def _revoke(self, shard_id: str, reason: Reason) -> None:
        if reason is Reason.LOST:
            self.lost += 1
            self._fleet.lets_go(self, shard_id)
        if reason is not Reason.ENDED and shard_id in self._asked:
            self._asked[shard_id].cancel()

    async def _work(self, shard: StreamShard) -> None:
        with anyio.CancelScope() as self._asked[shard.id]:
            try:
                while True:
                    for record in await shard.read(10, self._fleet.lease_time / 3):
                        await self._commit(shard, record.position)
            except (ShardClosed, ShardLost):
                pass
        self._fleet.lets_go(self, shard.id)
        await shard.close()

    async def _commit(self, shard: StreamShard, position: int) -> None:
        while True:
            try:
                # Cut off in the middle one would not know whether it was written.
                with anyio.CancelScope(shield=True):
                    await shard.commit(Checkpoint(position))
                return
            except SourceError:
                await anyio.sleep(self._fleet.lease_time / 60)


class Fleet:
    """Workers that come, leave and die, over one source whose shards split and merge."""

    def __init__(
        self, store: LeaseStore, shards: int, lease_time: float = 30.0, *, group: str = GROUP
    ) -> None:
        self.store = store
        self.group = group
        self.lease_time = lease_time
        self.source = Source(*(ShardNode(f"shard-{number}") for number in range(shards)))
        self.source.records = {node.id: [] for node in self.source.nodes}
        self.members: list[Member] = []
        self.numbers = count()
        self.committed: dict[str, int] = {}
        self.wrong: list[str] = []
        """What should never have happened."""
        self._holders: dict[str, Member] = {}
        self._tasks: TaskGroup

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Fleet]:
        async with anyio.create_task_group() as self._tasks:
            yield self
            for member in tuple(self.members):
                await self.leave(member)
        assert self.wrong == []

    # ------------------------------------------------------------------------------------ what happens

    def join(self, **options: Any) -> Member:
        member = Member(self, **{"discover_every": self.lease_time / 3, **options})
        self.members.append(member)
        self._tasks.start_soon(member.run)
        return member

    async def leave(self, member: Member) -> None:
        member.leave()
        await member.gone.wait()
        self.members.remove(member)

    async def kill(self, member: Member) -> None:
        member.die()
        await member.gone.wait()
        self.members.remove(member)

    def put(self, shard_id: str, number: int) -> None:
        """Records at the end of a shard, at positions without gaps."""
        records = self.source.records[shard_id]
        first = records[-1] + 1 if records else 0
        records.extend(range(first, first + number))

    def reshard(self, *parents: str, children: int) -> list[str]:
        """A split of one, or a merge of several: the parents end, and what comes from them is read next."""
        made = [f"shard-{len(self.source.nodes) + place}" for place in range(children)]
        self.source.nodes += [ShardNode(shard_id, parents) for shard_id in made]
        self.source.records.update((shard_id, []) for shard_id in made)
        self.source.closed.update(parents)
        return made

    # ---------------------------------------------------------------------------------- what is watched

    def takes(self, member: Member, shard: StreamShard) -> None:
        if shard.id in self._holders:
            self.wrong.append(f"{shard.id} went to two workers")
        if shard.checkpoint.position != self.committed.get(shard.id, -1):
            self.wrong.append(f"{shard.id} begins at {shard.checkpoint}, not {self.committed.get(shard.id)}")
        node = next(node for node in self.source.nodes if node.id == shard.id)
        if not all(self.is_done(parent) for parent in node.parents):
            self.wrong.append(f"{shard.id} is read before {node.parents} are done")
        self._holders[shard.id] = member
        member.shards[shard.id] = shard

    def lets_go(self, member: Member, shard_id: str) -> None:
        member.shards.pop(shard_id, None)
        if self._holders.get(shard_id) is member:
            del self._holders[shard_id]

    def commits(self, shard_id: str, position: int) -> None:
        if position != self.committed.get(shard_id, -1) + 1:
            self.wrong.append(f"{shard_id} is committed to {position} after {self.committed.get(shard_id)}")
        self.committed[shard_id] = position

    def is_done(self, shard_id: str) -> bool:
        """Whether a shard ended and all of it is committed."""
        return (
            shard_id in self.source.closed
            and self.committed.get(shard_id, -1) == len(self.source.records[shard_id]) - 1
        )

    @property
    def open_shards(self) -> set[str]:
        return {node.id for node in self.source.nodes if node.id not in self.source.closed}

    @property
    def is_even(self) -> bool:
        """All that can be read is held, in shares that differ by one at most."""
        held = [len(member.shards) for member in self.members]
        return sum(held) == len(self.open_shards) and max(held) - min(held) <= 1

    @property
    def is_all_committed(self) -> bool:
        return all(
            self.committed.get(shard_id, -1) == len(records) - 1
            for shard_id, records in self.source.records.items()
        )

    async def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Waits until it holds, and says how long that took."""
        began = anyio.current_time()
        while not condition():
            if anyio.current_time() - began > seconds:
                shares = [sorted(member.shards) for member in self.members]
                raise AssertionError(f"not within {seconds} s: {shares}")
            await anyio.sleep(self.lease_time / 300)
        return anyio.current_time() - began

    @property
    def patience(self) -> float:
        """Seconds in which shares become even: each worker asks for one shard a look."""
        return self.lease_time * (4 + len(self.source.nodes) / 2)


# -------------------------------------------------------------------------------------------- scenarios


async def workers_share(store: LeaseStore, workers: int, shards: int, lease_time: float = 30.0) -> None:
    """All shards are read, in shares within one of each other, and stay where they are after that."""
    async with Fleet(store, shards, lease_time).running() as fleet:
        for _ in range(workers):
            fleet.join()
        await fleet.until(lambda: fleet.is_even, fleet.patience)
        settled = [set(member.shards) for member in fleet.members]
        for shard_id in fleet.open_shards:
            fleet.put(shard_id, 3)
        await fleet.until(lambda: fleet.is_all_committed, fleet.patience)
        await anyio.sleep(2 * lease_time)
        assert [set(member.shards) for member in fleet.members] == settled
        assert not any(member.lost for member in fleet.members)


async def a_dead_worker_is_replaced(
    store: LeaseStore, workers: int, shards: int, lease_time: float = 30.0
) -> None:
    """What a killed worker had goes on elsewhere within the lease time and a look, where it stood."""
    async with Fleet(store, shards, lease_time).running() as fleet:
        for _ in range(workers):
            fleet.join()
        await fleet.until(lambda: fleet.is_even, fleet.patience)
        for shard_id in fleet.open_shards:
            fleet.put(shard_id, 2)
        await fleet.until(lambda: fleet.is_all_committed, fleet.patience)
        dead = fleet.members[0]
        had, others = set(dead.shards), fleet.members[1:]
        await fleet.kill(dead)
        for shard_id in had:
            fleet.put(shard_id, 1)
        look = lease_time / 3

        def taken() -> bool:
            return had <= {shard_id for member in others for shard_id in member.shards}

        # A look more at most until the others saw its last word, and what a request to the store takes.
        await fleet.until(taken, lease_time + look + lease_time / 10)
        await fleet.until(lambda: fleet.is_even and fleet.is_all_committed, fleet.patience)


async def a_worker_that_lost_a_lease_commits_nothing(store: LeaseStore, lease_time: float = 30.0) -> None:
    """Not even where it does not know yet that the lease is another's."""
    source = Source(ShardNode("shard-0"))
    leased = LeasedShards(store, source, Subscription(GROUP), lease_time=lease_time)
    async with leased.shards() as changes:
        event = await anext(changes)
        assert isinstance(event, Assigned)
        await event.shard.commit(Checkpoint(3, "ours"))
        (lease,) = await store.list(GROUP)
        theirs = lease.moved("another")
        assert await store.update(GROUP, lease, theirs)
        for _ in range(2):
            try:
                await event.shard.commit(Checkpoint(4, "not ours"))
            except ShardLost:
                continue
            raise AssertionError("a commit of one who lost the shard")
        assert list(await store.list(GROUP)) == [theirs]
        assert await anext(changes) == Revoked("shard-0", Reason.LOST)
        await event.shard.close()
        assert list(await store.list(GROUP)) == [theirs]


async def children_follow_their_parents(store: LeaseStore, workers: int, lease_time: float = 30.0) -> None:
    """Split and merge under load: every record once, no child before all of its parents."""
    async with Fleet(store, 4, lease_time).running() as fleet:
        for _ in range(workers):
            fleet.join()
        await fleet.until(lambda: fleet.is_even, fleet.patience)
        for shard_id in fleet.open_shards:
            fleet.put(shard_id, 20)
        left, right = fleet.reshard("shard-0", children=2)
        (merged,) = fleet.reshard("shard-1", "shard-2", children=1)
        for shard_id in fleet.open_shards:
            fleet.put(shard_id, 20)
        (last,) = fleet.reshard(left, merged, children=1)
        for shard_id in (right, last):
            fleet.put(shard_id, 5)
        await fleet.until(lambda: fleet.is_all_committed and fleet.is_even, fleet.patience)
        assert fleet.open_shards == {"shard-3", right, last}


async def workers_come_and_go(
    store: LeaseStore, seed: int, workers: int, shards: int, *, steps: int = 40, lease_time: float = 30.0
) -> None:
    """Joins, leaves, kills, cut lines, lost answers, splits and merges by chance: in the end all was read,
    once, and the shares are even.
    """
    random = Random(seed)
    async with Fleet(store, shards, lease_time).running() as fleet:
        for _ in range(workers):
            fleet.join()
        for _ in range(steps):
            await anyio.sleep(random.uniform(0, lease_time))
            for shard_id in random.sample(sorted(fleet.open_shards), min(3, len(fleet.open_shards))):
                fleet.put(shard_id, random.randrange(4))
            await _something(fleet, random, workers)
        for member in fleet.members:
            member.line.cut, member.line.answers_lost = False, 0
        await fleet.until(lambda: fleet.is_even and fleet.is_all_committed, 2 * fleet.patience)


async def _something(fleet: Fleet, random: Random, workers: int) -> None:
    open_shards = sorted(fleet.open_shards)
    member = random.choice(fleet.members)
    match random.choice(["join", "join", "leave", "kill", "cut", "cut", "lose answers", "split", "merge"]):
        case "join" if len(fleet.members) < workers:
            fleet.join()
        case "leave" if len(fleet.members) > 1:
            await fleet.leave(member)
        case "kill" if len(fleet.members) > 1:
            await fleet.kill(member)
        case "cut":
            member.line.cut = not member.line.cut
        case "lose answers":
            member.line.answers_lost = random.randrange(5)
        case "split" if len(fleet.source.nodes) < 60:
            fleet.reshard(random.choice(open_shards), children=2)
        case "merge" if len(open_shards) > 1:
            fleet.reshard(*random.sample(open_shards, 2), children=1)
        case _:
            pass
