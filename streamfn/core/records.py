"""Records, and the batches they are delivered in."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from streamfn.core.rendering import base64_size, text_size

if TYPE_CHECKING:
    from streamfn.core.events import EventShape
    from streamfn.core.outcomes import Failed

Headers = Sequence[tuple[str, bytes]]


class Record(ABC):
    """One item of a source, as a function sees it.

    Sources subclass it as a view over their client's own object, so that a field costs nothing until it is
    read. Records compare by identity: the same message delivered twice is two records.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def id(self) -> str:
        """What `batchItemFailures` names: a sequence number, an offset, a message id."""

    @property
    @abstractmethod
    def position(self) -> int:
        """Place in its shard, growing but with gaps. 0 for records of queues, which have none."""

    @property
    @abstractmethod
    def key(self) -> str | None:
        """Ordering key: partition key, Kafka key (undecodable bytes as surrogates) or MessageGroupId."""

    @property
    @abstractmethod
    def value(self) -> bytes | None:
        """The payload as the source holds it. None for a Kafka tombstone."""

    @property
    @abstractmethod
    def headers(self) -> Headers:
        """Name and value pairs in the producer's order, duplicates kept."""

    @property
    @abstractmethod
    def arrived_at(self) -> float:
        """When the source took it, in epoch seconds by the source's clock."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes it takes in an invocation payload, base64 and metadata included. May be over, never under."""

    @property
    def attempt(self) -> int:
        """Failed deliveries the source remembers: receive count - 1. 0 for streams."""
        return 0

    def json(self) -> Any:
        """The value parsed as JSON. Raises ValueError where it is none, and for a tombstone."""
        if self.value is None:
            raise ValueError(f"record {self.id} is a tombstone: it has no value")
        return json.loads(self.value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} key={self.key!r}>"


@dataclass(slots=True, eq=False, repr=False)
class StreamRecord(Record):
    """A record of an ordered shard, held as plain fields."""

    position: int
    value: bytes | None
    key: str | None = None
    arrived_at: float = 0.0
    headers: Headers = ()

    @property
    def id(self) -> str:
        return str(self.position)

    @property
    def size(self) -> int:
        return _METADATA + base64_size(self.value) + _AT_WORST * len(self.key or "")


@dataclass(slots=True, eq=False, repr=False)
class QueueRecord(Record):
    """A message of a queue, settled on its own."""

    id: str
    value: bytes
    key: str | None = None
    headers: Headers = ()
    sent_at: float = 0.0
    first_received_at: float = 0.0
    receive_count: int = 1
    attributes: Mapping[str, str] | None = None
    """More system attributes, as SQS names them (MessageDeduplicationId, DeadLetterQueueSourceArn, ...)."""
    receipt: Any = None
    """The source's own handle on this delivery; never looked at outside the source."""

    @property
    def position(self) -> int:
        return 0

    @property
    def arrived_at(self) -> float:
        return self.sent_at

    @property
    def attempt(self) -> int:
        return self.receive_count - 1

    @property
    def size(self) -> int:
        size = _METADATA + text_size(self.value) + 2 * len(self.id) + _AT_WORST * len(self.key or "")
        if isinstance(self.receipt, str):
            size += len(self.receipt)
        if self.attributes:
            size += sum(_AT_WORST * (len(name) + len(text)) + 6 for name, text in self.attributes.items())
        for name, value in self.headers:
            size += _ATTRIBUTE + _AT_WORST * len(name) + max(base64_size(value), text_size(value))
        return size


_METADATA = 480
"""Bytes of the fields that AWS puts beside a record's data: ARNs, ids and timestamps, generously counted."""
_ATTRIBUTE = 160
"""Bytes of a message attribute without its name and value, and of its share of their digest."""
_AT_WORST = 6
"""Bytes of one character in a JSON string: a control character becomes an escape."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Sequence[Record]):
    """Records delivered together, and how often they have failed together."""

    records: Sequence[Record]
    shape: EventShape
    attempt: int = 0
    """Failed deliveries that count against MaximumRetryAttempts."""
    throttles: int = 0
    """Times in a row that no invocation could begin; these count against nothing."""
    suspect: bool = False
    """In flight when the process died before: its delivery is written down ahead."""
    failure: Failed | None = None
    """What the last failed delivery came to."""

    def to_event(self) -> dict[str, Any]:
        """The event a Lambda function gets for these records."""
        return self.shape.to_event(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return self.records[index]
