"""What is left after an owner that ended without a word, and mappings that crash on their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from streamfn import Batch
from streamfn.core.checkpoints import Held, Progress
from streamfn.ports import Checkpoint, Subscription
from streamfn.telemetry import MappingCrashed, SettlementFailed
from streamfn.testing.memory import MemoryStream
from tests.engine.conftest import Bench, Calls, DeadLetters

pytestmark = pytest.mark.anyio


async def committed(stream: MemoryStream) -> Progress:
    checkpoint = stream.checkpoint()
    return Progress.decode(checkpoint.note, checkpoint.position)


async def test_an_owner_at_work_is_written_down_and_a_drain_takes_it_back(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()
    app = bench.declare(calls, stream)
    await app.start()
    await stream.wait_committed(-1)
    await anyio.sleep(1)
    assert (await committed(stream)).running
    await app.stop()
    assert not (await committed(stream)).running


@asynccontextmanager
async def owner(stream: MemoryStream) -> AsyncIterator[Any]:
    async with stream.shards(Subscription("bench.m")) as changes:
        yield (await anext(changes)).shard


async def leave_note(stream: MemoryStream, progress: Progress, position: int = -1) -> None:
    """What an owner left that died."""
    async with owner(stream) as shard:
        await shard.commit(Checkpoint(position, progress.encode(position, 4096) or ""))
        await shard.close()


async def test_the_first_death_charges_nobody_and_delivers_alone(bench: Bench) -> None:
    stream, calls, dead = MemoryStream(), Calls(), DeadLetters()
    stream.put([b"value"] * 6)
    await leave_note(stream, Progress(running=True))
    async with bench.running(calls, stream, batch_size=3, maximum_retry_attempts=0, on_failure=dead):
        await stream.wait_done()
    assert calls.ids == [["0", "1", "2"], ["3", "4", "5"]]
    assert dead.sent == []


async def test_a_delivery_that_ended_the_process_counts_as_an_attempt(bench: Bench) -> None:
    stream, calls, dead = MemoryStream(), Calls(), DeadLetters()
    stream.put([b"value"] * 6)
    await leave_note(stream, Progress(running=True, delivering=True, crashes=1, held=(Held(0, 1, 0),)))
    async with bench.running(calls, stream, batch_size=3, maximum_retry_attempts=0, on_failure=dead):
        await stream.wait_done()
    assert calls.ids == [["1", "2"], ["3", "4", "5"]]
    [document] = dead.sent
    assert document["requestContext"]["approximateInvokeCount"] == 1
    assert document["KinesisBatchInfo"]["startSequenceNumber"] == "0"


async def test_bisecting_goes_on_over_deaths(bench: Bench) -> None:
    stream, calls, dead = MemoryStream(), Calls(), DeadLetters()
    stream.put([b"value"] * 8)
    await leave_note(stream, Progress(running=True, delivering=True, crashes=1, held=(Held(0, 8, 0),)))
    async with bench.running(
        calls,
        stream,
        batch_size=8,
        maximum_retry_attempts=0,
        bisect_batch_on_function_error=True,
        on_failure=dead,
    ):
        await stream.wait_done()
    assert calls.ids == [["0", "1", "2", "3"], ["4", "5", "6", "7"]]
    assert dead.sent == []


async def test_a_mapping_that_crashes_starts_again_and_the_others_go_on(bench: Bench) -> None:
    broken, well = MemoryStream("broken"), MemoryStream("well")
    broken.put([b"value"])
    well.put([b"value"])
    broken.faults.fail_next("shards", 3, OSError("out of reach"))
    calls = Calls()
    app = bench.declare(calls, broken)
    app.event_source_mapping("f", well, name="well")
    async with app:
        await well.wait_done()
        await broken.wait_done()
    crashes = bench.seen.of(MappingCrashed)
    assert [crash.mapping for crash in crashes] == ["m"] * 3
    assert all(0.5 * 2**n <= crash.restart_in <= 2**n for n, crash in enumerate(crashes))


async def test_a_commit_that_fails_is_made_again(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()
    stream.put([b"value"] * 10)
    app = bench.declare(calls, stream)
    await app.start()
    await stream.wait_done()
    stream.fail_next_commits(2, OSError("the broker is away"))
    stream.put([b"value"])
    await stream.wait_done()
    await app.stop()
    assert len(bench.seen.of(SettlementFailed)) == 2
    assert calls.flat == [str(number) for number in range(11)]


async def test_a_lost_shard_commits_nothing_and_another_owner_goes_on(bench: Bench) -> None:
    stream = MemoryStream()
    stream.put([b"value"] * 4)
    started = anyio.Event()

    async def slow(batch: Batch) -> None:
        if not started.is_set():
            started.set()
            await anyio.sleep(1000)

    calls = Calls(slow)
    async with bench.running(calls, stream, batch_size=2):
        await started.wait()
        stream.lose("shard-0")
        await stream.wait_done()
    assert calls.ids[0] == ["0", "1"]
    assert calls.flat[2:] == ["0", "1", "2", "3"]


async def test_two_workers_share_the_shards_and_hand_over(bench: Bench) -> None:
    stream = MemoryStream(shards=4)
    for number in range(400):
        stream.put([b"value"], key=f"key-{number % 40}")

    async def slow(batch: Batch) -> None:
        await anyio.sleep(0.1)

    first, second = Calls(slow), Calls(slow)
    one = bench.declare(first, stream, batch_size=5)
    two = bench.declare(second, stream, app=bench.new_app(), batch_size=5)
    await one.start()
    await anyio.sleep(0.5)
    await two.start()
    await anyio.sleep(0.5)
    assert [app.statuses()[0].shards for app in (one, two)] == [2, 2]
    await one.stop()
    await stream.wait_done()
    await two.stop()
    positions = sorted(len(batch) for batch in first.ids + second.ids)
    assert sum(positions) == 400
