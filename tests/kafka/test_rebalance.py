"""Readers that come, go, are slow, or are thrown out."""

from __future__ import annotations

import anyio
import pytest
import structlog

from streamfn.errors import ShardLost
from streamfn.ports import Assigned, Checkpoint, Reason, Revoked, Subscription
from streamfn.testing.conformance.reading import numbers, take, tasks
from tests.kafka.cluster import PATIENCE, Cluster

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]


async def test_a_worker_may_commit_and_close_late(cluster: Cluster) -> None:
    """Longer than the session: heartbeats go on while the group waits."""
    topic = await cluster.topic(2)
    await cluster.put(topic, range(10))
    await cluster.put(topic, range(10), 1)
    group = Subscription(topic)
    sources = [cluster.source(topic, session_timeout=1.0) for _ in range(2)]
    async with cluster.reading(sources[0], group, give_back=False) as first:
        await first.holds(2)
        for shard in first.held.values():
            await take(cluster, shard, 5, PATIENCE)
        async with cluster.reading(sources[1], group) as second:
            await first.told(Reason.REQUESTED)
            await cluster.never(lambda: second.held, 2.5)
            for shard in first.held.values():
                await shard.commit(Checkpoint(4, "late"))
                await shard.close()
            first.held.clear()
            await first.holds(1)
            await second.holds(1)
            for reader in (first, second):
                (shard,) = reader.held.values()
                assert shard.checkpoint == Checkpoint(4, "late")
            await second.give_back()
        assert Reason.LOST not in [event.reason for event in first.revoked]
        await first.give_back()


async def test_a_worker_that_never_closes_loses_its_shards(cluster: Cluster) -> None:
    """The group is not held up for ever: what is not given back in time is taken."""
    topic = await cluster.topic(1)
    await cluster.put(topic, range(3))
    group = Subscription(topic)
    sources = [cluster.source(topic, rebalance_timeout=3) for _ in range(2)]
    with structlog.testing.capture_logs() as logs:
        async with cluster.reading(sources[0], group, give_back=False) as first:
            await first.holds(1)
            (stubborn,) = first.held.values()
            async with cluster.reading(sources[1], group) as second:
                await first.told(Reason.LOST)
                for _ in range(2):
                    with pytest.raises(ShardLost):
                        await stubborn.commit(Checkpoint(2, "zombie"))
                with pytest.raises(ShardLost):
                    await stubborn.read(1, 0)
                # Should it come back to the same reader, then not before the old one is closed.
                await stubborn.close()
                await cluster.until(lambda: first.held or second.held, PATIENCE)
                assert (first.held or second.held)["0"].checkpoint == Checkpoint(-1)
                await second.give_back()
            await first.give_back()
    assert [line["partitions"] for line in logs if line["event"] == "kafka_partitions_lost"] == [[0]]


