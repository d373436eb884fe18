"""How messages of queues are settled: beside the next read, in order, and exactly at a drain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfn import Batch, TooManyRequests
from streamfn.core.records import Record
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryQueue
from streamfn.testing.memory.queues import MemoryPoller
from tests.engine.conftest import Bench, Calls, raising
from tests.engine.watched import Watched, WatchedPoller, emptied, run

pytestmark = pytest.mark.anyio


# ---------------------------------------------------------------------------------------------- settling


async def test_a_poller_reads_while_what_it_did_is_acknowledged(bench: Bench) -> None:
    queue = Watched(MemoryQueue(), round_trip=1)
    queue.queue.put([b"value"] * 200)
    began = clock()
    async with bench.running(Calls(), queue, maximum_concurrency=1):
        await emptied(queue.queue)
    # Twenty receives; only the last delete is waited for.
    assert clock() - began == pytest.approx(21, abs=0.1)


async def test_one_request_is_acknowledged_at_a_time(bench: Bench) -> None:
    queue, most = Watched(MemoryQueue(), round_trip=0), 0

    def note(operation: str) -> None:
        nonlocal most
        most = max(most, queue.acking)

    class Slow(WatchedPoller):
        async def ack(self, records: Sequence[Record]) -> None:
            queue.acking += 1
            await anyio.sleep(5)
            queue.acking -= 1
            await MemoryPoller.ack(self, records)

    queue.queue.faults.hook = note
    queue.queue.put([b"value"] * 50)
    began = clock()
    async with bench.running(Calls(), _with(queue, Slow), maximum_concurrency=1):
        await emptied(queue.queue)
    assert most == 1
    assert clock() - began == pytest.approx(25, abs=0.1)


def _with(watched: Watched, kind: type[WatchedPoller]) -> Any:
    class Source(Watched):
        @asynccontextmanager
        async def open(self) -> AsyncIterator[WatchedPoller]:
            yield kind(watched, 1)

    return Source(watched.queue)


async def test_a_drain_ends_when_the_last_message_is_acknowledged(bench: Bench) -> None:
    queue, calls = Watched(MemoryQueue(), round_trip=4), Calls()
    queue.queue.put([b"value"] * 30)
    app = bench.declare(calls, queue)
    await app.start()
    await anyio.sleep(5)
    assert len(calls.ids) >= 1
    assert queue.acking >= 1
    assert await app.stop(grace=60)
    assert len(queue.queue) == 30 - len(calls.flat)
    assert queue.acks == len(calls.ids), "each waited for, none sent twice"
    assert queue.queue.in_flight == 0


async def test_what_is_done_is_acknowledged_also_where_the_drain_is_cut(bench: Bench) -> None:
    queue, calls = Watched(MemoryQueue(), round_trip=3), Calls()
    queue.queue.put([b"value"] * 5)
    app = bench.declare(calls, queue, maximum_concurrency=1)
    await app.start()
    await anyio.sleep(4)
    assert (len(calls.flat), queue.acking) == (5, 1)
    assert await app.stop(grace=0.5) is False
    assert len(queue.queue) == 0


async def test_nothing_stays_hidden_after_a_drain_that_meets_an_extension(bench: Bench) -> None:
    queue, calls = Watched(MemoryQueue(visibility_timeout=30)), Calls()
    queue.extend_hangs = 5
    queue.queue.put([b"value"] * 3)
    app = bench.declare(calls, queue, batch_size=100, maximum_batching_window_in_seconds=300)
    await app.start()
    await anyio.sleep(12)
    assert queue.queue.in_flight == 3
    assert await app.stop(grace=60)
    assert (queue.queue.in_flight, queue.queue.depth) == (0, 3)


async def test_a_retry_delay_holds_also_where_it_meets_an_extension(bench: Bench) -> None:
    async def fail_once(batch: Batch) -> None:
        if batch[0].attempt == 0:
            await anyio.sleep(12)
            raise ValueError("once")

    queue, calls = Watched(MemoryQueue(visibility_timeout=30)), Calls(fail_once)
    queue.extend_hangs = 5
    queue.queue.put([b"value"])
    async with bench.running(calls, queue, retry_delay=8, timeout=20):
        await emptied(queue.queue)
    # The extension of second 10 is over in second 15; only then the delay begins.
    assert calls.at[1] - calls.at[0] == pytest.approx(15 + 8, abs=0.1)


async def test_an_acknowledgement_that_fails_is_told_and_the_message_comes_again(bench: Bench) -> None:
    queue, calls = MemoryQueue(visibility_timeout=30), Calls()
    queue.faults.fail_next("ack")
    queue.put([b"value"])
    async with bench.running(calls, queue):
        await emptied(queue)
    assert len(calls.ids) == 2
    assert calls.at[1] - calls.at[0] == pytest.approx(30, abs=0.5)


# -------------------------------------------------------------------------------------------------- FIFO


class Ordered(MemoryQueue):
    """A FIFO queue that notes what was deleted of each group, in order."""

    def __init__(self) -> None:
        super().__init__("q.fifo", visibility_timeout=30, fifo=True)
        self.deleted: dict[str | None, list[int]] = {}

    def remove(self, records: Any) -> None:
        records = list(records)
        for record in records:
            self.deleted.setdefault(record.key, []).append(int(record.value))
        super().remove(records)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    groups=st.integers(1, 6),
    size=st.integers(1, 10),
    retry_delay=st.sampled_from([None, 0, 5]),
    reports=st.booleans(),
)
def test_of_a_group_nothing_is_done_before_what_came_before(
    seed: int, groups: int, size: int, retry_delay: float | None, reports: bool
) -> None:
    """Batches fail, as a whole or in part, and throttle; deletes take a while, and some are lost."""
    random = Random(seed)
    queue = Ordered()
    in_flight: set[str | None] = set()

    async def flaky(batch: Batch) -> Any:
        mine = {record.key for record in batch}
        assert mine.isdisjoint(in_flight), "two batches of one group at a time"
        for key in mine:
            numbers = [int(record.value or b"") for record in batch if record.key == key]
            begun = len(queue.deleted.get(key, []))
            assert numbers == list(range(begun, begun + len(numbers))), "something was overtaken"
        in_flight.update(mine)
        await anyio.sleep(random.choice([0, 1, 50]))
        in_flight.difference_update(mine)
        match random.random():
            case chance if chance < 0.15:
                raise ValueError("failed")
            case chance if chance < 0.3:
                raise TooManyRequests("busy")
        failed = [record.id for record in batch if random.random() < 0.2]
        return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}

    async def scenario() -> None:
        options: dict[str, Any] = {"batch_size": size, "timeout": 100}
        if retry_delay is not None:
            options["retry_delay"] = retry_delay
        if reports:
            options["function_response_types"] = ["ReportBatchItemFailures"]
        watched = Watched(queue, round_trip=random.choice([0.0, 0.3]))
        async with Bench().running(flaky, watched, **options):
            for number in range(12):
                for group in range(groups):
                    queue.put([str(number).encode()], key=f"g{group}")
                await anyio.sleep(random.choice([0, 0.2, 10]))
            await emptied(queue)

    run(scenario())
    assert queue.deleted == {f"g{group}": list(range(12)) for group in range(groups)}


async def test_a_fifo_queue_is_read_when_it_can_give_the_next_of_a_group(bench: Bench) -> None:
    queue, acking = Watched(Ordered(), round_trip=1), []
    queue.queue.faults.hook = lambda operation: acking.append(queue.acking) if operation == "read" else None
    queue.queue.put([str(number).encode() for number in range(3)], key="g")
    async with bench.running(Calls(), queue, batch_size=1, maximum_concurrency=1):
        await emptied(queue.queue)
    assert len(acking) >= 3
    assert set(acking) == {0}


async def test_a_group_that_fails_holds_up_no_other(bench: Bench) -> None:
    queue, calls = Ordered(), Calls(raising("q.fifo-1"))
    queue.put([b"0", b"1"], key="bad")
    async with bench.running(calls, queue, batch_size=2):
        await anyio.sleep(1)
        queue.put([b"0", b"1", b"2", b"3"], key="good")
        await anyio.sleep(10)
    assert queue.deleted == {"good": [0, 1, 2, 3]}
