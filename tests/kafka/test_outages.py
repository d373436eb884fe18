"""Brokers that stop, are killed, hang, and come back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from aiokafka.protocol.commit import OffsetCommitRequest
from anyio import to_thread

from streamfn.core.policies import StartingPosition
from streamfn.errors import ShardLost, SourceError
from streamfn.ports import Checkpoint, Message, Subscription
from streamfn.testing.conformance.reading import messages, numbers, take
from streamfn_kafka import KafkaDestination
from streamfn_kafka.client import GroupClient, Unavailable
from streamfn_kafka.contact import Contact
from tests.kafka.cluster import PATIENCE, Cluster
from tests.kafka.workers import fill, workers
from tests.servers.kafka import need_restart, run_kafka

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A broker that is ours to stop."""
    with run_kafka() as server:
        need_restart(server)
        yield Cluster(server)


async def on(action: Any) -> None:
    await to_thread.run_sync(action)


@asynccontextmanager
async def stopped(cluster: Cluster, how: str = "stop") -> AsyncIterator[None]:
    """The broker is away while the block lasts."""
    await on(getattr(cluster.server, how))
    try:
        yield
    finally:
        await on(cluster.server.start)


@asynccontextmanager
async def frozen(cluster: Cluster) -> AsyncIterator[None]:
    """The broker says nothing while the block lasts, and keeps its connections."""
    cluster.server.freeze()
    try:
        yield
    finally:
        cluster.server.thaw()
        await cluster.until(cluster.is_well, 30)


def left_running() -> set[str]:
    """Tasks of aiokafka's."""
    return {name for task in asyncio.all_tasks() if "aiokafka" in (name := repr(task.get_coro()))}


