"""Where events end: destinations, dead-letter queues and dead letters, and what happens when they fail."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.core.lineage import TRACE_HEADER
from streamfn.local import Broker, admin
from streamfn.local.schema import FILE
from streamfn.planning import UNRESERVED_CONCURRENCY
from streamfn.telemetry import DestinationDeliveryFailed, RecordsDiscarded
from streamfn.testing import MemoryDestination
from streamfn.testing.clock import clock
from tests.engine.asynchronous import ARN, Events, Invoked, failing

pytestmark = pytest.mark.anyio

MAPPING = "f:$LATEST"


@pytest.fixture
def events(tmp_path: Path) -> Events:
    return Events(tmp_path)


async def dead_letters(folder: Path) -> list[Any]:
    """What the default store has."""
    async with Broker(folder / FILE, clock=clock) as broker:
        if not any(status.name == "dead-letters" for status in await admin.list_queues(broker)):
            return []
        return [json.loads(letter.value) for letter in await admin.peek(broker, "dead-letters", limit=100)]


# ------------------------------------------------------------------------------------------- records


async def test_a_success_is_told_with_its_answer(events: Events) -> None:
    f = Invoked(lambda _: {"ok": True, "n": 1.5})
    request_id = await events.run(f, {"a": 1}, OnSuccess=events.successes)
    (record,) = events.successes.bodies()
    assert record == {
        "version": "1.0",
        "timestamp": "2025-01-01T00:00:00.000Z",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{ARN}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"a": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"ok": True, "n": 1.5},
    }
    (message,) = events.successes.messages
    assert [name for name, _ in message.headers] == [TRACE_HEADER]
    assert events.failures.messages == []


@pytest.mark.parametrize("answer", [None, 0, "", [], {"batchItemFailures": [{"itemIdentifier": "x"}]}])
async def test_whatever_a_function_answers_is_a_success(events: Events, answer: Any) -> None:
    await events.run(Invoked(lambda _: answer), OnSuccess=events.successes)
    (record,) = events.successes.bodies()
    assert record["responsePayload"] == answer


async def test_a_payload_is_told_byte_for_byte(events: Events) -> None:
    payload = b'{"b": 1.0, "a": 1e2, "b": "\\u00e9"}'
    await events.run(Invoked(failing()), payload, MaximumRetryAttempts=0)
    (message,) = events.failures.messages
    assert b'"requestPayload":' + payload in message.body


async def test_a_dead_letter_queue_gets_the_event_and_the_reason_beside_it(events: Events) -> None:
    f = Invoked(failing())
    request_id = await events.run(f, b'{"a": 1}', OnFailure="", DeadLetterQueue=events.dead)
    (message,) = events.dead.messages
    assert message.body == b'{"a": 1}'
    assert [(name, value) for name, value in message.headers if name != TRACE_HEADER] == [
        ("RequestID", request_id.encode()),
        ("ErrorCode", b"200"),
        ("ErrorMessage", b"no 3"),
    ]
    assert len(f.at) == 3


async def test_both_are_told_where_both_are_given(events: Events) -> None:
    await events.run(Invoked(failing()), MaximumRetryAttempts=0, DeadLetterQueue=events.dead)
    assert len(events.failures.messages) == len(events.dead.messages) == 1
    (discarded,) = events.seen.of(RecordsDiscarded)
    assert discarded.destination == "failures, dead"


# -------------------------------------------------------------------------------------- dead letters


async def test_what_has_no_destination_at_all_is_a_dead_letter(events: Events, tmp_path: Path) -> None:
    app = events.app()
    app.function(name="f")(Invoked(failing()))
    async with app:
        request_id = await app.enqueue("f", {"a": 1})
        await events.queue.wait_empty()
    (letter,) = await dead_letters(tmp_path)
    assert letter["requestPayload"] == {"a": 1}
    assert letter["requestContext"]["requestId"] == request_id
    assert letter["requestContext"]["approximateInvokeCount"] == 3
    about = letter["deadLetter"]
    assert (about["app"], about["mapping"], about["function"]) == ("bench", MAPPING, "f")
    assert (about["recordId"], about["attempts"], about["redrives"]) == (request_id, 3, 0)
    assert about["error"]["type"] == "ValueError"


async def test_what_a_destination_has_taken_is_no_dead_letter(events: Events, tmp_path: Path) -> None:
    await events.run(Invoked(failing()), MaximumRetryAttempts=0)
    assert await dead_letters(tmp_path) == []


async def test_dead_letters_may_be_asked_for_besides(events: Events) -> None:
    await events.run(Invoked(failing()), MaximumRetryAttempts=0, DeadLetters=events.dead)
    (letter,) = events.dead.bodies()
    assert letter["deadLetter"]["condition"] == "RetriesExhausted"
    assert len(events.failures.messages) == 1


async def test_without_any_end_a_failure_is_dropped_and_counted(events: Events) -> None:
    app = events.declare(Invoked(failing()), MaximumRetryAttempts=0, OnFailure="", DeadLetters=False)
    async with app:
        await app.enqueue("f", 1)
        await events.queue.wait_empty()
        counters = app.counters.of(MAPPING)
    assert counters["AsyncEventsDropped"] == counters["DroppedEventCount"] == 1


# -------------------------------------------------------------------------- destinations that fail


async def test_what_a_destination_does_not_take_is_kept_as_a_dead_letter(
    events: Events, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events.failures.faults.down = True
    app = events.declare(Invoked(failing()), MaximumRetryAttempts=0)
    began = clock()
    with caplog.at_level(logging.ERROR, "streamfn"):
        async with app:
            await app.enqueue("f", 1)
            await events.failures.wait_sends(4)
            assert clock() - began == pytest.approx(3.5)
            await events.queue.wait_empty()
            counters = app.counters.of(MAPPING)
    assert len(events.failures.sends) == 4
    failed = events.seen.of(DestinationDeliveryFailed)
    assert [(event.role, event.dropped) for event in failed] == [("OnFailure", False)] * 3 + [
        ("OnFailure", True)
    ]
    assert counters["DestinationDeliveryFailures"] == 4
    assert "OnFailureDestinationDeliveryErrorCount" not in counters
    assert "DroppedEventCount" not in counters
    assert sum("destination_delivery_failed" in record.message for record in caplog.records) == 4
    (letter,) = await dead_letters(tmp_path)
    assert letter["requestPayload"] == 1


async def test_without_dead_letters_what_is_not_taken_is_dropped_and_counted(
    events: Events, tmp_path: Path
) -> None:
    events.failures.faults.down = events.dead.faults.down = True
    options = {"MaximumRetryAttempts": 0, "DeadLetterQueue": events.dead, "DeadLetters": False}
    async with events.declare(Invoked(failing()), **options) as app:
        await app.enqueue("f", 1)
        await events.queue.wait_empty()
        counters = app.counters.of(MAPPING)
    assert (len(events.failures.sends), len(events.dead.sends)) == (4, 4)
    assert counters["DestinationDeliveryFailures"] == 4
    assert counters["DeadLetterErrors"] == 4
    assert counters["DroppedEventCount"] == counters["AsyncEventsDropped"] == 1
    assert not (tmp_path / FILE).exists()


async def test_a_destination_that_refuses_is_not_asked_again(events: Events, tmp_path: Path) -> None:
    small = MemoryDestination("small", max_size=10)
    await events.run(Invoked(failing()), MaximumRetryAttempts=0, OnFailure=small)
    assert len(small.sends) == 1
    assert len(await dead_letters(tmp_path)) == 1


async def test_a_success_that_is_not_taken_is_counted_and_is_no_failure(
    events: Events, tmp_path: Path
) -> None:
    events.successes.faults.down = True
    f = Invoked()
    async with events.declare(f, OnSuccess=events.successes) as app:
        await app.enqueue("f", 1)
        await events.queue.wait_empty()
        assert app.counters.of(MAPPING)["DestinationDeliveryFailures"] == 4
        assert "AsyncEventsDropped" not in app.counters.of(MAPPING)
    assert len(f.at) == 1
    assert events.failures.messages == []


async def test_successes_that_are_not_taken_keep_no_places_that_functions_share(events: Events) -> None:
    events.successes.faults.down = True
    f, g = Invoked(), Invoked()
    app = events.declare(f, OnSuccess=events.successes, WhenDestinationFails="block")
    app.function(name="g")(g)
    async with app:
        for number in range(UNRESERVED_CONCURRENCY):
            await app.enqueue("f", number)
        await anyio.sleep(60)
        assert len(f.at) == len(events.queue) == UNRESERVED_CONCURRENCY
        await app.enqueue("g", 1)
        await anyio.sleep(1)
        assert g.events == [1]
        events.successes.faults.down = False
        await events.queue.wait_empty()
    assert len(events.successes.messages) == UNRESERVED_CONCURRENCY


async def test_a_function_that_blocks_sends_until_it_is_taken(events: Events, tmp_path: Path) -> None:
    events.failures.faults.down = True
    f = Invoked(failing())
    async with events.declare(f, MaximumRetryAttempts=0, WhenDestinationFails="block") as app:
        await app.enqueue("f", 1)
        await anyio.sleep(3600)
        assert len(events.queue) == 1
        assert len(events.failures.sends) > 100
        events.failures.faults.down = False
        await events.queue.wait_empty()
    assert len(events.failures.messages) == 1
    assert len(f.at) == 1
    assert not (tmp_path / FILE).exists()


async def test_other_events_go_on_while_one_waits_for_its_destination(events: Events) -> None:
    events.failures.faults.down = True
    f = Invoked(lambda event: failing()(event) if event == 0 else None)
    options = {"MaximumRetryAttempts": 0, "WhenDestinationFails": "block", "reserved_concurrency": 2}
    async with events.declare(f, **options) as app:
        for number in range(10):
            await app.enqueue("f", number)
        await anyio.sleep(10)
        assert sorted(f.events) == list(range(10))
        assert [event.payload for event in events.queue.waiting("f")] == [b"0"]
        events.failures.faults.down = False
        await events.queue.wait_empty()
    assert len(f.events) == 10


async def test_a_cut_while_the_destination_is_down_loses_nothing(events: Events) -> None:
    events.failures.faults.down = True
    f = Invoked(failing())
    options = {"MaximumRetryAttempts": 0, "WhenDestinationFails": "block"}
    app = events.declare(f, **options)
    await app.start()
    request_id = await app.enqueue("f", 1)
    await anyio.sleep(10)
    assert await app.stop(grace=5) is False
    assert len(events.queue) == 1
    events.failures.faults.down = False
    async with events.declare(f, **options):
        await events.queue.wait_empty()
    assert f.ids == [request_id] * 2
    assert events.record["requestContext"]["approximateInvokeCount"] == 1


async def test_dead_letters_by_default_are_sent_until_they_are_kept(events: Events, tmp_path: Path) -> None:
    """Where they alone keep the event, they are not given up as what was asked for may be."""
    (tmp_path / "state").touch()
    events.folder = tmp_path / "state"  # a file, where a folder should be
    app = events.app()
    app.function(name="f")(Invoked(failing()))
    app.event_invoke_config("f", MaximumRetryAttempts=0)
    async with app:
        await app.enqueue("f", 1)
        await anyio.sleep(600)
        assert len(events.queue) == 1
        (tmp_path / "state").unlink()
        await events.queue.wait_empty()
    assert len(await dead_letters(tmp_path / "state")) == 1
