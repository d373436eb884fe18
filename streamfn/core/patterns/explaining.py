"""Why an event does not fit a pattern: which key, what was wanted, what was there. Plain rather than fast."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from streamfn.core.patterns import consistency
from streamfn.core.patterns.numbers import LARGEST, Number
from streamfn.core.patterns.operators import (
    AnythingBut,
    Cidr,
    Exists,
    IgnoringCase,
    Leaf,
    Literal,
    Operator,
    Prefix,
    Range,
    Rule,
    StringOperator,
    Suffix,
    Text,
)
from streamfn.core.patterns.parsing import parse
from streamfn.core.patterns.wildcards import Wildcard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SHOWN: Final = 5
"""Values of an array that are named."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One path that does not fit."""

    path: str
    wanted: str
    """As the pattern has it, in JSON."""
    found: str
    """The values there in JSON, or that there is none."""

    def __str__(self) -> str:
        return f"{self.path}: wanted {self.wanted}, found {self.found}"


def explain(pattern: object, event: Mapping[str, object]) -> tuple[Reason, ...]:
    """What keeps the event from fitting; nothing if it fits. Raises InvalidPattern.

    Of the ways through `$or` it is the nearest one that is explained.
    """
    return min((_reasons(rule, event) for rule in parse(pattern)), key=len)


def _reasons(rule: Rule, event: Mapping[str, object]) -> tuple[Reason, ...]:
    if consistency.test(rule)(event):
        return ()
    apart = tuple(
        Reason(path, _list(leaf.operators), _found(path, leaf, event))
        for path, leaf in sorted(rule.items())
        if not consistency.test({path: leaf})(event)
    )
    if apart:
        return apart
    wanted = " and ".join(f"{path}: {_list(leaf.operators)}" for path, leaf in sorted(rule.items()))
    return (Reason(", ".join(sorted(rule)), wanted, "these only in different elements of an array"),)


def _found(path: str, leaf: Leaf, event: Mapping[str, object]) -> str:
    values = list(consistency.values_at(path, leaf, event))
    if not values:
        return "no value"
    shown = [_json(value) for value in values[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")


def _list(operators: Iterable[Operator]) -> str:
    return f"[{', '.join(map(_shown, operators))}]"


def _shown(operator: Operator) -> str:
    """The operator as it is written in a pattern."""
    match operator:
        case Text(value) | Literal(value):
            return _json(value)
        case Number(text):
            return text
        case Prefix(value, ignoring) | Suffix(value, ignoring):
            name = type(operator).__name__.lower()
            return _json({name: {"equals-ignore-case": value} if ignoring else value})
        case IgnoringCase(value):
            return _json({"equals-ignore-case": value})
        case Cidr(network):
            return _json({"cidr": network})
        case Wildcard():
            return _json({"wildcard": operator.text})
        case Exists(wanted):
            return _json({"exists": wanted})
        case Range():
            return f'{{"numeric": [{", ".join(_bounds(operator))}]}}'
        case AnythingBut(strings, numbers):
            return f'{{"anything-but": {_but(strings) if strings else _list(numbers)}}}'
        case _:
            assert_never(operator)


def _but(strings: Sequence[StringOperator]) -> str:
    """Of operators of one kind: that, and what each of them takes."""
    shown = [json.loads(_shown(operator)) for operator in strings]
    if isinstance(shown[0], str):
        return _json(shown)
    name = next(iter(shown[0]))
    return _json({name: [each[name] for each in shown]})


def _bounds(within: Range) -> Iterable[str]:
    if within.bottom > -LARGEST:
        yield f"{_json('>' if within.open_bottom else '>=')}, {within.bottom:g}"
    if within.top < LARGEST:
        yield f"{_json('<' if within.open_top else '<=')}, {within.top:g}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=lambda odd: f"<{type(odd).__name__}>")
