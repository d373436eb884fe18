"""Invoke and its relatives, through the API."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import anyio
import pytest
from botocore.exceptions import ClientError

from streamfn import TooManyRequests
from streamfn.config import FunctionConfig
from streamfn.control.plane import Plane
from streamfn.ports.resources import Resource
from tests.control.calling import Calls
from tests.control.functions import created
from tests.waiting import until

pytestmark = pytest.mark.anyio

ARN = "arn:aws:lambda:us-east-1:000000000000:function"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def refused(call: Calls, operation: str = "Invoke", **params: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        await call(operation, **params)
    answer: Any = caught.value.response
    error = answer["Error"]
    return error["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], error["Message"]


async def test_a_function_answers(call: Calls) -> None:
    await created(call)
    answer = await call("Invoke", FunctionName="echo", Payload=b'{"a": 1}')
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert json.loads(answer["Payload"]) == {"event": {"a": 1}, "version": "$LATEST", "custom": None}
    assert not {"FunctionError", "LogResult"} & answer.keys()
    assert answer["ResponseMetadata"]["RequestId"]
    empty = await call("Invoke", FunctionName=f"{ARN}:echo:$LATEST")
    assert json.loads(empty["Payload"])["event"] == {}


async def test_an_error_is_an_answer_with_the_log(call: Calls) -> None:
    await created(call)
    answer = await call("Invoke", FunctionName="echo", Payload=b'"fail"', LogType="Tail")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    said = json.loads(answer["Payload"])
    assert (said["errorType"], said["errorMessage"]) == ("ValueError", "told to")
    log = b64decode(answer["LogResult"]).decode()
    assert log.startswith(f"START RequestId: {answer['ResponseMetadata']['RequestId']} Version: $LATEST")
    assert "it says fail" in log


async def test_what_the_caller_sends_along_reaches_the_function(call: Calls) -> None:
    await created(call)
    context = b64encode(b'{"custom": {"who": "me"}}').decode()
    answer = await call("Invoke", FunctionName="echo", Payload=b"1", ClientContext=context)
    assert json.loads(answer["Payload"])["custom"] == {"who": "me"}
    for bad in ("?", b64encode(b"{").decode()):
        code, status, _ = await refused(call, FunctionName="echo", Payload=b"1", ClientContext=bad)
        assert (code, status) == ("InvalidRequestContentException", 400)
    code, _, message = await refused(call, FunctionName="echo", ClientContext="a" * 3584)
    assert (code, "3583" in message) == ("InvalidParameterValueException", True)


async def test_versions_and_aliases_are_invoked(call: Calls) -> None:
    await created(call)
    await call("PublishVersion", FunctionName="echo")
    await call("CreateAlias", FunctionName="echo", Name="prod", FunctionVersion="1")
    answer = await call("Invoke", FunctionName="echo:prod", Payload=b"1")
    assert answer["ExecutedVersion"] == json.loads(answer["Payload"])["version"] == "1"
    answer = await call("Invoke", FunctionName="echo", Qualifier="1", Payload=b"1")
    assert answer["ExecutedVersion"] == "1"
    for qualifier in ("2", "other"):
        for kind in ("RequestResponse", "Event", "DryRun"):
            assert await refused(
                call, FunctionName="echo", Qualifier=qualifier, InvocationType=kind, Payload=b"1"
            ) == ("ResourceNotFoundException", 404, f"Function not found: {ARN}:echo:{qualifier}")


async def test_what_cannot_be_invoked_is_refused_in_aws_words(call: Calls, plane: Plane) -> None:
    @plane.app.function
    def mine(event: Any, context: Any) -> str:
        return "mine"

    gone = ("ResourceNotFoundException", 404, f"Function not found: {ARN}:none:$LATEST")
    for operation in ("Invoke", "InvokeWithResponseStream"):
        assert await refused(call, operation, FunctionName="none", Payload=b"1") == gone
    assert await refused(call, "InvokeAsync", FunctionName="none", InvokeArgs=b"1") == gone
    code, status, message = await refused(call, FunctionName="mine", Payload=b"{")
    assert (code, status) == ("InvalidRequestContentException", 400)
    assert message.startswith("Could not parse request body into json: ")
    for kind, limit in (("RequestResponse", 6_291_456), ("Event", 1_048_576)):
        fits = b'"%s"' % (b"x" * (limit - 2))
        accepted = await call("Invoke", FunctionName="mine", InvocationType=kind, Payload=fits)
        assert accepted["StatusCode"] < 300
        said = {
            "RequestResponse": f"Request must be smaller than {limit} bytes for the InvokeFunction operation",
            "Event": f"{limit + 1} byte payload is too large for the Event invocation type "
            f"(limit {limit} bytes)",
        }
        assert await refused(call, FunctionName="mine", InvocationType=kind, Payload=fits + b" ") == (
            "RequestTooLargeException",
            413,
            said[kind],
        )
    code, _, message = await refused(call, FunctionName="mine", TenantId="t")
    assert (code, message) == (
        "InvalidParameterValueException",
        "TenantId is not supported by streamfn.",
    )


async def test_a_function_that_is_not_there_yet_or_never_will_be_says_why(call: Calls, plane: Plane) -> None:
    async def is_in(state: str, code: str = "Creating") -> None:
        document = {"State": state, "StateReason": "because", "StateReasonCode": code}
        await plane.resources.write([Resource("function", "f", {"FunctionName": "f", **document})])

    await is_in("Pending")
    code, status, message = await refused(call, FunctionName="f")
    assert (code, status) == ("ResourceConflictException", 409)
    assert message.endswith("The function is currently in the following state: Pending")
    await is_in("Failed", "InvalidRuntime")
    assert await refused(call, FunctionName="f") == ("InvalidRuntimeException", 502, "because")
    await is_in("Failed", "InternalError")
    assert await refused(call, FunctionName="f") == ("ResourceNotReadyException", 502, "because")
    await is_in("Deleting")
    assert (await refused(call, FunctionName="f"))[0] == "ResourceNotFoundException"


async def test_who_finds_no_place_is_told_so(call: Calls) -> None:
    await created(call)
    await call("PutFunctionConcurrency", FunctionName="echo", ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError) as caught:
        await call("Invoke", FunctionName="echo", Payload=b"1")
    answer: Any = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert answer["Error"]["Code"] == "TooManyRequestsException"
    assert answer["Error"]["Message"] == "Rate Exceeded."
    assert answer["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"


async def test_why_nothing_ran_is_said(call: Calls, plane: Plane) -> None:
    @plane.app.function
    def busy(event: Any, context: Any) -> None:
        raise TooManyRequests(retry_after=3)

    with pytest.raises(ClientError) as caught:
        await call("Invoke", FunctionName="busy", Payload=b"1")
    answer: Any = caught.value.response
    assert (answer["Error"]["Code"], answer.get("Reason")) == ("TooManyRequestsException", None)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "3"

    gone = FunctionConfig.load({"code_uri": "docker:image", "timeout": 5})
    await plane.app.put_function("gone", gone)
    code, status, message = await refused(call, FunctionName="gone", Payload=b"1")
    assert (code, status) == ("ResourceNotReadyException", 502)
    assert message.startswith("no environment could be made: ")


async def test_a_question_runs_nothing(call: Calls, plane: Plane) -> None:
    ran = []
    plane.app.function(name="f")(lambda event, context: ran.append(event))
    for operation in ("Invoke", "InvokeWithResponseStream"):
        answer = await call(operation, FunctionName="f", InvocationType="DryRun", Payload=b"1")
        assert answer["StatusCode"] == 204
        for bad, code in (
            ({"Payload": b"1" * 6_291_457}, "RequestTooLargeException"),
            ({"ClientContext": "?"}, "InvalidRequestContentException"),
        ):
            asked = {"FunctionName": "f", "InvocationType": "DryRun", "Payload": b"1", **bad}
            assert (await refused(call, operation, **asked))[0] == code
    assert not ran


@pytest.mark.parametrize("operation", ["Invoke", "InvokeAsync"])
async def test_an_event_is_durable_and_delivered_later(call: Calls, plane: Plane, operation: str) -> None:
    came = anyio.Event()
    events = []

    @plane.app.function
    async def f(event: Any, context: Any) -> None:
        events.append((event, context.aws_request_id))
        came.set()

    if operation == "Invoke":
        answer = await call("Invoke", FunctionName="f", InvocationType="Event", Payload=b'{"n": 1}')
        assert answer["StatusCode"] == 202
        assert answer["Payload"] == b""
    else:
        answer = await call("InvokeAsync", FunctionName="f", InvokeArgs=b'{"n": 1}')
        assert answer["Status"] == 202
    await came.wait()
    assert events == [({"n": 1}, answer["ResponseMetadata"]["RequestId"])]


async def test_an_answer_comes_as_a_stream(call: Calls) -> None:
    await created(call)
    long = "x" * 200_000
    answer = await call(
        "InvokeWithResponseStream", FunctionName="echo", Payload=json.dumps(long).encode(), LogType="Tail"
    )
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    *chunks, end = answer["EventStream"]
    assert len(chunks) > 1
    whole = b"".join(chunk["PayloadChunk"]["Payload"] for chunk in chunks)
    assert json.loads(whole)["event"] == long
    assert b"END RequestId" in b64decode(end["InvokeComplete"]["LogResult"])
    assert "ErrorCode" not in end["InvokeComplete"]

    answer = await call("InvokeWithResponseStream", FunctionName="echo", Payload=b'"fail"')
    complete = answer["EventStream"][-1]["InvokeComplete"]
    assert complete["ErrorCode"] == "Unhandled"
    assert json.loads(complete["ErrorDetails"])["errorType"] == "ValueError"


async def test_a_function_that_is_deleted_is_not_found(call: Calls, plane: Plane) -> None:
    await created(call)
    await call("DeleteFunction", FunctionName="echo")
    for kind in ("RequestResponse", "Event"):
        code, *_ = await refused(call, FunctionName="echo", InvocationType=kind, Payload=b"1")
        assert code == "ResourceNotFoundException"
    await until(lambda: "echo" not in plane.app.functions)
