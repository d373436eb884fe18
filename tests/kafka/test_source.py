"""What a Kafka source does beyond what all stream sources do."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest
import structlog

from streamfn.core.policies import StartingPosition
from streamfn.errors import ConfigurationError, PositionLost, SourceError
from streamfn.ports import Checkpoint, Subscription
from streamfn.testing.conformance.reading import numbers, take, tasks
from tests.kafka.cluster import PATIENCE, Cluster

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

LATEST = Subscription("group", StartingPosition.LATEST)


# ---------------------------------------------------------------------------------- where reading begins


async def test_latest_is_committed_before_the_first_read(cluster: Cluster) -> None:
    topic = await cluster.topic(2)
    await cluster.put(topic, range(5))
    group = Subscription(topic, StartingPosition.LATEST)
    async with cluster.reading(cluster.source(topic), group) as reader:
        await reader.holds(2)
        assert await cluster.committed(topic, topic) == {0: 5, 1: 0}


async def test_the_first_readers_of_a_group_agree_that_it_is_new(cluster: Cluster) -> None:
    """None takes the commits of another for those of an old group, and so reads all there ever was."""
    topic = await cluster.topic(4)
    for partition in range(4):
        await cluster.put(topic, range(100), partition)
    group = Subscription(topic, StartingPosition.LATEST)
    async with (
        cluster.reading(cluster.source(topic), group) as first,
        cluster.reading(cluster.source(topic), group) as second,
        cluster.reading(cluster.source(topic), group) as third,
    ):
        readers = (first, second, third)
        await cluster.until(lambda: sorted(len(r.held) for r in readers) == [1, 1, 2], PATIENCE)
        for reader in readers:
            for shard in reader.held.values():
                assert shard.checkpoint.position == 99
    assert await cluster.committed(topic, topic) == dict.fromkeys(range(4), 100)


async def test_a_partition_that_comes_later_is_read_from_its_beginning(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    await cluster.put(topic, range(3))
    group = Subscription(topic, StartingPosition.LATEST)
    source = cluster.source(topic, metadata_max_age=0.5)
    async with cluster.reading(source, group) as reader:
        await reader.holds(1)
        await cluster.grow(topic, 2)
        await cluster.put(topic, range(10, 13), 1)
        shard = await reader.shard("1")
        assert numbers(await take(cluster, shard, 3, PATIENCE)) == [10, 11, 12]
        await reader.give_back()


async def test_in_an_old_group_a_partition_without_a_commit_is_read_from_its_beginning(
    cluster: Cluster,
) -> None:
    topic = await cluster.topic(2)
    for partition in range(2):
        await cluster.put(topic, range(4), partition)
    for known in range(2):
        group = Subscription(f"{topic}-{known}", StartingPosition.LATEST)
        await cluster.commit_as_nobody(topic, {known: 2}, group.group)
        async with cluster.reading(cluster.source(topic), group) as reader:
            await reader.holds(2)
            assert reader.held[str(known)].checkpoint == Checkpoint(1, "by a tool")
            assert reader.held[str(1 - known)].checkpoint == Checkpoint(-1)


async def test_a_time_after_all_records_is_the_end(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    await cluster.put(topic, range(4))
    late = Subscription(topic, StartingPosition.AT_TIMESTAMP, cluster.now() + 60)
    async with cluster.reading(cluster.source(topic), late) as reader:
        assert (await reader.shard()).checkpoint.position == 3


# ----------------------------------------------------------------------------------- records that are gone


async def trimmed(cluster: Cluster) -> str:
    """A topic of ten records of which the first six are gone, two of them after the group's position."""
    topic = await cluster.topic(1)
    await cluster.put(topic, range(10))
    await cluster.commit_as_nobody(topic, {0: 4}, topic)
    await cluster.trim(topic, 6)
    return topic


async def test_lost_records_end_the_reading_by_default(cluster: Cluster) -> None:
    topic = await trimmed(cluster)
    async with cluster.reading(cluster.source(topic), Subscription(topic)) as reader:
        shard = await reader.shard()
        with pytest.raises(PositionLost, match=r"records 4 to 5 were removed .* 6 to 9") as error:
            await shard.read(10, PATIENCE)
        assert not error.value.retryable
        await shard.commit(Checkpoint(shard.checkpoint.position, "still there"))
    assert await cluster.committed(topic, topic) == {0: 4}


@pytest.mark.parametrize(("policy", "first"), [("trim_horizon", 6), ("latest", 10)])
async def test_lost_records_are_passed_over_where_that_is_wanted(
    cluster: Cluster, policy: str, first: int
) -> None:
    topic = await trimmed(cluster)
    source = cluster.source(topic, on_position_lost=policy)
    with structlog.testing.capture_logs() as logs:
        async with cluster.reading(source, Subscription(topic)) as reader:
            shard = await reader.shard()
            await cluster.put(topic, [10])
            records = await take(cluster, shard, 11 - first, PATIENCE)
            assert numbers(records) == list(range(first, 11))
    (lost,) = [line for line in logs if line["event"] == "kafka_records_lost"]
    assert (lost["log_level"], lost["position"], lost["first_kept"], lost["end"]) == ("error", 4, 6, 10)
    assert lost["goes_on_at"] == first


