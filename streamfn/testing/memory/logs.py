"""The records of one shard, kept in a list."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING

from streamfn.core.policies import StartingPosition
from streamfn.testing.memory.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.records import StreamRecord
    from streamfn.ports import Subscription

_position = attrgetter("position")
_arrived_at = attrgetter("arrived_at")


class Log:
    """Records in growing positions, `stride` apart. The oldest may be trimmed away."""

    def __init__(self, shard_id: str, stride: int = 1, parents: tuple[str, ...] = ()) -> None:
        self.id = shard_id
        self.parents = parents
        self.records: list[StreamRecord] = []
        self.trimmed = 0
        """How many records were removed at the front."""
        self.trimmed_to = -1
        """Position of the last one removed."""
        self.last = -1
        """Position of the last one put."""
        self.closed = False
        self.changed = Bell()
        self._next = 0
        self._stride = stride

    def append(self, records: Sequence[StreamRecord]) -> None:
        """Gives them positions and keeps them."""
        if self.closed:
            raise ValueError(f"{self.id} has ended and takes no more records")
        for place, record in enumerate(records):
            record.position = self._next + place * self._stride
        if records:
            self._next += len(records) * self._stride
            self.last = records[-1].position
            self.records.extend(records)
            self.changed.ring()

    def close(self) -> None:
        """No more records come."""
        self.closed = True
        self.changed.ring()

    def trim(self, through: int) -> None:
        """Removes all records up to and including a position."""
        self._drop(bisect_right(self.records, through, key=_position))

    def expire(self, before: float) -> None:
        """Removes the records that arrived before an instant."""
        if self.records and self.records[0].arrived_at < before:
            self._drop(bisect_left(self.records, before, key=_arrived_at))

    def start(self, subscription: Subscription) -> int:
        """The position after which a new group begins to read."""
        match subscription.starting_position:
            case StartingPosition.TRIM_HORIZON:
                return self.trimmed_to
            case StartingPosition.LATEST:
                return self.last
            case StartingPosition.AT_TIMESTAMP:
                place = bisect_left(self.records, subscription.starting_at or 0.0, key=_arrived_at)
                return self.records[place - 1].position if place else self.trimmed_to

    def index_after(self, position: int) -> int:
        """Where reading goes on, counted from the very first record; below `trimmed` when that is lost."""
        if position < self.trimmed_to:
            return self.trimmed - 1
        return self.trimmed + bisect_right(self.records, position, key=_position)

    def _drop(self, count: int) -> None:
        if count:
            self.trimmed_to = self.records[count - 1].position
            self.trimmed += count
            del self.records[:count]
            self.changed.ring()
