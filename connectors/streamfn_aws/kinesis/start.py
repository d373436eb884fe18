"""Where reading begins: a position in Kinesis's words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import dropwhile
from typing import TYPE_CHECKING, Any

from streamfn_aws.positions import LAST_PART, TRIM_HORIZON, instant_of, part_of, position_of, sequence_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streamfn_aws.kinesis.records import KinesisRecord


@dataclass(frozen=True, slots=True)
class Start:
    """What comes after a position."""

    position: int
    digits: int = 0
    """Of a sequence number in this stream, at least. Some servers spell them with zeros before, and compare
    them as text.
    """

    @property
    def kind(self) -> str:
        """`AFTER_SEQUENCE_NUMBER` and the like."""
        if self.position == TRIM_HORIZON:
            return "TRIM_HORIZON"
        if self.position < TRIM_HORIZON:
            return "AT_TIMESTAMP"
        # A record that was left halfway is asked for once more; its first parts are left out then.
        return "AFTER_SEQUENCE_NUMBER" if part_of(self.position) == LAST_PART else "AT_SEQUENCE_NUMBER"

    @property
    def iterator(self) -> Mapping[str, Any]:
        """As GetShardIterator takes it."""
        return {"ShardIteratorType": self.kind, **self._place("StartingSequenceNumber")}

    @property
    def subscription(self) -> Mapping[str, Any]:
        """As SubscribeToShard takes it."""
        return {"Type": self.kind, **self._place("SequenceNumber")}

    def fresh(self, records: Iterable[KinesisRecord]) -> Iterator[KinesisRecord]:
        """Without those at the beginning that come before: Kinesis may begin with whole records, and some
        clients with whole seconds.
        """
        instant = instant_of(self.position)
        if instant is not None:
            return dropwhile(lambda record: record.arrived_at < instant, records)
        return dropwhile(lambda record: record.position <= self.position, records)

    def after(self, number: str) -> Start:
        """What comes after a record; the same where this is further already."""
        if self.position >> 24 >= int(number):
            return self
        return Start(position_of(number), self.digits)

    def _place(self, name: str) -> Mapping[str, Any]:
        instant = instant_of(self.position)
        if instant is not None:
            return {"Timestamp": instant}
        if self.position == TRIM_HORIZON:
            return {}
        return {name: sequence_number(self.position).zfill(self.digits)}
