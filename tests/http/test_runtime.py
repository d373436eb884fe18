"""HttpRuntime: what each answer means, and servers that misbehave."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from streamfn.core.outcomes import Cause, Failed, Outcome, Succeeded, Throttled
from streamfn.errors import ConfigurationError, MissingExtra
from streamfn.ports import Answer, Deployment, Request
from streamfn_http import HttpRuntime
from tests.http.receiver import Got, Says, answer, nobody, receiving

pytestmark = pytest.mark.anyio

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
REQUEST = Request("8f5e-1", b'{"a": 1}', ARN, "Root=1-5759e988-bd862e3fe1be46a994272793", '{"custom": {}}')
EMULATOR = "/2015-03-31/functions/function/invocations"
INVOKE = "/2015-03-31/functions/mine/invocations"
JSON = "Content-Type: application/json"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def asked(
    says: Says, path: str = "/hook", request: Request = REQUEST, **options: Any
) -> tuple[Answer, list[Got]]:
    """What comes of one invocation, and what the server got."""
    async with receiving(says) as receiver:
        runtime = HttpRuntime(receiver.url.removesuffix("/hook") + path, **options)
        try:
            async with runtime.environment() as environment:
                return await environment.invoke(request), receiver.got
        finally:
            await runtime.close()


def failed(answered: Answer) -> Failed:
    assert isinstance(answered.outcome, Failed)
    assert json.loads(answered.payload) == answered.outcome.document
    return answered.outcome


@pytest.mark.parametrize(
    ("says", "payload"),
    [
        (answer(200, b'{"b": 2}', JSON), b'{"b": 2}'),
        (answer(201, b" [1] "), b" [1] "),
        (answer(204), b"null"),
        (answer(200), b"null"),
        (answer(202, b"OK"), b'"OK"'),
        (answer(200, b"\xff"), b'"\\ufffd"'),
    ],
)
async def test_what_is_answered_with_2xx_is_a_result(says: bytes, payload: bytes) -> None:
    answered, _ = await asked(says)
    assert answered == Answer(Succeeded(), payload)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 408, 409, 410, 413, 500, 502, 503, 504, 599])
async def test_other_statuses_are_failures(status: int) -> None:
    outcome = failed((await asked(answer(status, b"some words")))[0])
    assert outcome.type == f"Http.Status{status}"
    assert str(status) in outcome.message
    assert ("some words" in outcome.message) is (status != 301)


@pytest.mark.parametrize(
    ("says", "outcome"),
    [
        (answer(429), Throttled()),
        (answer(429, b"", "Retry-After: 7"), Throttled(7.0)),
        (answer(503, b"", "Retry-After: 2"), Throttled(2.0)),
        (answer(429, b'{"Reason": "CallerRateLimitExceeded"}'), Throttled(0.0, "CallerRateLimitExceeded")),
    ],
)
async def test_what_did_not_run_counts_for_nothing(says: bytes, outcome: Outcome) -> None:
    assert (await asked(says))[0] == Answer(outcome)


async def test_an_error_json_is_the_function_s() -> None:
    document = {"errorType": "KeyError", "errorMessage": "'a'", "stackTrace": ["  File x"], "more": 1}
    answered, _ = await asked(answer(500, json.dumps(document).encode()))
    assert answered.outcome == Failed("KeyError", "'a'", ("  File x",), document=document)
    # At any address a result may look like one.
    answered, _ = await asked(answer(200, json.dumps(document).encode()))
    assert answered.outcome == Succeeded()


async def test_a_request_is_told_all_that_lambda_tells() -> None:
    options: dict[str, Any] = {"timeout": 2.5, "query": "a=b", "authorization": "Bearer t"}
    _, (got,) = await asked(answer(200), clock=lambda: 1000.0, **options)
    assert got.line == "POST /hook?a=b HTTP/1.1"
    assert got.body == REQUEST.payload
    told = {name.lower(): value for name, value in got.headers}
    assert told["content-type"] == "application/json"
    assert told["lambda-runtime-aws-request-id"] == told["x-amzn-requestid"] == "8f5e-1"
    assert told["lambda-runtime-deadline-ms"] == "1002500"
    assert told["lambda-runtime-invoked-function-arn"] == ARN
    assert told["x-amzn-trace-id"] == REQUEST.trace
    assert told["x-amz-client-context"] == "eyJjdXN0b20iOiB7fX0="
    assert told["authorization"] == "Bearer t"
    assert "x-amz-log-type" not in told


async def test_nothing_is_told_that_is_not_there() -> None:
    _, (got,) = await asked(answer(200), request=Request("1", b"{}", ARN))
    assert not {name.lower() for name, _ in got.headers} & {"x-amzn-trace-id", "x-amz-client-context"}


async def test_an_address_of_lambda_is_asked_as_lambda() -> None:
    document = {"errorType": "E", "errorMessage": "m", "own": 1}
    body = json.dumps(document).encode()
    says = answer(200, body, "X-Amz-Function-Error: Unhandled", "X-Amz-Log-Result: bG9n")
    answered, (got,) = await asked(says, INVOKE)
    assert (got.one("x-amz-log-type"), got.one("x-amz-invocation-type")) == ("Tail", "RequestResponse")
    assert answered == Answer(Failed("E", "m", document=document), body, b"log")
    assert (await asked(answer(200, body), INVOKE))[0].outcome == Succeeded()
    assert failed((await asked(answer(200, b"no json"), INVOKE))[0]).cause is Cause.RUNTIME
    says = answer(200, b"what", "X-Amz-Function-Error: Unhandled", "X-Amz-Log-Result: ?")
    assert failed((await asked(says, INVOKE))[0]).type == "Unhandled"


async def test_the_emulator_says_it_in_its_own_way() -> None:
    document = {"errorType": "E", "errorMessage": "m", "trace": ["x"]}
    body = json.dumps(document).encode()
    assert (await asked(answer(200, body), EMULATOR))[0].outcome == Failed(
        "E", "m", ("x",), document=document
    )
    own = json.dumps({**document, "orders": []}).encode()
    assert (await asked(answer(200, own), EMULATOR))[0].outcome == Succeeded()
    outcome = failed((await asked(answer(200, b"Task timed out after 3.00 seconds"), EMULATOR))[0])
    assert (outcome.type, outcome.cause) == ("Sandbox.Timedout", Cause.TIMEOUT)
    assert "Task timed out after 3.00 seconds" in outcome.message
    assert (await asked(answer(400), EMULATOR))[0].outcome == Throttled()
    crash = b'{"errorType":"Runtime.ExitError","errorMessage":"exit status 3"}'
    assert failed((await asked(answer(502, crash), EMULATOR))[0]).cause is Cause.CRASH


async def hangs_up(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def breaks_off(got: Got, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(200, b"123456789")[:-4])
    writer.close()


@pytest.mark.parametrize("says", [hangs_up, breaks_off, b"SSH-2.0\r\n\r\n"])
async def test_a_connection_that_breaks_is_a_crash(says: Says) -> None:
    """The function may have run, so that it counts; and it is not sent again here."""
    answered, got = await asked(says)
    outcome = failed(answered)
    assert (outcome.type, outcome.cause) == ("Http.ConnectionLost", Cause.CRASH)
    assert len(got) == 1


async def silence(got: Got, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("says", [silence, answer(200, b"123456789")[:-4]])
async def test_time_runs_out(says: Says) -> None:
    outcome = failed((await asked(says, timeout=0.2))[0])
    assert (outcome.type, outcome.cause) == ("Sandbox.Timedout", Cause.TIMEOUT)
    assert outcome.message == "RequestId: 8f5e-1 Error: Task timed out after 0.20 seconds"


async def test_nobody_there_raises() -> None:
    runtime = HttpRuntime(nobody())
    with pytest.raises(OSError, match="127.0.0.1"):
        async with runtime.environment():
            raise AssertionError("there is nobody")
    await runtime.close()


async def test_an_event_above_6_mb_is_not_sent() -> None:
    answered, got = await asked(answer(200), request=REQUEST._replace(payload=b" " * (6 * 2**20 + 1)))
    assert (failed(answered).type, got) == ("RequestTooLargeException", [])


async def test_an_answer_above_6_mb_is_not_read() -> None:
    says = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6ffff0\r\n" + b"1" * 0x6FFFF0
    outcome = failed((await asked(says))[0])
    assert (outcome.type, outcome.cause) == ("Function.ResponseSizeTooLarge", Cause.RUNTIME)


async def test_environments_share_connections() -> None:
    async with receiving() as receiver:
        runtime = HttpRuntime(receiver.url)
        async with runtime.environment() as one, runtime.environment() as other:
            for environment in (one, other, one, other):
                await environment.invoke(REQUEST)
        assert {got.connection for got in receiver.got} == {receiver.got[0].connection}
        await runtime.close()


async def test_an_emulator_is_one_environment() -> None:
    async with receiving(answer(200), answer(200)) as receiver:
        runtime = HttpRuntime(receiver.url.removesuffix("/hook") + EMULATOR)
        async with runtime.environment() as environment:
            assert (await environment.invoke(REQUEST)).outcome == Succeeded()
            with pytest.raises(OSError, match="in use"):
                async with runtime.environment():
                    raise AssertionError("it is one")
        async with runtime.environment() as environment:
            assert (await environment.invoke(REQUEST)).outcome == Succeeded()
        await runtime.close()


async def test_what_is_secret_is_not_shown() -> None:
    says = answer(400, b"key=topsecret99 Bearer hunter2-hunter2")
    answered, _ = await asked(says, query="key=topsecret99", authorization="Bearer hunter2-hunter2")
    assert b"topsecret99" not in answered.payload
    assert b"hunter2" not in answered.payload


def test_a_uri_has_options_and_the_deployment_the_rest() -> None:
    deployment = Deployment("f", "http://h/p", timeout=20, maximum_concurrency=5)
    uri = "https://host:8443/path?capacity=3&query=key%3Dx"
    runtime = HttpRuntime.from_uri(uri, {"deployment": deployment})
    assert runtime.name == "https://host:8443/path"
    assert "key" not in repr(runtime)
    for uri in (
        "http://host/?timeout=0",
        "http://host/?capacity=0",
        "http://host/?capacity=many",
        "http://host/?secret=x",
        "http://u:p@host/",
        "http://host/#x",
        "http:///path",
        "http://host/?ca_bundle=x",
        "http://host/?timeout=1&timeout=2",
    ):
        with pytest.raises(ConfigurationError) as error:
            HttpRuntime.from_uri(uri, {})
        assert not isinstance(error.value, MissingExtra)
        assert "u:p" not in str(error.value)
