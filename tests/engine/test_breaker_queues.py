"""The circuit breaker of a queue's mapping: who reads, and what becomes of what was read."""

from __future__ import annotations

import anyio
import pytest

from streamfn import Batch
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryQueue
from tests.engine.breakers import THREE, breaker_of, down, since
from tests.engine.conftest import Bench, Calls
from tests.engine.watched import Watched, emptied

pytestmark = pytest.mark.anyio


async def test_pollers_do_not_read_while_it_is_open_and_then_one_does(bench: Bench) -> None:
    queue, began = Watched(MemoryQueue(visibility_timeout=5)), clock()
    reads: list[float] = []
    queue.queue.faults.hook = lambda operation: reads.append(clock() - began) if operation == "read" else None
    calls = Calls(down(25))
    queue.queue.put([b"value"] * 3)
    async with bench.running(calls, queue, batch_size=1, maximum_concurrency=4, circuit_breaker=THREE) as app:
        await anyio.sleep(1)
        assert len(calls.ids) == 3
        assert breaker_of(app) == "open"
        # The long poll that was under way when it opened may bring something, which is kept or given back.
        queue.queue.put([b"value"] * 50)
        await anyio.sleep(8.9)
        assert [at for at in reads if 1.1 < at < 10] == []
        assert (queue.queue.depth, queue.queue.in_flight, queue.reading) == (53, 0, 0)
        await anyio.sleep(19)
        assert since(began, calls)[3:] == [10]
        assert [at for at in reads if at > 1.1] == [10], "one reads, for the probe"
        assert (queue.queue.depth, queue.queue.in_flight) == (53, 0)
        await emptied(queue.queue)
        assert breaker_of(app) == "closed"
    assert since(began, calls)[4] == 30
    assert len(calls.ids) == 57


async def test_what_was_read_when_it_opened_goes_back_and_spends_no_receive(bench: Bench) -> None:
    counts: list[int] = []

    async def then(batch: Batch) -> None:
        counts.extend(record.attempt for record in batch)
        await anyio.sleep(1)
        works_again(batch)

    works_again = down(5)
    queue, calls = MemoryQueue(visibility_timeout=30), Calls(then)
    breaker = {"failures": 1, "delay": 60, "maximum_delay": 60}
    options = {"batch_size": 100, "maximum_batching_window_in_seconds": 2, "circuit_breaker": breaker}
    async with bench.running(calls, queue, maximum_concurrency=2, **options):
        queue.put([b"value"] * 100)
        await anyio.sleep(0.5)
        queue.put([b"value"] * 5)
        await anyio.sleep(20)
        assert queue.in_flight == 105, "kept for one visibility timeout"
        await anyio.sleep(20)
        assert (queue.in_flight, queue.depth) == (0, 105)
        await emptied(queue)
    assert sorted(counts) == [0] * 105 + [1] * 100


async def test_a_short_opening_keeps_what_was_read(bench: Bench) -> None:
    async def then(batch: Batch) -> None:
        await anyio.sleep(1)
        works_again(batch)

    works_again, began = down(2), clock()
    queue, calls = MemoryQueue(visibility_timeout=30), Calls(then)
    breaker = {"failures": 1, "delay": 10, "maximum_delay": 10}
    options = {"batch_size": 100, "maximum_batching_window_in_seconds": 2, "circuit_breaker": breaker}
    async with bench.running(calls, queue, maximum_concurrency=2, **options):
        queue.put([b"value"] * 100)
        await anyio.sleep(0.5)
        queue.put([b"value"] * 5)
        await emptied(queue)
    assert [len(batch) for batch in calls.ids] == [100, 5, 100], "it finds out itself"
    assert since(began, calls)[:2] == [0, 11]


async def test_a_poller_that_ends_leaves_its_turn_to_another(bench: Bench) -> None:
    queue, calls = MemoryQueue(visibility_timeout=5), Calls(down(5))
    queue.put([b"value"] * 30)
    options = {"batch_size": 1, "maximum_concurrency": 8, "minimum_pollers": None}
    async with bench.running(calls, queue, circuit_breaker=THREE, **options) as app:
        await anyio.sleep(8)
        messages = queue.take(30)
        queue.remove(messages)
        await anyio.sleep(300)
        assert breaker_of(app) == "half_open", "somebody waits for a message to find out with"
        assert app.statuses()[0].shards >= 1
        queue.put([b"value"] * 30)
        await emptied(queue)
        assert breaker_of(app) == "closed"
