"""A Kinesis data stream as a destination."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack
from uuid import uuid4

from streamfn.options import within
from streamfn.ports import FailureFormat, Message
from streamfn_aws.destinations.destination import AwsDestination, named
from streamfn_aws.destinations.sending import Entry, Fault, Limits, Refused, fault_of
from streamfn_aws.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn_aws.api import Api
    from streamfn_aws.options import ConnectionOptions

_LARGEST: Final = 2**20
_LARGEST_OF_ALL: Final = 10 * 2**20
"""Bytes of a record where the stream allows it, and of a call (PutRecords)."""
_BATCH: Final = 5 * 2**20
"""What a call is filled with: servers of older times take no more."""
_LONGEST_KEY: Final = 256


class KinesisDestination(AwsDestination):
    """Puts records into a stream: `kinesis://STREAM` or its ARN.

    A message's key is its partition key; without one it goes to any shard. A key that is no legal one, above
    256 characters or not UTF-8, goes as its SHA-256. Records of one key keep their order as far as PutRecords
    does: what fails goes again before what follows in later calls. Headers are not kept.

    `max_record_size`: bytes of data and key; raise it, to 10 MiB at most, where the stream's
    MaxRecordSizeInKiB is above 1 MiB.
    """

    service = "kinesis"
    limits = Limits(count=500, size=_BATCH, width=4)
    option_types: ClassVar[Mapping[str, type]] = {"max_record_size": int}
    failure_format = FailureFormat.RECORD

    def __init__(
        self,
        stream: str,
        *,
        max_record_size: int = _LARGEST,
        timeout: float = 15.0,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__(named(stream, "kinesis", "stream", "stream/"), timeout, connection)
        self._largest = int(within("max_record_size", max_record_size, 1024, _LARGEST_OF_ALL))

    @property
    def name(self) -> str:
        return f"kinesis://{self._resource.name}"

    def _entry(self, index: int, message: Message) -> Entry:
        key = _partition_key(message.key) if message.key else str(uuid4())
        size = len(message.body) + len(key.encode())
        if size > self._largest:
            raise Refused(f"{size} bytes, above the {self._largest} that are taken")
        record = {"Data": message.body, "PartitionKey": key}
        return Entry(index, record, size, lane=key if message.key else None)

    async def _look(self, api: Api, address: str) -> None:
        await api.call("DescribeStreamSummary", self._named())

    async def _post(self, api: Api, address: str, batch: Sequence[Entry]) -> Mapping[int, Fault]:
        answer = await api.call(
            "PutRecords", {**self._named(), "Records": [entry.request for entry in batch]}
        )
        # Whatever keeps one record from its shard may pass.
        return {
            entry.index: fault_of(
                self.name, ServiceError("PutRecords", said["ErrorCode"], said.get("ErrorMessage", ""), 500)
            )
            for entry, said in zip(batch, answer["Records"], strict=True)
            if said.get("ErrorCode")
        }

    def _named(self) -> dict[str, Any]:
        if self._resource.arn is not None:
            return {"StreamARN": self._resource.arn}
        return {"StreamName": self._resource.name}


def _partition_key(key: str) -> str:
    encoded = key.encode("utf-8", "surrogateescape")
    try:
        encoded.decode()
    except UnicodeDecodeError:
        return sha256(encoded).hexdigest()
    return key if len(key) <= _LONGEST_KEY else sha256(encoded).hexdigest()
