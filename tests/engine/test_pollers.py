"""The pollers of a queue: how many there are, when each of them reads, and what that costs."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfn import Batch, TooManyRequests
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryQueue
from tests.engine.conftest import Bench, Calls
from tests.engine.watched import Watched, emptied, run

pytestmark = pytest.mark.anyio


def pollers(app: Any) -> int:
    return int(app.statuses()[0].shards)


# -------------------------------------------------------------------------------------------- how many


async def test_an_idle_queue_costs_one_request_in_twenty_seconds(bench: Bench) -> None:
    queue = Watched(MemoryQueue())
    async with bench.running(Calls(), queue):
        await anyio.sleep(199)
        assert queue.reads == [(10, 20.0)] * 10
        assert queue.opened == 1


async def test_provisioned_pollers_wait_before_there_is_anything(bench: Bench) -> None:
    queue, calls = Watched(MemoryQueue()), Calls(lambda batch: anyio.sleep(10))
    async with bench.running(calls, queue, minimum_pollers=3, timeout=60) as app:
        await anyio.sleep(1)
        assert queue.reading == pollers(app) == 3
        queue.queue.put([b"value"] * 60)
        await anyio.sleep(1)
        assert len(calls.ids) == 6
        assert queue.reading == 3, "beside those that work"
        await emptied(queue.queue)
        await anyio.sleep(60)
        assert queue.reading == pollers(app) == queue.open_now == 3


async def test_a_provisioned_poller_serves_ten_batches(bench: Bench) -> None:
    queue, calls = MemoryQueue(), Calls(lambda batch: anyio.sleep(60))
    queue.put([b"value"] * 500)
    async with bench.running(calls, queue, maximum_pollers=2, timeout=90) as app:
        await anyio.sleep(30)
        assert pollers(app) == len(calls.ids) == 20
        await emptied(queue)


async def test_messages_that_no_filter_matches_get_more_pollers_too(bench: Bench) -> None:
    queue = Watched(MemoryQueue(), round_trip=1)
    queue.queue.put([b"value"] * 400)
    began = clock()
    async with bench.running(Calls(), queue, filter=lambda record: False, maximum_concurrency=10) as app:
        await emptied(queue.queue)
        assert pollers(app) > 2
    # Forty receives of a second each.
    assert clock() - began < 20


@pytest.mark.parametrize(
    ("options", "left"),
    [({}, 1), ({"function_response_types": ["ReportBatchItemFailures"]}, 8)],
    ids=["as an error", "where failures may be reported"],
)
async def test_failing_batches_get_fewer_pollers(bench: Bench, options: dict[str, Any], left: int) -> None:
    async def fail(batch: Batch) -> None:
        await anyio.sleep(10)
        raise ValueError("the database is down")

    queue, calls = MemoryQueue(visibility_timeout=300), Calls(fail)
    queue.put([b"value"] * 3000)
    async with bench.running(calls, queue, maximum_concurrency=8, timeout=60, **options) as app:
        await anyio.sleep(9)
        assert pollers(app) == 8
        await anyio.sleep(100)
        assert pollers(app) == left
        calls.then = lambda batch: anyio.sleep(10)
        await anyio.sleep(100)
        assert pollers(app) == 8, "successes give them back"


async def test_a_throttled_mapping_gets_fewer_pollers_also_where_failures_may_be_reported(
    bench: Bench,
) -> None:
    def busy(batch: Batch) -> None:
        raise TooManyRequests("come later", retry_after=5)

    queue, calls = MemoryQueue(), Calls(busy)
    queue.put([b"value"] * 1000)
    options = {"maximum_concurrency": 8, "function_response_types": ["ReportBatchItemFailures"]}
    async with bench.running(calls, queue, **options) as app:
        await anyio.sleep(60)
        most = pollers(app)
        assert most < 8, "no more are started while all are throttled"
        calls.then = lambda batch: anyio.sleep(1)
        await emptied(queue)
        assert pollers(app) > most


# ------------------------------------------------------------------------------------------- when it reads


async def test_a_poller_does_not_read_while_it_delivers_part_of_a_batch(bench: Bench) -> None:
    queue, calls = MemoryQueue(), Calls(lambda batch: anyio.sleep(60))
    queue.put([b"value"] * 3)
    async with bench.running(calls, queue, maximum_concurrency=1, timeout=90):
        await anyio.sleep(30)
        queue.put([b"value"] * 3)
        await anyio.sleep(20)
        assert queue.depth == 3, "they wait where another worker can have them"
        await emptied(queue)
    assert [len(batch) for batch in calls.ids] == [3, 3]


async def test_a_throttled_batch_is_kept_alone_and_spends_no_receive(bench: Bench) -> None:
    counts: list[int] = []
    reads: list[int] = []

    async def busy(batch: Batch) -> None:
        counts.extend(record.attempt for record in batch)
        if clock() - began < 200:
            raise TooManyRequests("come later", retry_after=40)
        await anyio.sleep(1)
        reads.append(watched.reading)

    queue, calls, began = MemoryQueue(visibility_timeout=30, max_receive_count=1), Calls(busy), clock()
    watched = Watched(queue)
    queue.put([b"value"] * 3)
    async with bench.running(calls, watched, maximum_concurrency=1):
        await anyio.sleep(20)
        queue.put([b"value"] * 3)
        await anyio.sleep(20)
        assert (queue.in_flight, queue.depth) == (3, 3)
        await emptied(queue)
    assert len(calls.ids) > 4
    assert {len(batch) for batch in calls.ids} == {3}
    assert set(counts) == {0}
    assert set(reads) == {0}, "nothing was read meanwhile"


async def test_a_drain_gives_a_throttled_batch_back_as_if_it_had_not_been_received(bench: Bench) -> None:
    def busy(batch: Batch) -> None:
        raise TooManyRequests("come later", retry_after=100)

    queue, calls = MemoryQueue(visibility_timeout=30, max_receive_count=1), Calls(busy)
    queue.put([b"value"] * 3)
    async with bench.running(calls, queue):
        await anyio.sleep(20)
    assert (queue.in_flight, queue.depth) == (0, 3)
    again = Calls()
    async with bench.running(again, queue):
        await emptied(queue)
    assert [len(batch) for batch in again.ids] == [3]


async def test_messages_stay_hidden_while_they_wait_for_their_window(bench: Bench) -> None:
    queue, calls = MemoryQueue(visibility_timeout=30), Calls()
    queue.put([b"value"] * 2)
    async with bench.running(calls, queue, batch_size=100, maximum_batching_window_in_seconds=300) as app:
        for _ in range(9):
            await anyio.sleep(30)
            queue.put([b"value"])
        assert pollers(app) == 1, "a poller that gathers is enough while little comes"
        await emptied(queue)
    assert [len(batch) for batch in calls.ids] == [11]
    assert calls.at[0] == pytest.approx(clock(), abs=0.1)


async def test_a_window_is_not_outlasted_by_a_long_poll(bench: Bench) -> None:
    queue, calls = Watched(MemoryQueue()), Calls(lambda batch: anyio.sleep(60))
    queue.queue.put([b"value"])
    began = clock()
    async with bench.running(
        calls,
        queue,
        batch_size=100,
        maximum_batching_window_in_seconds=3,
        maximum_concurrency=1,
        timeout=90,
    ):
        await anyio.sleep(10)
        assert queue.reads == [(100, 20.0), (99, 3.0)]
        assert queue.reading == 0
        await emptied(queue.queue)
    assert calls.at[0] - began == pytest.approx(3, abs=0.01)


async def test_a_queue_that_waits_for_whole_seconds_is_not_asked_over_and_over(bench: Bench) -> None:
    queue, calls = Watched(MemoryQueue()), Calls()
    queue.whole_seconds = True
    queue.queue.put([b"value"])
    began = clock()
    async with bench.running(calls, queue, batch_size=100, maximum_batching_window_in_seconds=3):
        await anyio.sleep(0.4)
        queue.queue.put([b"value"])
        await emptied(queue.queue)
        assert [limit for limit, _ in queue.reads[:3]] == [100, 99, 98]
        assert len(queue.reads) <= 5
    assert [len(batch) for batch in calls.ids] == [2]
    assert calls.at[0] - began == pytest.approx(3, abs=0.01)


async def test_full_reads_get_more_pollers_while_a_batch_gathers(bench: Bench) -> None:
    queue, calls = MemoryQueue(), Calls()
    queue.put([b"value"] * 30)
    async with bench.running(calls, queue, batch_size=100, maximum_batching_window_in_seconds=10) as app:
        await anyio.sleep(5)
        assert pollers(app) == 2
        await emptied(queue)


class Places:
    """A function of which no more may run, or be read for, than there are places."""

    def __init__(self, queue: Watched, places: int, random: Random) -> None:
        self.queue, self.places, self.random = queue, places, random
        self.running = 0
        self.ids: list[str] = []

    async def __call__(self, batch: Batch) -> Any:
        self.running += 1
        assert self.running <= self.places
        self.note()
        await anyio.sleep(self.random.choice([0, 1, 30]))
        self.running -= 1
        failed = [record.id for record in batch if self.random.random() < 0.1]
        self.ids += [record.id for record in batch if record.id not in failed]
        return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}

    def note(self) -> None:
        assert self.running + self.queue.reading <= self.places, "something is read that cannot be delivered"


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([1, 7, 10, 25]),
    reserved=st.integers(1, 4),
    concurrency=st.integers(1, 6),
    bursts=st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0.0, 1.0, 40.0])), min_size=1, max_size=5),
)
def test_nothing_is_received_that_could_not_be_delivered_at_once(
    seed: int, size: int, reserved: int, concurrency: int, bursts: list[tuple[int, float]]
) -> None:
    async def scenario() -> None:
        random = Random(seed)
        queue = Watched(MemoryQueue(visibility_timeout=20), round_trip=random.choice([0.0, 0.5]))
        places = Places(queue, min(reserved, concurrency), random)
        queue.queue.faults.hook = lambda operation: places.note() if operation == "read" else None
        options = {
            "batch_size": size,
            "maximum_batching_window_in_seconds": random.choice([1, 5]) if size > 10 else 0,
            "reserved_concurrency": reserved,
            "maximum_concurrency": concurrency,
            "function_response_types": ["ReportBatchItemFailures"],
            "timeout": 60,
        }
        expected: list[str] = []
        async with Bench().running(places, queue, **options):
            for messages, pause in bursts:
                expected += queue.queue.put([b"value"] * messages)
                await anyio.sleep(pause)
            await emptied(queue.queue)
        assert sorted(places.ids) == sorted(expected), "each once, for no visibility timeout ran out"
        assert queue.open_now == queue.reading == 0

    run(scenario())
