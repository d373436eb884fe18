"""What a list of a pattern may hold: values, and the operators of the event-pattern language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from streamfn.core.patterns.numbers import Number
from streamfn.core.patterns.wildcards import Wildcard

RESERVED: Final = frozenset({
    "exactly", "equals-ignore-case", "prefix", "suffix", "anything-but", "exists", "wildcard", "numeric",
    "cidr", "html", "=", "<", "<=", ">", ">=", "regex", "not-wildcard", "not-equals-ignore-case",
    "date-after", "date-on-or-after", "date-before", "date-on-or-before", "in-date-range",
    "ip-address-in-range", "ip-address-not-in-range",
})  # fmt: skip
"""Names that no key within `$or` may have (event-ruler: Constants)."""


@dataclass(frozen=True, slots=True)
class Text:
    """This string; where it is an IP address, that address in any writing."""

    value: str


@dataclass(frozen=True, slots=True)
class Literal:
    """true, false or null."""

    value: bool | None


@dataclass(frozen=True, slots=True)
class Prefix:
    value: str
    ignoring_case: bool = False


@dataclass(frozen=True, slots=True)
class Suffix:
    value: str
    ignoring_case: bool = False


@dataclass(frozen=True, slots=True)
class IgnoringCase:
    value: str


@dataclass(frozen=True, slots=True)
class Cidr:
    """An address within this network, `10.0.0.0/24`."""

    network: str


@dataclass(frozen=True, slots=True)
class Range:
    """A number between these."""

    bottom: float
    top: float
    open_bottom: bool
    open_top: bool


@dataclass(frozen=True, slots=True)
class Exists:
    """A value, whatever it is; or none: `wanted` is False."""

    wanted: bool


StringOperator: TypeAlias = Text | Prefix | Suffix | IgnoringCase | Wildcard | Cidr


@dataclass(frozen=True, slots=True)
class AnythingBut:
    """A value that is none of these, of whatever kind."""

    strings: tuple[StringOperator, ...] = ()
    numbers: tuple[Number, ...] = ()


Operator: TypeAlias = StringOperator | Number | Literal | Range | Exists | AnythingBut


@dataclass(frozen=True, slots=True)
class Leaf:
    """The list of one key: a value of the event has to fit one of the operators."""

    operators: tuple[Operator, ...]

    @property
    def takes_absence(self) -> bool:
        """Whether there may be no value."""
        return Exists(wanted=False) in self.operators


Rule: TypeAlias = dict[str, Leaf]
"""Leaves by path, all of which have to fit. A pattern is some of them, one for each way through its `$or`."""
