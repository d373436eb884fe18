"""Kafka: how far one partition can be spread, and how long one record is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]

from benchmarks.brokers import bare_loop, filled_topic, kafka_server
from benchmarks.measuring import PATIENCE, Trip, Watch, delivering, worked_off
from benchmarks.scenario import Scenario, Settings, Side, Target
from streamfn import Batch


class KeyParallelism:
    """One partition, a function that waits 5 ms: in the partition's order, and in that of each key."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "kafka-key-parallelism",
            "Kafka, 1 partition, 1,000 keys, 5 ms function, batch size 1: ordering key with concurrency 100; "
            "bare: the same with ordering shard",
            "records/s",
            "key",
            "shard",
            Target("ratio", at_least=15),
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        servers = kafka_server()
        records = settings.size(8000, 1000)
        topic = settings.run(filled_topic(servers, 1, records, keys=1000))
        few = settings.size(300, 50)
        parallel: dict[str, Any] = {"ordering": "key", "maximum_concurrency": 100}
        yield {
            "shard": lambda: settings.run(self._rate(servers, topic, few)),
            "key": lambda: settings.run(self._rate(servers, topic, records, **parallel)),
        }

    async def _rate(self, servers: str, topic: str, records: int, **options: Any) -> float:
        watch = Watch(records)

        async def takes_5_ms(batch: Batch) -> None:
            await asyncio.sleep(0.005)
            watch.saw(len(batch))

        options |= {"batch_size": 1, "maximum_batching_window_in_seconds": 0}
        async with delivering(takes_5_ms, f"kafka://{servers}/{topic}", **options):
            return await watch.rate()


class Latency:
    """From before `send` in another process to the function, one record at a time."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "kafka-latency",
            "Kafka, 1 partition, 1 KB records, batch size 1, at half of what the bare loop can do: "
            "99th percentile from send to function; bare: getmany(max_records=1), then commit",
            "ms",
            "streamfn",
            "bare",
            Target("difference", at_most=2),
        ),
        Scenario(
            "kafka-latency-uncommitted",
            "the same, beside a loop that never commits: nothing can be faster, and nothing is kept",
            "ms",
            "streamfn",
            "uncommitted",
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        servers = kafka_server()
        topic = settings.run(filled_topic(servers, 1, 1000))
        rate = settings.run(self._most(servers, topic, settings.size(1000, 200))) / 2
        seconds = settings.size(3, 1)
        yield {
            "bare": lambda: settings.run(self._bare(servers, rate, seconds)),
            "uncommitted": lambda: settings.run(self._bare(servers, rate, seconds, commit=False)),
            "streamfn": lambda: settings.run(self._streamfn(servers, rate, seconds)),
        }

    async def _most(self, servers: str, topic: str, records: int) -> float:
        watch = Watch(records)

        async def nothing(batch: Sequence[Any]) -> None:
            watch.saw(len(batch))

        await bare_loop(servers, topic, 1, nothing, lambda: watch.is_done)
        return await watch.rate()

    async def _bare(self, servers: str, rate: float, seconds: int, *, commit: bool = True) -> float:
        trip = KafkaTrip(rate, seconds)

        async def arrived(batch: Sequence[Any]) -> None:
            trip.arrived(batch[0].value)

        async with asyncio.TaskGroup() as tasks:
            topic = await trip.begin(servers)
            tasks.create_task(trip.produce(servers, topic))
            await bare_loop(servers, topic, 1, arrived, trip.done.is_set, commit=commit)
        return trip.took(99)

    async def _streamfn(self, servers: str, rate: float, seconds: int) -> float:
        trip = KafkaTrip(rate, seconds)

        async def arrived(batch: Batch) -> None:
            trip.arrived(batch[0].value)

        async with asyncio.TaskGroup() as tasks:
            topic = await trip.begin(servers)
            tasks.create_task(trip.produce(servers, topic))
            options: dict[str, Any] = {"batch_size": 1, "maximum_batching_window_in_seconds": 0}
            async with delivering(arrived, f"kafka://{servers}/{topic}", **options):
                async with asyncio.timeout(PATIENCE):
                    await trip.done.wait()
        return trip.took(99)


class KafkaTrip(Trip):
    """Records under way through a topic of their own, at a steady pace."""

    def __init__(self, rate: float, seconds: int) -> None:
        super().__init__(int(rate * seconds))
        self._rate = rate

    async def begin(self, servers: str) -> str:
        topic = await filled_topic(servers, 1, 0)
        producer = AIOKafkaProducer(bootstrap_servers=servers)
        await producer.start()
        await producer.send_and_wait(topic, b"0")
        await producer.stop()
        return topic

    async def produce(self, servers: str, topic: str) -> None:
        """Has another process send."""
        await self.there.wait()
        await worked_off("produce", servers, topic, self._rate, self.count)


GROUPS = (KeyParallelism(), Latency())
