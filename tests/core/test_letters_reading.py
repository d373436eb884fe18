"""Dead letters as they are found in a store, whoever wrote them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.delivery import Discard
from streamfn.core.envelopes import metadata_document, payload_document
from streamfn.core.events import EventRecord, InvocationShape
from streamfn.core.invocations import dead_letter_headers, failure_record, success_record
from streamfn.core.letters import REDRIVES, Content, Form, Letter, Stored, place_of, read_letter
from streamfn.core.outcomes import Condition, Failed, Succeeded
from streamfn.core.records import Batch, StreamRecord
from tests.core.letters_made import CALL, EVENT, LAMBDA, STREAM, found, given_up, written
from tests.core.made import FAILURE, KAFKA, KINESIS, SQS, HeldKafkaRecord, message, stream

# -------------------------------------------------------------------- what Lambda writes, word for word

METADATA: dict[str, Any] = {
    "requestContext": {
        "requestId": "316aa6d0",
        "functionArn": LAMBDA,
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 2,
    },
    "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
    "version": "1.0",
    "timestamp": "2019-11-14T18:16:05.568Z",
}
KINESIS_INFO = {
    "shardId": "shardId-000000000001",
    "startSequenceNumber": "49601189658422359378836298521827638475320189012309704722",
    "endSequenceNumber": "49601189658422359378836298522902373528957594348623495186",
    "approximateArrivalOfFirstRecord": "2019-11-14T18:16:04.835Z",
    "approximateArrivalOfLastRecord": "2019-11-14T18:16:05.580Z",
    "batchSize": 500,
    "streamArn": STREAM,
}
KAFKA_INFO = {
    "batchSize": 500,
    "eventSourceArn": "arn:aws:kafka:eu-west-1:123456789012:cluster/c/1f",
    "bootstrapServers": "b-1:9098,b-2:9098",
    "payloadSize": 2039086,
    "recordsInfo": {
        "my-topic-0": {"firstRecordOffset": "1", "lastRecordOffset": "4"},
        "my-topic-11": {"firstRecordOffset": "7", "lastRecordOffset": "9"},
    },
}


def test_a_failure_of_a_stream_tells_where_the_records_are() -> None:
    read = found(METADATA | {"KinesisBatchInfo": KINESIS_INFO}, stored_at=5.0)
    assert read == Letter(
        id="1",
        form=Form.BATCH,
        at=1573755365.568,
        function="resize",
        mapping=None,
        source=STREAM,
        condition="RetryAttemptsExhausted",
        attempts=2,
        error_type=None,
        error_message=None,
        request_id="316aa6d0",
        event=None,
        batch_info=("KinesisBatchInfo", KINESIS_INFO),
        redrives=0,
        content=None,
        document=METADATA | {"KinesisBatchInfo": KINESIS_INFO},
    )
    assert read.error == "RetryAttemptsExhausted"
    assert read.contents() is None
    assert not read.holds_event
    assert read.view()["data"] is None


def test_a_failure_of_kafka_names_the_topic_however_many_partitions_it_was() -> None:
    read = found(METADATA | {"KafkaBatchInfo": KAFKA_INFO})
    assert read.source == "kafka://b-1:9098,b-2:9098/my-topic"
    assert read.batch_info == ("KafkaBatchInfo", KAFKA_INFO)
    for missing in ("recordsInfo", "bootstrapServers"):
        info = {name: value for name, value in KAFKA_INFO.items() if name != missing}
        assert found(METADATA | {"KafkaBatchInfo": info}).source == KAFKA_INFO["eventSourceArn"]


def test_an_object_of_a_bucket_holds_the_event_as_text() -> None:
    records = stream(2, key="k")
    discard = Discard(Batch(records, KINESIS), Condition.RETRY_ATTEMPTS_EXHAUSTED, 2, FAILURE)
    document = payload_document(discard, CALL)
    assert isinstance(document["payload"], str)
    read = found(document)
    assert read.event == KINESIS.to_event(records)
    assert read.contents() == [Content(b"{}", "k")] * 2
    assert (read.form, read.source) == (Form.BATCH, STREAM)
    assert found(document | {"payload": "{oops"}).event == "{oops"
    assert found(document | {"payload": "\ud800"}).contents() is None


def test_a_message_of_a_topic_holds_one_record() -> None:
    """As the guide has it, but for the ARN of the cluster."""
    event = {
        "bootstrapServers": "b-1:9098",
        "eventSource": "aws:kafka",
        "eventSourceArn": "arn:aws:kafka:eu-west-1:123456789012:cluster/c/1f",
        "records": {
            "my-topic-0": [
                {
                    "headers": [],
                    "key": "dGVzdC1rZXk=",
                    "offset": 100,
                    "partition": 0,
                    "timestamp": 1749116692330,
                    "timestampType": "CREATE_TIME",
                    "topic": "my-topic",
                    "value": "dGVzdC12YWx1ZQ==",
                }
            ]
        },
    }
    read = found(METADATA | {"KafkaBatchInfo": KAFKA_INFO, "payload": event})
    assert read.contents() == [Content(b"test-value", "test-key")]
    assert read.source == "kafka://b-1:9098/my-topic"
    assert read.content is None


@pytest.mark.parametrize(
    ("arn", "function"),
    [
        (LAMBDA, "resize"),
        (f"{LAMBDA}:$LATEST", "resize"),
        (f"{LAMBDA}:live", "resize:live"),
        (f"{LAMBDA}:7", "resize:7"),
        ("arn:aws:lambda:eu-west-1:123456789012:layer:x", None),
        ("resize", None),
        (7, None),
        (None, None),
    ],
)
def test_a_function_is_called_by_its_name_with_its_qualifier(arn: Any, function: str | None) -> None:
    assert found({"requestContext": {"condition": "c", "functionArn": arn}}).function == function


def test_a_record_of_an_invocation_holds_its_event() -> None:
    discard = given_up(InvocationShape(), EventRecord("7f2c", b"{}", 0.0))
    read = found(failure_record(CALL, discard, EVENT))
    assert (read.form, read.is_invocation, read.holds_event) == (Form.INVOCATION, True, True)
    assert (read.event, read.error, read.request_id) == (EVENT, "ValueError", "7f2c")
    assert (read.function, read.source, read.content, read.contents()) == ("resize", None, None, None)
    assert read.view() == {**read.document, "event": EVENT, "data": EVENT}


def test_an_event_may_have_been_null_or_have_been_left_out_for_its_size() -> None:
    record = success_record(CALL, 1, None, None)
    assert (found(record).form, found(record).event, found(record).holds_event) == (
        Form.INVOCATION,
        None,
        True,
    )
    del record["requestPayload"]
    assert (found(record).form, found(record).event, found(record).holds_event) == (
        Form.INVOCATION,
        None,
        False,
    )


def test_a_message_of_a_dead_letter_queue_is_the_event() -> None:
    discard = given_up(InvocationShape(), EventRecord("7f2c", b"{}", 0.0), Failed("E", "no"))
    headers = dead_letter_headers(CALL, discard)
    read = found(EVENT, headers=(*headers, (REDRIVES, b"1")), stored_at=5.0, came_from="arn:x", behind=3)
    assert read == Letter(
        id="1",
        form=Form.DEAD_LETTER_QUEUE,
        at=5.0,
        function=None,
        mapping=None,
        source=None,
        condition="ErrorCode 200",
        attempts=None,
        error_type=None,
        error_message="no",
        request_id="7f2c",
        event=EVENT,
        batch_info=None,
        redrives=1,
        content=None,
        document=EVENT,
        behind=3,
    )
    assert (read.is_invocation, read.contents(), read.error) == (True, None, "ErrorCode 200")
    assert found(None, headers=headers).holds_event
    assert found(EVENT, headers=(("RequestID", b"\xff"), ("ErrorCode", b"\xff"))).request_id == "\ufffd"


def test_what_else_stands_in_a_queue_is_a_message() -> None:
    headers = (("a", b"1"), (REDRIVES, b"4"))
    arn = "arn:aws:sqs:local:000000000000:orders"
    read = found(b"hello", key="k", headers=headers, stored_at=5.0, came_from=arn)
    assert (read.form, read.at, read.source, read.redrives) == (Form.MESSAGE, 5.0, "local:queue/orders", 4)
    assert read.contents() == [Content(b"hello", "k", headers)]
    assert (read.event, read.holds_event, read.error, read.is_invocation) == (None, False, None, False)
    assert read.view() == {"event": None, "data": "hello"}
    assert found(b"\xff").view()["data"] == "\ufffd"
    assert found(b'{"a":1}').view() == {"a": 1, "event": {"a": 1}, "data": {"a": 1}}
    for context in ({}, {"condition": 7}, "condition"):
        assert found({"requestContext": context, "requestPayload": 1}).form is Form.MESSAGE
    no_event = found(b"{oops", headers=(("RequestID", b"7f2c"), ("ErrorCode", b"200")))
    assert no_event.form is Form.MESSAGE


def test_patterns_see_the_value_of_the_first_record() -> None:
    read = found(written(KAFKA, HeldKafkaRecord(5, b'{"unit":"C"}')))
    view = read.view()
    assert view["data"] == {"unit": "C"}
    assert view["event"] == read.event
    assert view["deadLetter"]["mapping"] == "orders"


# --------------------------------------------------------------------------------- times and numbers


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Not where clocks show UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EST+5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2019-11-14T18:16:05.568Z", 1573755365.568),
        ("2019-11-14T18:16:05.568", 1573755365.568),
        ("2019-11-14T19:16:05.568+01:00", 1573755365.568),
        ("1970-01-01T00:00:00Z", 0.0),
        ("0001-01-01T00:00:00", -62_135_596_800.0),
        ("9999-12-31T23:59:59-23:59", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() + 86_340),
        ("yesterday", 5.0),
        (1573755365, 5.0),
        (None, 5.0),
    ],
)
@pytest.mark.usefixtures("elsewhere")
def test_instants_are_of_utc_wherever_they_are_read(text: Any, at: float) -> None:
    assert found(METADATA | {"timestamp": text}, stored_at=5.0).at == at


@pytest.mark.parametrize(
    ("said", "attempts"), [(3, 3), (0, 0), (10**4000, 10**4000), (-1, None), (True, None), ("3", None)]
)
def test_attempts_are_a_number_or_not_known(said: Any, attempts: int | None) -> None:
    context = METADATA["requestContext"] | {"approximateInvokeCount": said}
    assert found(METADATA | {"requestContext": context}).attempts == attempts
    dead = {"redrives": said}
    assert found(METADATA | {"deadLetter": dead}).redrives == (attempts or 0)


def test_a_number_too_long_to_be_read_leaves_a_message() -> None:
    body = b'{"requestContext":{"condition":"c","approximateInvokeCount":%s}}' % (b"9" * 5000)
    assert found(body).form is Form.MESSAGE


@pytest.mark.parametrize(
    "dead",
    [
        {"key": "k", "headers": None},
        {"key": "k", "headers": [["a"]]},
        {"key": "k", "headers": [["a", "!"]]},
        {"key": "k", "headers": [["a", 1]]},
        {"key": "k"},
        {"headers": []},
        {"key": None, "keyBase64": "!", "headers": []},
        {"key": None, "keyBase64": 7, "headers": []},
    ],
)
def test_of_an_envelope_that_somebody_spoilt_the_event_is_left(dead: dict[str, Any]) -> None:
    document = written(KINESIS, StreamRecord(5, b"1", "shown")) | {"deadLetter": dead}
    assert found(document).content == Content(b"1", "shown")


def test_of_several_records_a_letter_is_about_none_alone() -> None:
    document = written(KINESIS, StreamRecord(5, b"1"))
    document["payload"] = KINESIS.to_event(stream(2, key="k"))
    read = found(document)
    assert read.content is None
    assert read.contents() == [Content(b"{}", "k")] * 2
    assert found(document | {"payload": EVENT}).contents() is None


# ------------------------------------------------------------------------------------------ totality

words = st.sampled_from(
    [
        *("requestContext", "condition", "functionArn", "approximateInvokeCount", "requestId", "timestamp"),
        *("requestPayload", "payload", "responsePayload", "errorType", "deadLetter", "key", "keyBase64"),
        *("headers", "redrives", "function", "mapping", "source", "KafkaBatchInfo", "KinesisBatchInfo"),
        *("QueueBatchInfo", "recordsInfo", "bootstrapServers", "streamArn", "queueArn", "Records"),
        *("eventSource", "eventSourceARN", "records", "kinesis", "data", "partitionKey", "body", "value"),
        *("attributes", "messageAttributes", "stringValue", "binaryValue", "topic"),
    ]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "aws:kafka", "aws:sqs", "aws:kinesis", "/w==", "!", "x", "\ud800", LAMBDA, STREAM])
    | st.text(max_size=5)
)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=6),
    max_leaves=20,
)


def assert_total(read: Letter) -> None:
    assert read.contents() is None or all(isinstance(each.value, bytes) for each in read.contents() or ())
    for each in read.contents() or ():
        assert each.key is None or isinstance(each.key, str)
        assert all(isinstance(name, str) and isinstance(value, bytes) for name, value in each.headers)
    assert set(read.view()) >= {"event", "data"}
    for word in (read.function, read.mapping, read.source, read.condition, read.request_id, read.error):
        assert word is None or isinstance(word, str)
    assert read.at is None or isinstance(read.at, float)
    assert read.redrives >= 0
    assert isinstance(read.holds_event, bool)


@given(documents)
def test_whatever_stands_in_a_store_can_be_read(document: Any) -> None:
    assert_total(found(document))


@given(documents, documents, documents, documents, documents)
def test_whatever_stands_in_a_record_can_be_read(
    said: Any, dead: Any, payload: Any, info: Any, answer: Any
) -> None:
    context = {"condition": "c", "approximateInvokeCount": said, "functionArn": said, "requestId": said}
    record = {
        "requestContext": context,
        "timestamp": said,
        "deadLetter": dead,
        "responsePayload": answer,
        "KafkaBatchInfo": info,
    }
    assert_total(found({**record, "payload": payload}))
    assert_total(found({**record, "requestPayload": payload}))
    assert_total(found({**record, "QueueBatchInfo": said, "payload": json.dumps(payload)}))


@given(
    st.sampled_from(["aws:kafka", "aws:sqs", "aws:kinesis", "aws:dynamodb", [], None]), documents, documents
)
def test_whatever_looks_like_an_event_can_be_read(source: Any, item: Any, records: Any) -> None:
    for event in (
        {"eventSource": source, "records": records},
        {"eventSource": source, "records": {"t-0": [item]}},
        {"Records": [{"eventSource": source, "kinesis": item, "body": item, "attributes": item}]},
        {"Records": [item]},
        {"Records": records},
    ):
        assert_total(found({"requestContext": {"condition": "c"}, "payload": event}))
        assert place_of(event) is None or isinstance(place_of(event), str)


@given(st.binary(), st.lists(st.tuples(words | st.just("RequestID") | st.just("ErrorCode"), st.binary())))
def test_any_bytes_can_be_read(body: bytes, headers: list[tuple[str, bytes]]) -> None:
    assert_total(read_letter(Stored("1", body, None, headers)))
    assert_total(read_letter(Stored("1", body, None, headers), orjson.loads))


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"requestContext":' * 100_000, b"\xff", b"", b"NaN"])
def test_what_cannot_be_parsed_is_a_message(body: bytes) -> None:
    assert found(body).form is Form.MESSAGE


def test_what_a_queue_s_record_tells_is_where_it_was() -> None:
    discard = given_up(SQS, message("m"), Succeeded(failed=frozenset("m")))
    read = found(metadata_document(discard, CALL))
    assert read.source == "arn:aws:sqs:eu-west-1:123456789012:orders"
    assert read.batch_info is not None
    assert read.batch_info[0] == "QueueBatchInfo"
