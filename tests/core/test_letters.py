"""Dead letters: what is kept of a record, and how it comes back."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamfn.core.delivery import Discard
from streamfn.core.envelopes import record_document
from streamfn.core.events import DynamoDbShape, EventShape, KinesisShape, SqsShape
from streamfn.core.events.sqs import SqsMessage
from streamfn.core.invocations import success_record
from streamfn.core.letters import (
    REDRIVES,
    Content,
    Form,
    contents_of,
    given_up_again,
    letter,
    place_of,
    redrives_of,
)
from streamfn.core.letters.contents import place_of_arn
from streamfn.core.letters.envelope import trace_of
from streamfn.core.outcomes import Condition, Failed
from streamfn.core.records import Batch, Headers, Record, StreamRecord
from tests.core.letters_made import CALL, EVENT, ORIGIN, STREAM, found, given_up, invoked, written
from tests.core.made import FAILURE, KAFKA, KINESIS, MSK, SQS, HeldKafkaRecord, message, stream
from tests.core.test_dynamodb_shape import Change, change

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=1:a87bd80c:1"


# ------------------------------------------------------------------------------------- the envelope


def test_a_letter_is_the_record_of_aws_with_all_that_is_known_beside_it() -> None:
    headers = (("traceparent", b"00"), ("AWSTraceHeader", TRACE.encode()), (REDRIVES, b"2"))
    record = HeldKafkaRecord(5, b"12.5", b"sensor-1", headers, timestamp=1573755364835)
    document = written(KAFKA, record)
    dead = document.pop("deadLetter")
    assert document == record_document(given_up(KAFKA, record), record, CALL)
    shown = {
        "id": "0b1d",
        "app": "shop",
        "mapping": "orders",
        "function": "resize",
        "source": "local:orders",
        "shard": "shard-0",
        "recordId": "5",
        "key": "sensor-1",
        "headers": [
            ["traceparent", "MDA="],
            ["AWSTraceHeader", b64encode(TRACE.encode()).decode()],
            [REDRIVES, "Mg=="],
        ],
        "arrivedAt": "2019-11-14T18:16:04.835Z",
        "attempts": 3,
        "condition": "RetryAttemptsExhausted",
        "redrives": 2,
        "error": {"type": "ValueError", "message": "no", "stackTrace": ["  File …"]},
        "trace": TRACE,
    }
    assert json.dumps(dead, indent=1) == json.dumps(shown, indent=1)


def test_without_an_error_none_is_told() -> None:
    dead = written(KINESIS, StreamRecord(5, b"1"), None)["deadLetter"]
    assert "error" not in dead
    assert "trace" not in dead
    assert (dead["key"], dead["headers"], dead["redrives"]) == (None, [], 0)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (None, {"key": None}),
        ("", {"key": ""}),
        ("Zürich", {"key": "Zürich"}),
        ("\udcff", {"key": None, "keyBase64": "/w=="}),
        ("\ud800", {"key": None, "keyBase64": "Pw=="}),
    ],
)
def test_a_key_that_is_no_text_stands_as_base64(key: str | None, shown: dict[str, Any]) -> None:
    dead = written(KINESIS, StreamRecord(5, b"1", key))["deadLetter"]
    assert {name: dead[name] for name in dead if name.startswith("key")} == shown


def test_half_characters_of_names_and_errors_are_no_hindrance() -> None:
    record = message("m", headers=(("a\ud800", b"1"),))
    failed = Failed("T\ud800", "m\ud800", ("s\ud800",))
    dead = orjson.loads(orjson.dumps(written_dead(record, failed)))
    assert dead["headers"] == [["a?", "MQ=="]]
    assert dead["error"] == {"type": "T?", "message": "m?", "stackTrace": ["s?"]}


def written_dead(record: Record, failed: Failed) -> Any:
    discard = given_up(SQS, record, failed)
    return letter({}, discard, record, ORIGIN, shard="", unique="")["deadLetter"]


def test_a_header_of_kafka_that_is_null_is_kept_as_empty() -> None:
    null: Any = None
    record = HeldKafkaRecord(5, b"1", None, ((REDRIVES, null), ("AWSTraceHeader", null)))
    dead = written(KAFKA, record)["deadLetter"]
    assert dead["headers"] == [[REDRIVES, ""], ["AWSTraceHeader", ""]]
    assert (dead["redrives"], dead["trace"]) == (0, "")


@pytest.mark.parametrize(
    ("value", "count"),
    [(b"0", 0), (b"17", 17), (b"-1", 0), (b"x", 0), (b"", 0), ("²".encode(), 0), (b"9" * 5000, 0)],
)
def test_redrives_are_counted_where_it_is_a_number(value: bytes, count: int) -> None:
    assert redrives_of((("a", b"5"), (REDRIVES, value))) == count


@pytest.mark.parametrize(("before", "redrives"), [("RetryAttemptsExhausted", 3), ("Parked", 2)])
def test_a_letter_that_is_given_up_again_says_so_and_counts_unless_it_was_only_parked(
    before: str, redrives: int
) -> None:
    record = HeldKafkaRecord(5, b"1", b"k", ((REDRIVES, b"2"),))
    first = written(KAFKA, record, None)
    first["deadLetter"]["condition"] = before
    discard = Discard(Batch([record], KAFKA), Condition.RETRIES_EXHAUSTED, 4, FAILURE)
    again = given_up_again(orjson.loads(orjson.dumps(first)), discard, 1573755400.0)
    read = found(again)
    assert (read.condition, read.attempts, read.redrives) == ("RetryAttemptsExhausted", 4, redrives)
    assert (read.error_type, read.at, read.request_id) == ("ValueError", 1573755400.0, "7f2c")
    assert again["deadLetter"]["error"]["stackTrace"] == ["  File …"]
    assert again["requestContext"]["condition"] == "RetriesExhausted"
    assert again["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert read.contents() == found(first).contents()


def test_one_that_grew_too_old_keeps_the_error_that_it_had() -> None:
    record = HeldKafkaRecord(5, b"1", b"k")
    discard = Discard(Batch([record], KAFKA), Condition.EVENT_AGE_EXCEEDED, 0)
    again = given_up_again(written(KAFKA, record), discard, 0.0)
    assert (found(again).condition, found(again).error) == ("EventAgeExceeded", "ValueError")
    assert again["deadLetter"]["error"]["message"] == "no"


class Received(SqsMessage):
    """A message as ReceiveMessage answers it."""

    headers = ()
    size = 1000

    def __init__(self, **attributes: str) -> None:
        self.message = {
            "MessageId": "m",
            "ReceiptHandle": "AQEB",
            "MD5OfBody": "",
            "Body": "hello",
            "Attributes": {"SentTimestamp": "1", "ApproximateReceiveCount": "1", **attributes},
        }


def test_the_trace_of_a_message_of_sqs_stands_in_its_attributes() -> None:
    assert trace_of(Received(AWSTraceHeader=TRACE)) == TRACE
    assert trace_of(Received()) is None
    assert trace_of(message("m", headers=(("a", b"1"), ("AWSTraceHeader", b"\xff")))) == "\ufffd"


# -------------------------------------------------------------------------------------- there and back

keys = (
    st.none()
    | st.text(min_size=1, max_size=5)
    | st.binary(min_size=1, max_size=5).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)
names = st.text(max_size=5)
header_lists = st.lists(st.tuples(names, st.binary(max_size=5)), max_size=4).map(tuple)
arrivals = st.integers(0, 2_000_000_000_000)


def assert_back(record: Record, shape: EventShape) -> None:
    read = found(written(shape, record))
    assert read.content == Content(record.value or b"", record.key, tuple(record.headers))
    assert read.contents() == [read.content]
    assert read.event == shape.to_event([record])
    assert (read.form, read.id, read.function, read.mapping) == (Form.LETTER, "1", "resize", "orders")
    assert (read.source, read.attempts, read.redrives) == ("local:orders", 3, redrives_of(record.headers))
    assert (read.error_type, read.error_message, read.error) == ("ValueError", "no", "ValueError")
    assert (read.request_id, read.condition) == ("7f2c", "RetryAttemptsExhausted")
    assert read.at == 1573755365.568
    assert read.holds_event
    assert not read.is_invocation


@given(st.binary(), keys, arrivals)
def test_a_record_of_a_stream_comes_back(value: bytes, key: str | None, at: int) -> None:
    assume(key is None or key.isprintable())  # Kinesis has text for keys
    assert_back(StreamRecord(5, value, key, at / 1000), KINESIS)


@given(st.none() | st.binary(), st.none() | st.binary(), header_lists, st.booleans())
def test_a_record_of_kafka_comes_back(
    value: bytes | None, key: bytes | None, headers: Headers, msk: bool
) -> None:
    assert_back(HeldKafkaRecord(5, value, key, headers), MSK if msk else KAFKA)


@given(st.text(), keys, header_lists, arrivals)
def test_a_message_comes_back(text: str, key: str | None, headers: Headers, at: int) -> None:
    assert_back(message("m", text.encode(), key=key, headers=headers, sent_at=at / 1000), SQS)


@given(header_lists, st.sampled_from([EVENT, None, "text", [1], {"Records": []}, 1.5]))
def test_an_event_comes_back_as_it_was_given(headers: Headers, payload: Any) -> None:
    read = found(invoked(payload, headers))
    assert (read.form, read.is_invocation, read.holds_event) == (Form.LETTER, True, True)
    assert read.event == payload
    assert (read.content, read.contents()) == (None, None)
    assert (read.function, read.source, read.condition) == ("resize", "local:orders", "RetriesExhausted")


def test_an_event_that_looks_like_records_was_sent_to_the_function_all_the_same() -> None:
    payload = SQS.to_event([message("m", b"hello")])
    assert contents_of(payload) == [Content(b"hello")]
    for document in (invoked(payload), success_record(CALL, 1, payload, None)):
        assert found(document).contents() is None
        assert found(document).source == document.get("deadLetter", {}).get("source")


def test_a_record_of_a_table_can_be_shown_but_not_sent() -> None:
    arn = "arn:aws:dynamodb:us-west-2:123456789012:table/flights/stream/2026-01-01T00:00:00.000"
    shape, record = DynamoDbShape(arn, "shardId-0", "us-west-2"), Change(change())
    read = found(written(shape, record))
    assert (read.form, read.event, read.source) == (Form.LETTER, shape.to_event([record]), "local:orders")
    assert read.batch_info == ("DDBStreamBatchInfo", shape.batch_info([record])["DDBStreamBatchInfo"])
    assert (read.content, read.contents()) == (None, None)
    assert read.view()["data"] == read.event
    assert found(record_document(given_up(shape, record), record, CALL)).source == arn


# ----------------------------------------------------------------------------------- of events, alone


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"Records": []},
        {"Records": [{"eventSource": "aws:s3"}]},
        {"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": 7}}]},
        {"eventSource": "aws:kafka"},
        {"eventSource": {}, "Records": 7},
    ],
)
def test_of_other_events_there_are_no_records(event: Any) -> None:
    assert contents_of(event) is None


def test_the_records_of_an_event_of_many() -> None:
    assert contents_of(KINESIS.to_event(stream(2, key="k"))) == [Content(b"{}", "k")] * 2
    event = KAFKA.to_event([HeldKafkaRecord(1, b"a", b"\xff"), HeldKafkaRecord(2, None)])
    event["records"]["orders-3"] = [{"value": "Yg==", "headers": [{"h": [-1, 0]}]}]
    assert contents_of(event) == [
        Content(b"a", "\udcff"),
        Content(b""),
        Content(b"b", None, (("h", b"\xff\x00"),)),
    ]
    attributes = {"n": {"stringValue": "", "dataType": "String"}, "b": {"binaryValue": "/w=="}}
    sqs = {"eventSource": "aws:sqs", "body": "é", "attributes": {}, "messageAttributes": attributes}
    assert contents_of({"Records": [sqs]}) == [Content("é".encode(), None, (("n", b""), ("b", b"\xff")))]


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (KINESIS.to_event(stream(1)), STREAM),
        (
            KinesisShape("arn:aws:kinesis:local:000000000000:stream/a", "0", "local").to_event(stream(1)),
            "local:a",
        ),
        (
            SqsShape("arn:aws:sqs:local:000000000000:a", "local").to_event([message("m")]),
            "local:queue/a",
        ),
        (KAFKA.to_event([HeldKafkaRecord(1)]), "kafka://broker-1:9092,broker-2:9092/orders"),
        (MSK.to_event([HeldKafkaRecord(1)]), "kafka://broker-1:9098/orders"),
        ({"eventSource": "aws:kafka", "records": {}}, None),
        ({"Records": [{"eventSourceARN": 7}]}, None),
        ([], None),
    ],
)
def test_an_event_tells_where_its_records_came_from(event: Any, place: str | None) -> None:
    assert place_of(event) == place


@pytest.mark.parametrize("arn", [None, 7, "sqs://q", "arn:aws:sqs:eu-west-1:1:q", "arn:aws"])
def test_an_arn_of_aws_is_a_place_itself(arn: Any) -> None:
    assert place_of_arn(arn) == (arn if str(arn).startswith("arn:") else None)
