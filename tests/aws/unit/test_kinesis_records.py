"""Records of Kinesis: what a function sees, how much room it takes, and where each stands in its shard."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.events import KinesisShape
from streamfn_aws.kinesis.records import KinesisRecord, records_of
from streamfn_aws.kinesis.start import Start
from streamfn_aws.positions import LAST_PART, TRIM_HORIZON, instant_position, part_of, position_of
from tests.aws.unit.kinesis_packed import packed, sealed

NUMBER = "49590338271490256608559692538361571095921575989136588898"
SHAPE = KinesisShape(
    "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
    "shardId-000000000006",
    "us-east-2",
    "arn:aws:iam::123456789012:role/lambda-role",
)
LONGEST = KinesisShape(
    f"arn:aws-us-gov:kinesis:ap-southeast-1:123456789012:stream/{'s' * 128}",
    "shardId-000000000006",
    "ap-southeast-1",
)


def wire(number: int | str, data: bytes, key: str = "1", at: float = 1545084650.987) -> dict[str, Any]:
    """A record as it comes in an answer."""
    return {
        "SequenceNumber": str(number),
        "ApproximateArrivalTimestamp": at,
        "Data": b64encode(data).decode(),
        "PartitionKey": key,
        "EncryptionType": "NONE",
    }


def list_of(answer: list[dict[str, Any]], *, aggregated: bool) -> list[KinesisRecord]:
    return list(records_of(answer, aggregated=aggregated))


def test_the_event_is_the_one_recorded_on_aws() -> None:
    records = list_of([wire(NUMBER, b"Hello, this is a test.")], aggregated=False)
    assert SHAPE.to_event(records) == {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "1",
                    "sequenceNumber": NUMBER,
                    "data": "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
                    "approximateArrivalTimestamp": 1545084650.987,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"shardId-000000000006:{NUMBER}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
                "awsRegion": "us-east-2",
                "eventSourceARN": "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
            }
        ]
    }


def test_a_record_is_what_came() -> None:
    (record,) = list_of([wire(NUMBER, b"\x00\xff", "Zürich")], aggregated=True)
    assert (record.id, record.key, record.value) == (NUMBER, "Zürich", b"\x00\xff")
    assert (record.arrived_at, record.headers, record.attempt) == (1545084650.987, (), 0)
    assert record.position == position_of(NUMBER)


DATA = st.binary(max_size=300)
KEYS = st.text(min_size=1, max_size=256)


@given(st.lists(st.tuples(KEYS, DATA), min_size=1, max_size=5), st.booleans())
def test_no_record_takes_more_room_than_it_says(parts: list[tuple[str, bytes]], together: bool) -> None:
    if together:
        answer = [wire(NUMBER, packed(parts))]
    else:
        answer = [wire(int(NUMBER) + n, data, key) for n, (key, data) in enumerate(parts)]
    records = list_of(answer, aggregated=True)
    assert len(records) == len(parts)
    for record in records:
        (shown,) = LONGEST.to_event([record])["Records"]
        assert len(json.dumps(shown, ensure_ascii=False).encode()) + 2 <= record.size


def test_a_size_is_not_far_off() -> None:
    (record,) = list_of([wire(NUMBER, b"x" * 3000)], aggregated=False)
    assert record.size <= len(json.dumps(SHAPE.to_event([record]))) + 200


@given(st.lists(st.lists(st.tuples(KEYS, DATA), min_size=1, max_size=4), min_size=1, max_size=4))
def test_parts_have_the_number_of_the_whole_and_growing_positions(
    wholes: list[list[tuple[str, bytes]]],
) -> None:
    answer = [wire(100 + n, packed(parts), "of the whole") for n, parts in enumerate(wholes)]
    records = list_of(answer, aggregated=True)
    assert [(r.key, r.value) for r in records] == [part for parts in wholes for part in parts]
    assert [r.id for r in records] == [str(100 + n) for n, parts in enumerate(wholes) for _ in parts]
    assert [b64decode(r.data) for r in records] == [r.value for r in records]
    positions = [r.position for r in records]
    assert positions == sorted(set(positions))
    assert [part_of(p) == LAST_PART for p in positions] == [
        n == len(parts) - 1 for parts in wholes for n in range(len(parts))
    ]
    # Without the option they stay as they are, and are done with as their last part is.
    assert [r.position for r in list_of(answer, aggregated=False)] == [
        p for p in positions if part_of(p) == LAST_PART
    ]


@given(st.lists(st.tuples(KEYS, DATA), min_size=1, max_size=6), st.data())
def test_reading_goes_on_within_an_aggregate(parts: list[tuple[str, bytes]], data: st.DataObject) -> None:
    answer = [wire(7, packed(parts)), wire(8, b"next")]
    records = list_of(answer, aggregated=True)
    done = data.draw(st.integers(0, len(parts) - 1))
    start = Start(records[done].position)
    halfway = done < len(parts) - 1
    assert start.kind == ("AT_SEQUENCE_NUMBER" if halfway else "AFTER_SEQUENCE_NUMBER")
    again = list_of(answer if halfway else answer[1:], aggregated=True)
    assert [r.position for r in start.fresh(again)] == [r.position for r in records[done + 1 :]]
    # Nothing of it is lost where it is no longer taken apart.
    whole = start.fresh(list_of(answer if halfway else answer[1:], aggregated=False))
    assert [r.id for r in whole] == (["7", "8"] if halfway else ["8"])


def test_what_only_looks_aggregated_comes_as_it_is() -> None:
    (record,) = list_of([wire(7, sealed(b"no message"))], aggregated=True)
    assert (record.value, record.position) == (sealed(b"no message"), position_of("7"))


def test_where_reading_begins_in_the_words_of_kinesis() -> None:
    assert Start(TRIM_HORIZON).iterator == {"ShardIteratorType": "TRIM_HORIZON"}
    assert Start(TRIM_HORIZON).subscription == {"Type": "TRIM_HORIZON"}
    at = Start(instant_position(1545084650.987))
    assert at.iterator == {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1545084650.987}
    assert at.subscription == {"Type": "AT_TIMESTAMP", "Timestamp": 1545084650.987}
    after = Start(position_of("17"), digits=5)
    assert after.iterator == {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": "00017"}
    assert after.subscription == {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "00017"}
    assert Start(position_of("17", 3)).iterator == {
        "ShardIteratorType": "AT_SEQUENCE_NUMBER",
        "StartingSequenceNumber": "17",
    }


def test_what_arrived_before_the_instant_is_left_out() -> None:
    # Some clients know whole seconds only, so more comes than was asked for.
    answer = [wire(n, b"", at=100.0 + n / 10) for n in range(10)]
    start = Start(instant_position(100.45))
    assert [r.id for r in start.fresh(list_of(answer, aggregated=False))] == ["5", "6", "7", "8", "9"]


@given(st.integers(0, 50), st.integers(0, LAST_PART), st.integers(0, 50))
def test_a_start_never_goes_back(number: int, part: int, seen: int) -> None:
    start = Start(position_of(str(number), part), 3)
    after = start.after(str(seen))
    assert after.digits == 3
    assert after.position == (position_of(str(seen)) if seen > number else start.position)
    assert Start(TRIM_HORIZON).after(str(seen)).position == position_of(str(seen))
