"""Records of Kafka, as a mapping of an MSK or a self-managed cluster shows them."""

from __future__ import annotations

from abc import abstractmethod
from binascii import b2a_base64
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, cast

from streamfn.core.events.shape import FilterForm
from streamfn.core.records import Record
from streamfn.core.rendering import base64_size, decoded, iso_millis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.core.records import Headers
    from streamfn.core.rendering import Loads

TimestampType: TypeAlias = Literal["CREATE_TIME", "LOG_APPEND_TIME"]

_LAST_OFFSET = 2**63 - 1
_METADATA = 200
"""Names, punctuation and numbers of one record, the numbers at their longest."""


class KafkaRecord(Record):
    """A record of a Kafka partition. Connectors subclass it over their client's own object.

    The shape reads each property once for a record, so plain slots are the fastest way to give them.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def topic(self) -> str:
        """Where it was written."""

    @property
    @abstractmethod
    def partition(self) -> int:
        """The number of its partition."""

    @property
    @abstractmethod
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    @abstractmethod
    def timestamp(self) -> int:
        """Milliseconds since the epoch; -1 where the producer gave none."""

    @property
    @abstractmethod
    def timestamp_type(self) -> TimestampType:
        """Whose clock the timestamp is of: the producer's or the broker's."""

    @property
    @abstractmethod
    def raw_key(self) -> bytes | None:
        """The key as it was written."""

    @property
    def id(self) -> str:
        return str(self.offset)

    @property
    def position(self) -> int:
        return self.offset

    @property
    def key(self) -> str | None:
        key = self.raw_key
        return None if key is None else key.decode("utf-8", "surrogateescape")

    @property
    def arrived_at(self) -> float:
        return self.timestamp / 1000

    @property
    def size(self) -> int:
        size = _METADATA + 2 * len(self.topic) + base64_size(self.raw_key) + base64_size(self.value)
        for name, value in self.headers:
            # A byte is a number and a comma; a character of a name at worst an escape of six.
            size += 6 * len(name) + 4 * len(value or b"") + 8
        return size


KAFKA_FILTERING: Final = FilterForm(
    ("value",), lambda item, data: {**item, "value": data}, ignores_other_kinds=True
)


class KafkaShape:
    """The event of one Kafka partition (Developer Guide: with-msk, with-kafka, examples). Takes KafkaRecords.

    With an event source ARN it is that of an MSK cluster, without that of a self-managed one. Header values
    are numbers from 0 to 255 (one recording has signed ones, which `bytes()` in a handler would refuse). A
    key or a value that is null in Kafka is null here.
    """

    filtering: ClassVar[FilterForm] = KAFKA_FILTERING

    __slots__ = ("_arn", "_head", "_lane", "_partition", "_servers", "_topic")

    def __init__(
        self, topic: str, partition: int, bootstrap_servers: str, event_source_arn: str | None = None
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._lane = f"{topic}-{partition}"
        self._servers = bootstrap_servers
        self._arn = event_source_arn
        self._head: dict[str, Any] = {"eventSource": "aws:SelfManagedKafka"}
        if event_source_arn is not None:
            self._head = {"eventSource": "aws:kafka", "eventSourceArn": event_source_arn}
        self._head["bootstrapServers"] = bootstrap_servers

    def __repr__(self) -> str:
        return f"KafkaShape({self._topic!r}, {self._partition}, {self._servers!r}, {self._arn!r})"

    def to_event(self, records: Sequence[Record]) -> dict[str, Any]:
        """`{"eventSource": ..., "records": {"topic-0": [...]}}`, in the order of the records."""
        return {**self._head, "records": {self._lane: self._rendered(records)}}

    def filter_data(self, record: Record, read: Loads) -> Any:
        """The value decoded (Developer Guide: kafka-filtering). Null is no JSON: patterns for text see it."""
        value = record.value
        return None if value is None else decoded(value, read)

    def filter_view(self, record: Record, data: Any) -> Mapping[str, Any]:
        """The record as delivered, the data as its `value`."""
        (view,) = self._rendered((record,))
        view["value"] = data
        return view

    def record_id(self, identifier: object) -> str | None:
        """`{"partition": "topic-0", "offset": 15}` of this very partition, and no other form.

        (Developer Guide: kafka-retry-configurations.)
        """
        if not isinstance(identifier, dict):
            return None
        partition, offset = identifier.get("partition"), identifier.get("offset")
        # A bool is an int to Python, and an integer beyond Kafka's own may be too long to be written out.
        if type(partition) is not str or partition != self._lane or type(offset) is not int:
            return None
        return str(offset) if 0 <= offset <= _LAST_OFFSET else None

    def batch_info(self, records: Sequence[Record]) -> dict[str, Any]:
        """`KafkaBatchInfo`; offsets are strings (Developer Guide: kafka-on-failure).

        `payloadSize` is `Record.size` summed up: never below the true one, and little above.
        """
        first, last = cast("KafkaRecord", records[0]), cast("KafkaRecord", records[-1])
        source = {} if self._arn is None else {"eventSourceArn": self._arn}
        return {
            "KafkaBatchInfo": {
                "batchSize": len(records),
                **source,
                "bootstrapServers": self._servers,
                "payloadSize": sum(record.size for record in records),
                "recordsInfo": {
                    self._lane: {
                        "firstRecordOffset": first.id,
                        "lastRecordOffset": last.id,
                        "firstRecordTimestamp": iso_millis(first.arrived_at),
                        "lastRecordTimestamp": iso_millis(last.arrived_at),
                    }
                },
            }
        }

    def _rendered(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        # The hot path of every Lambda-style function: one comprehension, and of calls only what encodes.
        topic, partition, b64 = self._topic, self._partition, b2a_base64
        return [
            {
                "topic": topic,
                "partition": partition,
                "offset": record.offset,
                "timestamp": record.timestamp,
                "timestampType": record.timestamp_type,
                "key": b64(key, newline=False).decode("ascii")
                if (key := record.raw_key) is not None
                else None,
                "value": b64(data, newline=False).decode("ascii")
                if (data := record.value) is not None
                else None,
                "headers": _headers(headers) if (headers := record.headers) else [],
            }
            for record in cast("Sequence[KafkaRecord]", records)
        ]


def _headers(headers: Headers) -> list[dict[str, list[int]]]:
    # Clients hand on a null header value as None, whatever they declare.
    return [{name: list(value or b"")} for name, value in headers]
