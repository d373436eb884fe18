"""From a request to an input, and from an output to an answer: operations here only take notes."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from streamfn.control.api import LambdaApi
from streamfn.control.errors import ApiError
from streamfn.control.messages import HttpRequest
from streamfn.control.plane import Identity
from streamfn.control.service import document
from streamfn.core.admission import InvalidConcurrency
from streamfn.core.versions import PreconditionFailed
from streamfn.errors import (
    ConfigurationError,
    InvalidRequestContent,
    MissingExtra,
    PayloadTooLarge,
    TooManyRequests,
)
from tests.control.calling import Calls, request_of
from tests.control.noting import Notes

pytestmark = pytest.mark.anyio

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
UUID = "4f1d3b0a-5a1e-4a52-9d0c-0b1f6a2c7d11"
MAPPINGS = "/2015-03-31/event-source-mappings"


async def refused(
    notes: Notes, body: Any, path: str = MAPPINGS, method: str = "POST"
) -> tuple[int, str, str]:
    """Status, code and message of the answer to a body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await notes.calls.send(method, path, body=data)
    assert isinstance(response.body, bytes)
    said = json.loads(response.body)
    return response.status, dict(response.headers)["x-amzn-ErrorType"], said.get("message") or said["Message"]


# ---------------------------------------------------------------------------------------------- routing


@pytest.mark.parametrize("path", ["/2015-03-31/functions", "/2015-03-31/functions/"])
async def test_a_slash_at_the_end_says_nothing(notes: Notes, path: str) -> None:
    assert (await notes.calls.send("GET", path)).status == 200
    assert notes.given == [("ListFunctions", {})]


async def test_names_in_paths_hold_slashes_and_colons(notes: Notes) -> None:
    arn = f"arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{UUID}"
    await notes.calls("ListTags", Resource=arn)
    await notes.calls.send("GET", f"/2017-03-31/tags/{arn}")  # as it is, without percent signs
    await notes.calls("GetEventSourceMapping", UUID=f"{UUID[:-3]}/%2")
    assert notes.given == [
        ("ListTags", {"Resource": arn}),
        ("ListTags", {"Resource": arn}),
        ("GetEventSourceMapping", {"UUID": f"{UUID[:-3]}/%2"}),
    ]


async def test_a_query_tells_operations_of_one_path_apart(notes: Notes) -> None:
    layer = "arn:aws:lambda:us-east-1:000000000000:layer:l:1"
    await notes.calls("ListLayers", MaxItems=3)
    await notes.calls("GetLayerVersionByArn", Arn=layer)
    await notes.calls("ListProvisionedConcurrencyConfigs", FunctionName="f")
    await notes.calls("GetProvisionedConcurrencyConfig", FunctionName="f", Qualifier="1")
    assert notes.given == [
        ("ListLayers", {"MaxItems": 3}),
        ("GetLayerVersionByArn", {"Arn": layer}),
        ("ListProvisionedConcurrencyConfigs", {"FunctionName": "f"}),
        ("GetProvisionedConcurrencyConfig", {"FunctionName": "f", "Qualifier": "1"}),
    ]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", ""),
        ("GET", "*"),
        ("GET", "/2015-03-31/functions//"),
        ("GET", "/2015-03-31/functions/f/nothing"),
        ("POST", "/2015-03-31/functions/f/invocations/more"),
        ("PATCH", "/2015-03-31/functions/f"),
        ("get", "/2015-03-31/functions/f"),
    ],
)
async def test_what_is_no_operation_is_not_found(notes: Notes, method: str, path: str) -> None:
    assert (await refused(notes, b"", path, method))[:2] == (404, "UnknownOperationException")
    assert notes.given == []


async def test_an_operation_that_nobody_serves_says_so() -> None:
    with pytest.raises(ClientError, match=r"GetAccountSettings is not supported by streamfn\.") as caught:
        await Calls(LambdaApi({}, Identity()))("GetAccountSettings")
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


# ---------------------------------------------------------------------------------------------- reading


