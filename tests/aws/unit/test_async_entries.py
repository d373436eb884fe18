"""What becomes of records of asynchronous invocations, and of dead letters, at each destination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import orjson
import pytest

from streamfn.ports import Message
from streamfn_aws.destinations import (
    EventBridgeDestination,
    S3Destination,
    SnsDestination,
    SqsDestination,
)
from streamfn_aws.destinations.sending import Entry, Refused
from streamfn_aws.errors import ServiceError

BUS = "arn:aws:events:eu-west-1:123456789012:event-bus/b"
FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:resize:live"
TRACE = b"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Lineage=1:a87bd80c:1"


def record(condition: str = "RetriesExhausted", **more: Any) -> bytes:
    context = {"requestId": "7f2c", "functionArn": FUNCTION, "condition": condition}
    return orjson.dumps({"requestContext": context, "requestPayload": {"a": 1}, **more})


# ------------------------------------------------------------------------------------------- buses


@pytest.mark.parametrize(
    ("condition", "end"),
    [("Success", "Success"), ("RetriesExhausted", "Failure"), ("EventAgeExceeded", "Failure")],
)
def test_a_record_is_an_event_of_lambda(condition: str, end: str) -> None:
    body = record(condition)
    entry = EventBridgeDestination(BUS)._entry(3, Message(body))
    assert entry.request == {
        "Source": "lambda",
        "DetailType": f"Lambda Function Invocation Result - {end}",
        "Detail": body.decode(),
        "Resources": [FUNCTION],
    }
    text = "lambda" + f"Lambda Function Invocation Result - {end}" + BUS + FUNCTION
    assert entry.size >= len(text) + len(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"requestContext":{"condition":"RetryAttemptsExhausted"},"payload":{}}',
        b'{"requestContext":{},"requestPayload":{}}',
        b'{"requestContext":"condition","requestPayload":{}}',
        b'{"requestPayload":{}}',
    ],
)
def test_other_events_are_ours(body: bytes) -> None:
    request = EventBridgeDestination(BUS)._entry(0, Message(body)).request
    assert request == {"Source": "streamfn", "DetailType": "Record", "Detail": body.decode()}


@pytest.mark.parametrize(
    ("options", "source", "detail_type"),
    [
        ("source=shop", "shop", "Lambda Function Invocation Result - Failure"),
        ("detail_type=Gone", "lambda", "Gone"),
        ("source=shop&detail_type=Gone", "shop", "Gone"),
    ],
)
def test_what_was_said_of_the_bus_holds_of_records_too(options: str, source: str, detail_type: str) -> None:
    bus = EventBridgeDestination.from_uri(f"{BUS}?{options}", {})
    request = bus._entry(0, Message(record())).request
    assert (request["Source"], request["DetailType"]) == (source, detail_type)
    assert request["Resources"] == [FUNCTION]


def test_the_names_of_bus_and_function_count_as_text_of_the_event() -> None:
    bare = len(record(x=""))
    EventBridgeDestination("b")._entry(0, Message(record(x="x" * (2**20 - bare - 300))))
    with pytest.raises(Refused, match="above the 1048576"):
        EventBridgeDestination("b")._entry(0, Message(record(x="x" * (2**20 - bare - 100))))


class Bus:
    """An `Api` of EventBridge that keeps what is called."""

    def __init__(self, refusal: ServiceError | None = None) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.refusal = refusal

    async def call(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        self.calls.append((operation, parameters))
        await anyio.lowlevel.checkpoint()
        if operation == "DescribeEventBus":
            if self.refusal is not None:
                raise self.refusal
            return {"Arn": BUS}
        return {"Entries": [{} for _ in parameters["Entries"]]}

    def made(self, operation: str) -> list[Mapping[str, Any]]:
        return [parameters for name, parameters in self.calls if name == operation]


@pytest.mark.anyio
async def test_a_bus_that_has_a_name_only_is_asked_for_its_arn_once() -> None:
    bus, said = EventBridgeDestination("b"), Bus()

    async def post() -> None:
        entries = [bus._entry(n, Message(body)) for n, body in enumerate((record(), b"{}", record()))]
        assert not await bus._post(said, "b", entries)  # type: ignore[arg-type]

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(post)
    assert said.made("DescribeEventBus") == [{"Name": "b"}]
    puts = said.made("PutEvents")
    assert len(puts) == 3
    for put in puts:
        assert [event.get("Resources") for event in put["Entries"]] == [
            [BUS, FUNCTION],
            None,
            [BUS, FUNCTION],
        ]


@pytest.mark.anyio
async def test_a_bus_is_not_asked_for_what_its_uri_says_or_nobody_needs() -> None:
    said = Bus()
    for bus, body in ((EventBridgeDestination(BUS), record()), (EventBridgeDestination("b"), b"{}")):
        await bus._post(said, "b", [bus._entry(0, Message(body))])  # type: ignore[arg-type]
    assert not said.made("DescribeEventBus")
    assert said.made("PutEvents")[0]["Entries"][0]["Resources"] == [BUS, FUNCTION]


@pytest.mark.anyio
async def test_a_bus_that_may_not_be_asked_for_keeps_its_question() -> None:
    refusal = ServiceError("DescribeEventBus", "AccessDeniedException", "no", 400)
    bus, said = EventBridgeDestination("b"), Bus(refusal)
    entries: list[Entry] = [bus._entry(0, Message(record()))]
    for _ in range(2):
        with pytest.raises(ServiceError, match="AccessDenied") as error:
            await bus._post(said, "b", entries)  # type: ignore[arg-type]
        assert "DescribeEventBus" in error.value.fix
    assert (len(said.made("DescribeEventBus")), said.made("PutEvents")) == (2, [])


# ------------------------------------------------------------------------------ attributes and traces


@pytest.mark.parametrize("destination", [SqsDestination("q"), SnsDestination("t")], ids=repr)
def test_the_code_of_a_dead_letter_is_a_number(destination: SqsDestination | SnsDestination) -> None:
    headers = (("RequestID", b"7f2c"), ("ErrorCode", b"200"), ("ErrorMessage", b"429"))
    entry = destination._entry(0, Message(b"{}", None, headers))
    assert entry.request["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": "7f2c"},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "429"},
    }
    words = destination._entry(0, Message(b"{}", None, (("ErrorCode", b"E2"),)))
    assert words.request["MessageAttributes"]["ErrorCode"]["DataType"] == "String"


def test_a_trace_is_a_system_attribute_of_sqs_and_none_of_the_ten() -> None:
    ten = tuple((f"n{number}", b"1") for number in range(10))
    for headers in ((("AWSTraceHeader", TRACE), *ten), (*ten, ("AWSTraceHeader", TRACE))):
        traced = SqsDestination("q")._entry(0, Message(b"{}", None, headers))
        plain = SqsDestination("q")._entry(0, Message(b"{}", None, ten))
        trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": TRACE.decode()}}
        assert traced.request == {**plain.request, "MessageSystemAttributes": trace}
        assert traced.size == plain.size  # SendMessage: it does not count
    alone = SqsDestination("q.fifo")._entry(0, Message(b"{}", "k", (("AWSTraceHeader", TRACE),)))
    assert "MessageAttributes" not in alone.request
    assert alone.lane == "k"


def test_two_traces_are_one_and_a_header_like_others() -> None:
    twice = (("AWSTraceHeader", TRACE), ("AWSTraceHeader", b"Root=x"))
    request = SqsDestination("q")._entry(0, Message(b"{}", None, twice)).request
    assert request["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"] == TRACE.decode()
    assert request["MessageAttributes"]["AWSTraceHeader"]["StringValue"] == "Root=x"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"no trace", "String"),
        (b"\xff", "Binary"),
        (TRACE + b"\n", "String"),
        (TRACE + b";\xc3\xa9", "String"),
    ],
)
def test_what_is_no_trace_is_a_header_like_others(value: bytes, kind: str) -> None:
    request = SqsDestination("q")._entry(0, Message(b"{}", None, (("AWSTraceHeader", value),))).request
    assert "MessageSystemAttributes" not in request
    assert request["MessageAttributes"]["AWSTraceHeader"]["DataType"] == kind


def test_a_topic_has_no_system_attributes() -> None:
    request = SnsDestination("t")._entry(0, Message(b"{}", None, (("AWSTraceHeader", TRACE),))).request
    assert set(request) == {"Id", "Message", "MessageAttributes"}
    assert request["MessageAttributes"]["AWSTraceHeader"]["StringValue"] == TRACE.decode()


# --------------------------------------------------------------------------------------- the others


@pytest.mark.parametrize("condition", ["Success", "RetriesExhausted"])
def test_a_record_goes_to_a_topic_without_payloads_that_do_not_fit(condition: str) -> None:
    """Also that of a success, which AWS would lose."""
    large = record(condition, responsePayload="x" * 2000)
    request = SnsDestination("t", max_message_size=1024)._entry(0, Message(large)).request
    bare = orjson.loads(large)
    del bare["requestPayload"], bare["responsePayload"]
    assert orjson.loads(request["Message"]) == bare
    with pytest.raises(Refused, match="above the"):
        SqsDestination("q")._entry(0, Message(record(condition, responsePayload="x" * 2**20)))


def test_an_object_is_called_as_the_record_is() -> None:
    name = "aws/lambda/async/resize/2019/11/14/2019-11-14T18.16.05-0b1d"
    entry = S3Destination("b/failed")._entry(0, Message(record(), name=name))
    assert entry.request == {"Key": f"failed/{name}", "Body": record()}


def test_queues_and_topics_that_are_first_in_first_out_take_records_as_well() -> None:
    """On AWS they can't: there is no group that Lambda would name."""
    for destination in (SqsDestination("q.fifo"), SnsDestination("t.fifo")):
        entry = destination._entry(0, Message(record()))
        assert (entry.request["MessageGroupId"], entry.lane) == ("streamfn", "streamfn")
