"""What a function sees: names, types and order of AWS's events."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.events import EventShape, KafkaShape, KinesisShape, SqsShape
from streamfn.core.events.kinesis import EncodedRecord
from streamfn.core.events.sqs import SqsMessage
from streamfn.core.records import StreamRecord
from streamfn.core.rendering import loads
from tests.core.made import KAFKA, KINESIS, MSK, SQS, HeldKafkaRecord, message

ROLE = "arn:aws:iam::123456789012:role/reader"
STREAM = "arn:aws:kinesis:us-east-2:123456789012:stream/temperatures"


def exactly(event: Any, expected: Any) -> None:
    """Equal, and keys in the same order all the way down."""
    assert json.dumps(event, indent=1) == json.dumps(expected, indent=1)


def test_a_stream_is_shown_as_kinesis() -> None:
    shape = KinesisShape(STREAM, "shardId-000000000001", "us-east-2", ROLE)
    first = StreamRecord(4959, b"12.5 degrees", "sensor-1", 1700000000.9876)
    event = shape.to_event([first, StreamRecord(4961, None)])
    exactly(
        event,
        {
            "Records": [
                {
                    "kinesis": {
                        "kinesisSchemaVersion": "1.0",
                        "partitionKey": "sensor-1",
                        "sequenceNumber": "4959",
                        "data": "MTIuNSBkZWdyZWVz",
                        "approximateArrivalTimestamp": 1700000000.988,
                    },
                    "eventSource": "aws:kinesis",
                    "eventVersion": "1.0",
                    "eventID": "shardId-000000000001:4959",
                    "eventName": "aws:kinesis:record",
                    "invokeIdentityArn": ROLE,
                    "awsRegion": "us-east-2",
                    "eventSourceARN": STREAM,
                },
                {
                    "kinesis": {
                        "kinesisSchemaVersion": "1.0",
                        "partitionKey": "",
                        "sequenceNumber": "4961",
                        "data": "",
                        "approximateArrivalTimestamp": 0.0,
                    },
                    "eventSource": "aws:kinesis",
                    "eventVersion": "1.0",
                    "eventID": "shardId-000000000001:4961",
                    "eventName": "aws:kinesis:record",
                    "invokeIdentityArn": ROLE,
                    "awsRegion": "us-east-2",
                    "eventSourceARN": STREAM,
                },
            ]
        },
    )


class HeldInBase64(EncodedRecord):
    """A record as Kinesis sends it."""

    id = "4959"
    position = 4959
    key = "sensor-1"
    headers = ()
    arrived_at = 1700000000.0
    size = 600
    data = "MTIuNQ=="

    @property
    def value(self) -> bytes:
        raise AssertionError("nobody asked for the value")


def test_what_is_in_base64_already_is_not_decoded() -> None:
    (shown,) = KINESIS.to_event([HeldInBase64()])["Records"]
    assert shown["kinesis"]["data"] == "MTIuNQ=="
    assert KINESIS.to_event([]) == {"Records": []}


def test_a_kinesis_filter_sees_data_and_partition_key_at_the_top() -> None:
    record = StreamRecord(1, b'{"unit": "C"}', "sensor-1")
    view = KINESIS.filter_view(record, KINESIS.filter_data(record, loads))
    assert view["data"] == view["kinesis"]["data"] == {"unit": "C"}
    assert (view["partitionKey"], view["eventName"]) == ("sensor-1", "aws:kinesis:record")
    assert KINESIS.filter_data(StreamRecord(1, None), loads) == ""


def test_a_kinesis_batch_is_described_in_seven_fields() -> None:
    records = [StreamRecord(5, b"", None, 1573755364.835), StreamRecord(9, b"", None, 1573755365.58)]
    exactly(
        KINESIS.batch_info(records),
        {
            "KinesisBatchInfo": {
                "shardId": "shardId-000000000003",
                "startSequenceNumber": "5",
                "endSequenceNumber": "9",
                "approximateArrivalOfFirstRecord": "2019-11-14T18:16:04.835Z",
                "approximateArrivalOfLastRecord": "2019-11-14T18:16:05.580Z",
                "batchSize": 2,
                "streamArn": "arn:aws:kinesis:eu-west-1:123456789012:stream/readings",
            }
        },
    )


def test_a_queue_is_shown_as_sqs() -> None:
    record = message(
        "0f3c",
        b"hello",
        sent_at=1700000000.123,
        first_received_at=1700000001.456,
        receive_count=2,
        receipt="AQEB",
        attributes={"SenderId": "AIDA"},
    )
    exactly(
        SQS.to_event([record]),
        {
            "Records": [
                {
                    "messageId": "0f3c",
                    "receiptHandle": "AQEB",
                    "body": "hello",
                    "attributes": {
                        "ApproximateReceiveCount": "2",
                        "SentTimestamp": "1700000000123",
                        "SenderId": "AIDA",
                        "ApproximateFirstReceiveTimestamp": "1700000001456",
                    },
                    "messageAttributes": {},
                    "md5OfBody": "5d41402abc4b2a76b9719d911017c592",
                    "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders",
                    "awsRegion": "eu-west-1",
                }
            ]
        },
    )


def test_a_fifo_message_has_its_attributes_where_aws_has_them() -> None:
    record = message(
        "0f3c",
        key="customer-7",
        attributes={
            "MessageDeduplicationId": "d",
            "SequenceNumber": "18",
            "DeadLetterQueueSourceArn": "arn:q",
            "Own": "x",
        },
    )
    (shown,) = SQS.to_event([record])["Records"]
    assert list(shown["attributes"]) == [
        "DeadLetterQueueSourceArn",
        "ApproximateReceiveCount",
        "SentTimestamp",
        "SequenceNumber",
        "MessageGroupId",
        "SenderId",
        "MessageDeduplicationId",
        "ApproximateFirstReceiveTimestamp",
        "Own",
    ]
    assert shown["attributes"]["MessageGroupId"] == "customer-7"
    assert shown["receiptHandle"] == "0f3c"


def test_headers_are_message_attributes_with_the_digest_that_sqs_makes() -> None:
    (shown,) = SQS.to_event([message("m", headers=(("b", b"\xff\x00"), ("a", b"one")))])["Records"]
    exactly(
        shown["messageAttributes"],
        {
            "b": {
                "binaryValue": "/wA=",
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": "Binary",
            },
            "a": {"stringValue": "one", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
        },
    )
    keys = list(shown)
    assert keys[keys.index("md5OfBody") + 1] == "md5OfMessageAttributes"


def test_the_digest_of_attributes_is_over_names_types_and_values_in_order_of_names() -> None:
    """Two String attributes, worked out with the algorithm printed in the SQS guide."""
    from hashlib import md5

    written = b"".join(
        len(part).to_bytes(4, "big") + part if len(part) > 1 or part == b"v" else part
        for part in (b"first", b"String", b"\x01", b"v", b"other", b"Binary", b"\x02", b"\xff\xfe")
    )
    (shown,) = SQS.to_event([message("m", headers=(("other", b"\xff\xfe"), ("first", b"v")))])["Records"]
    assert shown["md5OfMessageAttributes"] == md5(written, usedforsecurity=False).hexdigest()


def test_without_attributes_their_digest_is_absent_and_with_a_window_null() -> None:
    windowed = SqsShape("arn:q", "eu-west-1", window=1)
    assert "md5OfMessageAttributes" not in SQS.to_event([message("m")])["Records"][0]
    assert windowed.to_event([message("m")])["Records"][0]["md5OfMessageAttributes"] is None


def test_a_body_that_is_not_utf_8_is_shown_as_far_as_it_is_text() -> None:
    (shown,) = SQS.to_event([message("m", b"a\xffb")])["Records"]
    assert shown["body"] == "a\ufffdb"


class Received(SqsMessage):
    """A message as ReceiveMessage answers it."""

    headers = ()
    size = 1000

    def __init__(self, **parts: Any) -> None:
        self.message = {
            "MessageId": "0f3c",
            "ReceiptHandle": "AQEB",
            "MD5OfBody": "5d41402abc4b2a76b9719d911017c592",
            "Body": "hello",
            # In no order, as SQS answers.
            "Attributes": {
                "SenderId": "AIDA",
                "ApproximateFirstReceiveTimestamp": "1700000001456",
                "ApproximateReceiveCount": "2",
                "SentTimestamp": "1700000000123",
            },
            **parts,
        }


def test_a_message_as_received_is_shown_as_it_came_with_its_names_as_events_have_them() -> None:
    exactly(
        SQS.to_event([Received()]),
        {
            "Records": [
                {
                    "messageId": "0f3c",
                    "receiptHandle": "AQEB",
                    "body": "hello",
                    "attributes": {
                        "ApproximateReceiveCount": "2",
                        "SentTimestamp": "1700000000123",
                        "SenderId": "AIDA",
                        "ApproximateFirstReceiveTimestamp": "1700000001456",
                    },
                    "messageAttributes": {},
                    "md5OfBody": "5d41402abc4b2a76b9719d911017c592",
                    "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders",
                    "awsRegion": "eu-west-1",
                }
            ]
        },
    )


def test_attributes_of_a_message_as_received_keep_types_and_digest() -> None:
    attributes = {
        "size": {"DataType": "Number", "StringValue": "12.50"},
        "face": {"BinaryValue": "/wA=", "DataType": "Binary.png"},
        "kind": {"StringValue": "", "DataType": "String.custom"},
    }
    record = Received(MessageAttributes=attributes, MD5OfMessageAttributes="8f14")
    (shown,) = SqsShape("arn:q", "eu-west-1", window=1).to_event([record])["Records"]
    lists: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    exactly(
        shown["messageAttributes"],
        {
            "size": {"stringValue": "12.50", **lists, "dataType": "Number"},
            "face": {"binaryValue": "/wA=", **lists, "dataType": "Binary.png"},
            "kind": {"stringValue": "", **lists, "dataType": "String.custom"},
        },
    )
    keys = list(shown)
    assert keys[keys.index("md5OfBody") + 1] == "md5OfMessageAttributes"
    assert shown["md5OfMessageAttributes"] == "8f14"


def test_the_digest_of_no_attributes_of_a_message_as_received() -> None:
    windowed = SqsShape("arn:q", "eu-west-1", window=1).to_event([Received()])["Records"][0]
    assert windowed["md5OfMessageAttributes"] is None
    assert "md5OfMessageAttributes" not in SQS.to_event([Received()])["Records"][0]


def test_a_message_of_another_queue_s_past_has_its_attributes_where_aws_has_them() -> None:
    names = (
        "DeadLetterQueueSourceArn",
        "ApproximateReceiveCount",
        "AWSTraceHeader",
        "SentTimestamp",
        "SequenceNumber",
        "MessageGroupId",
        "SenderId",
        "MessageDeduplicationId",
        "ApproximateFirstReceiveTimestamp",
        "Unheard",
    )
    record = Received(Attributes=dict.fromkeys(reversed(names), "1"))
    (shown,) = SQS.to_event([record])["Records"]
    assert tuple(shown["attributes"]) == names


def test_what_a_function_does_to_an_event_changes_no_message() -> None:
    record = Received(MessageAttributes={"size": {"DataType": "Number", "StringValue": "1"}})
    (shown,) = SQS.to_event([record])["Records"]
    shown["attributes"]["SenderId"] = "changed"
    shown["messageAttributes"]["size"]["stringListValues"].append("changed")
    assert "changed" not in json.dumps(SQS.to_event([record]))


def test_a_message_as_received_answers_as_a_record() -> None:
    record = Received()
    assert (record.id, record.position, record.key, record.value) == ("0f3c", 0, None, b"hello")
    assert (record.arrived_at, record.attempt, record.receipt) == (1700000000.123, 1, "AQEB")
    in_group = Received(Attributes={"MessageGroupId": "customer-7"}, Body='{"n": 1}')
    assert in_group.key == "customer-7"
    assert SQS.filter_data(in_group, loads) == {"n": 1}


def test_a_filter_on_messages_sees_the_body_decoded() -> None:
    assert SQS.filter_data(message("m", b'{"n": 1}'), loads) == {"n": 1}
    assert SQS.filter_data(message("m", b"plain"), loads) == "plain"
    assert SQS.filter_data(message("m", b"\xff"), loads) == "\ufffd"
    view = SQS.filter_view(message("m", b"plain"), {"n": 1})
    assert (view["messageId"], view["body"]) == ("m", {"n": 1})


def test_what_is_said_of_a_batch_of_messages_is_our_own() -> None:
    exactly(
        SQS.batch_info([message("a"), message("b")]),
        {
            "QueueBatchInfo": {
                "messageIds": ["a", "b"],
                "batchSize": 2,
                "queueArn": "arn:aws:sqs:eu-west-1:123456789012:orders",
            }
        },
    )


RECORD = HeldKafkaRecord(
    15, b'{"n": 1}', b"key-1", (("trace", b"\x00\x7f\x80\xff"), ("trace", b"")), 1545084650987
)
SHOWN = {
    "topic": "orders",
    "partition": 2,
    "offset": 15,
    "timestamp": 1545084650987,
    "timestampType": "CREATE_TIME",
    "key": "a2V5LTE=",
    "value": "eyJuIjogMX0=",
    "headers": [{"trace": [0, 127, 128, 255]}, {"trace": []}],
}


def test_a_self_managed_cluster_has_no_arn() -> None:
    exactly(
        KAFKA.to_event([RECORD]),
        {
            "eventSource": "aws:SelfManagedKafka",
            "bootstrapServers": "broker-1:9092,broker-2:9092",
            "records": {"orders-2": [SHOWN]},
        },
    )


def test_an_msk_cluster_has_one() -> None:
    exactly(
        MSK.to_event([RECORD]),
        {
            "eventSource": "aws:kafka",
            "eventSourceArn": "arn:aws:kafka:eu-west-1:123456789012:cluster/c/1f",
            "bootstrapServers": "broker-1:9098",
            "records": {"orders-2": [SHOWN]},
        },
    )


def test_what_is_null_in_kafka_is_null_in_the_event_and_what_is_empty_is_empty() -> None:
    shown = KAFKA.to_event([HeldKafkaRecord(1, None), HeldKafkaRecord(2, b"", b"", [("h", None)])])  # type: ignore[list-item]
    tombstone, empty = shown["records"]["orders-2"]
    assert (tombstone["key"], tombstone["value"], tombstone["headers"]) == (None, None, [])
    assert (empty["key"], empty["value"], empty["headers"]) == ("", "", [{"h": []}])


def test_two_events_of_one_shape_share_nothing() -> None:
    first = KAFKA.to_event([RECORD])
    first["records"]["orders-2"].clear()
    first["eventSource"] = "changed"
    assert KAFKA.to_event([RECORD])["eventSource"] == "aws:SelfManagedKafka"
    assert len(KAFKA.to_event([RECORD])["records"]["orders-2"]) == 1


def test_a_kafka_filter_sees_the_value_decoded() -> None:
    view = KAFKA.filter_view(RECORD, KAFKA.filter_data(RECORD, loads))
    assert (view["value"], view["offset"]) == ({"n": 1}, 15)
    assert KAFKA.filter_data(HeldKafkaRecord(1, b"\xff"), loads) == b"\xff"
    assert KAFKA.filter_data(HeldKafkaRecord(1, None), loads) is None


def test_a_kafka_batch_is_described_with_its_offsets_as_strings() -> None:
    records = [HeldKafkaRecord(15, timestamp=1573755364835), HeldKafkaRecord(20, timestamp=1573755365580)]
    size = sum(record.size for record in records)
    of_records = {
        "orders-2": {
            "firstRecordOffset": "15",
            "lastRecordOffset": "20",
            "firstRecordTimestamp": "2019-11-14T18:16:04.835Z",
            "lastRecordTimestamp": "2019-11-14T18:16:05.580Z",
        }
    }
    exactly(
        MSK.batch_info(records),
        {
            "KafkaBatchInfo": {
                "batchSize": 2,
                "eventSourceArn": "arn:aws:kafka:eu-west-1:123456789012:cluster/c/1f",
                "bootstrapServers": "broker-1:9098",
                "payloadSize": size,
                "recordsInfo": of_records,
            }
        },
    )
    assert "eventSourceArn" not in KAFKA.batch_info(records)["KafkaBatchInfo"]


@given(st.binary(max_size=200), st.binary(max_size=50), st.integers(0, 2**63 - 1))
def test_kafka_bytes_come_back_as_they_were(value: bytes, key: bytes, offset: int) -> None:
    record = HeldKafkaRecord(offset, value, key, (("h", key),))
    (shown,) = json.loads(json.dumps(KAFKA.to_event([record])))["records"]["orders-2"]
    assert (b64decode(shown["value"]), b64decode(shown["key"])) == (value, key)
    assert bytes(shown["headers"][0]["h"]) == key


@given(st.binary(max_size=200), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_kinesis_bytes_come_back_as_they_were(value: bytes, key: str) -> None:
    (shown,) = json.loads(json.dumps(KINESIS.to_event([StreamRecord(1, value, key)])))["Records"]
    assert (b64decode(shown["kinesis"]["data"]), shown["kinesis"]["partitionKey"]) == (value, key)


@pytest.mark.parametrize(
    ("shape", "identifier", "name"),
    [
        (KINESIS, "12", "12"),
        (KINESIS, 12, None),
        (SQS, "m", "m"),
        (SQS, {"partition": "orders-2", "offset": 1}, None),
        (KAFKA, {"partition": "orders-2", "offset": 1}, "1"),
        (KafkaShape("a-b", 0, ""), {"partition": "a-b-0", "offset": 1}, "1"),
        (KAFKA, "1", None),
    ],
    ids=repr,
)
def test_an_identifier_has_the_form_of_its_source(
    shape: EventShape, identifier: object, name: str | None
) -> None:
    assert shape.record_id(identifier) == name
