"""The whole of it: worker processes on a real broker, killed, stopped and started under load."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from aiokafka.protocol.commit import OffsetFetchRequest

from streamfn.core.checkpoints import Progress
from streamfn.ports import Message
from streamfn_kafka import KafkaDestination
from tests.kafka.cluster import Cluster
from tests.kafka.workers import PATIENCE, fill, workers

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(150)]


async def test_a_worker_is_killed_in_the_middle(cluster: Cluster, tmp_path: Path) -> None:
    records = 200_000
    topic = await cluster.topic(4)
    await fill(cluster, topic, records)
    options = {"batch_size": 500, "maximum_batching_window_in_seconds": 0}
    async with workers(tmp_path, cluster, topic, **options) as group:
        first = group.start()
        await group.until_done(records // 4)
        group.kill(first)
        at_kill = group.count()
        assert at_kill < records
        group.start()
        await group.until_done(records)
        group.assert_order_held()
        # Of each partition, at most the batch being done and those whose commit was on its way.
        assert group.twice() <= 4 * 8 * 500
        await group.end()
        # What was done by then is committed: the next worker has nothing to do.
        assert sum((await cluster.committed(topic, f"{topic}.m")).values()) == records


async def test_workers_come_and_go_under_load(cluster: Cluster, tmp_path: Path) -> None:
    """Nothing is lost, and as every leave is asked for, nothing is done twice."""
    records = 60_000
    topic = await cluster.topic(6)
    await fill(cluster, topic, records)
    options = {"batch_size": 100, "maximum_batching_window_in_seconds": 0}
    async with workers(tmp_path, cluster, topic, **options) as group:
        first = group.start(seconds=0.05)
        await group.until_done(records // 20)
        group.start(seconds=0.05)
        await group.until_done(records // 6)
        third = group.start(seconds=0.05)
        await group.until_done(records // 3)
        await group.stop(first)
        await group.until_done(records // 2)
        await group.stop(third)
        await group.until_done(records)
        group.assert_order_held()
        assert group.twice() == 0


async def test_poison_and_only_poison_is_set_aside(cluster: Cluster, tmp_path: Path) -> None:
    records, every = 10_000, 100
    topic, dead = await cluster.topic(2), await cluster.topic(3)
    destination = KafkaDestination(topic, cluster.bootstrap)
    poisonous = {number for number in range(records) if number % every == 37}
    for first in range(0, records, 2500):
        sent = [
            Message(b"poison %d" % n if n in poisonous else b"%d" % n, f"key-{n}")
            for n in range(first, first + 2500)
        ]
        assert not await destination.send(sent)
    await destination.close()
    async with workers(
        tmp_path,
        cluster,
        topic,
        batch_size=100,
        maximum_batching_window_in_seconds=0,
        bisect_batch_on_function_error=True,
        maximum_retry_attempts=0,
        on_failure=f"kafka://{cluster.bootstrap}/{dead}",
        retry_backoff={"first": 0},
    ) as group:
        group.start(poison=True)
        await group.until_done(records - len(poisonous))
        await group.end()
        assert {number for _, number in group.done()} == set(range(records)) - poisonous
    letters = await cluster.all_of(dead, 3)
    seen = set()
    for letter in letters:
        document = json.loads(letter.body)
        assert document["requestContext"]["condition"] == "RetriesExhausted"
        assert document["requestContext"]["functionArn"].endswith(":work:$LATEST")
        assert document["KafkaBatchInfo"]["batchSize"] == 1
        ((lane, (record,)),) = document["payload"]["records"].items()
        assert lane == f"{topic}-{record['partition']}"
        assert document["KafkaBatchInfo"]["recordInfo"]["offset"] == str(record["offset"])
        assert base64.b64decode(record["key"]).decode() == letter.key
        word, number = base64.b64decode(record["value"]).split()
        assert word == b"poison"
        assert letter.key == f"key-{number.decode()}"
        seen.add(int(number))
    assert seen == poisonous
    assert len(letters) == len(poisonous)


async def test_after_a_crash_only_what_was_not_done_comes_again(cluster: Cluster, tmp_path: Path) -> None:
    """`ordering: key`: one key is stuck, the others go on; what they did is written beside the commit."""
    keys, records = 50, 5000
    topic = await cluster.topic(1)
    await fill(cluster, topic, records, keys)
    options = {"batch_size": 10, "maximum_batching_window_in_seconds": 0, "ordering": "key"}
    async with workers(tmp_path, cluster, topic, **options) as group:
        first = group.start(stuck="k7")
        others = records - records // keys
        await group.until_done(others)

        async def written_down() -> bool:
            position, note = await stored(cluster, topic, f"{topic}.m")
            progress = Progress.decode(note, position)
            return position < keys and sum(b - a + 1 for a, b in progress.done) + position + 1 == others

        await cluster.until(written_down, 30)
        group.kill(first)
        assert group.twice() == 0
        group.start()
        await group.until_done(records)
        group.assert_order_held()
        assert group.twice() == 0


async def stored(cluster: Cluster, topic: str, group: str) -> tuple[int, str]:
    """Position and note of the first partition."""
    async with cluster.admin() as admin:
        coordinator = await cluster.coordinator(admin, group)
        answer = await admin._send_request(OffsetFetchRequest(group, [(topic, [0])]), coordinator)
    ((_, ((_, offset, note, _),)),) = answer.topics
    return offset - 1, note


@pytest.mark.parametrize("function", ["work", "work_on_a_thread"])
async def test_a_slow_function_keeps_its_partitions(cluster: Cluster, tmp_path: Path, function: str) -> None:
    """Slower than the session, and than the interval of polls."""
    topic = await cluster.topic(2)
    await fill(cluster, topic, 40)
    options = {"batch_size": 10, "maximum_batching_window_in_seconds": 0, "consumer_group_id": topic}
    async with workers(tmp_path, cluster, topic, "max_poll_interval=1&session_timeout=2", **options) as group:
        group.start(function=function, seconds=3)
        await cluster.until(lambda: cluster.members(topic), PATIENCE)
        before = await cluster.members(topic)
        await group.until_done(40)
        assert await cluster.members(topic) == before
        await group.end()
        assert group.twice() == 0
