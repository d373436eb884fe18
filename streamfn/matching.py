"""Event patterns for programs: `matches`, `validate_pattern`, `compile_pattern`. Events may be JSON."""

from __future__ import annotations

import marshal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from streamfn.core.patterns import Predicate, compile_rules, parse

if TYPE_CHECKING:
    from collections.abc import Callable

Pattern: TypeAlias = dict[str, Any] | str | bytes | bytearray | memoryview
"""An object, or its JSON."""
Event: TypeAlias = dict[str, Any] | str | bytes | bytearray | memoryview
"""An object, or its JSON: nested no deeper than 1024 levels, which orjson reads."""

_KEPT = 512
"""Patterns that `matches` keeps compiled."""


def matches(pattern: Pattern, event: Event) -> bool:
    """Whether the event fits the pattern, as in FilterCriteria and on EventBridge.

    An event that is JSON but no object fits none. Raises InvalidPattern, and ValueError for an event that is
    not JSON. A pattern is compiled once, and known again by what it says.
    """
    return _test(_known(pattern), event)


def compile_pattern(pattern: Pattern) -> Callable[[Event], bool]:
    """A function that tells of an event whether it fits, as `matches` does. Raises InvalidPattern."""
    predicate = compile_rules(pattern)
    return lambda event: _test(predicate, event)


def validate_pattern(pattern: Pattern) -> None:
    """Raises InvalidPattern, with the reason that AWS gives and the place, unless the pattern is valid."""
    parse(pattern)


def _test(predicate: Predicate, event: Event) -> bool:
    if isinstance(event, dict):
        return predicate(event)
    return predicate(orjson.loads(event))


def _known(pattern: Pattern) -> Predicate:
    if type(pattern) is str or type(pattern) is bytes:
        return _of_text(pattern)
    try:
        # The one way to write a dict down that is quick enough, and that keeps 1, 1.0 and True apart.
        said = marshal.dumps(pattern, 2)
    except ValueError:  # not made of JSON's own types, or too deep
        return compile_rules(pattern)
    return _of_values(said)


@lru_cache(_KEPT)
def _of_text(pattern: str | bytes) -> Predicate:
    return compile_rules(pattern)


@lru_cache(_KEPT)
def _of_values(said: bytes) -> Predicate:
    return compile_rules(marshal.loads(said))  # noqa: S302 - written above
