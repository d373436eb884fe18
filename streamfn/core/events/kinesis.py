"""Records of ordered streams, as Kinesis shows them."""

from __future__ import annotations

from binascii import b2a_base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamfn.core.rendering import decoded, iso_millis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.core.records import Record


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
        return {
            "Records": [
                {
                    "kinesis": {
                        "kinesisSchemaVersion": "1.0",
                        "partitionKey": record.key or "",
                        "sequenceNumber": (number := record.id),
                        "data": b2a_base64(record.value or b"", newline=False).decode("ascii"),
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
