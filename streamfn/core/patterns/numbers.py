"""Numbers as event-ruler compares them: as doubles, and only those that a double has exactly.

`300`, `300.0` and `3.0e2` are one number. One with more digits than a double keeps (`9007199254740993`), or
beyond its range, cannot be compared: such a literal matches the same literal only, and `numeric` and
`anything-but` refuse it. (event-ruler: ComparableNumber.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

NumberTest: TypeAlias = Callable[[float], bool]

LARGEST: Final = 1.7976931348623157e308

_EXACT = 2**53
"""Up to here each integer is a double."""
_INTEGER = re.compile(r"-?[0-9]+")
_NONZERO = re.compile(r"-?[0.]*[1-9]")


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a pattern, as it is written."""

    text: str

    @property
    def double(self) -> float:
        return float(self.text)

    @property
    def is_comparable(self) -> bool:
        """Whether its double stands for it: the shortest writing of that is the same number."""
        double = self.double
        if not -LARGEST <= double <= LARGEST:
            return False
        if double == 0:
            return not _NONZERO.match(self.text)
        return Decimal(self.text) == Decimal(repr(double))

    @property
    def integer(self) -> int | None:
        """Itself, if it is one: in any writing where it can be compared, else as digits only."""
        if _INTEGER.fullmatch(self.text):
            return int(self.text)
        if self.is_comparable and self.double.is_integer():
            return int(Decimal(repr(self.double)))
        return None


def is_one_of(numbers: Iterable[Number]) -> NumberTest:
    """Whether a number of an event is one of these.

    Integers and floats are kept apart, for beyond 2**53 an int of Python has digits that a float only rounds.
    """
    integers = frozenset(integer for number in numbers if (integer := number.integer) is not None)
    doubles = frozenset(number.double for number in numbers if _comes_as_float(number))

    def test(value: float) -> bool:
        return value in (integers if type(value) is int else doubles)

    return test


def _comes_as_float(number: Number) -> bool:
    """Parsers make a float of a fraction, and of an integer that 64 bits don't hold."""
    integer = number.integer
    return number.is_comparable or integer is None or not -(2**63) <= integer < 2**64


def is_within(bottom: float, top: float, *, open_bottom: bool, open_top: bool) -> NumberTest:
    """Whether a number of an event is in a range."""

    def test(value: float) -> bool:
        if type(value) is int and not -_EXACT <= value <= _EXACT:
            if value.bit_length() > 1024 or not Number(int.__repr__(value)).is_comparable:
                return False
            value = float(value)
        return (bottom < value if open_bottom else bottom <= value) and (
            value < top if open_top else value <= top
        )

    return test
