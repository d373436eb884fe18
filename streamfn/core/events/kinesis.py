"""Records of ordered streams, as Kinesis shows them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from streamfn.core.records import Record
from streamfn.core.rendering import base64_text, decoded, iso_millis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class EncodedRecord(Record):
    """A record whose source holds its value as base64 text: what goes into the event as it is."""

    __slots__ = ()

    @property
    @abstractmethod
    def data(self) -> str:
        """The value in base64."""


@dataclass(frozen=True, slots=True)
class KinesisShape:
    """The Kinesis event (Developer Guide: with-kinesis, example event; recorded events of Powertools)."""

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

    def filter_view(self, record: Record) -> Mapping[str, Any]:
        """The record as delivered, with `data` decoded; the fields under `kinesis` stand at the top as well.

        AWS's patterns name `data` (and older ones `partitionKey`) without `kinesis` around it (Developer
        Guide: with-kinesis-filtering).
        """
        (view,) = self.to_event((record,))["Records"]
        view["kinesis"]["data"] = decoded(record.value or b"")
        return {**view["kinesis"], **view}

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