async def test_a_shard_comes_back_only_when_the_old_one_is_closed(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    async with cluster.source(topic).shards(Subscription(topic)) as changes:
        first = await anext(changes)
        assert isinstance(first, Assigned)
        await cluster.kick(*await cluster.members(topic), group=topic)
        async with cluster.within(PATIENCE):
            assert await anext(changes) == Revoked("0", Reason.LOST)
        # It has joined again by now and has its partition, whose old worker is still at work here.
        await cluster.until(lambda: cluster.members(topic), PATIENCE)
        with anyio.move_on_after(1.0) as waiting:
            await anext(changes)
        assert waiting.cancelled_caught
        await first.shard.close()
        async with cluster.within(PATIENCE):
            again = await anext(changes)
        assert isinstance(again, Assigned)
        assert again.shard is not first.shard
        await again.shard.commit(Checkpoint(-1, "mine"))


async def test_a_reader_that_was_thrown_out_commits_nothing(cluster: Cluster) -> None:
    """Not once, not twice, and not in a group that is empty and would take a commit from anyone."""
    topic = await cluster.topic(1)
    await cluster.put(topic, range(5))
    group = Subscription(topic)
    async with cluster.reading(cluster.source(topic, session_timeout=30), group) as reader:
        shard = await reader.shard()
        await take(cluster, shard, 5, PATIENCE)
        await shard.commit(Checkpoint(1, "good"))
        await cluster.kick(*await cluster.members(topic), group=topic)
        for position in (2, 3):
            with pytest.raises(ShardLost):
                await shard.commit(Checkpoint(position, "zombie"))
        assert await cluster.committed(topic, topic) == {0: 2}
        await reader.told(Reason.LOST)
        await shard.close()
        again = await reader.shard()
        assert again is not shard
        assert again.checkpoint == Checkpoint(1, "good")
        assert numbers(await take(cluster, again, 3, PATIENCE)) == [2, 3, 4]
        await reader.give_back()


async def test_commits_of_many_shards_at_once_are_all_kept(cluster: Cluster) -> None:
    topic = await cluster.topic(20)
    for partition in range(20):
        await cluster.put(topic, range(5), partition)
    async with cluster.reading(cluster.source(topic), Subscription(topic)) as reader:
        await reader.holds(20)
        async with tasks() as group:
            for position in range(4):
                for shard in reader.held.values():
                    group.start_soon(shard.commit, Checkpoint(position, "x" * 1000))
        assert await cluster.committed(topic, topic) == dict.fromkeys(range(20), 4)
        await reader.give_back()


async def test_leaving_while_the_group_waits_for_another(cluster: Cluster) -> None:
    """Whoever leaves does not wait for the rebalance to end, and the rebalance does not wait for it."""
    topic = await cluster.topic(2)
    group = Subscription(topic)
    slow, hasty = (cluster.source(topic, session_timeout=20, rebalance_timeout=20) for _ in range(2))
    async with cluster.reading(slow, group, give_back=False) as first:
        await first.holds(2)
        async with hasty.shards(group):
            await first.told(Reason.REQUESTED)
            began = anyio.current_time()
        assert anyio.current_time() - began < 12
        await first.give_back()
        first._leaves = False
        # Nobody is left to wait for: not for the twenty seconds of a session that has ended without a word.
        async with cluster.within(10):
            while len(first.held) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        await first.give_back()


async def test_a_reader_that_leaves_with_shards_in_use(cluster: Cluster) -> None:
    topic = await cluster.topic(2)
    group = Subscription(topic)
    async with cluster.source(topic).shards(group) as changes:
        held = [await anext(changes) for _ in range(2)]
        began = anyio.current_time()
    assert anyio.current_time() - began < 2
    for event in held:
        assert isinstance(event, Assigned)
        with pytest.raises(ShardLost):
            await event.shard.commit(Checkpoint(0))
        await event.shard.close()
    assert await cluster.members(topic) == []
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_a_static_member_comes_back_to_its_shards(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    group = Subscription(topic)
    for number in range(2):
        source = cluster.source(topic, group_instance_id="one", session_timeout=20)
        async with cluster.reading(source, group) as reader:
            shard = await reader.shard()
            assert shard.checkpoint.position == number - 1
            await shard.commit(Checkpoint(number))
            await reader.give_back()


async def test_readers_that_come_and_go_lose_nothing(cluster: Cluster) -> None:
    """Each record is done once, as long as every shard is given back when it is asked for."""
    topic = await cluster.topic(4)
    for partition in range(4):
        await cluster.put(topic, range(partition * 1000, partition * 1000 + 500), partition)
    done: list[int] = []

    async def work(source_number: int, stop_after: int) -> None:
        own: list[int] = []
        async with cluster.source(topic).shards(Subscription(topic)) as changes, tasks() as workers:
            asked: dict[str, anyio.Event] = {}

            async def one(shard: object, stop: anyio.Event) -> None:
                position = shard.checkpoint.position  # type: ignore[attr-defined]
                while not stop.is_set() and len(own) < stop_after and len(done) < 2000:
                    for record in await shard.read(7, 0.05):  # type: ignore[attr-defined]
                        own.append(record.position)
                        done.append(int(record.value))
                        position = record.position
                    await shard.commit(Checkpoint(position))  # type: ignore[attr-defined]
                await shard.close()  # type: ignore[attr-defined]

            async def follow() -> None:
                async for change in changes:
                    match change:
                        case Assigned(shard):
                            asked[shard.id] = anyio.Event()
                            workers.start_soon(one, shard, asked[shard.id])
                        case Revoked(shard_id):
                            asked[shard_id].set()

            workers.start_soon(follow)
            await cluster.until(lambda: len(own) >= stop_after or len(done) >= 2000, 40)
            for stop in asked.values():
                stop.set()
            workers.cancel_scope.cancel()

    async with cluster.within(50), tasks() as group:
        group.start_soon(work, 0, 10_000)
        await cluster.until(lambda: len(done) > 100, PATIENCE)
        group.start_soon(work, 1, 300)
        await cluster.until(lambda: len(done) > 300, PATIENCE)
        group.start_soon(work, 2, 10_000)
    expected = {partition * 1000 + number for partition in range(4) for number in range(500)}
    assert set(done) == expected
    # A reader that leaves is cut off in the middle of one read of each of its shards.
    assert len(done) - len(expected) <= 4 * 7
