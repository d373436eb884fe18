"""Changes of items, as DynamoDB Streams shows them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from streamfn.core.events.shape import FilterForm
from streamfn.core.records import Record
from streamfn.core.rendering import iso_millis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.core.records import Headers
    from streamfn.core.rendering import Loads

_METADATA = 480
"""Bytes of what an event adds to a record: the ARN of the stream, the table's name at its longest."""


class DynamoDbRecord(Record):
    """A change of an item as the stream hands it out (DynamoDB Streams API reference: Record). Connectors
    subclass it over their client's own object, which is a mapping with that API's names in it, binary values
    as base64 text.
    """

    __slots__ = ()

    change: Mapping[str, Any]

    @property
    def id(self) -> str:
        return cast("str", self.change["dynamodb"]["SequenceNumber"])

    @property
    def key(self) -> str:
        """The item's key, its attributes in the order of their names: changes of one item have one key."""
        return json.dumps(self.change["dynamodb"].get("Keys", {}), sort_keys=True, separators=(",", ":"))

    @property
    def value(self) -> bytes:
        """The record as JSON."""
        return json.dumps(self.change, separators=(",", ":"), ensure_ascii=False).encode()

    @property
    def headers(self) -> Headers:
        return ()

    @property
    def arrived_at(self) -> float:
        """When the item was changed, rounded down to the second by the service."""
        return cast("float", self.change["dynamodb"]["ApproximateCreationDateTime"])

    @property
    def size(self) -> int:
        # Escaped and with blanks, which is more than any encoder makes of it.
        return _METADATA + len(json.dumps(self.change))


DYNAMODB_FILTERING: Final = FilterForm(
    ("dynamodb",),
    lambda item, data: {**item, "dynamodb": data},
    takes_text=False,
)


@dataclass(frozen=True, slots=True)
class DynamoDbShape:
    """The DynamoDB event (Developer Guide: with-ddb, example event; recorded events of Powertools)."""

    filtering: ClassVar[FilterForm] = DYNAMODB_FILTERING

    stream_arn: str
    shard_id: str
    region: str

    def to_event(self, records: Sequence[Record]) -> dict[str, Any]:
        """`{"Records": [...]}`. Attributes keep their types, as in `{"N": "101"}`; what a function does to an
        event changes no record.
        """
        return {"Records": [_own(self._item(record)) for record in records]}

    def filter_data(self, record: Record, read: Loads) -> Any:
        """What stands under `dynamodb`. Its time is a number, numbers of items are text (Developer Guide:
        with-ddb-filtering; recorded on AWS).
        """
        return cast("DynamoDbRecord", record).change["dynamodb"]

    def filter_view(self, record: Record, data: Any) -> Mapping[str, Any]:
        """The record as delivered."""
        return self._item(record)

    def record_id(self, identifier: object) -> str | None:
        """A sequence number, which is a string; an integer names nothing (recorded on AWS)."""
        return identifier if isinstance(identifier, str) else None

    def batch_info(self, records: Sequence[Record]) -> dict[str, Any]:
        """`DDBStreamBatchInfo`: seven fields, times in whole seconds (recorded on AWS)."""
        return {
            "DDBStreamBatchInfo": {
                "shardId": self.shard_id,
                "startSequenceNumber": records[0].id,
                "endSequenceNumber": records[-1].id,
                "approximateArrivalOfFirstRecord": _iso_seconds(records[0].arrived_at),
                "approximateArrivalOfLastRecord": _iso_seconds(records[-1].arrived_at),
                "batchSize": len(records),
                "streamArn": self.stream_arn,
            }
        }

    def _item(self, record: Record) -> dict[str, Any]:
        change = cast("DynamoDbRecord", record).change
        item = {
            "eventID": change["eventID"],
            "eventName": change["eventName"],
            "eventVersion": change.get("eventVersion", "1.1"),
            "eventSource": "aws:dynamodb",
            "awsRegion": change.get("awsRegion", self.region),
            "dynamodb": change["dynamodb"],
        }
        who = change.get("userIdentity")
        if who is not None:
            # The stream's own interface has these names in capitals, its events have not.
            item["userIdentity"] = {name[0].lower() + name[1:]: text for name, text in who.items()}
        item["eventSourceARN"] = self.stream_arn
        return item


def _own(value: Any) -> Any:
    """The value, none of its containers shared."""
    if isinstance(value, dict):
        return {name: _own(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_own(part) for part in value]
    return value


def _iso_seconds(instant: float) -> str:
    return f"{iso_millis(instant // 1)[:19]}Z"
