"""LeasedShards where stores and sources are slow, throttled or out of reach; and what it asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import pairwise

import anyio
import pytest

from streamfn.core.leasing import Lease, ShardNode, requested
from streamfn.core.policies import StartingPosition
from streamfn.errors import ShardClosed, SourceError
from streamfn.leasing import LeasedShards
from streamfn.ports import Checkpoint, Reason, Subscription
from streamfn.stores import MemoryLeaseStore
from tests.leasing.fakes import GROUP, FarStore, FlakyStore, Reader, Source, Worker, nodes, owners


class Closed(Source):
    """Readers that cannot be opened, for as long as `opening_fails` says why."""

    def __init__(self, *nodes: ShardNode) -> None:
        super().__init__(*nodes)
        self.opening_fails: SourceError | None = SourceError("slow down")
        self.hanging = False
        self.tried_at: list[float] = []

    async def open(self, lease: Lease) -> Reader:
        self.tried_at.append(anyio.current_time())
        if self.hanging:
            await anyio.Event().wait()
        if self.opening_fails is not None:
            raise self.opening_fails
        return await super().open(lease)


# --------------------------------------------------------------------------------------- shards are kept


@pytest.mark.parametrize(
    "error", [ConnectionError("gone"), SourceError("rate exceeded")], ids=["os", "source"]
)
async def test_leases_that_cannot_be_listed_are_renewed_all_the_same(error: Exception) -> None:
    store = FarStore()
    async with Worker(store, Source(*nodes(40))).running() as worker:
        await anyio.sleep(20)
        assert len(worker.shards) == 40
        store.listing_fails = error
        await anyio.sleep(300)
        await worker.shards["shard-7"].commit(Checkpoint(7))
        assert worker.reasons == []
        assert worker.error is None


@pytest.mark.parametrize("writing", [0.3, 1.0, 3.0])
async def test_a_store_that_is_slow_loses_no_shard(writing: float) -> None:
    store = FarStore(listing=5.0, writing=writing)
    async with Worker(store, Source(*nodes(100))).running() as worker:
        await anyio.sleep(400)
        assert len(worker.shards) == 100
        assert worker.reasons == []
        assert {lease.owner for lease in await store.list(GROUP)} == {worker.leased.worker}


async def test_to_take_very_many_shards_may_last_longer_than_a_lease() -> None:
    class Slow(Source):
        async def open(self, lease: Lease) -> Reader:
            if lease.key == "shard-0":
                await anyio.sleep(25)
            return await super().open(lease)

    store = MemoryLeaseStore()
    async with AsyncExitStack() as running:
        first = await running.enter_async_context(Worker(store, Slow(*nodes(8))).running())
        assert anyio.current_time() == pytest.approx(25)
        await anyio.sleep(20)
        assert len(first.shards) == 8
        assert first.reasons == []


async def test_shards_go_over_while_the_source_cannot_list_them() -> None:
    store, source = MemoryLeaseStore(), Source(*nodes(4))
    async with (
        Worker(store, source, discover_every=5).running() as first,
        Worker(store, Source(*nodes(4))).running() as second,
    ):
        source.discovering_fails = SourceError("rate exceeded")
        await anyio.sleep(100)
        assert (len(first.shards), len(second.shards)) == (2, 2)
        assert first.error is None


async def test_a_new_shard_whose_beginning_is_unknown_holds_nobody_up() -> None:
    store, source = MemoryLeaseStore(), Source(*nodes(2))
    async with Worker(store, source, discover_every=20).running() as worker:
        await anyio.sleep(1)
        source.nodes = nodes(3)
        source.beginning_fails = SourceError("rate exceeded")
        await anyio.sleep(60)
        assert worker.shards.keys() == {"shard-0", "shard-1"}
        source.beginning_fails = None
        await anyio.sleep(11)
        assert worker.shards.keys() == {"shard-0", "shard-1", "shard-2"}


async def test_leases_that_are_out_of_reach_at_first_are_a_source_error() -> None:
    store = FlakyStore()
    store.down = True
    with pytest.raises(SourceError, match="out of reach: the store is down") as error:
        async with LeasedShards(store, Source(*nodes(1)), Subscription(GROUP)).shards():
            pass
    assert error.value.retryable


# ------------------------------------------------------------------------------------- opening is retried


async def test_a_shard_that_cannot_be_opened_is_tried_again_soon_and_then_less_often() -> None:
    source = Closed(*nodes(1))
    async with Worker(MemoryLeaseStore(), source).running() as worker:
        await anyio.sleep(130)
        pauses = [later - earlier for earlier, later in pairwise(source.tried_at)]
        assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30], abs=0.2)
        source.opening_fails = None
        await anyio.sleep(30)
        assert worker.shards.keys() == {"shard-0"}


async def test_trouble_that_passes_soon_costs_a_second() -> None:
    source = Closed(*nodes(3))
    async with Worker(MemoryLeaseStore(), source).running() as worker:
        await anyio.sleep(0.5)
        assert worker.shards == {}
        source.opening_fails = None
        await anyio.sleep(0.6)
        assert len(worker.shards) == 3
        assert worker.error is None


async def test_a_shard_that_one_cannot_open_goes_to_another() -> None:
    store, source = MemoryLeaseStore(), Closed(*nodes(1))
    async with Worker(store, source).running() as first:
        await anyio.sleep(3.5)
        async with Worker(store, Source(*nodes(1))).running() as second:
            await anyio.sleep(0.001)
            assert second.shards.keys() == {"shard-0"}
            await anyio.sleep(100)
            assert first.told == []
            assert second.reasons == []


async def test_a_reader_that_never_opens_is_given_up_after_the_lease_time() -> None:
    store, source = MemoryLeaseStore(), Closed(*nodes(1))
    source.hanging, source.opening_fails = True, None
    async with AsyncExitStack() as running:
        worker = await running.enter_async_context(Worker(store, source).running())
        assert anyio.current_time() == pytest.approx(30, abs=0.1)
        assert await owners(store) == {"shard-0": None}
        source.hanging = False
        await anyio.sleep(1.5)
        assert worker.shards.keys() == {"shard-0"}


async def test_a_shard_that_can_never_be_opened_is_told() -> None:
    source = Closed(*nodes(1))
    source.opening_fails = SourceError("no such shard", retryable=False)
    async with Worker(MemoryLeaseStore(), source).running() as worker:
        await anyio.sleep(0.001)
        assert worker.error is source.opening_fails


# ------------------------------------------------------------------------------------------ shards that end


async def test_what_came_from_a_shard_that_ended_is_found_at_once() -> None:
    source = Source(ShardNode("old"))
    async with Worker(MemoryLeaseStore(), source, discover_every=3600).running() as worker:
        await anyio.sleep(1)
        source.nodes.append(ShardNode("new", ("old",)))
        source.closed.add("old")
        with pytest.raises(ShardClosed):
            await worker.shards["old"].read(1, 0)
        await anyio.sleep(0.001)
        assert worker.shards.keys() == {"new"}
        assert worker.reasons == [Reason.ENDED]


# ------------------------------------------------------------------------------ what others do meanwhile


class Meanwhile(Source):
    """While the shards are listed, another worker does something to the leases."""

    async def discover(self) -> Sequence[ShardNode]:
        await self.other_worker()
        return await super().discover()

    async def other_worker(self) -> None:
        raise NotImplementedError


async def test_what_came_from_a_shard_that_another_found_meanwhile_is_read_from_its_beginning() -> None:
    store = MemoryLeaseStore()

    class Finding(Meanwhile):
        async def other_worker(self) -> None:
            await store.create(GROUP, Lease("parent", "another", checkpoint=Checkpoint(41)))

    source = Finding(ShardNode("parent"), ShardNode("child", ("parent",)))
    latest = Subscription(GROUP, StartingPosition.LATEST)
    async with LeasedShards(store, source, latest).shards():
        assert source.began == {"child": StartingPosition.TRIM_HORIZON}


async def test_a_lease_that_another_removed_meanwhile_does_not_come_back() -> None:
    store = MemoryLeaseStore()
    ended = Lease("old", counter=9, checkpoint=Checkpoint(41), ended=True)

    class Removing(Meanwhile):
        async def other_worker(self) -> None:
            await store.delete(GROUP, ended)

    await store.create(GROUP, ended)
    source = Removing(ShardNode("old"), ShardNode("new", ("old",)))
    async with Worker(store, source).running() as worker:
        await anyio.sleep(0.001)
        assert worker.shards.keys() == {"new"}
        assert set(await owners(store)) == {"new"}


# -------------------------------------------------------------------------------- what the store is asked


class Counted(MemoryLeaseStore):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.lists = self.updates = 0

    async def list(self, group: str) -> Sequence[Lease]:
        self.lists += 1
        return await super().list(group)

    async def update(self, group: str, lease: Lease, new: Lease) -> bool:
        self.updates += 1
        return await super().update(group, lease, new)


async def test_an_idle_worker_lists_once_a_look_and_renews_three_times_a_lease_time() -> None:
    store = Counted()
    async with Worker(store, Source(*nodes(5))).running():
        await anyio.sleep(1)
        # One look, and one more for what was created in it; and each shard was taken.
        assert (store.lists, store.updates) == (2, 5)
        await anyio.sleep(300)
        assert (store.lists, store.updates) == (2 + 30, 5 + 5 * 30)


async def test_looks_may_be_further_apart_than_renewals_and_the_other_way_round() -> None:
    for look_every, lists in ((60.0, 5), (5.0, 60)):
        store = Counted()
        async with Worker(store, Source(*nodes(1)), look_every=look_every).running():
            await anyio.sleep(1)
            before = store.lists, store.updates
            await anyio.sleep(300)
            assert (store.lists - before[0], store.updates - before[1]) == (lists, 30)


@pytest.mark.parametrize("every", [1.0, 5.0, 9.4])
async def test_a_shard_that_is_committed_is_not_renewed_beside_that(every: float) -> None:
    store = Counted()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        before = store.updates
        for position in range(50):
            await anyio.sleep(every)
            await worker.shards["shard-0"].commit(Checkpoint(position))
        assert store.updates == before + 50


async def test_shards_ask_for_the_interval_that_their_source_wants() -> None:
    async with Worker(MemoryLeaseStore(), Source(*nodes(1)), commit_interval=5.0).running() as worker:
        await anyio.sleep(1)
        assert worker.shards["shard-0"].commit_interval == 5.0


async def test_a_dead_owner_is_waited_for_by_the_lease_time_and_not_by_looks() -> None:
    store = Counted()
    await store.create(GROUP, Lease("shard-0", "dead", counter=5))
    async with Worker(store, Source(*nodes(1)), look_every=29.0).running() as worker:
        await anyio.sleep(29.9)
        assert worker.shards == {}
        await anyio.sleep(0.3)
        assert worker.shards.keys() == {"shard-0"}


async def test_of_many_who_reach_for_one_shard_the_others_look_again_at_once() -> None:
    store = FarStore()
    async with AsyncExitStack() as running:
        first = await running.enter_async_context(Worker(store, Source(*nodes(12))).running())
        others = [
            await running.enter_async_context(Worker(store, Source(*nodes(12))).running()) for _ in range(3)
        ]
        await anyio.sleep(200)
        for shard_id in tuple(first.shards):
            await first.shards.pop(shard_id).close()
        await anyio.sleep(10 + 3)
        assert sum(len(worker.shards) for worker in others) == 12


async def test_a_worker_that_asks_again_is_not_taken_for_one_that_fell_silent() -> None:
    """A request that was removed and made again must not look like the one that nobody renewed."""
    store = MemoryLeaseStore()
    async with Worker(store, Source(*nodes(2))).running() as first:
        await anyio.sleep(1)
        first.polite = False
        async with Worker(store, Source(*nodes(2))).running() as second:
            seen = []
            for _ in range(3):
                await anyio.sleep(1)
                (row,) = [lease for lease in await store.list(GROUP) if requested(lease) is not None]
                seen.append((row.owner, row.counter))
                assert await store.delete(GROUP, row)
                await anyio.sleep(9)
            assert {owner for owner, _ in seen} == {second.leased.worker}
            assert len(set(seen)) == 3
