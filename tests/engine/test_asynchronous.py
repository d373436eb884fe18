"""Asynchronous invocations in virtual time: attempts, ages, throttles, answers. Vectors are AWS's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from streamfn import Batch, TooManyRequests
from streamfn.ports import Event
from streamfn.testing.clock import clock
from tests.engine.asynchronous import ARN, Events, Invoked, SlowEvents, failing

pytestmark = pytest.mark.anyio


@pytest.fixture
def events(tmp_path: Path) -> Events:
    return Events(tmp_path)


# ------------------------------------------------------------------------------------------ attempts


async def test_a_function_is_tried_three_times_at_one_and_two_minutes(events: Events) -> None:
    f = Invoked(failing())
    request_id = await events.run(f, {"n": [1, 2.5, None, "é"]})
    assert f.pauses == [60.0, 120.0]
    assert f.events == [{"n": [1, 2.5, None, "é"]}] * 3
    assert f.ids == [request_id] * 3
    assert {context.invoked_function_arn for context in f.contexts} == {ARN}
    record = events.record
    stack = record["responsePayload"].pop("stackTrace")
    assert 'raise ValueError(f"no {calls}")' in "".join(stack)
    assert record == {
        "version": "1.0",
        "timestamp": "2025-01-01T00:03:00.000Z",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{ARN}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": {"n": [1, 2.5, None, "é"]},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "no 3", "errorType": "ValueError", "requestId": request_id},
    }
    assert list(record) == [
        "version",
        "timestamp",
        "requestContext",
        "requestPayload",
        "responseContext",
        "responsePayload",
    ]


async def test_a_function_that_works_in_the_end_is_no_failure(events: Events) -> None:
    f = Invoked(failing(2))
    await events.run(f, OnSuccess=events.successes)
    assert events.failures.messages == []
    (record,) = events.successes.bodies()
    assert record["requestContext"]["approximateInvokeCount"] == 3


async def test_no_retries(events: Events) -> None:
    f = Invoked(failing())
    await events.run(f, MaximumRetryAttempts=0)
    assert len(f.at) == 1
    assert events.record["requestContext"]["approximateInvokeCount"] == 1


async def test_delays_of_ones_own_hold_for_many_retries(events: Events) -> None:
    f = Invoked(failing())
    await events.run(f, MaximumRetryAttempts=7, RetryDelays=[0.5, 10, 3])
    assert f.pauses == [0.5, 10, 3, 3, 3, 3, 3]
    assert events.record["requestContext"]["approximateInvokeCount"] == 8


async def test_one_event_waits_for_its_retry_and_others_go_on(events: Events) -> None:
    f = Invoked(lambda event: failing()(event) if event == 0 else None)
    async with events.declare(f) as app:
        for number in range(100):
            await app.enqueue("f", number)
        await anyio.sleep(30)
        assert sorted(f.events) == list(range(100))
        assert [event.payload for event in events.queue.waiting("f")] == [b"0"]
        await events.queue.wait_empty()
    assert events.record["requestPayload"] == 0


async def test_as_many_run_at_a_time_as_are_reserved(events: Events) -> None:
    running = peak = 0

    async def busy(event: Any) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await anyio.sleep(1)
        running -= 1

    async with events.declare(Invoked(busy), reserved_concurrency=5) as app:
        began = clock()
        for number in range(50):
            await app.enqueue("f", number)
        await events.queue.wait_empty()
        assert clock() - began == pytest.approx(10, abs=1)
    assert peak == 5


async def test_it_goes_on_when_acknowledgements_come_after_all_that_was_read(events: Events) -> None:
    events.queue = SlowEvents()
    f = Invoked()
    for number in range(100):
        events.queue.add("f", Event(str(number), b"%d" % number))
    began = clock()
    async with events.declare(f, reserved_concurrency=5):
        await events.queue.wait_empty()
        assert clock() - began <= 10.0
    assert sorted(f.events) == list(range(100))


# ---------------------------------------------------------------------------------------------- ages


async def test_what_would_be_too_old_at_its_next_try_is_given_up_at_once(events: Events) -> None:
    began = clock()
    await events.run(Invoked(failing()), MaximumEventAgeInSeconds=60)
    assert clock() == began
    record = events.record
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 1
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorMessage"] == "no 1"


async def test_an_age_may_leave_room_for_one_retry(events: Events) -> None:
    f = Invoked(failing())
    await events.run(f, MaximumEventAgeInSeconds=90)
    assert f.pauses == [60.0]
    record = events.record
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["responsePayload"]["errorMessage"] == "no 2"


async def test_what_is_too_old_when_it_is_read_is_not_delivered(events: Events) -> None:
    f = Invoked()
    events.queue.add("f", Event("old", b"1"))
    await anyio.sleep(61)
    events.queue.add("f", Event("young", b"2"))
    async with events.declare(f, MaximumEventAgeInSeconds=60):
        await events.queue.wait_empty()
    assert f.ids == ["young"]
    record = events.record
    assert record["requestContext"]["requestId"] == "old"
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert not {"responseContext", "responsePayload"} & set(record)


# ----------------------------------------------------------------------------------------- throttles


def throttled(event: Any) -> None:
    raise TooManyRequests


async def test_throttles_back_off_until_the_age_ends_it_and_spend_no_attempt(events: Events) -> None:
    f = Invoked(throttled)
    began = clock()
    await events.run(f, MaximumRetryAttempts=0, MaximumEventAgeInSeconds=3600)
    assert clock() - began == pytest.approx(3600)
    assert len(f.at) > 15
    for tries, pause in enumerate(f.pauses):
        whole = min(2.0**tries, 300.0)
        assert whole / 2 <= pause <= whole
    assert len({round(pause / min(2.0**tries, 300.0), 3) for tries, pause in enumerate(f.pauses)}) > 5
    record = events.record
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert not {"responseContext", "responsePayload"} & set(record)


async def test_the_answer_of_a_failed_attempt_is_kept_over_throttles(events: Events) -> None:
    def then(event: Any) -> None:
        if len(f.at) == 1:
            raise ValueError("the only answer")
        raise TooManyRequests

    f = Invoked(then)
    await events.run(f, MaximumEventAgeInSeconds=600)
    assert f.pauses[0] == 60.0
    record = events.record
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 1
    assert record["responsePayload"]["errorMessage"] == "the only answer"
    assert record["responseContext"]["functionError"] == "Unhandled"


async def test_attempts_go_on_counting_after_throttles(events: Events) -> None:
    def then(event: Any) -> None:
        if len(f.at) in (2, 3):
            raise TooManyRequests(retry_after=20)
        raise ValueError("no")

    f = Invoked(then)
    await events.run(f)
    assert f.pauses == [60.0, 20.0, 20.0, 120.0]
    assert events.record["requestContext"]["approximateInvokeCount"] == 3


async def test_a_function_that_is_switched_off_is_never_called(events: Events) -> None:
    f = Invoked()
    began = clock()
    await events.run(f, reserved_concurrency=0, DeadLetterQueue=events.dead)
    assert clock() == began
    assert f.at == []
    record = events.record
    assert record["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert not {"responseContext", "responsePayload"} & set(record)
    (message,) = events.dead.messages
    assert dict(message.headers)["ErrorCode"] == b"429"
    assert dict(message.headers)["ErrorMessage"] == b"Rate Exceeded."


@pytest.mark.parametrize("reserved", [None, 1, 2])
async def test_events_that_wait_for_a_place_are_given_up_when_the_function_is_switched_off(
    events: Events, reserved: int | None
) -> None:
    f = Invoked(lambda event: anyio.sleep(50))
    app = events.app(concurrent_executions=20 if reserved else 1)
    app.function(name="f", timeout=60, reserved_concurrency=reserved)(f)
    app.event_invoke_config("f", OnFailure=events.failures)
    async with app:
        ids = [await app.enqueue("f", number) for number in range(4)]
        running, waiting = ids[: reserved or 1], ids[reserved or 1 :]
        await anyio.sleep(5)
        assert f.ids == running
        assert events.failures.messages == []
        await app.reserve("f", 0)
        await anyio.sleep(1)
        given_up = [record["requestContext"] for record in events.failures.bodies()]
        assert {each["requestId"] for each in given_up} == set(waiting)
        assert {each["condition"] for each in given_up} == {"ZeroReservedConcurrency"}
        await events.queue.wait_empty()
    # What ran when it was switched off has come to its end.
    assert f.ids == running


async def test_a_function_for_which_others_leave_nothing_is_not_switched_off(events: Events) -> None:
    f = Invoked()
    app = events.app(concurrent_executions=1)
    app.function(name="f")(f)
    app.function(name="g")(Invoked())
    app.event_invoke_config("f", OnFailure=events.failures)
    async with app:
        await app.reserve("g", 1)
        await app.enqueue("f", 1)
        await anyio.sleep(5)
        assert (f.at, events.failures.messages) == ([], [])
        await app.reserve("g", None)
        await events.queue.wait_empty()
    assert len(f.at) == 1


async def test_an_event_that_waits_for_its_next_try_is_given_up_then(events: Events) -> None:
    f = Invoked(failing())
    async with events.declare(f) as app:
        await app.enqueue("f", 1)
        await anyio.sleep(5)
        await app.reserve("f", 0)
        await events.queue.wait_empty()
    assert len(f.at) == 1
    assert events.record["requestContext"]["condition"] == "ZeroReservedConcurrency"


# ------------------------------------------------------------------------------------------- answers


async def test_a_timeout_is_told_as_on_lambda(events: Events) -> None:
    request_id = await events.run(Invoked(lambda _: anyio.sleep(100)), timeout=3, MaximumRetryAttempts=0)
    assert clock() == pytest.approx(1_735_689_603)
    assert events.record["responsePayload"] == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {request_id} Error: Task timed out after 3.00 seconds",
    }


async def test_an_answer_that_is_no_json_fails(events: Events) -> None:
    await events.run(Invoked(lambda _: {"a": {1, 2}}), MaximumRetryAttempts=0, OnSuccess=events.successes)
    assert events.successes.messages == []
    answer = events.record["responsePayload"]
    assert answer["errorType"] == "Runtime.MarshalError"
    assert answer["errorMessage"].startswith("Unable to marshal response: ")


async def test_an_answer_that_is_too_large_fails(events: Events) -> None:
    await events.run(Invoked(lambda _: "x" * 7_000_000), MaximumRetryAttempts=0)
    assert events.record["responsePayload"] == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }


class Order(BaseModel):
    city: str


async def test_a_function_of_one_model_is_given_the_payload(events: Events) -> None:
    cities: list[str] = []

    async def ship(order: Order) -> None:
        cities.append(order.city)

    async with events.declare(ship, each=Order, MaximumRetryAttempts=1) as app:
        await app.enqueue("f", {"city": "Porto"})
        await app.enqueue("f", {"street": "?"})
        await events.queue.wait_empty()
    assert cities == ["Porto"]
    record = events.record
    assert record["requestPayload"] == {"street": "?"}
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["responsePayload"]["errorType"] == "ValidationError"


async def test_a_function_of_a_batch_is_given_one_record(events: Events) -> None:
    seen: list[tuple[str, Any]] = []

    async def look(batch: Batch) -> None:
        (record,) = batch
        seen.append((record.id, record.json()))

    request_id = await events.run(look, {"a": 1}, batch=True)
    assert seen == [(request_id, {"a": 1})]


async def test_a_function_of_records_is_given_those_of_a_redriven_event(events: Events) -> None:
    orders: list[dict[str, Any]] = []

    async def ship(order: dict[str, Any]) -> None:
        orders.append(order)

    records = [
        {"messageId": "m", "body": f'{{"n": {number}}}', "eventSource": "aws:sqs", "attributes": {}}
        for number in range(3)
    ]
    await events.run(ship, {"Records": records}, each=dict)
    assert orders == [{"n": 0}, {"n": 1}, {"n": 2}]
