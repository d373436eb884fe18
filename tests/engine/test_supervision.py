"""Mappings are added, changed, paused and removed while the app runs."""

from __future__ import annotations

import anyio
import pytest

from streamfn import Batch, ConfigurationError, StreamfnError
from streamfn.config import EventSourceMapping
from streamfn.telemetry import FunctionStuck, StateChanged
from streamfn.testing.memory import MemoryQueue, MemoryStream
from tests.engine.conftest import Bench, Calls

pytestmark = pytest.mark.anyio


async def test_a_paused_mapping_keeps_its_place(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()
    stream.put([b"value"] * 3)
    async with bench.running(calls, stream) as app:
        await stream.wait_done()
        await app.pause("m")
        assert app.statuses()[0].state == "Disabled"
        stream.put([b"value"] * 2)
        await anyio.sleep(3600)
        assert calls.flat == ["0", "1", "2"]
        await app.resume("m")
        await stream.wait_done()
        assert app.statuses()[0].state == "Enabled"
    assert calls.flat == ["0", "1", "2", "3", "4"]
    assert [event.state for event in bench.seen.of(StateChanged)] == [
        "Enabled",
        "Disabling",
        "Disabled",
        "Enabling",
        "Enabled",
    ]


async def test_a_mapping_declared_disabled_reads_nothing_until_it_is_resumed(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()
    stream.put([b"value"])
    async with bench.running(calls, stream, enabled=False) as app:
        await anyio.sleep(60)
        assert calls.ids == []
        assert app.statuses()[0].state == "Disabled"
        await app.resume("m")
        await stream.wait_done()


async def test_options_change_under_way_and_nothing_is_lost_or_done_twice(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()

    async def brief(batch: Batch) -> None:
        await anyio.sleep(1)

    calls.then = brief
    stream.put([b"value"] * 40)
    async with bench.running(calls, stream, batch_size=4) as app:
        await anyio.sleep(2.5)
        await app.update_mapping("m", BatchSize=10)
        await stream.wait_done()
    sizes = [len(batch) for batch in calls.ids]
    assert sizes[0] == 4
    assert sizes[-2] == 10
    assert calls.flat == [str(number) for number in range(40)]


async def test_mappings_come_and_go(bench: Bench) -> None:
    stream, queue, calls = MemoryStream(), MemoryQueue(), Calls()
    async with bench.running(calls, stream) as app:
        await app.add_mapping(EventSourceMapping.load({"function": "f", "source": queue, "name": "q"}))
        queue.put([b"value"])
        await queue.wait_empty()
        assert {status.name for status in app.statuses()} == {"m", "q"}
        await app.remove_mapping("q")
        assert [status.name for status in app.statuses()] == ["m"]
        queue.put([b"value"])
        await anyio.sleep(60)
        assert queue.depth == 1


async def test_mistakes_are_told_with_their_fix(bench: Bench) -> None:
    stream = MemoryStream()
    async with bench.running(Calls(), stream) as app:
        with pytest.raises(ConfigurationError, match="take one of: m"):
            await app.pause("nobody")
        with pytest.raises(ConfigurationError, match="already there"):
            await app.add_mapping(EventSourceMapping.load({"function": "f", "source": stream, "name": "m"}))
        with pytest.raises(StreamfnError, match="running already"):
            await app.start()
    with pytest.raises(StreamfnError, match="not running"):
        await app.pause("m")


async def test_racing_changes_are_made_one_after_the_other(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()
    stream.put([b"value"] * 10)
    async with bench.running(calls, stream) as app:
        async with anyio.create_task_group() as tasks:
            for size in range(1, 6):
                tasks.start_soon(lambda size=size: app.update_mapping("m", batch_size=size))
            tasks.start_soon(app.pause, "m")
            tasks.start_soon(app.resume, "m")
        await stream.wait_done()
        assert app.statuses()[0].state in ("Enabled", "Disabled")
    assert sorted(calls.flat, key=int) == [str(number) for number in range(10)]


async def test_reserved_concurrency_is_shared_by_the_mappings_of_a_function(bench: Bench) -> None:
    running = most = 0

    async def slow(batch: Batch) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(1)
        running -= 1

    streams = [MemoryStream(f"s{number}") for number in range(5)]
    app = bench.declare(Calls(slow), streams[0], reserved_concurrency=2, batch_size=1)
    for number, stream in enumerate(streams[1:]):
        app.event_source_mapping("f", stream, name=f"n{number}", batch_size=1)
    for stream in streams:
        stream.put([b"value"] * 4)
    async with app:
        for stream in streams:
            await stream.wait_done()
    assert most == 2


async def test_a_thread_past_its_timeout_keeps_its_place_until_it_ends(bench: Bench) -> None:
    import threading

    stream, release, calls = MemoryStream(), threading.Event(), []

    def stuck(batch: Batch) -> None:
        calls.append([record.id for record in batch])
        if len(calls) == 1:
            release.wait(10)

    stream.put([b"value"])
    async with bench.running(stuck, stream, timeout=0.05, reserved_concurrency=1):
        with anyio.fail_after(30):
            await bench.seen.until(FunctionStuck)
        assert len(calls) == 1
        release.set()
        await stream.wait_done()
    assert calls == [["0"], ["0"]]
