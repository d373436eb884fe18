"""What functions see of messages that SQS delivered: names, types and order of AWS's events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from hashlib import md5
from typing import Any

import pytest

from streamfn import App
from tests.aws.queues import SqsEnd, queue_end
from tests.servers.aws import AwsServer
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "text": {"StringValue": "naïve \U0001f426", "DataType": "String"},
    "number": {"StringValue": "12.50", "DataType": "Number"},
    "int": {"StringValue": "7", "DataType": "Number.int"},
    "custom": {"StringValue": "c", "DataType": "String.custom"},
    "blob": {"BinaryValue": b"\x00\xff\x10", "DataType": "Binary"},
    "picture": {"BinaryValue": b"\x89PNG", "DataType": "Binary.png"},
}
TRACE = "Root=1-5e1b4151-5ac6c58239c1e5b4;Parent=5e1b41515e1b4151;Sampled=1"


@pytest.fixture
async def queue(aws: AwsServer) -> AsyncIterator[SqsEnd]:
    async with queue_end(aws) as end:
        yield end


async def seen(source: str, count: int, **options: Any) -> list[dict[str, Any]]:
    """The messages of a queue as a function gets them."""
    shown: list[dict[str, Any]] = []

    async def look(event: dict[str, Any], context: Any) -> None:
        shown.extend(event["Records"])

    app = App(name="events")
    app.function(name="look")(look)
    app.event_source_mapping("look", source, **options)
    async with app:
        await until(lambda: len(shown) >= count)
    return sorted(shown, key=lambda record: str(record["body"]))


def in_order(value: Any) -> str:
    """Equal texts: equal, and keys in the same order all the way down."""
    return json.dumps(value, indent=1)


def shown_attributes() -> dict[str, Any]:
    lists: dict[str, list[str]] = {"stringListValues": [], "binaryListValues": []}
    return {
        "text": {"stringValue": "naïve \U0001f426", **lists, "dataType": "String"},
        "number": {"stringValue": "12.50", **lists, "dataType": "Number"},
        "int": {"stringValue": "7", **lists, "dataType": "Number.int"},
        "custom": {"stringValue": "c", **lists, "dataType": "String.custom"},
        "blob": {"binaryValue": "AP8Q", **lists, "dataType": "Binary"},
        "picture": {"binaryValue": "iVBORw==", **lists, "dataType": "Binary.png"},
    }


@pytest.mark.parametrize("transport", ["lean", "botocore"])
async def test_a_message_with_attributes_of_all_kinds(queue: SqsEnd, transport: str) -> None:
    await queue.create()
    sent = await queue.sqs.send_message(
        QueueUrl=queue.url,
        MessageBody="hello \U0001f426",
        MessageAttributes=ATTRIBUTES,
        MessageSystemAttributes={"AWSTraceHeader": {"StringValue": TRACE, "DataType": "String"}},
    )
    (shown,) = await seen(queue.uri(transport=transport), 1)
    attributes = shown["attributes"]
    assert in_order(shown) == in_order(
        {
            "messageId": sent["MessageId"],
            "receiptHandle": shown["receiptHandle"],
            "body": "hello \U0001f426",
            "attributes": {
                "ApproximateReceiveCount": "1",
                "AWSTraceHeader": TRACE,
                "SentTimestamp": attributes["SentTimestamp"],
                "SenderId": attributes["SenderId"],
                "ApproximateFirstReceiveTimestamp": attributes["ApproximateFirstReceiveTimestamp"],
            },
            # In whatever order SQS hands them out.
            "messageAttributes": {name: shown_attributes()[name] for name in shown["messageAttributes"]},
            "md5OfBody": md5("hello \U0001f426".encode()).hexdigest(),
            "md5OfMessageAttributes": sent["MD5OfMessageAttributes"],
            "eventSource": "aws:sqs",
            "eventSourceARN": queue.arn,
            "awsRegion": "us-east-1",
        }
    )
    assert shown["messageAttributes"] == shown_attributes()
    assert all(isinstance(value, str) for value in attributes.values())
    sent_at, first = int(attributes["SentTimestamp"]), int(attributes["ApproximateFirstReceiveTimestamp"])
    # Milliseconds, as text.
    assert 1_600_000_000_000 < sent_at <= first < 4_000_000_000_000


@pytest.mark.parametrize("transport", ["lean", "botocore"])
async def test_the_digest_of_no_attributes_is_absent_without_a_window_and_null_with_one(
    queue: SqsEnd, transport: str
) -> None:
    await queue.create()
    await queue.put(["m"])
    (without,) = await seen(queue.uri(transport=transport), 1)
    await queue.put(["m"])
    (windowed,) = await seen(queue.uri(transport=transport), 1, MaximumBatchingWindowInSeconds=1)
    assert list(without) == [
        "messageId",
        "receiptHandle",
        "body",
        "attributes",
        "messageAttributes",
        "md5OfBody",
        "eventSource",
        "eventSourceARN",
        "awsRegion",
    ]
    keys = list(windowed)
    assert keys[keys.index("md5OfBody") + 1] == "md5OfMessageAttributes"
    assert windowed["md5OfMessageAttributes"] is None
    assert without["messageAttributes"] == windowed["messageAttributes"] == {}


async def test_a_fifo_message(queue: SqsEnd) -> None:
    await queue.create(fifo=True)
    sent = await queue.sqs.send_message(
        QueueUrl=queue.url, MessageBody="m", MessageGroupId="customer-7", MessageDeduplicationId="once"
    )
    (shown,) = await seen(queue.uri(), 1)
    assert list(shown["attributes"]) == [
        "ApproximateReceiveCount",
        "SentTimestamp",
        "SequenceNumber",
        "MessageGroupId",
        "SenderId",
        "MessageDeduplicationId",
        "ApproximateFirstReceiveTimestamp",
    ]
    assert shown["attributes"]["SequenceNumber"] == sent["SequenceNumber"]
    assert shown["attributes"]["MessageGroupId"] == "customer-7"
    assert shown["attributes"]["MessageDeduplicationId"] == "once"
    assert shown["eventSourceARN"].endswith(".fifo")


async def test_a_group_on_a_standard_queue_is_shown_too(queue: SqsEnd) -> None:
    """Fair queues: the group is for fairness, and orders nothing."""
    await queue.create()
    await queue.put(["a:1", "b:1"], lambda body: body[0])
    one, other = await seen(queue.uri(), 2)
    for shown, group in ((one, "a"), (other, "b")):
        assert list(shown["attributes"]) == [
            "ApproximateReceiveCount",
            "SentTimestamp",
            "MessageGroupId",
            "SenderId",
            "ApproximateFirstReceiveTimestamp",
        ]
        assert shown["attributes"]["MessageGroupId"] == group


async def test_a_message_in_a_dead_letter_queue_tells_where_it_comes_from(queue: SqsEnd) -> None:
    dead = await queue.another().create()
    await queue.create(VisibilityTimeout=1, dead=dead, max_receive_count=1)
    await queue.put(["poison"])

    def failing(event: Any, context: Any) -> None:
        raise ValueError("poison")

    app = App(name="events")
    app.function(name="f")(failing)
    app.event_source_mapping("f", queue.uri())
    async with app:
        await dead.counted(lambda waiting, hidden: waiting == 1)
    (shown,) = await seen(dead.uri(), 1)
    assert next(iter(shown["attributes"])) == "DeadLetterQueueSourceArn"
    assert shown["attributes"]["DeadLetterQueueSourceArn"] == queue.arn
    assert shown["eventSourceARN"] == dead.arn
    assert int(shown["attributes"]["ApproximateReceiveCount"]) > 1


async def test_a_filter_sees_the_message_as_the_function_does(queue: SqsEnd) -> None:
    """The engine reads messages that SQS received, not such as a test made."""
    await queue.create()
    for size in ("small", "large"):
        await queue.sqs.send_message(
            QueueUrl=queue.url,
            MessageBody=json.dumps({"size": size}),
            MessageAttributes={"size": {"StringValue": size, "DataType": "String"}},
        )
    matched = await seen(queue.uri(), 1, filter=lambda record: dict(record.headers)["size"] == b"large")
    assert [json.loads(record["body"])["size"] for record in matched] == ["large"]
    await queue.empty()
