"""Kafka: how much of the bare client's rate is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.brokers import bare_loop, filled_topic, kafka_server
from benchmarks.measuring import Watch, delivering
from benchmarks.scenario import Scenario, Settings, Side, Target
from streamfn import Batch


class Throughput:
    """Batches of one size: the bare loop, a function that takes the batch, one that takes the event."""

    def __init__(self, partitions: int, batch: int, records: int, *, judged: bool = True) -> None:
        self._partitions = partitions
        self._batch = batch
        self._records = records
        of = f"{partitions} partition{'s' * (partitions > 1)}, 1 KB records, batch size {batch}, window 0"
        against = "bare: getmany(max_records=batch size), then commit"
        self.scenarios: Sequence[Scenario] = (
            Scenario(
                f"kafka-batch-native-{partitions}p-{batch}",
                f"Kafka, {of}, batch=True; {against}",
                "records/s",
                "native",
                "bare",
                Target("ratio", at_least=0.85) if judged else None,
            ),
            Scenario(
                f"kafka-batch-event-{partitions}p-{batch}",
                f"Kafka, {of}, whole Lambda event; {against}",
                "records/s",
                "event",
                "bare",
                Target("ratio", at_least=0.6) if judged else None,
            ),
        )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        servers = kafka_server()
        records = settings.size(self._records, 2000)
        topic = settings.run(filled_topic(servers, self._partitions, records))
        # Once unmeasured: a broker is slow until its code is compiled, and a client until it is imported.
        settings.run(self._bare(servers, topic, records))
        settings.run(self._native(servers, topic, records))
        yield {
            "bare": lambda: settings.run(self._bare(servers, topic, records)),
            "native": lambda: settings.run(self._native(servers, topic, records)),
            "event": lambda: settings.run(self._event(servers, topic, records)),
        }

    async def _bare(self, servers: str, topic: str, records: int) -> float:
        watch = Watch(records)

        async def nothing(batch: Sequence[Any]) -> None:
            watch.saw(len(batch))

        await bare_loop(servers, topic, self._batch, nothing, lambda: watch.is_done)
        return await watch.rate()

    async def _native(self, servers: str, topic: str, records: int) -> float:
        watch = Watch(records)

        async def nothing(batch: Batch) -> None:
            watch.saw(len(batch))

        async with delivering(nothing, f"kafka://{servers}/{topic}", **self._options):
            return await watch.rate()

    async def _event(self, servers: str, topic: str, records: int) -> float:
        watch = Watch(records)

        async def nothing(event: dict[str, Any], context: Any) -> None:
            watch.saw(sum(map(len, event["records"].values())))

        async with delivering(nothing, f"kafka://{servers}/{topic}", batch=False, **self._options):
            return await watch.rate()

    @property
    def _options(self) -> dict[str, Any]:
        return {"batch_size": self._batch, "maximum_batching_window_in_seconds": 0}


GROUPS = (
    Throughput(1, 100, 80_000),
    Throughput(4, 100, 80_000),
    Throughput(1, 500, 200_000),
    Throughput(4, 500, 200_000),
)
