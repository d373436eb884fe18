"""Records of asynchronous invocations, and dead letters, at real destinations: every field as AWS has it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from streamfn import App
from streamfn.core.delivery import Discard
from streamfn.core.envelopes import Invocation
from streamfn.core.events import EventRecord, InvocationShape
from streamfn.core.invocations import dead_letter_headers, failure_record, s3_key, success_record
from streamfn.core.outcomes import Condition, Failed
from streamfn.core.records import Batch
from streamfn.ports import Message
from tests.aws.destinations import (
    BucketEnd,
    BusEnd,
    End,
    FifoEnd,
    FifoTopicEnd,
    QueueEnd,
    TopicEnd,
)
from tests.aws.queues import SqsEnd, queue_end
from tests.servers.aws import ACCOUNT, REGION, AwsServer
from tests.servers.elasticmq import ElasticMQ
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

ARN: Final = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:resize"
CALL: Final = Invocation(ARN, "c2a6f2ae-7dbb-4d22-8782-d0485c9877e2", 1573755365.568)
EVENT: Final = {"image": "ä.png", "sizes": [1, 2.5, None]}
RAW: Final = json.dumps(EVENT).encode()
TRACE: Final = (
    "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:1"
)
FAILED: Final = Failed("Exception", "no such image: é", ('  File "f.py", line 1', "    raise"))

SUCCESS: Final[dict[str, Any]] = {
    "version": "1.0",
    "timestamp": "2019-11-14T18:16:05.568Z",
    "requestContext": {
        "requestId": "c2a6f2ae-7dbb-4d22-8782-d0485c9877e2",
        "functionArn": f"{ARN}:$LATEST",
        "condition": "Success",
        "approximateInvokeCount": 1,
    },
    "requestPayload": EVENT,
    "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
    "responsePayload": ["done"],
}
FAILURE: Final[dict[str, Any]] = {
    **SUCCESS,
    "requestContext": {
        "requestId": "c2a6f2ae-7dbb-4d22-8782-d0485c9877e2",
        "functionArn": f"{ARN}:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    },
    "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
    "responsePayload": {
        "errorMessage": "no such image: é",
        "errorType": "Exception",
        "requestId": "c2a6f2ae-7dbb-4d22-8782-d0485c9877e2",
        "stackTrace": ['  File "f.py", line 1', "    raise"],
    },
}
SWITCHED_OFF: Final[dict[str, Any]] = {
    "version": "1.0",
    "timestamp": "2019-11-14T18:16:05.568Z",
    "requestContext": {
        "requestId": "c2a6f2ae-7dbb-4d22-8782-d0485c9877e2",
        "functionArn": f"{ARN}:$LATEST",
        "condition": "ZeroReservedConcurrency",
        "approximateInvokeCount": 0,
    },
    "requestPayload": EVENT,
}
EXPECTED: Final = [SUCCESS, FAILURE, SWITCHED_OFF]


def given_up(condition: Condition, attempts: int, outcome: Failed | None) -> Discard:
    record = EventRecord(CALL.request_id, RAW, 1573755000.0)
    return Discard(Batch([record], InvocationShape()), condition, attempts, outcome)


EXHAUSTED: Final = given_up(Condition.RETRIES_EXHAUSTED, 3, FAILED)
REFUSED: Final = given_up(Condition.ZERO_RESERVED_CONCURRENCY, 0, None)


def records() -> list[Message]:
    """A success and two failures, as destinations are sent them."""
    documents = [
        success_record(CALL, 1, EVENT, ["done"]),
        failure_record(CALL, EXHAUSTED, EVENT),
        failure_record(CALL, REFUSED, EVENT),
    ]
    return [
        Message(json.dumps(document).encode(), name=s3_key("resize", CALL.at, f"uuid-{number}"))
        for number, document in enumerate(documents)
    ]


def dead_letters() -> list[Message]:
    """The event alone, twice: of a function that failed, and of one that was switched off."""
    return [Message(RAW, None, dead_letter_headers(CALL, discard)) for discard in (EXHAUSTED, REFUSED)]


def as_sent(documents: list[Any]) -> list[Any]:
    """In the order of conditions, for queues and topics have none."""
    order = [document["requestContext"]["condition"] for document in EXPECTED]
    return sorted(documents, key=lambda document: order.index(document["requestContext"]["condition"]))


def exactly(shown: Any, expected: Any) -> None:
    """Equal, and keys in the same order all the way down."""
    assert json.dumps(shown, indent=1) == json.dumps(expected, indent=1)


async def sent(end: End, messages: list[Message], **options: Any) -> None:
    destination = end.destination(**options)
    assert not await destination.send(messages)
    await destination.close()


# ----------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("kind", [QueueEnd, FifoEnd, TopicEnd, FifoTopicEnd], ids=lambda kind: kind.__name__)
async def test_a_queue_and_a_topic_get_the_record_as_body(aws: AwsServer, kind: type[End]) -> None:
    """Those that are first in, first out, which AWS refuses, as well."""
    async with kind(aws) as end:
        await sent(end, records())
        received = await end.received()
        exactly(as_sent([json.loads(message.body) for message in received]), EXPECTED)
        assert not any(message.headers for message in received)


async def test_a_queue_of_another_server_gets_it_too(elasticmq: ElasticMQ) -> None:
    async with QueueEnd(elasticmq) as end:
        await sent(end, records())
        exactly(as_sent([json.loads(message.body) for message in await end.received()]), EXPECTED)


async def test_a_topic_wraps_the_record_as_a_notification(aws: AwsServer) -> None:
    class Wrapped(TopicEnd):
        raw = False

    async with Wrapped(aws) as end:
        await sent(end, records())
        wrappers = [json.loads(message.body) for message in await end.received()]
        assert {(each["Type"], each["TopicArn"]) for each in wrappers} == {("Notification", end.arn)}
        exactly(as_sent([json.loads(each["Message"]) for each in wrappers]), EXPECTED)


@pytest.mark.parametrize("success", [True, False])
async def test_a_record_that_is_too_large_for_a_topic_goes_without_its_payloads(
    aws: AwsServer, success: bool
) -> None:
    large = {"x": "y" * 300_000}
    record = success_record(CALL, 1, large, large) if success else failure_record(CALL, EXHAUSTED, large)
    async with TopicEnd(aws) as end:
        await sent(end, [Message(json.dumps(record).encode())])
        (message,) = await end.received()
        for name in ("requestPayload", "responsePayload"):
            del record[name]
        exactly(json.loads(message.body), record)


@pytest.mark.parametrize("named_by", ["name", "ARN"])
async def test_a_bus_gets_the_record_as_detail_of_an_event_of_lambda(aws: AwsServer, named_by: str) -> None:
    async with BusEnd(aws) as end:
        bus = (await end.clients["events"].describe_event_bus(Name=end.place))["Arn"]
        name = end.place
        end.place = bus if named_by == "ARN" else name
        await sent(end, records())
        end.place = name
        events = await end.events()
        exactly(as_sent([event["detail"] for event in events]), EXPECTED)
        for event in events:
            succeeded = event["detail"]["requestContext"]["condition"] == "Success"
            assert event["source"] == "lambda"
            kind = "Success" if succeeded else "Failure"
            assert event["detail-type"] == f"Lambda Function Invocation Result - {kind}"
            assert event["resources"] == [bus, f"{ARN}:$LATEST"]
            assert event["account"] == ACCOUNT


async def test_what_is_said_of_the_bus_goes_before(aws: AwsServer) -> None:
    async with BusEnd(aws) as end:
        await sent(end, [*records()[:1], Message(b'{"a":1}')], source="shop", detail_type="Order resized")
        shown = [(event["source"], event["detail-type"]) for event in await end.events()]
        assert shown == [("shop", "Order resized")] * 2


async def test_a_bucket_gets_the_record_as_an_object_under_function_and_time(aws: AwsServer) -> None:
    async with BucketEnd(aws) as end:
        await sent(end, records())
        found = {message.key: json.loads(message.body) for message in await end.received()}
        place = "aws/lambda/async/resize/2019/11/14/2019-11-14T18.16.05-uuid-"
        exactly(found, {f"{place}{number}": document for number, document in enumerate(EXPECTED)})


# ------------------------------------------------------------------------------------ dead letters

FAILED_ATTRIBUTES: Final = {
    "RequestID": {"StringValue": CALL.request_id, "DataType": "String"},
    "ErrorCode": {"StringValue": "200", "DataType": "Number"},
    "ErrorMessage": {"StringValue": "no such image: é", "DataType": "String"},
}
REFUSED_ATTRIBUTES: Final = {
    **FAILED_ATTRIBUTES,
    "ErrorCode": {"StringValue": "429", "DataType": "Number"},
    "ErrorMessage": {"StringValue": "Rate Exceeded.", "DataType": "String"},
}


def by_code(attributes: list[Any]) -> list[Any]:
    return sorted(attributes, key=lambda each: str(each["ErrorCode"]))


async def assert_dead_letters(end: QueueEnd | TopicEnd) -> None:
    await sent(end, dead_letters())
    messages = await end.drain(end.url)
    assert [message["Body"].encode() for message in messages] == [RAW, RAW]
    attributes = by_code([message["MessageAttributes"] for message in messages])
    assert attributes == [FAILED_ATTRIBUTES, REFUSED_ATTRIBUTES]


async def test_a_dead_letter_queue_gets_the_event_with_three_attributes(
    aws: AwsServer, elasticmq: ElasticMQ
) -> None:
    for server in (aws, elasticmq):
        async with QueueEnd(server) as end:
            await assert_dead_letters(end)


async def test_so_does_a_topic_that_hands_them_on_as_they_are(aws: AwsServer) -> None:
    async with TopicEnd(aws) as end:
        await assert_dead_letters(end)


async def test_a_topic_shows_them_in_its_notifications(aws: AwsServer) -> None:
    class Wrapped(TopicEnd):
        raw = False

    async with Wrapped(aws) as end:
        await sent(end, dead_letters())
        wrappers = [json.loads(message.body) for message in await end.received()]
        assert [each["Message"].encode() for each in wrappers] == [RAW, RAW]
        failed, refused = by_code([each["MessageAttributes"] for each in wrappers])
        assert failed == {
            "RequestID": {"Type": "String", "Value": CALL.request_id},
            "ErrorCode": {"Type": "Number", "Value": "200"},
            "ErrorMessage": {"Type": "String", "Value": "no such image: é"},
        }
        assert refused["ErrorCode"] == {"Type": "Number", "Value": "429"}


# ------------------------------------------------------------------------------------------ traces


@pytest.fixture
async def queue(elasticmq: ElasticMQ) -> AsyncIterator[SqsEnd]:
    async with queue_end(elasticmq) as end:  # ministack loses system attributes of SendMessageBatch
        yield end


@pytest.mark.parametrize("transport", ["lean", "botocore"])
async def test_a_trace_travels_beside_the_attributes_and_functions_see_it(
    queue: SqsEnd, transport: str
) -> None:
    await queue.create()
    end = QueueEnd(queue.server)
    end.place = queue.name
    headers = (*((f"n{number}", b"1") for number in range(10)), ("AWSTraceHeader", TRACE.encode()))
    await sent(end, [Message(RAW, None, headers)], transport=transport)
    events: list[dict[str, Any]] = []

    async def look(event: dict[str, Any], context: Any) -> None:
        events.append(event)

    app = App(name="traces")
    app.function(name="look")(look)
    app.event_source_mapping("look", queue.uri(transport=transport))
    async with app:
        await until(lambda: bool(events))
    (shown,) = events[0]["Records"]
    assert shown["attributes"]["AWSTraceHeader"] == TRACE
    assert sorted(shown["messageAttributes"]) == sorted(f"n{number}" for number in range(10))
    assert shown["body"].encode() == RAW