async def test_every_place_of_a_request_is_read(notes: Notes) -> None:
    await notes.calls(
        "Invoke",
        FunctionName=ARN,
        InvocationType="Event",
        LogType="Tail",
        ClientContext="e30=",
        Qualifier="live",
        Payload=b" {} ",
    )
    await notes.calls("ListFunctions", MaxItems=7, FunctionVersion="ALL")
    await notes.calls("UntagResource", Resource=ARN, TagKeys=["a", "b=c d+e"])
    await notes.calls("UpdateFunctionCode", FunctionName="f", ZipFile=b"\0\xff", DryRun=True)
    await notes.calls(
        "CreateEventSourceMapping", FunctionName="f", StartingPositionTimestamp=1.5, Tags={"a": "é"}
    )
    assert [params for _, params in notes.given] == [
        {
            "FunctionName": ARN,
            "InvocationType": "Event",
            "LogType": "Tail",
            "ClientContext": "e30=",
            "Qualifier": "live",
            "Payload": b" {} ",
        },
        {"MaxItems": 7, "FunctionVersion": "ALL"},
        {"Resource": ARN, "TagKeys": ["a", "b=c d+e"]},
        {"FunctionName": "f", "ZipFile": b"\0\xff", "DryRun": True},
        {"FunctionName": "f", "StartingPositionTimestamp": 1.5, "Tags": {"a": "é"}},
    ]


async def test_null_is_as_left_out_and_unknown_members_are_ignored(notes: Notes) -> None:
    body = {"FunctionName": "f", "BatchSize": None, "Nothing": [1], "Tags": {"a": None, "b": "c"}}
    body["ScalingConfig"] = {"MaximumConcurrency": None, "More": {}}
    await notes.calls.send("POST", MAPPINGS, "Unknown=1", body=json.dumps(body).encode())
    assert notes.given[0][1] == {"FunctionName": "f", "Tags": {"b": "c"}, "ScalingConfig": {}}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1700000000.5", 1_700_000_000.5),
        ('"1700000000"', 1_700_000_000.0),
        ('"2023-11-14T22:13:20Z"', 1_700_000_000.0),
        ('"2023-11-14T23:13:20+01:00"', 1_700_000_000.0),
        ('"Tue, 14 Nov 2023 22:13:20 GMT"', 1_700_000_000.0),
    ],
)
async def test_times_are_read_in_all_forms(notes: Notes, written: str, seconds: float) -> None:
    body = f'{{"FunctionName": "f", "StartingPositionTimestamp": {written}}}'
    await notes.calls.send("POST", MAPPINGS, body=body.encode())
    assert notes.given[0][1]["StartingPositionTimestamp"] == seconds


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"FunctionName": 1}, "NUMBER_VALUE can not be converted to a String at 'FunctionName'"),
        ({"BatchSize": "1"}, "STRING_VALUE can not be converted to an Integer at 'BatchSize'"),
        ({"BatchSize": True}, "BOOLEAN_VALUE can not be converted to an Integer at 'BatchSize'"),
        ({"BatchSize": 1.5}, "NUMBER_VALUE can not be converted to an Integer at 'BatchSize'"),
        ({"BatchSize": 1 << 31}, "NUMBER_VALUE can not be converted to an Integer at 'BatchSize'"),
        ({"BatchSize": 10**400}, "NUMBER_VALUE can not be converted to an Integer at 'BatchSize'"),
        ({"Enabled": "true"}, "STRING_VALUE can not be converted to a Boolean at 'Enabled'"),
        ({"Topics": "t"}, "STRING_VALUE can not be converted to a list at 'Topics'"),
        ({"Topics": [None]}, "NULL_VALUE can not be converted to a String at 'Topics.1'"),
        ({"Topics": [["t"]]}, "START_OF_LIST can not be converted to a String at 'Topics.1'"),
        ({"Tags": ["t"]}, "START_OF_LIST can not be converted to a map at 'Tags'"),
        ({"ScalingConfig": 1}, "NUMBER_VALUE can not be converted to a structure at 'ScalingConfig'"),
        (
            {"FilterCriteria": {"Filters": [{"Pattern": {}}]}},
            "START_OF_STRUCTURE can not be converted to a String at 'FilterCriteria.Filters.1.Pattern'",
        ),
        (
            {"StartingPositionTimestamp": "soon"},
            "STRING_VALUE can not be converted to a Date at 'StartingPositionTimestamp'",
        ),
        (
            {"StartingPositionTimestamp": 1e300},
            "NUMBER_VALUE can not be converted to a Date at 'StartingPositionTimestamp'",
        ),
        ({"FunctionName": "\ud800"}, "The text is no Unicode at 'FunctionName'"),
        ({"Tags": {"\ud800": "a"}}, "The text is no Unicode at 'Tags'"),
        ([], "START_OF_LIST can not be converted to a structure"),
    ],
)
async def test_a_wrong_type_is_named_with_its_member(notes: Notes, body: Any, message: str) -> None:
    assert await refused(notes, body) == (400, "SerializationException", message)
    assert notes.given == []


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff", b"nul", b'{"BatchSize": NaN}', b"[" * 100_000, b'{"BatchSize": ' + b"1" * 5000 + b"}"],
)
async def test_what_is_no_json_is_refused(notes: Notes, body: bytes) -> None:
    status, code, message = await refused(notes, body)
    assert (status, code) == (400, "SerializationException")
    assert message.startswith("Could not parse request body into json: ")


