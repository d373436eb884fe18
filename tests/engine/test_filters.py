"""Filter patterns in the engine: what they keep away costs no invocation, is settled, and is counted."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from streamfn import Batch
from streamfn.errors import ConfigurationError
from streamfn.telemetry import RecordsPolled
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryQueue, MemoryStream
from tests.engine.conftest import Bench, Calls

pytestmark = pytest.mark.anyio


def numbered(*numbers: int) -> list[bytes]:
    return [json.dumps({"kind": "ab"[number % 2], "n": number}).encode() for number in numbers]


def values(calls: list[bytes]) -> list[int]:
    return [json.loads(value)["n"] for value in calls]


class Values:
    """A batch function that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[list[bytes]] = []

    async def __call__(self, batch: Batch) -> None:
        self.got.append([record.value or b"" for record in batch])


EVEN: dict[str, Any] = {"kind": ["a"]}


async def test_a_stream_delivers_what_fits_and_its_position_passes_the_rest(bench: Bench) -> None:
    stream, seen = MemoryStream(), Values()
    stream.put(numbered(*range(100)))
    async with bench.running(seen, stream, filters=[{"data": EVEN}], batch_size=50) as app:
        await stream.wait_done()
        [status] = app.statuses()
    assert [values(batch) for batch in seen.got] == [[*range(0, 100, 2)]]
    assert (status.counters["PolledEventCount"], status.counters["FilteredOutEventCount"]) == (100, 50)


async def test_a_shard_where_nothing_ever_fits_costs_no_invocation_and_is_passed(bench: Bench) -> None:
    stream, calls = MemoryStream(shards=2), Calls()
    filters = [{"data": {"kind": ["c"]}}, {"data": {"n": [{"numeric": [">", 1000]}]}}]
    async with bench.running(calls, stream, filters=filters) as app:
        for _ in range(5):
            stream.put([*numbered(*range(200)), b"plain", b"\xff"])
            await anyio.sleep(10)
        await stream.wait_done()
        [status] = app.statuses()
    assert calls.ids == []
    assert status.counters["FilteredOutEventCount"] == 1010
    assert status.last_processing_result == "No records processed"
    # A worker that comes after it reads none of them again.
    async with bench.running(calls, stream):
        stream.put(numbered(7))
        await stream.wait_done()
    assert len(calls.flat) == 1


async def test_filtered_records_count_towards_no_batch_and_no_window(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()
    options = {"batch_size": 3, "maximum_batching_window_in_seconds": 60, "filters": [{"data": EVEN}]}
    async with bench.running(calls, stream, **options):
        begun = clock()
        stream.put(numbered(1, 3, 5, 7))
        await anyio.sleep(50)
        stream.put(numbered(2, 4))
        await anyio.sleep(50)
        assert calls.ids == []
        stream.put(numbered(6))
        await stream.wait_done()
    assert [len(batch) for batch in calls.ids] == [3]
    assert calls.at[0] - begun == pytest.approx(100, abs=1)


async def test_a_queue_deletes_what_does_not_fit(bench: Bench) -> None:
    queue, seen = MemoryQueue(), Values()
    queue.put([*numbered(*range(10)), b"plain"])
    async with bench.running(seen, queue, filters=[{"body": EVEN}]) as app:
        await queue.wait_empty()
        [status] = app.statuses()
    assert sorted(values([value for batch in seen.got for value in batch])) == [0, 2, 4, 6, 8]
    assert status.counters["FilteredOutEventCount"] == 6


async def test_a_queue_of_which_nothing_fits_is_emptied_without_an_invocation(bench: Bench) -> None:
    queue, calls = MemoryQueue(), Calls()
    queue.put([b"plain"] * 25)
    async with bench.running(calls, queue, filters=['{"body":{"my-key":["my-value"]}}']):
        await queue.wait_empty()
    assert calls.ids == []


async def test_in_a_fifo_queue_what_fits_stays_in_order(bench: Bench) -> None:
    done: dict[str | None, list[int]] = {"a": [], "b": []}
    failed: set[str] = set()

    async def flaky(batch: Batch) -> dict[str, Any]:
        reported = []
        for record in batch:
            if record.json()["n"] == 4 and record.id not in failed:
                failed.add(record.id)
                reported.append({"itemIdentifier": record.id})
            elif not reported:
                done[record.key].append(record.json()["n"])
        return {"batchItemFailures": reported}

    queue = MemoryQueue("q.fifo", fifo=True, visibility_timeout=30)
    for group in "ab":
        queue.put(numbered(*range(10)), key=group)
    options = {"filters": [{"body": EVEN}], "function_response_types": ["ReportBatchItemFailures"]}
    async with bench.running(flaky, queue, **options) as app:
        await queue.wait_empty()
        [status] = app.statuses()
    for numbers in done.values():
        assert list(dict.fromkeys(numbers)) == [0, 2, 4, 6, 8]
    assert status.counters["FilteredOutEventCount"] >= 10


async def test_pattern_and_predicate_have_to_take_a_record_both(bench: Bench) -> None:
    stream, seen = MemoryStream(), Values()
    stream.put(numbered(*range(10)))
    options = {"filters": [{"data": EVEN}], "filter": lambda record: record.json()["n"] > 4}
    async with bench.running(seen, stream, **options):
        await stream.wait_done()
    assert [values(batch) for batch in seen.got] == [[6, 8]]


async def test_filters_are_changed_while_the_mapping_runs(bench: Bench) -> None:
    stream, seen = MemoryStream(), Values()
    async with bench.running(seen, stream, filters=[{"data": EVEN}]) as app:
        stream.put(numbered(1, 2))
        await stream.wait_done()
        await app.update_mapping("m", FilterCriteria={"Filters": [{"Pattern": '{"data":{"kind":["b"]}}'}]})
        stream.put(numbered(3, 4))
        await stream.wait_done()
        await app.update_mapping("m", FilterCriteria={})
        stream.put(numbered(5, 6))
        await stream.wait_done()
    assert values([value for batch in seen.got for value in batch]) == [2, 3, 5, 6]


async def test_filters_that_the_source_does_not_take_are_refused_at_start(bench: Bench) -> None:
    app = bench.declare(Calls(), MemoryStream(), filters=[{"data": ["plain"]}])
    with pytest.raises(ConfigurationError, match="matched as JSON only"):
        await app.start()


async def test_each_read_tells_how_many_were_filtered(bench: Bench) -> None:
    queue = MemoryQueue()
    queue.put(numbered(1, 2, 3))
    async with bench.running(Calls(), queue, filters=[{"body": EVEN}]):
        await queue.wait_empty()
    polled = bench.seen.of(RecordsPolled)
    assert sum(event.filtered for event in polled) == 2
    assert sum(event.records for event in polled) == 3
