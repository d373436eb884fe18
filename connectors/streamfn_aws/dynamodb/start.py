"""Where reading begins: a position in the words of DynamoDB Streams. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, Self

from streamfn_aws.positions import TRIM_HORIZON, instant_of, position_of, sequence_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamfn.core.records import Record


@dataclass(frozen=True, slots=True)
class Start:
    """What comes after a position. Records here have no parts, so one that was begun is done."""

    after: str | None = None
    """A sequence number; None for the oldest record."""
    since: int | None = None
    """Epoch seconds: records of the time before are passed over. The stream itself knows no instants."""

    @classmethod
    def of(cls, position: int, digits: int = 0) -> Self:
        """From a checkpoint. `digits`: of a sequence number in this stream, at least; some servers spell
        them with zeros before, and compare them as text.
        """
        if position > TRIM_HORIZON:
            return cls(after=sequence_number(position).zfill(digits))
        instant = instant_of(position)
        # Records are stamped with whole seconds, so the whole second is read.
        return cls(since=None if instant is None else int(instant))

    @property
    def is_oldest(self) -> bool:
        """Whether reading begins with the oldest record, whichever that is."""
        return self.after is None and self.since is None

    @property
    def iterator(self) -> Mapping[str, Any]:
        """As GetShardIterator takes it."""
        if self.after is None:
            return {"ShardIteratorType": "TRIM_HORIZON"}
        return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self.after}

    def fresh(self, records: Iterable[Record]) -> list[Record]:
        """Without those at the beginning that come before."""
        if self.after is not None:
            done = position_of(self.after)
            records = dropwhile(lambda record: record.position <= done, records)
        since = self.since
        if since is not None:
            records = dropwhile(lambda record: record.arrived_at < since, records)
        return list(records)

    def behind(self, number: str, *, fresh: bool) -> Start:
        """What comes after a record; where no fresh one was found yet, the instant stays."""
        return Start(number, None if fresh else self.since)
