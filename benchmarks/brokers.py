"""A Kafka to measure against, and the bare loops that streamfn is compared with."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer  # type: ignore[import-untyped]

from benchmarks.scenario import NotHere
from tests.servers import kafka, kafka_ways


@functools.cache
def kafka_server() -> str:
    """The address of a broker, started with the first use and ended with this process. Raises NotHere."""
    way = kafka_ways.find_kafka()
    if isinstance(way, str):
        raise NotHere(way)
    server = kafka.KafkaServer(way, heap="1g")
    server.start()
    _servers.append(server)
    return server.bootstrap


_servers: list[kafka.KafkaServer] = []


async def filled_topic(servers: str, partitions: int, records: int, keys: int = 0) -> str:
    """A topic that holds so many records of 1 KB, evenly over its partitions and, if asked for, over keys."""
    topic = await kafka.create_topic(servers, partitions=partitions)
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks=1, linger_ms=20, max_batch_size=262_144)
    await producer.start()
    try:
        value = b"x" * 1024
        for start in range(0, records, 1000):
            await asyncio.wait(
                [
                    await producer.send(
                        topic,
                        value,
                        key=b"key-%d" % (number % keys) if keys else None,
                        partition=number % partitions,
                    )
                    for number in range(start, min(start + 1000, records))
                ]
            )
    finally:
        await producer.stop()
    return topic


@asynccontextmanager
async def consumer(servers: str, topic: str) -> AsyncIterator[Any]:
    """A plain aiokafka consumer in a group of its own, as its documentation has it."""
    consuming = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=f"bare-{time.perf_counter_ns()}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consuming.start()
    try:
        yield consuming
    finally:
        await consuming.stop()


async def bare_loop(
    servers: str,
    topic: str,
    batch: int,
    function: Callable[[Sequence[Any]], Awaitable[None]],
    is_done: Callable[[], bool],
    *,
    commit: bool = True,
) -> None:
    """At least once by hand: fetch, call, commit."""
    async with consumer(servers, topic) as consuming:
        while not is_done():
            found = await consuming.getmany(timeout_ms=500, max_records=batch)
            for records in found.values():
                await function(records)
            if found and commit:
                await consuming.commit()
