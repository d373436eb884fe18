"""Records of ordered streams, as Kinesis shows them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final

from streamfn.core.events.shape import FilterForm
from streamfn.core.records import Record
from streamfn.core.rendering import base64_text, decoded, iso_millis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.core.rendering import Loads


class EncodedRecord(Record):
    """A record whose source holds its value as base64 text: what goes into the event as it is."""

    __slots__ = ()

    @property
    @abstractmethod
    def data(self) -> str:
        """The value in base64."""


def _placed(item: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """What stands under `kinesis` stands at the top as well: AWS's patterns name `data`, and older ones
    `partitionKey`, without `kinesis` around it (Developer Guide: with-kinesis-filtering).
    """
    inside = {**item.get("kinesis", {}), "data": data}
    return {**inside, **item, "kinesis": inside}


KINESIS_FILTERING: Final = FilterForm(("data", "kinesis.data"), _placed, takes_text=False)


@dataclass(frozen=True, slots=True)
class KinesisShape:
    """The Kinesis event (Developer Guide: with-kinesis, example event; recorded events of Powertools)."""

    filtering: ClassVar[FilterForm] = KINESIS_FILTERING

    stream_arn: str
    shard_id: str
    region: str
    invoke_identity_arn: str = "arn:aws:iam::000000000000:role/lambda-role"

    def to_event(self, records: Sequence[Record]) -> dict[str, Any]:
        """`{"Records": [...]}`. Data is base64 always; a record without a key has an empty partition key."""
        shard, identity, region, arn = self.shard_id, self.invoke_identity_arn, self.region, self.stream_arn
        # Records of one event are of one source, and of one class.
        data_of = _held if records and isinstance(records[0], EncodedRecord) else _encoded
        return {
            "Records": [
                {
                    "kinesis": {
                        "kinesisSchemaVersion": "1.0",
                        "partitionKey": record.key or "",
                        "sequenceNumber": (number := record.id),
                        "data": data_of(record),
                        "approximateArrivalTimestamp": round(record.arrived_at, 3),
                    },
                    "eventSource": "aws:kinesis",
                    "eventVersion": "1.0",
                    "eventID": f"{shard}:{number}",
                    "eventName": "aws:kinesis:record",
                    "invokeIdentityArn": identity,
                    "awsRegion": region,
                    "eventSourceARN": arn,
                }
                for record in records
            ]
        }

    def filter_data(self, record: Record, read: Loads) -> Any:
        """The value decoded (Developer Guide: with-kinesis-filtering)."""
        return decoded(record.value or b"", read)

    def filter_view(self, record: Record, data: Any) -> Mapping[str, Any]:
        """The record as delivered with that data, and what is under `kinesis` at the top as well."""
        (item,) = self.to_event((record,))["Records"]
        return _placed(item, data)

    def record_id(self, identifier: object) -> str | None:
        """A sequence number, which is a string; an integer names nothing (recorded on AWS)."""
        return identifier if isinstance(identifier, str) else None

    def batch_info(self, records: Sequence[Record]) -> dict[str, Any]:
        """`KinesisBatchInfo`: seven fields, times in milliseconds (recorded on AWS)."""
        return {
            "KinesisBatchInfo": {
                "shardId": self.shard_id,
                "startSequenceNumber": records[0].id,
                "endSequenceNumber": records[-1].id,
                "approximateArrivalOfFirstRecord": iso_millis(records[0].arrived_at),
                "approximateArrivalOfLastRecord": iso_millis(records[-1].arrived_at),
                "batchSize": len(records),
                "streamArn": self.stream_arn,
            }
        }


_held = attrgetter("data")


def _encoded(record: Record) -> str:
    return base64_text(record.value or b"")