async def test_blobs_are_base64_and_nothing_else(notes: Notes) -> None:
    path = "/2015-03-31/functions/f/code"
    for text, said in (
        ("a", "The text is no Base64"),
        ("YQ==\n", "The text is no Base64"),
        ("é", "The text"),
    ):
        status, code, message = await refused(notes, {"ZipFile": text}, path, "PUT")
        assert (status, code) == (400, "SerializationException")
        assert message.startswith(said)
    message = (await refused(notes, {"ZipFile": 1}, path, "PUT"))[2]
    assert message == "NUMBER_VALUE can not be converted to a Blob at 'ZipFile'"


EXECUTIONS = "/2025-12-01/functions/f/durable-executions"


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("", "MaxItems=many", "STRING_VALUE can not be converted to an Integer at 'MaxItems'"),
        ("", "MaxItems=", "STRING_VALUE can not be converted to an Integer at 'MaxItems'"),
        ("", "&".join(["a=1"] * 2000), "The query has too many fields."),
        (EXECUTIONS, "ReverseOrder=no", "STRING_VALUE can not be converted to a Boolean at 'ReverseOrder'"),
        (EXECUTIONS, "StartedAfter=1e300", "STRING_VALUE can not be converted to a Date at 'StartedAfter'"),
    ],
)
async def test_a_wrong_query_is_refused(notes: Notes, path: str, query: str, message: str) -> None:
    response = await notes.calls.send("GET", path or "/2015-03-31/functions", query)
    assert isinstance(response.body, bytes)
    assert (response.status, json.loads(response.body)["message"]) == (400, message)


async def test_what_is_known_of_a_request_is_said_of_no_other(notes: Notes) -> None:
    """Heads of invocations are remembered: whatever order they come in, each is read as if it were alone."""
    asked: list[tuple[str, dict[str, Any]]] = []
    for number in (*range(300), *range(300)):  # more than are remembered
        name, some = f"f{number}", {"Payload": b"%d" % number}
        asked += [
            ("Invoke", {"FunctionName": name, **some}),
            ("Invoke", {"FunctionName": name}),
            ("Invoke", {"FunctionName": name, "InvocationType": "Event", **some}),
            ("Invoke", {"FunctionName": name, "Qualifier": "1", **some}),
            ("InvokeAsync", {"FunctionName": name, "InvokeArgs": b"%d" % number}),
            ("GetFunction", {"FunctionName": name}),
        ]
    for operation, params in asked:
        await notes.calls(operation, **params)
    assert notes.given == asked
    for _ in range(2):
        with pytest.raises(ClientError, match="'invocationType' failed to satisfy constraint"):
            await notes.calls("Invoke", FunctionName="f1", InvocationType="Later")
        with pytest.raises(ClientError, match="'invokeArgs' failed to satisfy constraint"):
            await notes.calls("InvokeAsync", FunctionName="f1")


async def test_a_large_package_arrives_whole(notes: Notes) -> None:
    package = bytes(range(256)) * 8192
    await notes.calls("UpdateFunctionCode", FunctionName="f", ZipFile=package)
    assert notes.given[0][1]["ZipFile"] == package


# --------------------------------------------------------------------------------------------- answering


async def test_every_place_of_an_answer_is_written() -> None:
    result = {"StatusCode": 202, "FunctionError": "Unhandled", "LogResult": "bG9n", "Payload": b"{}"}
    answer = await Notes(result | {"ExecutedVersion": None, "$RequestId": UUID}).calls(
        "Invoke", FunctionName="f"
    )
    metadata = answer.pop("ResponseMetadata")
    assert answer == result
    assert (metadata["HTTPStatusCode"], metadata["RequestId"]) == (202, UUID)

    documents = {"EventSourceMappings": [{"UUID": UUID, "LastModified": 1.5, "State": None, "Topics": ["t"]}]}
    response = await Notes(documents).calls.send("GET", MAPPINGS)
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == {
        "EventSourceMappings": [{"UUID": UUID, "LastModified": 1.5, "Topics": ["t"]}]
    }


async def test_no_content_is_no_body() -> None:
    response = await Notes().calls.send("DELETE", "/2015-03-31/functions/f/aliases/a")
    assert (response.status, response.body) == (204, b"")


