"""Queues: demand before supply, visibility kept alive, settlement one by one."""

from __future__ import annotations

import anyio
import pytest

from streamfn import Batch
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryQueue
from tests.engine.conftest import Bench, Calls, DeadLetters, raising

pytestmark = pytest.mark.anyio


async def test_messages_are_delivered_and_gone(bench: Bench) -> None:
    queue, calls = MemoryQueue(), Calls()
    queue.put([b"value"] * 25)
    async with bench.running(calls, queue):
        await queue.wait_empty()
    assert sorted(len(batch) for batch in calls.ids) == [5, 10, 10]


async def test_a_failed_message_comes_again_after_its_visibility_timeout(bench: Bench) -> None:
    counts: list[int] = []

    def fail_once(batch: Batch) -> None:
        counts.append(batch[0].attempt)
        if batch[0].attempt == 0:
            raise ValueError("once")

    queue, calls = MemoryQueue(visibility_timeout=30), Calls(fail_once)
    queue.put([b"value"])
    began = clock()
    async with bench.running(calls, queue):
        await queue.wait_empty()
    assert counts == [0, 1]
    assert calls.at[1] - calls.at[0] == pytest.approx(30, abs=0.5)
    assert clock() - began < 31


async def test_a_retry_delay_brings_it_back_sooner(bench: Bench) -> None:
    queue, calls = (
        MemoryQueue(visibility_timeout=300),
        Calls(lambda batch: (_ for _ in ()).throw(ValueError) if batch[0].attempt == 0 else None),
    )
    queue.put([b"value"])
    async with bench.running(calls, queue, retry_delay=5):
        await queue.wait_empty()
    assert calls.at[1] - calls.at[0] == pytest.approx(5, abs=0.5)


async def test_messages_stay_hidden_for_as_long_as_the_function_runs(bench: Bench) -> None:
    async def slow(batch: Batch) -> None:
        await anyio.sleep(400)

    queue, calls = MemoryQueue(visibility_timeout=30), Calls(slow)
    queue.put([b"value"] * 3)
    async with bench.running(calls, queue, timeout=900):
        await queue.wait_empty()
    assert calls.ids == [["queue-1", "queue-2", "queue-3"]]


async def test_only_reported_messages_come_again(bench: Bench) -> None:
    def report(batch: Batch) -> object:
        bad = [record.id for record in batch if record.id == "queue-2" and record.attempt == 0]
        return {"batchItemFailures": [{"itemIdentifier": name} for name in bad]}

    queue, calls = MemoryQueue(visibility_timeout=30), Calls(report)
    queue.put([b"value"] * 3)
    async with bench.running(calls, queue, function_response_types=["ReportBatchItemFailures"]):
        await queue.wait_empty()
    assert calls.ids == [["queue-1", "queue-2", "queue-3"], ["queue-2"]]


async def test_after_its_receives_a_message_is_in_the_dead_letter_queue(bench: Bench) -> None:
    dead = MemoryQueue("dead")
    queue = MemoryQueue(visibility_timeout=30, max_receive_count=2, dead_letter=dead)
    calls = Calls(raising())
    [name] = queue.put([b"value"])
    async with bench.running(calls, queue):
        await dead.wait_depth(1)
    assert calls.ids == [[name], [name]]


async def test_a_queue_is_read_only_when_the_function_has_a_place(bench: Bench) -> None:
    running = most = 0

    async def slow(batch: Batch) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(60)
        running -= 1

    queue, calls = MemoryQueue(visibility_timeout=30), Calls(slow)
    queue.put([b"value"] * 200)
    async with bench.running(calls, queue, batch_size=10, reserved_concurrency=2, timeout=900):
        await anyio.sleep(30)
        # Two batches run. Nothing more was received: it waits where other workers can have it.
        assert queue.depth == 180
        await queue.wait_empty()
    assert most == 2
    assert len(calls.ids) == 20


async def test_a_function_switched_off_leaves_its_queue_alone(bench: Bench) -> None:
    queue, calls = MemoryQueue(), Calls()
    queue.put([b"value"])
    async with bench.running(calls, queue, reserved_concurrency=0):
        await anyio.sleep(3600)
    assert calls.ids == []
    assert queue.depth == 1


async def test_a_busy_queue_gets_more_pollers_and_an_idle_one_keeps_one(bench: Bench) -> None:
    async def slow(batch: Batch) -> None:
        await anyio.sleep(10)

    queue, calls = MemoryQueue(), Calls(slow)
    queue.put([b"value"] * 80)
    async with bench.running(calls, queue, batch_size=10, maximum_concurrency=8) as app:
        await anyio.sleep(5)
        assert app.statuses()[0].shards == 8
        await queue.wait_empty()
        await anyio.sleep(60)
        assert app.statuses()[0].shards == 1
    assert clock() > 0
    assert len(calls.ids) == 8


async def test_fifo_groups_keep_their_order_through_failures(bench: Bench) -> None:
    done: list[tuple[str | None, bytes]] = []

    def flaky(batch: Batch) -> object:
        bad = [r.id for r in batch if r.attempt == 0 and r.value == b"2"]
        done.extend((r.key, r.value or b"") for r in batch if r.id not in bad)
        return {"batchItemFailures": [{"itemIdentifier": name} for name in bad]}

    queue, calls = MemoryQueue("q.fifo", fifo=True, visibility_timeout=30), Calls(flaky)
    for number in range(5):
        for group in "abc":
            queue.put([str(number).encode()], key=group)
    async with bench.running(calls, queue, function_response_types=["ReportBatchItemFailures"]):
        await queue.wait_empty()
    for group in "abc":
        order = [value for key, value in done if key == group]
        # What followed the failed one was given back with it, so the last time each was done is in order.
        last = {value: index for index, value in enumerate(order)}
        assert sorted(last, key=lambda value: last[value]) == [b"0", b"1", b"2", b"3", b"4"]


async def test_filtered_messages_are_deleted_undelivered(bench: Bench) -> None:
    queue, calls = MemoryQueue(), Calls()
    queue.put([b"yes", b"no", b"yes"])
    async with bench.running(calls, queue, filter=lambda record: record.value == b"yes"):
        await queue.wait_empty()
    assert len(calls.flat) == 2


async def test_windows_gather_more_than_one_receive(bench: Bench) -> None:
    queue, calls = MemoryQueue(), Calls()
    queue.put([b"value"] * 5)
    async with bench.running(calls, queue, batch_size=20, maximum_batching_window_in_seconds=10):
        await anyio.sleep(4)
        queue.put([b"value"] * 5)
        await queue.wait_empty()
    assert [len(batch) for batch in calls.ids] == [10]


async def test_a_message_that_failed_often_enough_is_kept_as_a_dead_letter(bench: Bench) -> None:
    queue, letters = MemoryQueue(visibility_timeout=30), DeadLetters()
    queue.put([b'{"n": 1}', b'{"n": 2}'])
    calls = Calls(raising())
    async with bench.running(calls, queue, maximum_receive_count=3, dead_letters=letters, batch_size=1):
        await queue.wait_empty()
    assert len(calls.ids) == 6
    assert sorted(letter["payload"]["Records"][0]["body"] for letter in letters.sent) == [
        '{"n": 1}',
        '{"n": 2}',
    ]
    for letter in letters.sent:
        dead = letter["deadLetter"]
        assert (dead["attempts"], dead["condition"]) == (3, "RetryAttemptsExhausted")
        assert dead["error"]["type"] == "ValueError"
        assert dead["error"]["message"] == f"bad record {dead['recordId']}"
