"""Every failure option of stream mappings, end to end in virtual time. Vectors are those recorded on AWS."""

from __future__ import annotations

import pytest

from streamfn import Batch, TooManyRequests
from streamfn.core.envelopes import FailureFormat
from streamfn.telemetry import BatchRetried, RecordsDiscarded
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryStream
from tests.engine.conftest import Bench, Calls, DeadLetters, raising

pytestmark = pytest.mark.anyio


def values(count: int, first: int = 0) -> list[bytes]:
    return [f"value-{number}".encode() for number in range(first, first + count)]


async def test_a_failing_record_is_tried_once_more_and_then_given_up(bench: Bench) -> None:
    stream, dead, calls = MemoryStream(), DeadLetters(), Calls(raising())
    stream.put(values(1))
    async with bench.running(calls, stream, batch_size=1, maximum_retry_attempts=1, on_failure=dead):
        await stream.wait_done()
    assert len(calls.ids) == 2
    [document] = dead.sent
    assert document["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert document["requestContext"]["approximateInvokeCount"] == 2
    assert document["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert document["KinesisBatchInfo"]["batchSize"] == 1


async def test_a_reported_record_goes_alone_and_its_count_begins_anew(bench: Bench) -> None:
    def report(batch: Batch) -> object:
        bad = [{"itemIdentifier": record.id} for record in batch if record.id == "5"]
        return {"batchItemFailures": bad}

    stream, dead, calls = MemoryStream(), DeadLetters(), Calls(report)
    stream.put(values(6))
    async with bench.running(
        calls,
        stream,
        batch_size=3,
        maximum_retry_attempts=3,
        function_response_types=["ReportBatchItemFailures"],
        on_failure=dead,
    ):
        await stream.wait_done()
    assert calls.ids == [["0", "1", "2"], ["3", "4", "5"], ["5"], ["5"], ["5"], ["5"]]
    [document] = dead.sent
    assert document["requestContext"]["approximateInvokeCount"] == 4
    assert document["responseContext"]["functionError"] is None
    assert document["KinesisBatchInfo"]["batchSize"] == 1


async def test_records_expire_after_about_seven_tries_within_a_minute(bench: Bench) -> None:
    stream, dead, calls = MemoryStream(), DeadLetters(), Calls(raising())
    stream.put(values(1))
    began = clock()
    async with bench.running(calls, stream, maximum_record_age_in_seconds=60, on_failure=dead):
        await stream.wait_done()
        assert clock() - began == pytest.approx(60, abs=0.1)
    [document] = dead.sent
    assert document["requestContext"]["condition"] == "RecordAgeExceeded"
    assert document["requestContext"]["approximateInvokeCount"] == len(calls.ids) + 1
    assert 6 <= len(calls.ids) <= 8
    assert "responseContext" not in document


async def test_records_too_old_at_first_sight_are_never_delivered_and_fresh_ones_are(bench: Bench) -> None:
    import anyio

    stream, dead, calls = MemoryStream(), DeadLetters(), Calls()
    stream.put(values(2))
    await anyio.sleep(61)
    stream.put(values(2, 2))
    async with bench.running(
        calls, stream, maximum_record_age_in_seconds=60, maximum_retry_attempts=0, on_failure=dead
    ):
        await stream.wait_done()
    assert calls.ids == [["2", "3"]]
    [document] = dead.sent
    assert document["requestContext"]["approximateInvokeCount"] == 1
    assert document["KinesisBatchInfo"]["batchSize"] == 2


async def test_bisecting_finds_each_poison_record_and_spends_no_attempt(bench: Bench) -> None:
    stream, dead, calls = MemoryStream(), DeadLetters(FailureFormat.RECORD), Calls(raising("13", "77", "78"))
    stream.put(values(100))
    began = clock()
    async with bench.running(
        calls,
        stream,
        batch_size=50,
        maximum_retry_attempts=0,
        bisect_batch_on_function_error=True,
        on_failure=dead,
    ):
        await stream.wait_done()
    assert clock() == began
    assert [document["payload"]["Records"][0]["kinesis"]["sequenceNumber"] for document in dead.sent] == [
        "13",
        "77",
        "78",
    ]
    assert [document["requestContext"]["approximateInvokeCount"] for document in dead.sent] == [1, 1, 1]
    assert {document["responsePayload"]["errorType"] for document in dead.sent} == {"ValueError"}
    good = [f"{number}" for number in range(100) if number not in (13, 77, 78)]
    delivered = [batch for batch in calls.ids if not {"13", "77", "78"} & set(batch)]
    assert sorted((name for batch in delivered for name in batch), key=int) == good


async def test_without_limits_a_batch_is_tried_until_it_succeeds_and_nothing_overtakes_it(
    bench: Bench,
) -> None:
    failures = 12

    def flaky(batch: Batch) -> None:
        if batch[0].id == "0" and len(calls.ids) <= failures:
            raise RuntimeError("not yet")

    stream, calls = MemoryStream(), Calls(flaky)
    stream.put(values(4))
    async with bench.running(calls, stream, batch_size=2):
        await stream.wait_done()
    assert calls.ids == [["0", "1"]] * (failures + 1) + [["2", "3"]]
    pauses = [after - before for before, after in zip(calls.at, calls.at[1:], strict=False)][:failures]
    for tries, pause in enumerate(pauses):
        whole = min(2.0**tries, 60.0)
        assert whole / 2 <= pause <= whole


async def test_throttles_spend_no_attempt(bench: Bench) -> None:
    def throttled(batch: Batch) -> None:
        if len(calls.ids) <= 5:
            raise TooManyRequests(retry_after=3)

    stream, dead, calls = MemoryStream(), DeadLetters(), Calls(throttled)
    stream.put(values(1))
    async with bench.running(calls, stream, maximum_retry_attempts=0, on_failure=dead) as app:
        await stream.wait_done()
        [status] = app.statuses()
    assert len(calls.ids) == 6
    assert dead.sent == []
    assert status.counters["Throttles"] == 5


async def test_a_function_past_its_timeout_fails_as_on_lambda(bench: Bench) -> None:
    import anyio

    async def slow(batch: Batch) -> None:
        await anyio.sleep(100)

    stream, dead, calls = MemoryStream(), DeadLetters(FailureFormat.PAYLOAD), Calls(slow)
    stream.put(values(1))
    began = clock()
    async with bench.running(calls, stream, timeout=5, maximum_retry_attempts=0, on_failure=dead):
        await stream.wait_done()
    assert clock() - began == pytest.approx(5)
    [document] = dead.sent
    request_id = document["requestContext"]["requestId"]
    assert document["responsePayload"] == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {request_id} Error: Task timed out after 5.00 seconds",
    }


async def test_a_failure_without_a_destination_is_counted_as_dropped(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls(raising("1"))
    stream.put(values(3))
    async with bench.running(calls, stream, batch_size=1, maximum_retry_attempts=0) as app:
        await stream.wait_done()
        [status] = app.statuses()
    assert status.counters["DroppedEventCount"] == 1
    [discarded] = bench.seen.of(RecordsDiscarded)
    assert discarded.destination is None
    assert (discarded.first, discarded.last) == ("1", "1")


async def test_the_answer_counts_only_where_it_is_asked_for(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls(lambda batch: {"batchItemFailures": [{"itemIdentifier": "0"}]})
    stream.put(values(3))
    async with bench.running(calls, stream):
        await stream.wait_done()
    assert calls.ids == [["0", "1", "2"]]


@pytest.mark.parametrize("answer", ["", [], None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}])
async def test_answers_that_are_success(bench: Bench, answer: object) -> None:
    stream, calls = MemoryStream(), Calls(lambda batch: answer)
    stream.put(values(3))
    async with bench.running(calls, stream, function_response_types=["ReportBatchItemFailures"]):
        await stream.wait_done()
    assert calls.ids == [["0", "1", "2"]]


@pytest.mark.parametrize(
    "item", [{"itemIdentifier": ""}, {"itemIdentifier": None}, {"foo": "0"}, {"itemIdentifier": 123}]
)
async def test_answers_that_fail_the_whole_batch(bench: Bench, item: object) -> None:
    stream, dead, calls = MemoryStream(), DeadLetters(), Calls(lambda batch: {"batchItemFailures": [item]})
    stream.put(values(3))
    async with bench.running(
        calls,
        stream,
        function_response_types=["ReportBatchItemFailures"],
        maximum_retry_attempts=2,
        on_failure=dead,
    ):
        await stream.wait_done()
    assert calls.ids == [["0", "1", "2"]] * 3
    assert dead.sent[0]["KinesisBatchInfo"]["batchSize"] == 3
    assert len(bench.seen.of(BatchRetried)) == 2
