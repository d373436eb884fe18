"""InvokeWithResponseStream of functions that stream: what the caller sees, and when."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from anyio import create_task_group
from botocore.eventstream import EventStreamBuffer

from streamfn.control.messages import HttpResponse
from streamfn.control.plane import Plane
from tests.control.calling import Calls, request_of
from tests.control.functions import created
from tests.gates import gate
from tests.runtimes.process.streaming import INDEX
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Streaming:
    """An answer that is read event by event, as SDKs do."""

    def __init__(self, response: HttpResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers}
        self._body = cast("AsyncGenerator[bytes, None]", response.body)
        self._buffer = EventStreamBuffer()

    async def next(self) -> tuple[str, bytes]:
        """One event's kind and payload."""
        while True:
            for message in self._buffer:
                return message.headers[":event-type"], message.payload
            self._buffer.add_data(await anext(self._body))

    async def rest(self) -> tuple[bytes, dict[str, Any]]:
        """All that comes: the payload, and how it ended."""
        payload = b""
        while (event := await self.next())[0] == "PayloadChunk":
            payload += event[1]
        assert event[0] == "InvokeComplete"
        with pytest.raises(StopAsyncIteration):
            await anext(self._body)
        return payload, json.loads(event[1])

    async def close(self) -> None:
        """As the server does when its client has gone."""
        await self._body.aclose()


async def invoked(call: Calls, event: Any, **params: Any) -> Streaming:
    params = {"FunctionName": "streams", "Payload": json.dumps(event).encode(), **params}
    return Streaming(await call.api(request_of("InvokeWithResponseStream", params)))


async def test_the_first_piece_is_there_before_the_function_has_ended(call: Calls) -> None:
    await created(call, "streams", INDEX, Publish=True)
    async with gate() as door:
        event = {"steps": ["one,", {"wait": door.port}, "two"], "type": "text/csv"}
        answer = await invoked(call, event, LogType="Tail", Qualifier="1")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
        assert answer.headers["x-amz-executed-version"] == "1"
        assert await answer.next() == ("PayloadChunk", b"one,")
        await door.reached.wait()
        door.open()
        payload, complete = await answer.rest()
    assert payload == b"two"
    log = b64decode(complete.pop("LogResult")).decode()
    assert f"START RequestId: {answer.headers['x-amzn-requestid']} Version: 1" in log
    assert "REPORT" in log
    assert complete == {}


async def test_errors_in_the_middle_end_the_stream(call: Calls) -> None:
    await created(call, "streams", INDEX, Timeout=2)
    error = {"errorType": "Worse", "errorMessage": "half of it"}
    for event, code, details in [
        ({"steps": ["half"], "error": error}, "Worse", "half of it"),
        ({"steps": ["half", {"exit": 3}]}, "Runtime.TruncatedResponse", "exit status 3"),
        ({"steps": ["half", {"hang": 1}]}, "Sandbox.Timedout", "Task timed out after 2.00 seconds"),
    ]:
        payload, complete = await (await invoked(call, event)).rest()
        assert (payload, complete["ErrorCode"]) == (b"half", code)
        assert details in json.loads(complete["ErrorDetails"])["errorMessage"]
        assert "LogResult" not in complete
    payload, complete = await (await invoked(call, {"steps": ["all"]})).rest()
    assert (payload, complete) == (b"all", {})


async def test_more_than_a_buffered_answer_may_have(call: Calls) -> None:
    await created(call, "streams", INDEX, Timeout=60, MemorySize=1769)
    event = {"steps": [{"fill": 8 * 1024 * 1024}]}
    payload, complete = await (await invoked(call, event)).rest()
    assert (len(payload), complete) == (8 * 1024 * 1024, {})
    whole = await call("Invoke", FunctionName="streams", Payload=json.dumps(event).encode())
    assert json.loads(whole["Payload"])["errorType"] == "Function.ResponseSizeTooLarge"
    event = {"steps": ["one,", "two"], "type": "text/csv"}
    whole = await call("Invoke", FunctionName="streams", Payload=json.dumps(event).encode())
    assert whole["Payload"] == b"one,two"


async def test_a_function_goes_on_when_its_caller_has_gone(call: Calls, plane: Plane) -> None:
    await created(call, "streams", INDEX, Timeout=60)
    async with gate() as door, gate() as end:
        steps = ["one", {"wait": door.port}, {"fill": 4 * 1024 * 1024}, {"wait": end.port}]
        answer = await invoked(call, {"steps": steps})
        assert await answer.next() == ("PayloadChunk", b"one")
        await door.reached.wait()
        await answer.close()
        door.open()
        await end.reached.wait()
        assert plane.app.deployed.shown("streams")["versions"][0]["in_use"] == 1
        end.open()
    await until(lambda: not plane.app.deployed.shown("streams")["versions"][0]["in_use"])
    payload, complete = await (await invoked(call, {"steps": ["again"]})).rest()
    assert (payload, complete) == (b"again", {})
    assert plane.app.deployed.shown("streams")["versions"][0]["idle"] == 1


async def test_a_caller_that_goes_before_the_first_piece(call: Calls) -> None:
    await created(call, "streams", INDEX, Timeout=60)
    async with gate() as door, gate() as end:
        steps = [{"wait": door.port}, "one", {"wait": end.port}]
        async with create_task_group() as tasks:
            answer = await invoked(call, {"steps": steps})
            await door.reached.wait()
            tasks.start_soon(answer.next)
            await answer_is_read(answer)
            tasks.cancel_scope.cancel()
        door.open()
        await end.reached.wait()


async def answer_is_read(answer: Streaming) -> None:
    """Somebody waits for its first piece."""
    await until(lambda: answer._body.ag_running)


async def test_a_place_is_taken_while_it_streams(call: Calls) -> None:
    await created(call, "streams", INDEX, Timeout=60)
    await call("PutFunctionConcurrency", FunctionName="streams", ReservedConcurrentExecutions=1)
    async with gate() as door:
        answer = await invoked(call, {"steps": ["one", {"wait": door.port}]})
        await door.reached.wait()
        refused = await call.api(
            request_of("InvokeWithResponseStream", {"FunctionName": "streams", "Payload": b"{}"})
        )
        assert refused.status == 429
        door.open()
        assert (await answer.rest())[0] == b"one"
