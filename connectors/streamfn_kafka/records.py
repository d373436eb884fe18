"""Records as functions see them: views over the client's own objects."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from streamfn.core.events.kafka import KafkaRecord

if TYPE_CHECKING:
    from streamfn.core.events.kafka import TimestampType
    from streamfn.core.records import Headers

_TYPES: tuple[TimestampType, TimestampType] = ("CREATE_TIME", "LOG_APPEND_TIME")
_METADATA = 200
"""Names, punctuation and numbers of one record in an event, the numbers at their longest."""


class FetchedRecord(KafkaRecord):
    """A record as aiokafka fetched it. A field costs nothing until it is read."""

    __slots__ = ("_record",)

    def __init__(self, record: Any) -> None:
        self._record = record

    # Getters made in C: an event reads six of these for each record.
    topic = property(cast("Any", attrgetter("_record.topic")))
    partition = property(cast("Any", attrgetter("_record.partition")))
    offset = property(cast("Any", attrgetter("_record.offset")))
    position = property(cast("Any", attrgetter("_record.offset")))
    raw_key = property(cast("Any", attrgetter("_record.key")))
    value = property(cast("Any", attrgetter("_record.value")))

    @property
    def headers(self) -> Headers:
        return cast("Headers", self._record.headers)

    @property
    def timestamp(self) -> int:
        # Records of the oldest format have none.
        timestamp = self._record.timestamp
        return -1 if timestamp is None else timestamp

    @property
    def timestamp_type(self) -> TimestampType:
        return _TYPES[self._record.timestamp_type or 0]

    @property
    def size(self) -> int:
        # Read for each record of each batch. A null has the size -1, which comes to nothing here.
        record = self._record
        size: int = (
            _METADATA
            + 2 * len(record.topic)
            + (record.serialized_key_size + 2) // 3 * 4
            + (record.serialized_value_size + 2) // 3 * 4
        )
        for name, value in record.headers:
            # A byte is a number and a comma; a character of a name at worst an escape of six.
            size += 6 * len(name) + 4 * len(value or b"") + 8
        return size
