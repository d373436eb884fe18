"""Stopping: what is in flight ends or is cut off, and nothing is lost either way."""

from __future__ import annotations

import anyio
import pytest

from streamfn import Batch
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryQueue, MemoryStream
from tests.engine.conftest import Bench, Calls, DeadLetters, raising

pytestmark = pytest.mark.anyio


class Slow(Calls):
    """Takes a while, and says when it has begun and ended."""

    def __init__(self, seconds: float) -> None:
        super().__init__(self._take)
        self.seconds = seconds
        self.begun = anyio.Event()
        self.ended: list[str] = []

    async def _take(self, batch: Batch) -> None:
        self.begun.set()
        await anyio.sleep(self.seconds)
        self.ended += [record.id for record in batch]


async def test_a_stop_lets_what_is_in_flight_end(bench: Bench) -> None:
    stream, slow = MemoryStream(), Slow(10)
    stream.put([b"value"] * 5)
    app = bench.declare(slow, stream, batch_size=2)
    await app.start()
    await slow.begun.wait()
    assert await app.stop(grace=30) is True
    assert slow.ended == ["0", "1"]
    assert stream.checkpoint().position == 1


async def test_what_is_in_flight_after_the_grace_is_cut_off_and_is_no_attempt(bench: Bench) -> None:
    stream, slow, dead = MemoryStream(), Slow(100), DeadLetters()
    stream.put([b"value"] * 2)
    app = bench.declare(slow, stream, maximum_retry_attempts=0, on_failure=dead)
    await app.start()
    await slow.begun.wait()
    began = clock()
    assert await app.stop(grace=5) is False
    assert clock() - began == pytest.approx(5, abs=0.1)
    assert slow.ended == []
    again = Calls()
    async with bench.running(again, stream, maximum_retry_attempts=0, on_failure=dead):
        await stream.wait_done()
    assert again.ids == [["0", "1"]]
    assert dead.sent == []


async def test_a_second_word_cuts_a_drain_short(bench: Bench) -> None:
    stream, slow = MemoryStream(), Slow(100)
    stream.put([b"value"])
    app = bench.declare(slow, stream)
    await app.start()
    await slow.begun.wait()
    began = clock()
    async with anyio.create_task_group() as tasks:
        results: list[bool] = []

        async def stop() -> None:
            results.append(await app.stop(grace=60))

        tasks.start_soon(stop)
        await anyio.sleep(1)
        app.cut()
    assert results == [False]
    assert clock() - began == pytest.approx(1, abs=0.1)


async def test_a_batch_that_waits_for_its_next_try_does_not_hold_up_a_stop(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls(raising())
    stream.put([b"value"])
    app = bench.declare(calls, stream)
    await app.start()
    await anyio.sleep(100)
    began = clock()
    assert await app.stop() is True
    assert clock() - began < 0.1


async def test_attempts_are_remembered_over_a_restart(bench: Bench) -> None:
    stream, calls, dead = MemoryStream(), Calls(raising()), DeadLetters()
    stream.put([b"value"] * 3)
    app = bench.declare(calls, stream, maximum_retry_attempts=5, on_failure=dead)
    await app.start()
    await anyio.sleep(2.5)
    await app.stop()
    before = len(calls.ids)
    assert before in (2, 3)
    async with bench.running(calls, stream, maximum_retry_attempts=5, on_failure=dead):
        await stream.wait_done()
    assert len(calls.ids) == 6
    assert dead.sent[0]["requestContext"]["approximateInvokeCount"] == 6


async def test_a_queue_gives_back_what_it_read_and_did_not_deliver(bench: Bench) -> None:
    queue, slow = MemoryQueue(visibility_timeout=30), Slow(1000)
    queue.put([b"value"] * 5)
    app = bench.declare(slow, queue, batch_size=2, maximum_concurrency=1)
    await app.start()
    await slow.begun.wait()
    assert await app.stop(grace=1) is False
    assert queue.depth == 5
    assert queue.in_flight == 0


async def test_nothing_is_left_running_after_a_stop(bench: Bench) -> None:
    import asyncio

    before = asyncio.all_tasks()
    stream, queue, calls = MemoryStream(), MemoryQueue(), Calls()
    stream.put([b"value"] * 10)
    app = bench.declare(calls, stream)
    app.event_source_mapping("f", queue, name="q")
    async with app:
        await stream.wait_done()
    assert asyncio.all_tasks() == before
