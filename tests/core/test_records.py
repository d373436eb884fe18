"""Records and batches, and what they weigh in a payload."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.events import EventShape
from streamfn.core.records import Batch, QueueRecord, Record, StreamRecord
from streamfn.core.rendering import base64_size, base64_text, decoded, iso_millis, text_of, text_size
from tests.core.made import KAFKA, KINESIS, MSK, SQS, HeldKafkaRecord, message, stream

blobs = st.binary(max_size=300) | st.text(max_size=100).map(str.encode)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
headers = st.lists(st.tuples(texts, blobs), max_size=4)

stream_records = st.builds(
    StreamRecord, st.integers(0, 2**63), st.none() | blobs, st.none() | texts, st.floats(0, 4e9)
)
queue_records = st.builds(
    QueueRecord,
    st.uuids().map(str),
    blobs,
    st.none() | texts,
    headers,
    st.floats(0, 4e9),
    st.floats(0, 4e9),
    st.integers(1, 1000),
    st.none() | st.dictionaries(texts, texts, max_size=3),
    st.none() | texts | st.integers(),
)
kafka_records = st.builds(
    HeldKafkaRecord,
    st.integers(0, 2**63 - 1),
    st.none() | blobs,
    st.none() | blobs,
    headers,
    st.integers(-1, 2**62),
)


def weight(shape: EventShape, records: list[Record]) -> int:
    return len(orjson.dumps(shape.to_event(records)))


@given(stream_records)
def test_a_stream_record_weighs_no_less_than_it_takes(record: StreamRecord) -> None:
    assert weight(KINESIS, [record]) <= record.size


@given(queue_records)
def test_a_message_weighs_no_less_than_it_takes(record: QueueRecord) -> None:
    assert weight(SQS, [record]) <= record.size


@given(kafka_records, st.sampled_from([KAFKA, MSK]))
def test_a_kafka_record_weighs_no_less_than_it_takes(record: HeldKafkaRecord, shape: EventShape) -> None:
    envelope = weight(shape, [])
    assert weight(shape, [record]) <= record.size + envelope


@pytest.mark.parametrize(
    "body", [b"x" * 100_000, "пар".encode() * 30_000, b'{"a": "b"}' * 9_000], ids=["a", "u", "j"]
)
def test_what_is_large_is_weighed_closely_for_it_may_be_given_up_as_too_large(body: bytes) -> None:
    for shape, record in (
        (KINESIS, StreamRecord(0, body)),
        (SQS, message("m", body)),
        (KAFKA, HeldKafkaRecord(0, body)),
    ):
        assert record.size < 1.02 * weight(shape, [record])


@given(blobs)
def test_the_size_of_a_text_is_that_of_its_json(data: bytes) -> None:
    assert text_size(data) == len(orjson.dumps(text_of(data))) - 2
    assert base64_size(data) == len(base64_text(data))


def test_json_of_a_tombstone_and_of_no_json_are_errors() -> None:
    assert StreamRecord(1, b'{"a": [1]}').json() == {"a": [1]}
    with pytest.raises(ValueError, match="record 1 is a tombstone"):
        StreamRecord(1, None).json()
    with pytest.raises(ValueError, match="Expecting value"):
        StreamRecord(1, b"no").json()


def test_a_record_shows_what_it_is_and_not_what_it_holds() -> None:
    assert repr(StreamRecord(7, b"secret", "k")) == "<StreamRecord 7 key='k'>"


def test_records_are_told_apart_by_identity() -> None:
    assert StreamRecord(1, b"") != StreamRecord(1, b"")


def test_a_message_remembers_how_often_it_failed_and_has_no_position() -> None:
    record = message("m", receive_count=3, sent_at=5.0)
    assert (record.attempt, record.position, record.arrived_at) == (2, 0, 5.0)
    assert StreamRecord(1, b"").attempt == 0


def test_a_kafka_record_is_named_by_its_offset() -> None:
    record = HeldKafkaRecord(15, raw_key=b"\xffk", timestamp=1500)
    assert (record.id, record.position, record.arrived_at) == ("15", 15, 1.5)
    assert record.key == "\udcffk"
    assert HeldKafkaRecord(15).key is None


def test_a_batch_is_a_sequence_of_its_records() -> None:
    records = stream(3)
    batch = Batch(records, KINESIS)
    assert (len(batch), list(batch), batch[1], batch[1:]) == (3, records, records[1], records[1:])
    assert [r["kinesis"]["sequenceNumber"] for r in batch.to_event()["Records"]] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("data", "view"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"[1, 2]", [1, 2]),
        (b' \t\r\n{"a": 1}', {"a": 1}),
        (b"12", "12"),
        (b'"quoted"', '"quoted"'),
        (b"null", "null"),
        (b"", ""),
        (b"plain", "plain"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "[Infinity]"),
        (b"\xff\x00", b"\xff\x00"),
        (b"{\xff}", b"{\xff}"),
        (b"\xff\xfe{\x00}\x00", b"\xff\xfe{\x00}\x00"),
        (b"{oops", "{oops"),
        (b"{\x00}\x00", "{\x00}\x00"),
        (b"9" * 5000, "9" * 5000),
    ],
    ids=range(16),
)
def test_data_is_decoded_as_far_as_it_can_be(data: bytes, view: object) -> None:
    assert decoded(data) == view


def test_json_that_is_nested_too_deep_is_text() -> None:
    assert decoded(b"[" * 100_000) == "[" * 100_000


def test_what_a_quick_reader_refuses_is_read_again() -> None:
    def quick(data: bytes) -> object:
        if b"\\ud800" in data:
            raise ValueError("a lone surrogate")
        return [data]

    assert decoded(b'{"a": 1}', quick) == [b'{"a": 1}']
    assert decoded(b'{"a": "\\ud800"}', quick) == {"a": "\ud800"}
    assert decoded(b"{\\ud800", quick) == "{\\ud800"


@given(st.floats(allow_nan=False) | st.integers(-1, 2**63).map(lambda ms: ms / 1000))
def test_any_instant_can_be_spelled(instant: float) -> None:
    assert len(iso_millis(instant)) == len("2019-11-14T18:16:05.568Z")
    assert json.dumps(iso_millis(instant))


def test_an_instant_is_spelled_in_milliseconds_and_utc() -> None:
    assert iso_millis(1573755365.568) == "2019-11-14T18:16:05.568Z"
    assert iso_millis(0) == "1970-01-01T00:00:00.000Z"
    assert iso_millis(1e300) == "9999-12-31T23:59:59.999Z"
