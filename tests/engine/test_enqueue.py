"""Enqueueing: what is taken and what is not, versions and aliases, and chains that would go on for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import from_thread

from streamfn import ConfigurationError
from streamfn.core.lineage import TRACE_HEADER, Trace
from streamfn.errors import InvalidRequestContent, PayloadTooLarge, StreamfnError
from streamfn.ports import Event
from tests.engine.asynchronous import ARN, Events, Invoked, failing

MEGABYTE = 1024 * 1024

pytestmark = pytest.mark.anyio


@pytest.fixture
def events(tmp_path: Path) -> Events:
    return Events(tmp_path)


# ------------------------------------------------------------------------------------------- enqueue


@pytest.mark.parametrize("payload", [b"", b"{", b"nan", b"\xff", object(), {1: 2}, float, 2**70])
async def test_what_is_no_json_is_refused(events: Events, payload: Any) -> None:
    async with events.declare(Invoked()) as app:
        with pytest.raises(InvalidRequestContent, match="Could not parse request body into json"):
            await app.enqueue("f", payload)
        assert len(events.queue) == 0


@pytest.mark.parametrize("as_bytes", [True, False])
async def test_a_payload_has_a_megabyte_at_most(events: Events, as_bytes: bool) -> None:
    f = Invoked()
    fits, exceeds = "x" * (MEGABYTE - 2), "x" * (MEGABYTE - 1)
    async with events.declare(f) as app:
        with pytest.raises(
            PayloadTooLarge, match="1,048,577 bytes; an asynchronous invocation takes 1,048,576"
        ):
            await app.enqueue("f", f'"{exceeds}"'.encode() if as_bytes else exceeds)
        await app.enqueue("f", f'"{fits}"'.encode() if as_bytes else fits)
        await events.queue.wait_empty()
    assert f.events == [fits]


async def test_payloads_are_any_json(events: Events) -> None:
    payloads: list[Any] = [None, True, 0, "", [], {}, {"deep": [[[{}]]]}, 1e300, "\u2028 \0 🛫"]
    f = Invoked()
    async with events.declare(f) as app:
        for payload in payloads:
            await app.enqueue("f", payload)
        await app.enqueue("f", bytearray(b' {"as": "it is"} '))
        await events.queue.wait_empty()
    assert sorted(map(repr, f.events)) == sorted(map(repr, [*payloads, {"as": "it is"}]))


async def test_who_is_unknown_is_not_invoked(events: Events) -> None:
    f = Invoked()
    async with events.declare(f) as app:
        for name, qualifier in (("g", None), ("f", "nope"), ("f:nope", None)):
            with pytest.raises(ConfigurationError, match="Function not found"):
                await app.enqueue(name, {}, qualifier=qualifier)
        with pytest.raises(ConfigurationError, match="is not a function of this app"):
            await app.enqueue(print, {})
        await app.enqueue(f, {}, qualifier="$LATEST")
        await app.enqueue("f:$LATEST", {})
        await events.queue.wait_empty()
    assert len(f.at) == 2


async def test_events_are_taken_while_the_app_runs(events: Events) -> None:
    app = events.declare(Invoked())
    with pytest.raises(StreamfnError, match="the app is not running"):
        await app.enqueue("f", {})
    async with app:
        await app.enqueue("f", {})
        await events.queue.wait_empty()
    with pytest.raises(StreamfnError, match="the app is not running"):
        await app.enqueue("f", {})


async def test_what_cannot_be_stored_is_not_accepted(events: Events) -> None:
    f = Invoked()
    async with events.declare(f) as app:
        events.queue.faults.fail_next("put", 1, OSError(28, "the disk is full"))
        with pytest.raises(OSError, match="the disk is full"):
            await app.enqueue("f", 1)
        await app.enqueue("f", 2)
        await events.queue.wait_empty()
    assert f.events == [2]


async def test_a_function_without_any_options_has_those_of_lambda(events: Events) -> None:
    f = Invoked(failing())
    app = events.app(dead_letters=events.dead)
    app.function(name="f")(f)
    async with app:
        await app.enqueue("f", 7)
        await events.queue.wait_empty()
    assert f.pauses == [60.0, 120.0]
    (letter,) = events.dead.bodies()
    assert letter["requestContext"]["condition"] == "RetriesExhausted"
    assert letter["requestPayload"] == 7


async def test_what_waits_from_before_is_delivered_though_nobody_asks(events: Events) -> None:
    events.queue.add("f", Event("before", b"1"))
    f = Invoked()
    app = events.app()
    app.function(name="f")(f)
    async with app:
        await events.queue.wait_empty()
    assert f.ids == ["before"]


async def test_two_apps_share_a_queue(events: Events) -> None:
    one, two = Invoked(lambda _: anyio.sleep(1)), Invoked(lambda _: anyio.sleep(1))
    limits = {"reserved_concurrency": 2}
    async with events.declare(one, **limits) as app, events.declare(two, **limits):
        for number in range(40):
            await app.enqueue("f", number)
        await events.queue.wait_empty()
    assert sorted(one.events + two.events) == list(range(40))
    assert len(one.at) == len(two.at) == 20


# ----------------------------------------------------------------------------------------- qualifiers


async def test_an_alias_has_options_of_its_own(events: Events) -> None:
    f = Invoked(failing())
    app = events.declare(f, MaximumRetryAttempts=2)
    app.event_invoke_config(
        "f", Qualifier="live", MaximumRetryAttempts=1, RetryDelays=[5], OnFailure=events.successes
    )
    async with app:
        request_id = await app.enqueue(f, {"a": 1}, qualifier="live")
        await app.enqueue("f:live", {"a": 2})
        await events.queue.wait_empty()
    assert events.failures.messages == []
    record, _ = events.successes.bodies()
    assert record["requestContext"] == {
        "requestId": request_id,
        "functionArn": f"{ARN}:live",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 2,
    }
    assert record["responseContext"]["executedVersion"] == "$LATEST"
    assert {context.invoked_function_arn for context in f.contexts} == {f"{ARN}:live"}
    assert {context.function_version for context in f.contexts} == {"$LATEST"}


async def test_the_dead_letter_queue_is_the_functions_for_all_its_aliases(events: Events) -> None:
    app = events.declare(Invoked(failing()), OnFailure="", DeadLetterQueue=events.dead)
    app.event_invoke_config(
        "f",
        Qualifier="live",
        MaximumRetryAttempts=0,
        DeadLetterQueue=events.successes,
        OnFailure=events.failures,
    )
    async with app:
        request_id = await app.enqueue("f", b' {"a":  1}', qualifier="live")
        await events.queue.wait_empty()
    (message,) = events.dead.messages
    assert message.body == b' {"a":  1}'
    headers = dict(message.headers)
    assert Trace.parse(headers.pop(TRACE_HEADER).decode()) is not None
    assert headers == {"RequestID": request_id.encode(), "ErrorCode": b"200", "ErrorMessage": b"no 1"}
    assert events.successes.messages == []
    assert events.record["requestContext"]["functionArn"] == f"{ARN}:live"


# --------------------------------------------------------------------------------------------- loops


async def test_a_function_that_invokes_itself_is_stopped(events: Events) -> None:
    async def again(event: Any) -> None:
        await app.enqueue("f", event + 1)

    f = Invoked(again)
    app = events.declare(f, DeadLetterQueue=events.dead)
    async with app:
        await app.enqueue("f", 1)
        await events.queue.wait_empty()
        assert app.counters.of("f:$LATEST")["RecursiveInvocationsDropped"] == 1
    assert f.events == list(range(1, 17))
    record = events.record
    assert record["requestPayload"] == 17
    assert record["requestContext"]["condition"] == "RecursiveInvocationException"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert record["responsePayload"]["errorType"] == "RecursiveInvocationException"
    assert dict(events.dead.messages[0].headers)["ErrorCode"] == b"400"


async def test_functions_that_invoke_each_other_are_stopped(events: Events) -> None:
    async def to(name: str, event: Any) -> None:
        await app.enqueue(name, event + 1)

    f, g = Invoked(lambda event: to("g", event)), Invoked(lambda event: to("f", event))
    app = events.declare(f)
    app.function(name="g")(g)
    async with app:
        await app.enqueue("f", 1)
        await events.queue.wait_empty()
    assert (len(f.at), len(g.at)) == (16, 16)
    assert events.record["requestContext"]["condition"] == "RecursiveInvocationException"


async def test_a_chain_goes_on_from_a_thread(events: Events) -> None:
    calls: list[int] = []

    def again(event: int, context: Any) -> None:
        calls.append(event)
        from_thread.run(app.enqueue, "f", event + 1)

    app = events.declare(again)
    async with app:
        await app.enqueue("f", 1)
        await events.queue.wait_empty()
    assert calls == list(range(1, 17))
    assert events.record["requestContext"]["condition"] == "RecursiveInvocationException"


async def test_retries_do_not_lengthen_a_chain(events: Events) -> None:
    async def again(event: Any) -> None:
        if len(f.at) % 2:
            raise ValueError("once")
        await app.enqueue("f", event + 1)

    f = Invoked(again)
    app = events.declare(f)
    async with app:
        await app.enqueue("f", 1)
        await events.queue.wait_empty()
    assert f.events == [number for number in range(1, 17) for _ in range(2)]


async def test_who_is_no_function_begins_no_chain(events: Events) -> None:
    f = Invoked()
    async with events.declare(f, reserved_concurrency=1) as app:
        for number in range(40):
            await app.enqueue("f", number)
        assert {tuple(event.headers) for event in events.queue.waiting("f")} == {()}
        await events.queue.wait_empty()
    assert len(f.at) == 40


async def test_a_chain_counts_each_function(events: Events) -> None:
    async def once(event: Any) -> None:
        await app.enqueue("g", event)

    app = events.declare(Invoked(once))
    app.function(name="g")(Invoked())
    app.event_invoke_config("g", OnSuccess=events.successes)
    async with app:
        await app.enqueue("f", 1)
        await events.queue.wait_empty()
    ((name, header),) = events.successes.messages[0].headers
    trace = Trace.parse(header.decode())
    assert name == TRACE_HEADER
    assert trace is not None
    assert [trace.count(arn) for arn in (ARN, ARN[:-1] + "g", f"{ARN}:live", ARN[:-1] + "h")] == [1, 1, 1, 0]
