"""The language again, as its description reads: flattened, searched, and as slow as that is.

A pattern comes as values of Python and is taken to be valid.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

Membership = dict[int, int]
"""Element by array: arrays are numbered as they come."""


def matches(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    fields = list(flattened(event))
    return any(searched(sorted(rule.items()), fields, {}) for rule in rules(pattern))


def rules(pattern: dict[str, Any], path: str = "", so_far: list[dict[str, list[Any]]] | None = None) -> Any:
    """Each way through the `$or`: the list at each path."""
    found = so_far or [{}]
    for key, value in pattern.items():
        here = f"{path}.{key}" if path else key
        if key == "$or":
            found = [way for branch in value for way in rules(branch, path, [dict(way) for way in found])]
        elif isinstance(value, dict):
            found = rules(value, here, found)
        else:
            found = [{**way, here: value} for way in found]
    return found


def flattened(event: dict[str, Any]) -> Iterator[tuple[str, Any, Membership]]:
    """Each value with its path and with the element of each array it stands in."""
    arrays = iter(range(1_000_000))

    def walk(value: Any, path: str, within: Membership) -> Iterator[tuple[str, Any, Membership]]:
        if isinstance(value, dict):
            for key, below in value.items():
                yield from walk(below, f"{path}.{key}" if path else key, within)
        elif isinstance(value, list):
            array = next(arrays)
            for index, element in enumerate(value):
                inside = {**within, array: index} if isinstance(element, dict | list) else within
                yield from walk(element, path, inside)
        else:
            yield path, value, within

    return walk(event, "", {})


def searched(
    steps: list[tuple[str, list[Any]]], fields: list[tuple[str, Any, Membership]], membership: Membership
) -> bool:
    """Whether each path finds a value, and all of them go together."""
    if not steps:
        return True
    (path, wanted), *rest = steps
    there = [
        (value, within)
        for name, value, within in fields
        if name == path
        and all(membership.get(array, element) == element for array, element in within.items())
    ]
    for value, within in there:
        if any(fits(one, value) for one in wanted) and searched(rest, fields, membership | within):
            return True
    return not there and {"exists": False} in wanted and searched(rest, fields, membership)


def fits(wanted: Any, value: Any) -> bool:
    match wanted:
        case {"exists": exists}:
            return bool(exists)
        case {"anything-but": dict(but)}:
            ((name, of),) = but.items()
            return not any(fits({name: one}, value) for one in (of if isinstance(of, list) else [of]))
        case {"anything-but": but}:
            return not any(same(one, value) for one in (but if isinstance(but, list) else [but]))
        case {"numeric": terms}:
            return is_number(value) and all(
                compared(terms[place], value, terms[place + 1]) for place in range(0, len(terms), 2)
            )
        case dict():
            ((name, of),) = wanted.items()
            return isinstance(value, str) and string_fits(name, of, value)
        case str():
            return isinstance(value, str) and (wanted == value or is_same_address(wanted, value))
    return same(wanted, value)


def same(one: Any, other: Any) -> bool:
    if is_number(one) and is_number(other):
        return Fraction(one) == Fraction(other)
    return type(one) is type(other) and bool(one == other)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compared(operator: str, value: float, bound: float) -> bool:
    return {
        "=": value == bound,
        "<": value < bound,
        "<=": value <= bound,
        ">": value > bound,
        ">=": value >= bound,
    }[operator]


def string_fits(name: str, of: Any, value: str) -> bool:
    match name, of:
        case "prefix", {"equals-ignore-case": text}:
            return any(folds(text, value[:end]) for end in range(len(value) + 1))
        case "suffix", {"equals-ignore-case": text}:
            return any(folds(text, value[start:]) for start in range(len(value) + 1))
        case "prefix", text:
            return value.startswith(text)
        case "suffix", text:
            return value.endswith(text)
        case "equals-ignore-case", text:
            return folds(text, value)
        case "wildcard", text:
            return wildcard_fits(text, value)
        case "cidr", text:
            address = parsed(value)
            return address is not None and address in ipaddress.ip_network(text, strict=False)
    return name == "exactly" and of == value


def folds(text: str, value: str) -> bool:
    """Character by character, each in lower or in upper case."""
    if not text:
        return not value
    first, rest = text[0], text[1:]
    return any(
        value.startswith(case) and folds(rest, value[len(case) :]) for case in {first.lower(), first.upper()}
    )


def wildcard_fits(text: str, value: str) -> bool:
    if not text:
        return not value
    if text[0] == "*":
        return any(wildcard_fits(text[1:], value[skipped:]) for skipped in range(len(value) + 1))
    char, rest = (text[1], text[2:]) if text[0] == "\\" else (text[0], text[1:])
    return value.startswith(char) and wildcard_fits(rest, value[1:])


def is_same_address(one: str, other: str) -> bool:
    return parsed(one) is not None and parsed(one) == parsed(other)


def parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
