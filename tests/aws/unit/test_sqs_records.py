"""Messages as ReceiveMessage answers them: what they are as records, and what they weigh."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.events.sqs import SqsShape
from streamfn_aws.sqs.records import ReceivedMessage

LONGEST_ARN = f"arn:aws-us-gov:sqs:us-gov-west-1:123456789012:{'q' * 75}.fifo"
PLAIN = {
    "MessageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
    "ReceiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
    "MD5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
    "Body": "Test message.",
    "Attributes": {
        "SenderId": "AIDAIENQZJOLO23YVJ4VO",
        "ApproximateFirstReceiveTimestamp": "1545082649185",
        "ApproximateReceiveCount": "1",
        "SentTimestamp": "1545082649183",
    },
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
binaries = st.binary(max_size=60).map(lambda data: b64encode(data).decode())
types = st.sampled_from(["", ".custom", ".png", f".{'x' * 200}"])
message_attributes = st.dictionaries(
    texts,
    st.builds(lambda text, kind: {"StringValue": text, "DataType": f"String{kind}"}, texts, types)
    | st.builds(lambda text, kind: {"BinaryValue": text, "DataType": f"Binary{kind}"}, binaries, types)
    | st.integers().map(lambda number: {"StringValue": str(number), "DataType": "Number"}),
    max_size=10,
)
system_attributes = st.dictionaries(
    st.sampled_from(
        ["MessageGroupId", "MessageDeduplicationId", "SequenceNumber", "AWSTraceHeader", "Unheard"]
    ),
    texts,
)


@st.composite
def messages(draw: st.DrawFn) -> ReceivedMessage:
    """Messages of all kinds, also such as SQS itself would not take."""
    more: dict[str, Any] = {"Body": draw(texts), "ReceiptHandle": draw(texts)}
    attributes = draw(message_attributes)
    if attributes:
        more |= {
            "MessageAttributes": attributes,
            "MD5OfMessageAttributes": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        }
    more["Attributes"] = {**PLAIN["Attributes"], **draw(system_attributes)}  # type: ignore[dict-item]
    return ReceivedMessage({**PLAIN, **more})


@given(messages(), st.sampled_from([0, 1]))
def test_a_message_weighs_no_less_than_it_takes(record: ReceivedMessage, window: int) -> None:
    event = SqsShape(LONGEST_ARN, "us-gov-west-1", window).to_event([record])
    assert len(orjson.dumps(event)) <= record.size
    compact = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    assert len(compact.encode()) <= record.size


@pytest.mark.parametrize("body", ["x" * 100_000, "пар" * 30_000, '{"a": "b"}' * 9_000], ids=["a", "u", "j"])
def test_what_is_large_is_weighed_closely(body: str) -> None:
    record = ReceivedMessage({**PLAIN, "Body": body})
    event = SqsShape(LONGEST_ARN, "us-gov-west-1").to_event([record])
    assert record.size < 1.02 * len(orjson.dumps(event))


def test_message_attributes_are_headers() -> None:
    attributes = {
        "trace": {"StringValue": "a", "DataType": "String"},
        "size": {"StringValue": "12", "DataType": "Number"},
        "face": {"BinaryValue": "/wA=", "DataType": "Binary.png"},
        # Old clients of SQS left out a value that is empty.
        "none": {"DataType": "String"},
    }
    record = ReceivedMessage({**PLAIN, "MessageAttributes": attributes})
    assert list(record.headers) == [("trace", b"a"), ("size", b"12"), ("face", b"\xff\x00"), ("none", b"")]
    assert list(ReceivedMessage(dict(PLAIN)).headers) == []


def test_an_attribute_that_sqs_hands_out_is_shown_with_aws_s_names() -> None:
    attributes = {"face": {"BinaryValue": "/wA=", "DataType": "Binary.png"}}
    record = ReceivedMessage({**PLAIN, "MessageAttributes": attributes, "MD5OfMessageAttributes": "8f14"})
    (shown,) = SqsShape("arn:q", "us-east-2").to_event([record])["Records"]
    assert shown["messageAttributes"] == {
        "face": {
            "binaryValue": "/wA=",
            "stringListValues": [],
            "binaryListValues": [],
            "dataType": "Binary.png",
        }
    }
    assert shown["md5OfMessageAttributes"] == "8f14"
