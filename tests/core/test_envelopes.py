"""The on-failure documents, field by field."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.delivery import Discard
from streamfn.core.envelopes import FailureFormat, Invocation, failure_documents, s3_key, without_payload
from streamfn.core.outcomes import Cause, Condition, Failed, Outcome, Succeeded
from streamfn.core.records import Batch, StreamRecord
from tests.core.made import FAILURE, KAFKA, KINESIS, MSK, SQS, HeldKafkaRecord, message, stream

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:resize"
CALL = Invocation(ARN, "7f2c", 1573755365.568)
EXHAUSTED, TOO_OLD, TOO_LARGE = (
    Condition.RETRY_ATTEMPTS_EXHAUSTED,
    Condition.RECORD_AGE_EXCEEDED,
    Condition.MAXIMUM_PAYLOAD_SIZE_EXCEEDED,
)
KINESIS_RECORD = StreamRecord(5, b"12.5", "sensor-1", 1573755364.835)


def given_up(
    condition: Condition = EXHAUSTED, outcome: Outcome | None = FAILURE, batch: Batch | None = None
) -> Discard:
    return Discard(batch or Batch([KINESIS_RECORD], KINESIS), condition, 2, outcome)


def document(style: FailureFormat, discard: Discard, call: Invocation = CALL) -> dict[str, Any]:
    (only,) = failure_documents(discard, style, call)
    return only


def exactly(shown: Any, expected: Any) -> None:
    assert json.dumps(shown, indent=1) == json.dumps(expected, indent=1)


def test_queues_and_topics_get_where_the_records_are() -> None:
    exactly(
        document(FailureFormat.METADATA, given_up()),
        {
            "requestContext": {
                "requestId": "7f2c",
                "functionArn": ARN,
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 2,
            },
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": "Unhandled",
            },
            "version": "1.0",
            "timestamp": "2019-11-14T18:16:05.568Z",
            "KinesisBatchInfo": {
                "shardId": "shardId-000000000003",
                "startSequenceNumber": "5",
                "endSequenceNumber": "5",
                "approximateArrivalOfFirstRecord": "2019-11-14T18:16:04.835Z",
                "approximateArrivalOfLastRecord": "2019-11-14T18:16:04.835Z",
                "batchSize": 1,
                "streamArn": "arn:aws:kinesis:eu-west-1:123456789012:stream/readings",
            },
        },
    )


def test_a_bucket_gets_the_event_as_well_as_a_json_string() -> None:
    discard = given_up()
    shown = document(FailureFormat.PAYLOAD, discard)
    assert isinstance(shown["payload"], str)
    assert json.loads(shown.pop("payload")) == discard.batch.to_event()
    error = shown.pop("responsePayload")
    assert error == {
        "errorMessage": "no",
        "errorType": "ValueError",
        "requestId": "7f2c",
        "stackTrace": ["  File …"],
    }
    exactly(shown, document(FailureFormat.METADATA, discard))


def test_whoever_encodes_json_faster_may_do_so() -> None:
    (shown,) = failure_documents(
        given_up(), FailureFormat.PAYLOAD, CALL, dumps=lambda event: orjson.dumps(event).decode()
    )
    assert orjson.loads(shown["payload"]) == given_up().batch.to_event()


def test_a_kafka_topic_gets_each_record_with_the_differences_that_aws_has() -> None:
    records = [
        HeldKafkaRecord(100, b"test-value", b"test-key", timestamp=1573755364835),
        HeldKafkaRecord(101),
    ]
    discard = given_up(batch=Batch(records, MSK))
    first, second = failure_documents(discard, FailureFormat.RECORD, CALL)
    assert second["KafkaBatchInfo"]["recordInfo"]["offset"] == "101"
    assert first.pop("responsePayload")["errorType"] == "ValueError"
    exactly(
        first,
        {
            "requestContext": {
                "requestId": "7f2c",
                "functionArn": f"{ARN}:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 2,
            },
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": "Unhandled",
            },
            "version": "1.0",
            "timestamp": "2019-11-14T18:16:05.568Z",
            "KafkaBatchInfo": {
                "batchSize": 1,
                "eventSourceArn": "arn:aws:kafka:eu-west-1:123456789012:cluster/c/1f",
                "bootstrapServers": "broker-1:9098",
                "payloadSize": records[0].size,
                "recordInfo": {"offset": "100", "timestamp": "2019-11-14T18:16:04.835Z"},
            },
            "payload": {
                "eventSource": "aws:kafka",
                "eventSourceArn": "arn:aws:kafka:eu-west-1:123456789012:cluster/c/1f",
                "bootstrapServers": "broker-1:9098",
                "records": {
                    "orders-2": [
                        {
                            "topic": "orders",
                            "partition": 2,
                            "offset": 100,
                            "timestamp": 1573755364835,
                            "timestampType": "CREATE_TIME",
                            "key": "dGVzdC1rZXk=",
                            "value": "dGVzdC12YWx1ZQ==",
                            "headers": [],
                        }
                    ]
                },
            },
        },
    )


@pytest.mark.parametrize("style", FailureFormat)
def test_age_leaves_no_response_and_size_a_null_one(style: FailureFormat) -> None:
    too_old = document(style, given_up(TOO_OLD, None))
    assert "responseContext" not in too_old
    assert "responsePayload" not in too_old
    assert too_old["requestContext"]["condition"] == "RecordAgeExceeded"
    too_large = document(style, given_up(TOO_LARGE, None))
    assert too_large["responseContext"] is None
    assert too_large["requestContext"]["condition"] == "MaximumPayloadSizeExceeded"


@pytest.mark.parametrize("style", FailureFormat)
def test_a_function_that_returned_has_no_function_error(style: FailureFormat) -> None:
    shown = document(style, given_up(outcome=Succeeded({"batchItemFailures": []})))
    assert shown["responseContext"]["functionError"] is None
    assert "responsePayload" not in shown


def test_what_made_a_record_fail_is_told_even_if_the_function_returned() -> None:
    outcome = Succeeded(failed=frozenset({"5"}), error=Failed("KeyError", "'unit'"))
    assert "responsePayload" not in document(FailureFormat.METADATA, given_up(outcome=outcome))
    for style in (FailureFormat.PAYLOAD, FailureFormat.RECORD):
        shown = document(style, given_up(outcome=outcome))
        assert shown["responsePayload"]["errorType"] == "KeyError"
        assert shown["responseContext"]["functionError"] is None


def test_a_qualified_function_is_named_and_executed_as_such() -> None:
    call = Invocation(f"{ARN}:live", "7f2c", 0.0)
    for style in FailureFormat:
        shown = document(style, given_up(), call)
        assert shown["requestContext"]["functionArn"] == f"{ARN}:live"
        assert shown["responseContext"]["executedVersion"] == "live"


def test_messages_of_a_queue_have_documents_too() -> None:
    discard = given_up(batch=Batch([message("a"), message("b")], SQS))
    first, second = failure_documents(discard, FailureFormat.RECORD, CALL)
    assert first["QueueBatchInfo"]["messageIds"] == ["a"]
    assert second["payload"]["Records"][0]["messageId"] == "b"


def test_the_key_of_an_object_names_mapping_shard_and_instant() -> None:
    mapping, unique = "6f2c1f8e-5d4d-4f6c-9d3a-0123456789ab", "11111111-2222-3333-4444-555555555555"
    key = s3_key(mapping, "shardId-000000000003", 1573755365.568, unique)
    assert key == f"aws/lambda/{mapping}/shardId-000000000003/2019/11/14/2019-11-14T18.16.05-{unique}"
    assert re.fullmatch(
        r"aws/lambda/[-0-9a-f]{36}/shardId-\d{12}/\d{4}/\d\d/\d\d/\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d-[-0-9a-f]{36}",
        key,
    )


@pytest.mark.parametrize("style", [FailureFormat.PAYLOAD, FailureFormat.RECORD])
def test_a_document_that_is_too_large_goes_without_its_payloads(style: FailureFormat) -> None:
    whole = document(style, given_up(batch=Batch([StreamRecord(5, b"x" * 1000, "k", 0.0)], KINESIS)))
    bare = without_payload(orjson.dumps(whole), 1000)
    assert bare is not None
    del whole["payload"], whole["responsePayload"]
    exactly(json.loads(bare), whole)
    assert without_payload(bare, len(bare) - 1) is None
    assert without_payload(bare, len(bare)) is None  # there was nothing to leave out


@pytest.mark.parametrize(
    "body",
    [
        b'{"payload":"x"}',
        b'{"requestContext":{},"payload":"x"}',
        b'{"requestContext":"condition","payload":"x"}',
        b'["condition"]',
        b"no json",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_only_on_failure_records_lose_anything(body: bytes) -> None:
    assert without_payload(body, 1000) is None


_any_text = st.text(st.characters(), max_size=3)
"""Halves of surrogate pairs as well, of file names that are not UTF-8."""


@given(
    st.sampled_from(FailureFormat),
    st.sampled_from(Condition),
    st.builds(
        Failed, _any_text, _any_text, st.lists(_any_text, max_size=3).map(tuple), st.sampled_from(Cause)
    )
    | st.builds(Succeeded)
    | st.none(),
    st.integers(-1, 2**63 - 1),
    st.binary(max_size=9),
    st.integers(1, 5),
)
def test_every_discard_can_be_written_down(
    style: FailureFormat,
    condition: Condition,
    outcome: Outcome | None,
    timestamp: int,
    value: bytes,
    count: int,
) -> None:
    """Were it not, its record could never be given up."""
    kafka = [HeldKafkaRecord(i, value, value, timestamp=timestamp) for i in range(count)]
    for batch in (Batch(kafka, KAFKA), Batch(stream(count), KINESIS), Batch([message("m", value)], SQS)):
        documents = failure_documents(Discard(batch, condition, 1, outcome), style, CALL)
        assert len(documents) == (len(batch) if style is FailureFormat.RECORD else 1)
        for each in documents:
            assert orjson.dumps(each)