async def test_reading_goes_on_when_the_broker_is_back(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    await cluster.put(topic, range(100))
    source = cluster.source(topic, session_timeout=20)
    with structlog.testing.capture_logs() as logs:
        async with cluster.reading(source, Subscription(topic)) as reader:
            shard = await reader.shard()
            await take(cluster, shard, 50, PATIENCE)
            async with stopped(cluster):
                assert numbers(await take(cluster, shard, 50, PATIENCE)) == list(range(50, 100))
                said = ["kafka_broker_away"]
                await cluster.until(lambda: [line["event"] for line in logs if "broker" in line] == said, 10)
            await cluster.put(topic, range(100, 200))
            assert numbers(await take(cluster, shard, 100, PATIENCE)) == list(range(100, 200))
            await shard.commit(Checkpoint(199))
            assert not reader.revoked
            await reader.give_back()
    assert [line["event"] for line in logs if "broker" in line] == ["kafka_broker_away", "kafka_broker_back"]


async def test_a_commit_waits_for_the_broker_for_a_while(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    source = cluster.source(topic, session_timeout=30, commit_timeout=1.0)
    async with cluster.reading(source, Subscription(topic)) as reader:
        shard = await reader.shard()
        async with stopped(cluster):
            began = anyio.current_time()
            for _ in range(2):
                with pytest.raises(SourceError, match="no commit within 1 s") as error:
                    await shard.commit(Checkpoint(-1, "lost in the dark"))
                assert error.value.retryable
            assert anyio.current_time() - began < 15
        await cluster.until(lambda: _committed(shard), PATIENCE)
        assert not reader.revoked
        await reader.give_back()


async def _committed(shard: Any) -> bool:
    try:
        await shard.commit(Checkpoint(-1, "seen"))
    except SourceError:
        return False
    return True


@pytest.mark.parametrize("away", [stopped, frozen])
async def test_leaving_without_a_broker_is_quick(cluster: Cluster, away: Any) -> None:
    topic = await cluster.topic(1)
    opened = cluster.source(topic).shards(Subscription(topic))
    changes = await opened.__aenter__()
    shard = (await anext(changes)).shard  # type: ignore[union-attr]
    async with away(cluster):
        with anyio.move_on_after(0.3):
            await shard.commit(Checkpoint(-1, "into the void"))
        await shard.close()
        began = anyio.current_time()
        await opened.__aexit__(None, None, None)
        assert anyio.current_time() - began < 8
        assert left_running() == set()


async def test_a_frozen_broker_is_no_source(cluster: Cluster) -> None:
    async with frozen(cluster):
        began = anyio.current_time()
        with pytest.raises(SourceError, match="no answer within"):
            async with cluster.source("any").shards(Subscription("any")):
                pass
        assert anyio.current_time() - began < 20
        assert left_running() == set()


async def test_nothing_is_read_while_the_group_may_have_gone_on(cluster: Cluster) -> None:
    """The buffer holds records, but after a session without a word somebody else may be at work on them."""
    topic = await cluster.topic(1)
    await cluster.put(topic, range(100))
    group = Subscription(topic)
    with structlog.testing.capture_logs() as logs:
        async with cluster.reading(cluster.source(topic, session_timeout=2), group) as reader:
            shard = await reader.shard()
            await take(cluster, shard, 10, PATIENCE)
            async with frozen(cluster):
                await cluster.until(lambda: "kafka_group_silent" in [line["event"] for line in logs], 10)
                assert list(await shard.read(10, 0.3)) == []
                assert shard.buffered  # type: ignore[attr-defined]
            # Either the broker still knows us, or the shard is lost and comes again from its beginning.
            got = list(range(10))
            async with cluster.within(PATIENCE):
                while got[-1:] != [99]:
                    try:
                        got += numbers(await shard.read(10, 1.0))
                    except ShardLost:
                        await shard.close()
                        shard = await reader.shard()
                        got = []
            assert got == list(range(100))
            await reader.give_back()


async def test_committed_offsets_are_found_while_the_coordinator_still_loads(cluster: Cluster) -> None:
    """To a coordinator that reads back what it stored, a group looks like one that never committed."""
    partitions = 50
    topic = await cluster.topic(partitions)
    await cluster.put(topic, range(500))
    rows = [(number, 400 if number == 0 else 0, "x" * 200) for number in range(partitions)]
    async with cluster.admin() as admin:
        coordinator = await cluster.coordinator(admin, topic)
        for _ in range(1200):
            await admin._send_request(OffsetCommitRequest(topic, -1, "", -1, [(topic, rows)]), coordinator)
    async with stopped(cluster, "kill"):
        pass
    # Before it has joined, which a coordinator that loads would not let it do.
    contact = Contact("test", 10, asyncio.get_running_loop().time)
    client = GroupClient(topic, topic, contact, {"bootstrap_servers": cluster.bootstrap})
    refused = 0
    try:
        await client.start()
        async with cluster.within(60):
            while True:
                try:
                    committed = await client.committed(range(partitions))
                except Unavailable:
                    refused += 1
                else:
                    break
    finally:
        await client.stop(4)
    assert committed == {number: (offset, note) for number, offset, note in rows}
    assert refused
    # And through the front door.
    group = Subscription(topic, StartingPosition.LATEST)
    async with stopped(cluster, "kill"):
        pass
    async with cluster.reading(cluster.source(topic, session_timeout=20), group) as reader:
        await reader.holds(partitions)
        assert reader.held["0"].checkpoint == Checkpoint(399, "x" * 200)
        assert numbers(await take(cluster, reader.held["0"], 100, PATIENCE)) == list(range(400, 500))
        await reader.give_back()


async def test_a_killed_broker_loses_no_commit(cluster: Cluster) -> None:
    """Also where the session has ended before the broker is back."""
    topic = await cluster.topic(1)
    await cluster.put(topic, range(20))
    group = Subscription(topic)
    async with cluster.reading(cluster.source(topic, session_timeout=1), group) as reader:
        shard = await reader.shard()
        await take(cluster, shard, 10, PATIENCE)
        await shard.commit(Checkpoint(9, "kept"))
        async with stopped(cluster, "kill"):
            pass
        async with cluster.within(PATIENCE):
            while True:
                try:
                    got = numbers(await shard.read(20, 5.0))
                except ShardLost:
                    await shard.close()
                    shard = await reader.shard()
                    assert shard.checkpoint == Checkpoint(9, "kept")
                    continue
                if got:
                    break
        assert got[0] == 10
        await reader.give_back()


async def test_a_destination_says_when_the_broker_is_away_and_goes_on_when_it_is_back(
    cluster: Cluster,
) -> None:
    topic = await cluster.topic(2)
    destination = KafkaDestination(topic, cluster.bootstrap, timeout=2)
    assert list(await destination.send(messages(5))) == []
    async with stopped(cluster):
        for _ in range(2):
            began = anyio.current_time()
            with pytest.raises(OSError, match=topic):
                await destination.send(messages(5, 5))
            assert anyio.current_time() - began < 20
    await cluster.until(lambda: _sent(destination, messages(1, 99)), PATIENCE)
    await destination.close()
    bodies = {message.body for message in await cluster.all_of(topic, 2)}
    assert bodies >= {b"0", b"1", b"2", b"3", b"4", b"99"}
    assert left_running() == set()


async def _sent(destination: KafkaDestination, sent: list[Message]) -> bool:
    try:
        return not await destination.send(sent)
    except OSError:
        return False


async def test_a_destination_does_not_wait_for_a_frozen_broker(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    destination = KafkaDestination(topic, cluster.bootstrap, timeout=1.5)
    assert list(await destination.send(messages(5))) == []
    async with frozen(cluster):
        began = anyio.current_time()
        with pytest.raises(OSError, match=topic):
            await destination.send(messages(5))
        await destination.close()
        assert anyio.current_time() - began < 20
    await destination.close()
    assert left_running() == set()


# ---------------------------------------------------------------------------------------- whole workers


async def test_the_broker_goes_and_comes_back_under_load(cluster: Cluster, tmp_path: Path) -> None:
    records = 100_000
    topic = await cluster.topic(4)
    await fill(cluster, topic, records)
    options = {"batch_size": 500, "maximum_batching_window_in_seconds": 0}
    # What was done after the group had lost its member is committed by the next one, for which the group may
    # wait as long as this.
    async with workers(tmp_path, cluster, topic, "rebalance_timeout=10", **options) as group:
        group.start(seconds=0.02)
        for part, how in ((5, "stop"), (2, "kill")):
            await group.until_done(records // part)
            await to_thread.run_sync(getattr(cluster.server, how))
            await to_thread.run_sync(cluster.server.start)
        await group.until_done(records)
        group.assert_order_held()
        assert group.twice() <= 2 * 4 * 8 * 500

        async def all_committed() -> bool:
            return sum((await cluster.committed(topic, f"{topic}.m")).values()) == records

        # A broker that was killed first recovers its logs and loads its offsets, and a commit that it lost is
        # made again after its own timeout.
        try:
            await cluster.until(all_committed, 3 * PATIENCE)
        except AssertionError as error:
            committed = await cluster.committed(topic, f"{topic}.m")
            raise AssertionError(f"{error}: {committed}\n{group.logs()}") from None
        await group.end()


async def test_a_drain_without_a_broker_ends(cluster: Cluster, tmp_path: Path) -> None:
    topic = await cluster.topic(2)
    await fill(cluster, topic, 1000)
    options = {"batch_size": 10, "maximum_batching_window_in_seconds": 0}
    async with workers(tmp_path, cluster, topic, **options) as group:
        worker = group.start(seconds=0.2)
        await group.until_done(20)
        await to_thread.run_sync(cluster.server.stop)
        try:
            worker.send_signal(signal.SIGTERM)
            assert await to_thread.run_sync(worker.wait, 25) in (0, 1)
        finally:
            await to_thread.run_sync(cluster.server.start)
