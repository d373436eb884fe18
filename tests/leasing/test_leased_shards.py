"""LeasedShards in virtual time: handover, loss, shard trees, and stores that fail."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from streamfn.core.leasing import Lease, ShardNode
from streamfn.core.policies import StartingPosition
from streamfn.errors import ShardClosed, ShardLost, SourceError
from streamfn.leasing import LeasedShards
from streamfn.ports import Checkpoint, Reason, Revoked, Subscription
from streamfn.stores import MemoryLeaseStore
from tests.leasing.fakes import GROUP, FlakyStore, Reader, Source, Worker, nodes, owners


async def test_a_lone_worker_gets_all_shards_at_once():
    source = Source(*nodes(3))
    async with Worker(MemoryLeaseStore(), source).running() as worker:
        await anyio.sleep(0.001)
        assert worker.shards.keys() == {"shard-0", "shard-1", "shard-2"}
        assert worker.shards["shard-0"].checkpoint == Checkpoint(-1)
    assert source.open_readers == set()


async def test_workers_come_to_even_shares_and_nobody_loses_anything():
    store = MemoryLeaseStore()
    async with AsyncExitStack() as running:
        workers = [
            await running.enter_async_context(Worker(store, Source(*nodes(7))).running()) for _ in range(3)
        ]
        await anyio.sleep(200)
        assert sorted(len(worker.shards) for worker in workers) == [2, 2, 3]
        assert {reason for worker in workers for reason in worker.reasons} == {Reason.REQUESTED}
        assert await owners(store) == {
            key: worker.leased.worker for worker in workers for key in worker.shards
        }
        assert len(await store.list(GROUP)) == 7


async def test_a_shard_that_is_asked_for_goes_over_only_when_it_was_closed():
    store = MemoryLeaseStore()
    async with Worker(store, Source(*nodes(2))).running() as first:
        await anyio.sleep(0.001)
        first.polite = False
        async with Worker(store, Source(*nodes(2))).running() as second:
            # Much longer than the lease time: an owner may finish what it has in flight.
            await anyio.sleep(300)
            assert first.reasons == [Reason.REQUESTED]
            assert second.shards == {}
            asked = next(change.shard_id for change in first.told if isinstance(change, Revoked))
            await first.shards[asked].commit(Checkpoint(41, "note"))
            await first.shards.pop(asked).close()
            await anyio.sleep(11)
            assert second.shards[asked].checkpoint == Checkpoint(41, "note")
            assert first.reasons == [Reason.REQUESTED]


async def test_leaving_gives_back_at_once():
    store = MemoryLeaseStore()
    async with Worker(store, Source(*nodes(2))).running():
        await anyio.sleep(0.001)
    assert set((await owners(store)).values()) == {None}
    async with Worker(store, Source(*nodes(2))).running() as next_one:
        await anyio.sleep(0.001)
        assert len(next_one.shards) == 2


async def test_a_dead_owners_shards_are_taken_after_the_lease_time():
    store = MemoryLeaseStore()
    await store.create(GROUP, Lease("shard-0", "dead", counter=5, checkpoint=Checkpoint(9)))
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(30)
        assert worker.shards == {}
        await anyio.sleep(11)
        assert worker.shards["shard-0"].checkpoint == Checkpoint(9)


async def test_an_owner_that_cannot_renew_lets_go_before_another_may_take():
    store = FlakyStore()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        shard = worker.shards["shard-0"]
        store.down = True
        await anyio.sleep(26.9)
        assert worker.reasons == []
        await anyio.sleep(0.2)
        assert worker.reasons == [Reason.LOST]
        with pytest.raises(ShardLost):
            await shard.commit(Checkpoint(1))
        with pytest.raises(ShardLost):
            await shard.read(1, 0)
        store.down = False
        await anyio.sleep(60)
        assert "shard-0" in worker.shards
        assert worker.shards["shard-0"] is not shard


async def test_a_store_that_hangs_loses_the_shard_in_time():
    store = FlakyStore()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        store.hanging = True
        await anyio.sleep(27.1)
        assert worker.reasons == [Reason.LOST]
        store.hanging = False


async def test_a_commit_is_a_renewal_and_without_any_the_keeper_renews():
    store = MemoryLeaseStore()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        (before,) = await store.list(GROUP)
        for position in range(6):
            await anyio.sleep(5)
            await worker.shards["shard-0"].commit(Checkpoint(position))
        (after,) = await store.list(GROUP)
        assert after.counter == before.counter + 6
        await anyio.sleep(105)
        (later,) = await store.list(GROUP)
        assert later.counter == after.counter + 10
        assert later.checkpoint == Checkpoint(5)
        assert worker.reasons == []


async def test_a_commit_of_one_who_lost_the_shard_writes_nothing():
    store = MemoryLeaseStore()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        (lease,) = await store.list(GROUP)
        thief = lease.moved("thief", checkpoint=Checkpoint(7))
        assert await store.update(GROUP, lease, thief)
        shard = worker.shards["shard-0"]
        with pytest.raises(ShardLost):
            await shard.commit(Checkpoint(3))
        assert await store.list(GROUP) == (thief,)
        await anyio.sleep(0.001)
        assert worker.reasons == [Reason.LOST]


async def test_a_lost_answer_is_not_a_lost_shard():
    store = FlakyStore()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        shard = worker.shards["shard-0"]
        store.answers_lost = 1
        with pytest.raises(SourceError):
            await shard.commit(Checkpoint(3))
        await shard.commit(Checkpoint(4))
        (lease,) = await store.list(GROUP)
        assert lease.checkpoint == Checkpoint(4)
        store.answers_lost = 1
        await anyio.sleep(60)
        assert worker.reasons == []


async def test_a_cancelled_commit_does_not_lose_the_shard():
    store = FlakyStore()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        store.hanging = True
        with anyio.move_on_after(1):
            await worker.shards["shard-0"].commit(Checkpoint(1))
        store.hanging = False
        await worker.shards["shard-0"].commit(Checkpoint(2))
        assert worker.reasons == []


async def test_a_shard_closed_unasked_is_left_to_others_for_a_while():
    store = MemoryLeaseStore()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        await worker.shards.pop("shard-0").close()
        await anyio.sleep(29)
        assert worker.shards == {}
        assert await owners(store) == {"shard-0": None}
        await anyio.sleep(11)
        assert worker.shards.keys() == {"shard-0"}


async def test_children_start_when_the_parent_was_read_committed_and_closed():
    source = Source(ShardNode("parent"), ShardNode("left", ("parent",)), ShardNode("right", ("parent",)))
    source.closed = {"parent"}
    source.records["parent"] = [1, 2, 3]
    store = MemoryLeaseStore()
    worker = Worker(store, source)
    worker.polite = False
    async with worker.running():
        await anyio.sleep(0.001)
        assert worker.shards.keys() == {"parent"}
        parent = worker.shards["parent"]
        assert len(await parent.read(10, 0)) == 3
        with pytest.raises(ShardClosed):
            await parent.read(10, 0)
        await anyio.sleep(0.001)
        assert worker.reasons == [Reason.ENDED]
        await parent.commit(Checkpoint(3))
        await parent.close()
        await anyio.sleep(0.001)
        assert worker.shards.keys() == {"parent", "left", "right"}


async def test_a_parent_that_is_closed_before_all_was_committed_has_not_ended():
    source = Source(ShardNode("parent"), ShardNode("child", ("parent",)))
    source.closed = {"parent"}
    source.records["parent"] = [1, 2, 3]
    store = MemoryLeaseStore()
    worker = Worker(store, source)
    worker.polite = False
    async with worker.running():
        await anyio.sleep(0.001)
        parent = worker.shards.pop("parent")
        await parent.read(10, 0)
        with pytest.raises(ShardClosed):
            await parent.read(10, 0)
        await parent.commit(Checkpoint(2))
        await parent.close()
        await anyio.sleep(31)
        assert worker.shards["parent"].checkpoint == Checkpoint(2)
        assert "child" not in worker.shards


async def test_shards_that_appear_are_found_and_ended_ones_are_forgotten():
    source = Source(ShardNode("old"))
    store = MemoryLeaseStore()
    async with Worker(store, source, discover_every=60).running() as worker:
        await anyio.sleep(0.001)
        source.nodes = [ShardNode("old"), ShardNode("new", ("old",))]
        source.closed = {"old"}
        await anyio.sleep(71)
        old = worker.shards["old"]
        with pytest.raises(ShardClosed):
            await old.read(1, 0)
        await anyio.sleep(0.001)
        assert worker.shards.keys() == {"new"}
        assert source.began["new"] is StartingPosition.TRIM_HORIZON
        source.nodes = [ShardNode("new", ("old",))]
        await anyio.sleep(71)
        assert {lease.key for lease in await store.list(GROUP)} == {"new"}


async def test_a_source_that_cannot_be_read_at_first_says_so():
    source = Source(*nodes(1))
    source.error = SourceError("no such stream", retryable=False)
    with pytest.raises(SourceError, match="no such stream"):
        async with LeasedShards(MemoryLeaseStore(), source, Subscription(GROUP)).shards():
            pass


async def test_trouble_that_passes_is_waited_out_and_trouble_that_stays_is_told():
    source = Source(*nodes(1))
    store = FlakyStore()
    async with Worker(store, source, discover_every=10).running() as worker:
        await anyio.sleep(0.001)
        source.error = SourceError("slow down")
        await anyio.sleep(100)
        assert worker.error is None
        assert worker.reasons == []
        source.error = SourceError("the stream was deleted", retryable=False)
        await anyio.sleep(11)
        assert worker.error is source.error


async def test_a_reader_that_cannot_be_opened_gives_the_lease_back():
    class Closed(Source):
        async def open(self, lease: Lease) -> Reader:
            raise SourceError("not now")

    store = MemoryLeaseStore()
    async with Worker(store, Closed(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        assert worker.told == []
        assert await owners(store) == {"shard-0": None}


async def test_what_the_callers_block_raises_comes_out_as_it_is():
    with pytest.raises(ZeroDivisionError):
        async with LeasedShards(MemoryLeaseStore(), Source(*nodes(1)), Subscription(GROUP)).shards():
            raise ZeroDivisionError


async def test_a_worker_that_is_cancelled_gives_back():
    store = MemoryLeaseStore()
    with anyio.move_on_after(5):
        async with Worker(store, Source(*nodes(2))).running():
            await anyio.Event().wait()
    assert set((await owners(store)).values()) == {None}


async def test_closing_twice_is_closing_once_and_closing_never_raises():
    store = FlakyStore()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        shard = worker.shards["shard-0"]
        store.down = True
        await shard.close()
        await shard.close()
        store.down = False


def test_a_worker_is_dead_only_if_its_process_is_known_to_be_gone() -> None:
    import os
    import socket
    import subprocess
    import sys

    from streamfn.leasing import is_dead_here, worker_name

    assert not is_dead_here(worker_name())
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    assert is_dead_here(f"{socket.gethostname()}-{int(gone.stdout)}-0123456789ab")
    assert not is_dead_here(f"elsewhere-{os.getpid()}-0123456789ab")
    assert not is_dead_here("somebody")


async def test_a_hundred_shards_are_renewed_in_time():
    store = MemoryLeaseStore()
    async with Worker(store, Source(*nodes(100))).running() as worker:
        await anyio.sleep(105)
        assert len(worker.shards) == 100
        assert worker.reasons == []
        assert {lease.counter for lease in await store.list(GROUP)} == {11}


async def test_a_shard_whose_lease_was_removed_is_lost():
    store = MemoryLeaseStore()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        (lease,) = await store.list(GROUP)
        await store.delete(GROUP, lease)
        await anyio.sleep(11)
        assert worker.reasons == [Reason.LOST]


async def test_a_read_that_waits_ends_when_the_shard_is_lost():
    store = MemoryLeaseStore()
    async with Worker(store, Source(*nodes(1))).running() as worker:
        await anyio.sleep(0.001)
        (lease,) = await store.list(GROUP)
        await store.update(GROUP, lease, lease.moved("another"))
        began = anyio.current_time()
        with pytest.raises(ShardLost):
            await worker.shards["shard-0"].read(1, 1000)
        assert anyio.current_time() - began < 11


async def test_a_worker_that_leaves_takes_nothing_more():
    store = MemoryLeaseStore()
    async with AsyncExitStack() as running:
        first, second = [
            await running.enter_async_context(Worker(store, Source(*nodes(4))).running()) for _ in range(2)
        ]
        await anyio.sleep(100)
        for shard_id in tuple(second.shards):
            await second.shards.pop(shard_id).close()
        await anyio.sleep(15)
        assert (len(first.shards), len(second.shards)) == (4, 0)
