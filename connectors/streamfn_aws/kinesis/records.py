"""Records as functions see them: views over what came from the wire. Pure."""

from __future__ import annotations

from binascii import a2b_base64
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from streamfn.core.events.kinesis import EncodedRecord
from streamfn.core.rendering import base64_size, base64_text
from streamfn_aws.kinesis.aggregation import BASE64_MAGIC, unpacked
from streamfn_aws.positions import LAST_PART, position_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streamfn.core.records import Headers

_METADATA: Final = 620
"""Bytes of a record in an event without its data, key and sequence number: the stream's name at its longest,
in the region and partition with the longest names.
"""
_AT_WORST: Final = 6
"""Bytes of one character of a key in JSON: a control character becomes an escape."""


class _WireRecord(EncodedRecord):
    """What a record and the parts of one have in common."""

    __slots__ = ("_wire",)

    def __init__(self, wire: Mapping[str, Any]) -> None:
        self._wire = wire

    @property
    def id(self) -> str:
        number: str = self._wire["SequenceNumber"]
        return number

    @property
    def arrived_at(self) -> float:
        instant: float = self._wire["ApproximateArrivalTimestamp"]
        return instant

    @property
    def headers(self) -> Headers:
        return ()


class WholeRecord(_WireRecord):
    """A record as Kinesis has it. Its value is decoded when it is asked for."""

    __slots__ = ()

    @property
    def position(self) -> int:
        return position_of(self._wire["SequenceNumber"])

    @property
    def key(self) -> str:
        key: str = self._wire["PartitionKey"]
        return key

    @property
    def data(self) -> str:
        data: str = self._wire["Data"]
        return data

    @property
    def value(self) -> bytes:
        return a2b_base64(self._wire["Data"])

    @property
    def size(self) -> int:
        wire = self._wire
        return (
            _METADATA
            + len(wire["Data"])
            + _AT_WORST * len(wire["PartitionKey"])
            + 2 * len(wire["SequenceNumber"])
        )


class PartRecord(_WireRecord):
    """One of the records that a producer packed into one. It has the sequence number of them all."""

    __slots__ = ("_part", "key", "value")

    key: str
    value: bytes

    def __init__(self, wire: Mapping[str, Any], part: int, key: str, value: bytes) -> None:
        super().__init__(wire)
        self._part = part
        self.key = key
        self.value = value

    @property
    def position(self) -> int:
        return position_of(self._wire["SequenceNumber"], self._part)

    @property
    def data(self) -> str:
        return base64_text(self.value)

    @property
    def size(self) -> int:
        number = self._wire["SequenceNumber"]
        return _METADATA + base64_size(self.value) + _AT_WORST * len(self.key) + 2 * len(number)


KinesisRecord = WholeRecord | PartRecord


def records_of(wire: Iterable[Mapping[str, Any]], *, aggregated: bool) -> Iterator[KinesisRecord]:
    """The records of an answer, in order; where producers aggregate, with those that were packed into one."""
    return chain.from_iterable(map(_parts_of, wire)) if aggregated else map(WholeRecord, wire)


def _parts_of(record: Mapping[str, Any]) -> Iterator[KinesisRecord]:
    data: str = record["Data"]
    parts = unpacked(a2b_base64(data)) if data.startswith(BASE64_MAGIC) else None
    if parts is None:
        yield WholeRecord(record)
        return
    last = len(parts) - 1
    for number, part in enumerate(parts):
        # Done with the last part is done with the record.
        yield PartRecord(record, LAST_PART if number == last else number, part.key, part.data)
