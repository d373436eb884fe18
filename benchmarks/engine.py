"""The engine alone: a memory source, a function that does nothing. What is left is our own cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from benchmarks.measuring import Watch, delivering
from benchmarks.scenario import Scenario, Settings, Side, Target
from streamfn import Batch
from streamfn.core.records import StreamRecord
from streamfn.ports import Assigned, Checkpoint, Subscription
from streamfn.testing import MemoryStream

_VALUE = b"x" * 1024


class Engine:
    """Batches of one size from one shard in memory."""

    def __init__(self, batch: int, records: int, scenario: Scenario) -> None:
        self._batch = batch
        self._records = records
        self.scenarios: Sequence[Scenario] = (scenario,)

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        records = settings.size(self._records, self._records // 40)
        stream = MemoryStream(clock=time.time)
        stream.put(StreamRecord(0, _VALUE, str(number % 1000)) for number in range(records))
        yield {
            "bare": lambda: settings.run(self._bare(stream, records)),
            "streamfn": lambda: settings.run(self._streamfn(stream, records)),
        }

    async def _streamfn(self, stream: MemoryStream, records: int) -> float:
        watch = Watch(records)

        async def nothing(batch: Batch) -> None:
            watch.saw(len(batch))

        async with delivering(nothing, stream, batch_size=self._batch):
            return await watch.rate()

    async def _bare(self, stream: MemoryStream, records: int) -> float:
        """The loop one would write: read, call, commit."""
        watch = Watch(records)

        async def nothing(batch: Batch) -> None:
            watch.saw(len(batch))

        async with stream.shards(Subscription(f"bare-{time.perf_counter_ns()}")) as changes:
            change = await anext(changes)
            assert isinstance(change, Assigned)
            shard = change.shard
            while not watch.is_done:
                taken = await shard.read(self._batch, 1.0)
                await nothing(Batch(taken, shard.shape))
                await shard.commit(Checkpoint(taken[-1].position))
        return await watch.rate()


GROUPS = (
    Engine(
        100,
        400_000,
        Scenario(
            "engine-batch-100",
            "memory source, 1 KB records, batch=True, batch size 100",
            "records/s",
            "streamfn",
            "bare",
            Target("figure", at_least=400_000),
        ),
    ),
    Engine(
        1,
        30_000,
        Scenario(
            "engine-batch-1",
            "memory source, 1 KB records, batch=True, batch size 1",
            "batches/s",
            "streamfn",
            "bare",
            Target("figure", at_least=15_000),
        ),
    ),
)
