"""Order: by shard, by share of a shard, by key, and none."""

from __future__ import annotations

import anyio
import pytest

from streamfn import Batch
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryStream
from tests.engine.conftest import Bench, Calls, DeadLetters, raising

pytestmark = pytest.mark.anyio


def keyed(count: int, keys: int) -> list[tuple[str, bytes]]:
    return [(f"key-{number % keys}", b"value") for number in range(count)]


def fill(stream: MemoryStream, count: int, keys: int) -> None:
    for key, value in keyed(count, keys):
        stream.put([value], key=key)


class Flight:
    """What is in the air at a time, by key and in all."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now: list[str | None] = []
        self.most = 0
        self.overlaps = 0
        self.order: dict[str | None, list[int]] = {}

    async def __call__(self, batch: Batch) -> None:
        keys = {record.key for record in batch}
        self.overlaps += sum(key in self.now for key in keys)
        self.now += keys
        self.most = max(self.most, len(self.now))
        await anyio.sleep(self.seconds)
        for record in batch:
            self.order.setdefault(record.key, []).append(record.position)
        for key in keys:
            self.now.remove(key)


async def test_one_batch_of_a_shard_at_a_time(bench: Bench) -> None:
    stream, flight = MemoryStream(shards=3), Flight(1.0)
    fill(stream, 60, 10)
    calls = Calls(flight)
    async with bench.running(calls, stream, batch_size=5):
        await stream.wait_done()
    assert flight.overlaps == 0
    for order in flight.order.values():
        assert order == sorted(order)


async def test_a_parallelization_factor_splits_a_shard_by_key(bench: Bench) -> None:
    stream, flight = MemoryStream(), Flight(1.0)
    fill(stream, 200, 40)
    began = clock()
    async with bench.running(Calls(flight), stream, batch_size=10, parallelization_factor=10):
        await stream.wait_done()
    assert clock() - began < 8
    assert flight.overlaps == 0
    for order in flight.order.values():
        assert order == sorted(order)


async def test_keys_go_side_by_side_and_each_in_order(bench: Bench) -> None:
    stream, flight = MemoryStream(), Flight(1.0)
    fill(stream, 200, 20)
    began = clock()
    async with bench.running(Calls(flight), stream, batch_size=1, ordering="key", maximum_concurrency=20):
        await stream.wait_done()
    assert clock() - began == pytest.approx(10, abs=0.5)
    assert flight.most == 20
    assert flight.overlaps == 0
    for order in flight.order.values():
        assert order == sorted(order)


async def test_a_key_that_fails_stops_itself_only(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls(raising("0"))
    fill(stream, 40, 4)
    async with bench.running(calls, stream, batch_size=1, ordering="key", maximum_concurrency=2):
        with anyio.move_on_after(100):
            await stream.wait_done()
    delivered = [name for name in calls.flat if name != "0"]
    assert sorted(delivered, key=int) == [str(number) for number in range(40) if number % 4]


async def test_what_is_done_beyond_the_checkpoint_is_not_delivered_after_a_restart(bench: Bench) -> None:
    stream = MemoryStream()
    fill(stream, 40, 4)
    first = Calls(raising("0"))
    async with bench.running(first, stream, batch_size=1, ordering="key", maximum_concurrency=2):
        with anyio.move_on_after(100):
            await stream.wait_done()
    second = Calls()
    async with bench.running(second, stream, batch_size=1, ordering="key", maximum_concurrency=2):
        await stream.wait_done()
    assert second.flat == [str(number) for number in range(0, 40, 4)]


async def test_partial_failures_by_key_give_back_the_rest_of_the_key(bench: Bench) -> None:
    tried: list[str] = []

    def report_once(batch: Batch) -> object:
        bad = [record.id for record in batch if record.id == "4" and "4" not in tried]
        tried.extend(record.id for record in batch)
        return {"batchItemFailures": [{"itemIdentifier": name} for name in bad]}

    stream, calls = MemoryStream(), Calls(report_once)
    fill(stream, 12, 4)
    async with bench.running(
        calls, stream, batch_size=12, ordering="key", function_response_types=["ReportBatchItemFailures"]
    ):
        await stream.wait_done()
    assert calls.ids[1] == ["4", "8"]


async def test_without_order_only_what_is_reported_goes_again(bench: Bench) -> None:
    def report(batch: Batch) -> object:
        bad = [record.id for record in batch if record.id == "4" and len(batch) > 1]
        return {"batchItemFailures": [{"itemIdentifier": name} for name in bad]}

    stream, calls = MemoryStream(), Calls(report)
    fill(stream, 12, 4)
    async with bench.running(
        calls, stream, batch_size=12, ordering="none", function_response_types=["ReportBatchItemFailures"]
    ):
        await stream.wait_done()
    assert [len(batch) for batch in calls.ids] == [12, 1]


async def test_a_window_gathers_records_until_it_is_over(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()
    began = clock()
    async with bench.running(calls, stream, batch_size=100, maximum_batching_window_in_seconds=5):
        for _ in range(3):
            stream.put([b"value"])
            await anyio.sleep(1)
        await stream.wait_done()
        assert clock() - began == pytest.approx(5, abs=0.1)
    assert calls.ids == [["0", "1", "2"]]


async def test_a_full_batch_does_not_wait_for_its_window(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()
    stream.put([b"value"] * 4)
    began = clock()
    async with bench.running(calls, stream, batch_size=2, maximum_batching_window_in_seconds=300):
        await stream.wait_done()
        assert clock() - began < 1
    assert calls.ids == [["0", "1"], ["2", "3"]]


async def test_a_batch_is_closed_before_its_payload_passes_six_megabytes(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()
    stream.put([b"x" * 1_000_000] * 10)
    async with bench.running(calls, stream):
        await stream.wait_done()
    assert [len(batch) for batch in calls.ids] == [4, 4, 2]


async def test_a_record_above_six_megabytes_is_given_up_undelivered(bench: Bench) -> None:
    stream, calls, dead = MemoryStream(), Calls(), DeadLetters()
    stream.put([b"small", b"x" * 6_000_000, b"small"])
    async with bench.running(calls, stream, on_failure=dead):
        await stream.wait_done()
    assert calls.flat == ["0", "2"]
    [document] = dead.sent
    assert document["requestContext"]["condition"] == "MaximumPayloadSizeExceeded"
    assert document["responseContext"] is None


async def test_filtered_records_are_done_at_once_and_the_checkpoint_passes_them(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls()
    stream.put([b"value"] * 1000)
    async with bench.running(calls, stream, filter=lambda record: record.position == 500) as app:
        await stream.wait_done()
        [status] = app.statuses()
    assert calls.ids == [["500"]]
    assert status.counters["FilteredOutEventCount"] == 999
