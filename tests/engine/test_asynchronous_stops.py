"""Stopping with events in hand, or in retry: nothing is lost, and no attempt is counted that was none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.telemetry import BatchRetried
from streamfn.testing.clock import clock
from tests.engine.asynchronous import Events, Invoked, failing

pytestmark = pytest.mark.anyio


@pytest.fixture
def events(tmp_path: Path) -> Events:
    return Events(tmp_path)


async def test_a_stop_lets_what_is_in_hand_end(events: Events) -> None:
    f = Invoked(lambda _: anyio.sleep(10))
    app = events.declare(f, reserved_concurrency=2)
    async with app:
        for number in range(5):
            await app.enqueue("f", number)
        await anyio.sleep(5)
        assert await app.stop(grace=30) is True
    assert [event.payload for event in events.queue.waiting("f")] == [b"2", b"3", b"4"]
    again = Invoked()
    async with events.declare(again):
        await events.queue.wait_empty()
    assert sorted(again.events) == [2, 3, 4]
    assert events.failures.messages == []


async def test_what_is_cut_off_comes_again_and_was_no_attempt(events: Events) -> None:
    f = Invoked(lambda _: anyio.sleep(100))
    app = events.declare(f, MaximumRetryAttempts=0, timeout=1000)
    await app.start()
    for number in range(3):
        await app.enqueue("f", number)
    await anyio.sleep(1)
    for _ in range(4):
        assert await app.stop(grace=1) is False
        await app.start()
        await anyio.sleep(1)
    assert await app.stop(grace=1) is False
    assert len(f.at) == 15
    bad = Invoked(failing())
    async with events.declare(bad, MaximumRetryAttempts=0):
        await events.queue.wait_empty()
    assert len(bad.at) == 3
    conditions = [record["requestContext"] for record in events.failures.bodies()]
    assert [found["approximateInvokeCount"] for found in conditions] == [1, 1, 1]
    assert {found["condition"] for found in conditions} == {"RetriesExhausted"}


async def test_retries_go_on_after_a_restart_as_if_there_was_none(events: Events) -> None:
    began = clock()
    f = Invoked(failing())
    app = events.declare(f)
    async with app:
        request_id = await app.enqueue("f", 1)
        await anyio.sleep(10)
        before = clock()
        assert await app.stop() is True
        assert clock() == before
        assert len(events.queue) == 1
    await anyio.sleep(20)
    async with events.declare(f):
        await events.queue.wait_empty()
    assert [at - began for at in f.at] == [0.0, 60.0, 180.0]
    assert f.ids == [request_id] * 3
    assert events.record["requestContext"]["approximateInvokeCount"] == 3


async def test_what_is_enqueued_while_it_drains_waits_for_the_next_start(events: Events) -> None:
    async def late(event: Any) -> None:
        await anyio.sleep(5)
        await app.enqueue("f", "late")

    f = Invoked(late)
    app = events.declare(f)
    async with app:
        await app.enqueue("f", "first")
        await anyio.sleep(1)
        assert await app.stop(grace=30) is True
    assert [event.payload for event in events.queue.waiting("f")] == [b'"late"']
    again = Invoked()
    async with events.declare(again):
        await events.queue.wait_empty()
    assert again.events == ["late"]


async def test_a_queue_that_fails_for_a_while_loses_nothing(events: Events) -> None:
    f = Invoked(failing(1))
    async with events.declare(f, RetryDelays=[1]) as app:
        for operation in ("read", "ack", "remember", "extend"):
            events.queue.faults.fail_next(operation, 1)
        for number in range(5):
            await app.enqueue("f", number)
        await events.queue.wait_empty()
    assert set(f.events) == set(range(5))
    assert events.failures.messages == []


async def test_it_is_counted(events: Events) -> None:
    f = Invoked(failing(2))
    async with events.declare(f, MaximumRetryAttempts=1) as app:
        await app.enqueue("f", 1)
        await events.queue.wait_empty()
        await app.enqueue("f", 2)
        await events.queue.wait_empty()
        (status,) = app.statuses()
    assert (status.name, status.function, status.source) == ("f:$LATEST", "f", "events:f")
    assert status.counters["InvokedEventCount"] == 3
    assert status.counters["InvokeErrorCount"] == 2
    assert status.counters["Retries"] == 1
    assert status.counters["AsyncEventsDropped"] == 1
    (retried,) = events.seen.of(BatchRetried)
    assert (retried.attempt, retried.delay) == (1, 60.0)
