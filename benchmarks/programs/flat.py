"""Records without end through the engine, and how its memory behaves: `fast|slow COUNT`.

The source makes records as they are read, so nothing but the engine holds them. With `slow`, the function
takes so long that the source could always give more.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psutil

from streamfn import App, Batch
from streamfn.cli import logs
from streamfn.core.events import KinesisShape
from streamfn.core.records import StreamRecord
from streamfn.ports import Assigned, Checkpoint, Revoked, Subscription

_SAMPLES = 100


class EndlessShard:
    """A shard that always has more."""

    id = "0"
    shape = KinesisShape("arn:aws:kinesis:local:000000000000:stream/endless", "0", "local")
    checkpoint = Checkpoint(-1)
    note_limit = 4096
    commit_interval = 0.0
    lag = iterator_age = None

    def __init__(self) -> None:
        self._positions = itertools.count()

    async def read(self, limit: int, wait: float) -> Sequence[StreamRecord]:
        await asyncio.sleep(0)
        now = time.time()
        return [
            StreamRecord(position, b"%1024d" % position, str(position % 1000), now)
            for position in itertools.islice(self._positions, limit)
        ]

    async def commit(self, checkpoint: Checkpoint) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None: ...


class EndlessSource:
    """A stream of one such shard."""

    name = "endless:"

    @asynccontextmanager
    async def shards(self, subscription: Subscription) -> AsyncIterator[AsyncIterator[Assigned | Revoked]]:
        async def changes() -> AsyncIterator[Assigned | Revoked]:
            yield Assigned(EndlessShard())
            await asyncio.Event().wait()

        yield changes()

    async def check(self) -> None: ...


async def main(mode: str, total: int) -> None:
    process = psutil.Process()
    delivered = 0
    samples: list[int] = []
    done = asyncio.Event()

    async def count(batch: Batch) -> None:
        nonlocal delivered
        if mode == "slow":
            await asyncio.sleep(0.005)
        delivered += len(batch)
        if delivered * _SAMPLES >= (len(samples) + 1) * total:
            samples.append(process.memory_info().rss)
            if delivered >= total:
                done.set()

    app = App(name="flat")
    app.function(name="count", batch=True)(count)
    app.event_source_mapping("count", EndlessSource(), name="flat", batch_size=100)
    async with app:
        await done.wait()
    # A tenth of the way is for warming up: caches fill, and the allocator gets what it needs.
    warm, *rest = samples[len(samples) // 10 :]
    deviation = max(abs(size - warm) for size in rest) / warm
    print(json.dumps({"deviation": 100 * deviation, "warm": warm, "most": max(rest)}), flush=True)


logs.configure("warning")
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
