"""Processes of one app on one topic, and what fills the topic."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from streamfn.ports import Message
from streamfn_kafka import KafkaDestination
from tests.kafka.cluster import Cluster
from tests.workers import PATIENCE as PATIENCE
from tests.workers import Workers, working


def workers(
    folder: Path, cluster: Cluster, topic: str, uri: str = "", **options: Any
) -> AbstractAsyncContextManager[Workers]:
    """Processes that read the topic."""
    source = f"kafka://{cluster.bootstrap}/{topic}?session_timeout=3&{uri}"
    return working(folder, topic, source, **options)


async def fill(cluster: Cluster, topic: str, count: int, keys: int = 100, size: int = 0) -> None:
    """Records with the keys in turn, each with its number among those of its key."""
    destination = KafkaDestination(topic, cluster.bootstrap)
    for first in range(0, count, 5000):
        numbers = range(first, min(first + 5000, count))
        sent = [Message(b"%d" % (number // keys), f"k{number % keys}") for number in numbers]
        assert not await destination.send(sent)
    await destination.close()
