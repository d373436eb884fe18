"""What a Kafka destination does beyond what all destinations do."""

from __future__ import annotations

from collections import defaultdict

import pytest

from streamfn.errors import ConfigurationError
from streamfn.ports import Message
from streamfn.testing.conformance.reading import messages, tasks
from streamfn_kafka import KafkaDestination
from tests.kafka.cluster import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]


async def test_messages_of_one_key_keep_their_order_in_one_partition(cluster: Cluster) -> None:
    topic = await cluster.topic(5)
    destination = KafkaDestination(topic, cluster.bootstrap)
    sent = [Message(b"%d %s" % (number, b"x" * 3000), f"key-{number % 20}") for number in range(4000)]
    for first in range(0, 4000, 1300):
        assert not await destination.send(sent[first : first + 1300])
    await destination.close()
    of_key = defaultdict(list)
    for message in await cluster.all_of(topic, 5):
        of_key[message.key].append(int(message.body.split()[0]))
    assert of_key == {f"key-{key}": list(range(key, 4000, 20)) for key in range(20)}


async def test_keys_go_where_other_clients_send_them(cluster: Cluster) -> None:
    topic = await cluster.topic(7)
    keys = ["a", "Zürich", "x" * 99, "\udcff\udcfe"]
    destination = KafkaDestination(topic, cluster.bootstrap)
    assert not await destination.send([Message(b"ours", key) for key in keys])
    await destination.close()
    async with cluster.producing() as producer:
        for key in keys:
            sent = await producer.send_and_wait(topic, b"theirs", key=key.encode("utf-8", "surrogateescape"))
            offset = sent.offset
            assert offset >= 1  # behind ours


async def test_messages_without_a_key_go_round(cluster: Cluster) -> None:
    topic = await cluster.topic(3)
    destination = KafkaDestination(topic, cluster.bootstrap)
    for number in range(6):
        assert not await destination.send(messages(10, number * 10))
    await destination.close()
    ends = [len(await cluster.all_of(topic, upto)) for upto in (1, 2, 3)]
    assert ends == [20, 40, 60]


async def test_large_and_small_messages_in_any_mixture(cluster: Cluster) -> None:
    topic = await cluster.topic(2)
    sizes = [1, 300_000, 10, 900_000, 262_144, 5, 262_000, 100, 2_000_000, 7]
    destination = KafkaDestination(topic, cluster.bootstrap)
    failures = await destination.send([Message(b"%d" % i + b"x" * size) for i, size in enumerate(sizes)])
    await destination.close()
    assert [(failure.index, failure.retryable) for failure in failures] == [(8, False)]
    assert "above max_request_size" in failures[0].reason
    assert sorted(int(message.body[:1]) for message in await cluster.all_of(topic, 2)) == [
        *range(8),
        9,
    ]


async def test_a_message_without_a_key_is_not_for_a_compacted_topic(cluster: Cluster) -> None:
    """The broker refuses the batch; of its messages only those that are to blame fail."""
    topic = await cluster.topic(1, cleanup_policy="compact")
    destination = KafkaDestination(topic, cluster.bootstrap)
    failures = await destination.send([Message(b"1", "k"), Message(b"2"), Message(b"3", "k"), Message(b"4")])
    await destination.close()
    assert [(failure.index, failure.retryable) for failure in failures] == [(1, False), (3, False)]
    assert [message.body for message in await cluster.all_of(topic)] == [b"1", b"3"]


async def test_a_topic_that_is_not_there(cluster: Cluster) -> None:
    destination = KafkaDestination("not-there", cluster.bootstrap, timeout=1.5)
    with pytest.raises(OSError, match="not-there"):
        await destination.send(messages(1))
    with pytest.raises(ConfigurationError, match="create it"):
        await destination.check()
    await destination.close()


async def test_what_it_reads_back_it_can_compress(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    destination = KafkaDestination(topic, cluster.bootstrap, compression_type="gzip")
    assert not await destination.send(messages(500))
    await destination.close()
    assert len(await cluster.all_of(topic)) == 500


async def test_many_senders_share_one_connection(cluster: Cluster) -> None:
    topic = await cluster.topic(2)
    destination = KafkaDestination(topic, cluster.bootstrap)
    async with tasks() as group:
        for number in range(100):
            group.start_soon(destination.send, messages(7, number * 7))
    await destination.close()
    found = sorted(int(message.body) for message in await cluster.all_of(topic, 2))
    assert found == list(range(700))
