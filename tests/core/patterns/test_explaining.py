"""Why not."""

from __future__ import annotations

from typing import Any

import pytest

from streamfn.core.patterns.explaining import explain
from streamfn.errors import InvalidPattern


def said(pattern: Any, event: dict[str, Any]) -> list[str]:
    return [str(reason) for reason in explain(pattern, event)]


def test_nothing_is_said_of_what_fits() -> None:
    assert explain({"a": ["x"]}, {"a": "x"}) == ()


def test_each_key_that_does_not_fit_is_named() -> None:
    pattern = {"a": ["x", None], "b": {"c": [{"numeric": [">", 1, "<=", 5]}]}, "d": [True]}
    assert said(pattern, {"a": "z", "b": {}, "d": True}) == [
        'a: wanted ["x", null], found "z"',
        'b.c: wanted [{"numeric": [">", 1, "<=", 5]}], found no value',
    ]


def test_of_an_array_the_first_values_are_shown() -> None:
    (reason,) = explain({"a": [0]}, {"a": [7, 6, 5, 4, [3, 2], 1]})
    assert reason.found.endswith(" and 2 more")


def test_values_in_different_elements_are_told() -> None:
    assert said({"d": {"a": [1], "b": [2]}}, {"d": [{"a": 1}, {"b": 2}]}) == [
        "d.a, d.b: wanted d.a: [1] and d.b: [2], found these only in different elements of an array"
    ]


def test_the_nearest_way_through_or_is_explained() -> None:
    pattern = {"$or": [{"a": [1], "b": [1]}, {"c": [2]}]}
    assert said(pattern, {"a": 0}) == ["c: wanted [2], found no value"]


@pytest.mark.parametrize(
    "leaf",
    [
        '["x"]',
        "[1, 2.50]",
        '[{"prefix": "a"}]',
        '[{"suffix": {"equals-ignore-case": "é"}}]',
        '[{"equals-ignore-case": "a"}]',
        r'[{"wildcard": "a*\\*"}]',
        '[{"cidr": "10.0.0.0/8"}]',
        '[{"exists": false}]',
        '[{"numeric": [">=", 5]}]',
        '[{"numeric": ["<", 5.5]}]',
        '[{"anything-but": ["a", "b"]}]',
        '[{"anything-but": [1]}]',
        '[{"anything-but": {"prefix": ["a", "b"]}}]',
        '[{"anything-but": {"wildcard": ["a*"]}}]',
    ],
)
def test_what_was_wanted_is_written_as_in_the_pattern(leaf: str) -> None:
    wanted = f'{{"key": {leaf}, "never": [1]}}'
    pattern = wanted.replace('"never"', '"other"') if "exists" not in leaf else wanted
    reasons = {reason.path: reason for reason in explain(pattern, {"key": 1 if "exists" in leaf else {}})}
    assert reasons["key"].wanted == leaf


def test_values_that_json_lacks_are_named_by_their_type() -> None:
    assert said({"a": [1]}, {"a": b"x"}) == ['a: wanted [1], found "<bytes>"']


def test_what_is_no_pattern_is_refused() -> None:
    with pytest.raises(InvalidPattern):
        explain({"a": 1}, {})