@pytest.mark.parametrize("policy", ["fail", "trim_horizon"])
async def test_records_that_go_while_they_are_waited_for(cluster: Cluster, policy: str) -> None:
    """Retention overtakes a reader that has one fetch in its hands and cannot take more."""
    topic = await cluster.topic(1)
    await cluster.put(topic, [f"{number:>1000}" for number in range(300)])
    source = cluster.source(
        topic, on_position_lost=policy, buffer_records=1, max_partition_fetch_bytes=16_384
    )
    async with cluster.reading(source, Subscription(topic)) as reader:
        shard = await reader.shard()
        got = numbers(await take(cluster, shard, 1, PATIENCE))
        await cluster.trim(topic, 250)
        try:
            async with cluster.within(PATIENCE):
                while got[-1] < 299:
                    got += numbers(await shard.read(10, PATIENCE))
        except PositionLost as error:
            assert policy == "fail"
            assert f"the records {got[-1] + 1} to 249 were removed" in str(error)  # noqa: PT017
        else:
            assert policy == "trim_horizon"
            gap = next(i for i, (a, b) in enumerate(pairwise(got)) if b != a + 1)
            assert got == [*range(gap + 1), *range(250, 300)]
        await reader.give_back()


async def test_a_topic_that_was_made_anew_begins_anew(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    await cluster.put(topic, range(9))
    group = Subscription(topic)
    async with cluster.reading(cluster.source(topic), group) as reader:
        shard = await reader.shard()
        records = await take(cluster, shard, 9, PATIENCE)
        await shard.commit(Checkpoint(records[-1].position, "of what was"))
        await reader.give_back()
    # Deleting a topic deletes its commits, so the position of the old one is put there by a tool.
    fresh = await cluster.topic(1)
    await cluster.put(fresh, range(3))
    await cluster.commit_as_nobody(fresh, {0: 9}, topic)
    async with cluster.reading(cluster.source(fresh, on_position_lost="trim_horizon"), group) as reader:
        shard = await reader.shard()
        assert shard.checkpoint == Checkpoint(-1)
        assert numbers(await take(cluster, shard, 3, PATIENCE)) == [0, 1, 2]
        await reader.give_back()


async def test_a_topic_that_is_not_there_is_named(cluster: Cluster) -> None:
    with pytest.raises(SourceError, match="not-there: there is no such topic") as error:
        async with cluster.source("not-there").shards(Subscription("group")):
            pass
    assert error.value.retryable


# ------------------------------------------------------------------------------------------ gaps, markers


async def test_aborted_transactions_are_passed_over(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    async with cluster.producing(transactional_id=topic) as producer:
        for number in range(6):
            await producer.begin_transaction()
            await producer.send(topic, str(number).encode(), partition=0)
            await (producer.commit_transaction() if number % 2 else producer.abort_transaction())
    source = cluster.source(topic, isolation_level="read_committed")
    for group in ("once", "again"):
        async with cluster.reading(source, Subscription(topic)) as reader:
            shard = await reader.shard()
            if group == "once":
                records = await take(cluster, shard, 3, PATIENCE)
                assert numbers(records) == [1, 3, 5]
                assert [record.position for record in records] == [2, 6, 10]
                await shard.commit(Checkpoint(2))
                # What is between the last record and the end are markers, which nobody waits for.
                await cluster.until(lambda shard=shard: shard.lag == 0, PATIENCE)
            else:
                assert numbers(await take(cluster, shard, 2, PATIENCE)) == [3, 5]
            await reader.give_back()


async def test_an_open_transaction_holds_back_what_follows(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    source = cluster.source(topic, isolation_level="read_committed")
    async with cluster.producing(transactional_id=topic) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"0", partition=0)
        await cluster.put(topic, [1])
        # A position beyond what may be read is no lost position.
        await cluster.commit_as_nobody(topic, {0: 1}, f"{topic}-ahead")
        async with (
            cluster.reading(source, Subscription(topic)) as reader,
            cluster.reading(source, Subscription(f"{topic}-ahead")) as ahead,
        ):
            assert list(await (await reader.shard()).read(10, 0.5)) == []
            await producer.commit_transaction()
            assert numbers(await take(cluster, await reader.shard(), 2, PATIENCE)) == [0, 1]
            assert numbers(await take(cluster, await ahead.shard(), 1, PATIENCE)) == [1]


@pytest.mark.timeout(90)
async def test_compacted_records_leave_gaps(cluster: Cluster) -> None:
    topic = await cluster.topic(
        1,
        cleanup_policy="compact",
        segment_bytes="1048576",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.0",
        max_compaction_lag_ms="100",
        delete_retention_ms="100",
    )
    await cluster.put(topic, range(50), key="same")

    async def compacted() -> bool:
        # Only a segment that is closed is compacted; a new record closes the last one when it is old enough.
        await cluster.put(topic, ["more"], key="other")
        return len(await cluster.all_of(topic)) < 25

    await cluster.until(compacted, 60)
    async with cluster.reading(cluster.source(topic), Subscription(topic)) as reader:
        shard = await reader.shard()
        first, *rest = await take(cluster, shard, 2, PATIENCE)
        assert (first.value, first.position) == (b"49", 49)
        await shard.commit(Checkpoint(first.position))
        await reader.give_back()
    async with cluster.reading(cluster.source(topic), Subscription(topic)) as reader:
        (following,) = await take(cluster, await reader.shard(), 1, PATIENCE)
        # The same record, or if compaction has gone on meanwhile, one that took its place.
        assert first.position < rest[0].position <= following.position
        assert following.value == rest[0].value == b"more"
        await reader.give_back()


# -------------------------------------------------------------------------------------- room in the buffers


async def test_a_partition_that_is_not_read_holds_up_no_other(cluster: Cluster) -> None:
    topic = await cluster.topic(2)
    for partition in range(2):
        await cluster.put(topic, range(3000), partition)
    source = cluster.source(topic, buffer_records=100, max_poll_interval=1.0)
    async with cluster.reading(source, Subscription(topic)) as reader:
        await reader.holds(2)
        before = await cluster.members(topic)
        assert numbers(await take(cluster, reader.held["0"], 3000, PATIENCE)) == list(range(3000))
        idle = reader.held["1"]
        # A fetch loop with nothing to do for longer than the poll interval and the session is still a member.
        await cluster.never(lambda: reader.revoked, 4.0)
        assert await cluster.members(topic) == before
        assert 0 < idle.buffered <= 600  # type: ignore[attr-defined]
        assert numbers(await take(cluster, idle, 3000, PATIENCE)) == list(range(3000))
        await reader.give_back()


async def test_a_partition_gets_records_while_another_waits_for_some(cluster: Cluster) -> None:
    topic = await cluster.topic(2)
    await cluster.put(topic, range(2000), 1)
    source = cluster.source(topic, buffer_records=10)
    async with cluster.reading(source, Subscription(topic)) as reader, tasks() as group:
        await reader.holds(2)
        group.start_soon(reader.held["0"].read, 1, 60.0)
        began = anyio.current_time()
        await take(cluster, reader.held["1"], 2000, PATIENCE)
        # At most two hundred refills: none of them waits for the other partition's long poll to end.
        assert anyio.current_time() - began < 20
        group.cancel_scope.cancel()
        await reader.give_back()


async def test_large_records_fill_a_buffer_too(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    async with cluster.producing() as producer:
        for number in range(40):
            await producer.send_and_wait(topic, b"%100000d" % number, partition=0)
    source = cluster.source(topic, max_partition_fetch_bytes=200_000)
    async with cluster.reading(source, Subscription(topic)) as reader:
        shard = await reader.shard()
        await cluster.until(lambda: shard.buffered, PATIENCE)  # type: ignore[attr-defined]
        await cluster.never(lambda: shard.buffered > 4, 0.5)  # type: ignore[attr-defined]
        assert numbers(await take(cluster, shard, 40, PATIENCE)) == list(range(40))
        await reader.give_back()


# --------------------------------------------------------------------------------------------- odds, ends


async def test_a_note_that_kafka_would_not_take_is_refused_here(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    async with cluster.reading(cluster.source(topic), Subscription(topic)) as reader:
        shard = await reader.shard()
        for note in ("x" * (shard.note_limit + 1), "é"):
            with pytest.raises(ValueError, match="ASCII, 4096 characters at most"):
                await shard.commit(Checkpoint(-1, note))
        await reader.give_back()


async def test_a_note_above_the_brokers_limit_is_said_to_be(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    async with cluster.reading(cluster.source(topic, note_limit=9000), Subscription(topic)) as reader:
        shard = await reader.shard()
        with pytest.raises(SourceError, match="OffsetMetadataTooLarge") as error:
            await shard.commit(Checkpoint(-1, "x" * 5000))
        assert not error.value.retryable
        await shard.commit(Checkpoint(-1, "x" * 4096))
        await reader.give_back()


async def test_check_names_a_topic_that_is_not_there(cluster: Cluster) -> None:
    with pytest.raises(ConfigurationError, match=r"no topic not-there\. Fix: create it"):
        await cluster.source("not-there").check()
    await cluster.source(await cluster.topic()).check()


async def test_a_deleted_topic_ends_the_reading(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    source = cluster.source(topic, metadata_max_age=0.2)
    async with source.shards(Subscription(topic)) as changes:
        first = await anext(changes)
        async with cluster.admin() as admin:
            await admin.delete_topics([topic])
        with pytest.raises(SourceError, match="no topic"):
            async with cluster.within(40):
                async for change in changes:
                    await first.shard.close()  # type: ignore[union-attr]
                    first = change