async def test_each_answer_has_an_id_of_its_own(notes: Notes) -> None:
    answers = [await notes.calls("ListFunctions") for _ in range(2)]
    first, second = (answer["ResponseMetadata"]["RequestId"] for answer in answers)
    assert first != second
    assert len(first) == 36


async def test_a_response_stream_is_read_by_botocore() -> None:
    async def stream() -> AsyncIterator[Mapping[str, Any]]:
        yield {"PayloadChunk": {"Payload": b"a\xff"}}
        yield {"PayloadChunk": {"Payload": b""}}
        yield {"InvokeComplete": {"ErrorCode": "Unhandled", "ErrorDetails": None, "LogResult": "bG9n"}}

    result = {"StatusCode": 200, "ExecutedVersion": "3", "EventStream": stream()}
    answer = await Notes(result).calls("InvokeWithResponseStream", FunctionName="f")
    assert answer["ExecutedVersion"] == "3"
    assert answer["EventStream"] == [
        {"PayloadChunk": {"Payload": b"a\xff"}},
        {"PayloadChunk": {"Payload": b""}},
        {"InvokeComplete": {"ErrorCode": "Unhandled", "LogResult": "bG9n"}},
    ]


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (ApiError("ResourceNotFoundException", "Gone."), 404, "ResourceNotFoundException", "Gone."),
        (ConfigurationError("Bad.", field="F", fix="do"), 400, "InvalidParameterValueException", "Bad."),
        (ConfigurationError("is bad", field="F"), 400, "InvalidParameterValueException", "F: is bad"),
        (ConfigurationError("it is bad"), 400, "InvalidParameterValueException", "it is bad"),
        (InvalidConcurrency("too few"), 400, "InvalidParameterValueException", "too few"),
        (InvalidRequestContent("no JSON"), 400, "InvalidRequestContentException", "no JSON"),
        (PayloadTooLarge("too large"), 413, "RequestTooLargeException", "too large"),
        (
            PreconditionFailed("GetAlias"),
            412,
            "PreconditionFailedException",
            str(PreconditionFailed("GetAlias")),
        ),
        (
            OSError("disk full"),
            500,
            "ServiceException",
            "Something could not be stored or reached: disk full",
        ),
        (
            ZeroDivisionError(),
            500,
            "ServiceException",
            "ZeroDivisionError in the service; its log says more.",
        ),
    ],
)
async def test_errors_are_answered_by_awss_codes(
    error: Exception, status: int, code: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(ClientError) as caught:
        await Notes(error).calls("ListFunctions")
    assert caught.value.response["Error"] == {"Code": code, "Message": message}
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert bool(caplog.records) is (status == 500)


async def test_a_throttle_says_why_and_until_when() -> None:
    reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
    with pytest.raises(ClientError) as caught:
        await Notes(TooManyRequests(retry_after=0.3, reason=reason)).calls("Invoke", FunctionName="f")
    answer = caught.value.response
    assert (answer["Error"]["Message"], answer["Reason"]) == ("Rate Exceeded.", reason)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429


async def test_a_message_need_not_be_unicode() -> None:
    """Names of files need not be, and errors name them."""
    with pytest.raises(ClientError, match=r"no such file: \?\."):
        await Notes(ApiError("ServiceException", "no such file: \udcff.")).calls("ListFunctions")


async def test_each_error_names_its_message_as_its_shape_does() -> None:
    bodies = []
    for code in ("InvalidParameterValueException", "ResourceNotFoundException", "ServiceException"):
        response = await Notes(ApiError(code, "m")).calls.send("GET", "/2015-03-31/functions")
        assert isinstance(response.body, bytes)
        bodies.append(json.loads(response.body))
    assert bodies == [
        {"Type": "User", "message": "m"},
        {"Type": "User", "Message": "m"},
        {"Type": "Server", "Message": "m"},
    ]


def test_without_botocore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.loaders", None)
    with pytest.raises(MissingExtra, match=r"pip install streamfn\[api\]"):
        document()


async def test_an_invocation_costs_little_here() -> None:
    """A bound that only a blunder breaks: a pattern compiled, or the model searched, for each request."""
    calls = Notes({"StatusCode": 200, "Payload": b"null"}).calls
    request = request_of("Invoke", {"FunctionName": ARN, "Payload": b"{}"})
    assert isinstance(request, HttpRequest)
    begun = time.process_time()
    for _ in range(1000):
        await calls.api(request)
    assert time.process_time() - begun < 0.5
