"""Types of single options: their ranges, and the words for what is out of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from streamfn.config.errors import wrong


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within a range; with `or_infinite` also -1, AWS's word for no limit."""

    low: int
    high: int
    or_infinite: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _number(self._within, handler(source))

    def _within(self, value: int) -> int:
        if self.low <= value <= self.high or (self.or_infinite and value == -1):
            return value
        also = "-1 (no limit) or " if self.or_infinite else ""
        raise wrong(f"must be {also}{self.low} to {self.high}, not {value}")


@dataclass(frozen=True, slots=True)
class Seconds:
    """A duration within a range."""

    low: float
    high: float

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _number(self._within, handler(source))

    def _within(self, value: float) -> float:
        if self.low <= value <= self.high:
            return value
        raise wrong(f"must be {self.low:g} to {self.high:g} seconds, not {value:g}")


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole: more than nothing, at most all of it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _number(self._within, handler(source))

    def _within(self, value: float) -> float:
        if 0 < value <= 1:
            return value
        raise wrong(f"must be more than 0 and at most 1, not {value:g}")


@dataclass(frozen=True, slots=True)
class Times:
    """A factor within a range."""

    low: float
    high: float

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _number(self._within, handler(source))

    def _within(self, value: float) -> float:
        if self.low <= value <= self.high:
            return value
        raise wrong(f"must be {self.low:g} to {self.high:g}, not {value:g}")


def _number(within: Callable[[Any], Any], schema: CoreSchema) -> CoreSchema:
    inner = core_schema.no_info_after_validator_function(within, schema)
    return core_schema.no_info_before_validator_function(_no_flag, inner)


class NotYet:
    """An option of AWS's that is not built: refused unless it says nothing, in one of the ways given."""

    def __init__(self, *nothing: object) -> None:
        self._nothing = (None, *nothing)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def _check(self, value: Any) -> None:
        if not any(type(value) is type(nothing) and value == nothing for nothing in self._nothing):
            raise wrong("not supported yet", "remove it")


def _no_flag(value: Any) -> Any:
    # YAML reads `yes` and `on` as true, which pydantic would take for 1.
    if isinstance(value, bool):
        raise wrong(f"must be a number, not {'true' if value else 'false'}")
    return value


def _instant(value: Any) -> Any:
    if isinstance(value, str) and not value.strip().replace(".", "", 1).isdigit():
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise wrong(f"must be epoch seconds or an ISO 8601 time, not {value!r}") from None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return _no_flag(value)


Instant = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_instant)]
"""Epoch seconds; also written as ISO 8601, which without an offset is UTC."""
