"""Sequence numbers as positions, and positions as sequence numbers. Pure.

A position is an integer that grows in its shard. The number of a record makes its upper bits; the lower 24
count the parts of a record that several were packed into. The last part, which is mostly the only one, has
all of them set: being done up to there is being done with the record.

Below -1, the mark of the oldest record, positions are instants: minus the milliseconds since 1970. Reading
begins with what arrived then or later.
"""

from __future__ import annotations

from typing import Final

_PARTS: Final = 24
LAST_PART: Final = (1 << _PARTS) - 1
"""The part of a record after which nothing of it is left."""

TRIM_HORIZON: Final = -1
"""Before the oldest record."""


def position_of(sequence_number: str, part: int = LAST_PART) -> int:
    """The position of a record, or of one of its parts."""
    return int(sequence_number) << _PARTS | part


def sequence_number(position: int) -> str:
    """The sequence number in a position that is no instant."""
    return str(position >> _PARTS)


def part_of(position: int) -> int:
    """The part in a position that is no instant."""
    return position & LAST_PART


def instant_position(at: float) -> int:
    """The position from which records that arrived at that instant or later are read. Epoch seconds."""
    return min(-2, -int(at * 1000))


def instant_of(position: int) -> float | None:
    """The instant that a position stands for, in epoch seconds; None where it stands for none."""
    return -position / 1000 if position < TRIM_HORIZON else None
