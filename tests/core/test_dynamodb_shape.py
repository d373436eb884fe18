"""What a function sees of a table's changes: names, types and order of AWS's events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamfn.core.events import DynamoDbRecord, DynamoDbShape
from streamfn.core.rendering import loads

STREAM = "arn:aws:dynamodb:us-west-2:123456789012:table/flights/stream/2026-01-01T00:00:00.000"
SHARD = "shardId-00000001693997155000-0a1b2c3d"


class Change(DynamoDbRecord):
    def __init__(self, change: dict[str, Any], position: int = 0) -> None:
        self.change = change
        self._position = position

    @property
    def position(self) -> int:
        return self._position


def change(number: str = "111", created: float = 1693997155.0, **more: Any) -> dict[str, Any]:
    """As GetRecords answers."""
    return {
        "awsRegion": "us-west-2",
        "dynamodb": {
            "ApproximateCreationDateTime": created,
            "Keys": {"Id": {"N": "101"}},
            "NewImage": {"Message": {"S": "New item!"}, "Id": {"N": "101"}, "Blob": {"B": "AAEqQQ=="}},
            "SequenceNumber": number,
            "SizeBytes": 26,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventID": "f07f8ca4b0b26cb9c4e5e77e69f274ee",
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "eventVersion": "1.1",
        **more,
    }


@pytest.fixture
def shape() -> DynamoDbShape:
    return DynamoDbShape(STREAM, SHARD, "us-west-2")


def exactly(event: Any, expected: Any) -> None:
    """Equal, and keys in the same order all the way down."""
    assert json.dumps(event, indent=1) == json.dumps(expected, indent=1)


def test_a_change_is_shown_as_on_aws(shape: DynamoDbShape) -> None:
    exactly(
        shape.to_event([Change(change())]),
        {
            "Records": [
                {
                    "eventID": "f07f8ca4b0b26cb9c4e5e77e69f274ee",
                    "eventName": "INSERT",
                    "eventVersion": "1.1",
                    "eventSource": "aws:dynamodb",
                    "awsRegion": "us-west-2",
                    "dynamodb": {
                        "ApproximateCreationDateTime": 1693997155.0,
                        "Keys": {"Id": {"N": "101"}},
                        "NewImage": {
                            "Message": {"S": "New item!"},
                            "Id": {"N": "101"},
                            "Blob": {"B": "AAEqQQ=="},
                        },
                        "SequenceNumber": "111",
                        "SizeBytes": 26,
                        "StreamViewType": "NEW_AND_OLD_IMAGES",
                    },
                    "eventSourceARN": STREAM,
                }
            ]
        },
    )


def test_a_deletion_by_ttl_says_who_did_it(shape: DynamoDbShape) -> None:
    """The stream's interface has these names in capitals (API reference: Identity), its events have not."""
    wire = change(
        eventName="REMOVE", userIdentity={"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    )
    (item,) = shape.to_event([Change(wire)])["Records"]
    assert item["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert list(item)[-2:] == ["userIdentity", "eventSourceARN"]


def test_what_a_server_leaves_out_is_there(shape: DynamoDbShape) -> None:
    wire = change()
    del wire["awsRegion"], wire["eventVersion"], wire["eventSource"]
    (item,) = shape.to_event([Change(wire)])["Records"]
    assert (item["awsRegion"], item["eventVersion"], item["eventSource"]) == (
        "us-west-2",
        "1.1",
        "aws:dynamodb",
    )


def test_an_event_is_the_functions_own(shape: DynamoDbShape) -> None:
    """What it does to it changes neither the record nor the next try."""
    wire = change()
    wire["dynamodb"]["NewImage"]["Legs"] = {"L": [{"S": "ZRH"}]}
    record = Change(wire)
    event = shape.to_event([record])
    event["Records"][0]["dynamodb"]["NewImage"]["Legs"]["L"].append({"S": "JFK"})
    event["Records"][0]["dynamodb"].pop("Keys")
    (again,) = shape.to_event([record])["Records"]
    assert again["dynamodb"]["NewImage"]["Legs"] == {"L": [{"S": "ZRH"}]}
    assert again["dynamodb"]["Keys"] == {"Id": {"N": "101"}}


def test_filters_see_the_record_as_delivered(shape: DynamoDbShape) -> None:
    record = Change(change())
    data = shape.filter_data(record, loads)
    assert shape.filter_view(record, data) == shape.to_event([record])["Records"][0]
    assert data["ApproximateCreationDateTime"] == 1693997155.0


def test_an_identifier_is_a_sequence_number(shape: DynamoDbShape) -> None:
    assert shape.record_id("111") == "111"
    assert shape.record_id(111) is None


def test_a_discarded_batch_is_described_in_whole_seconds(shape: DynamoDbShape) -> None:
    records = [Change(change("111", 1693997155.9)), Change(change("222", 1693997161))]
    exactly(
        shape.batch_info(records),
        {
            "DDBStreamBatchInfo": {
                "shardId": SHARD,
                "startSequenceNumber": "111",
                "endSequenceNumber": "222",
                "approximateArrivalOfFirstRecord": "2023-09-06T10:45:55Z",
                "approximateArrivalOfLastRecord": "2023-09-06T10:46:01Z",
                "batchSize": 2,
                "streamArn": STREAM,
            }
        },
    )


def test_a_record_is_a_view_of_its_change() -> None:
    record = Change(change(), 7)
    assert (record.id, record.position, record.arrived_at, record.headers) == ("111", 7, 1693997155.0, ())
    assert record.json() == record.change
    assert record.attempt == 0


def test_changes_of_one_item_have_one_key() -> None:
    first, second, other = change(), change(eventName="MODIFY"), change()
    first["dynamodb"]["Keys"] = {"Id": {"N": "101"}, "Day": {"S": "Zürich"}}
    second["dynamodb"]["Keys"] = {"Day": {"S": "Zürich"}, "Id": {"N": "101"}}
    other["dynamodb"]["Keys"] = {"Id": {"S": "101"}}
    assert Change(first).key == Change(second).key
    assert Change(first).key != Change(other).key
    keyless = change()
    del keyless["dynamodb"]["Keys"]
    assert Change(keyless).key == "{}"


@pytest.mark.parametrize("text", ["", "plain", "Grüße 東京 🛫", '\u0000"\\\n', "x" * 100_000])
def test_a_record_takes_no_more_room_than_it_says(shape: DynamoDbShape, text: str) -> None:
    wire = change()
    wire["dynamodb"]["NewImage"]["Message"]["S"] = text
    record = Change(wire)
    event = shape.to_event([record])["Records"][0]
    for escaped in (True, False):
        size = len(json.dumps(event, separators=(",", ":"), ensure_ascii=escaped).encode())
        assert size <= record.size <= 6 * size + 600
