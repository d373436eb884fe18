"""What holds of all patterns and events: compiled is as naive, and nothing breaks it or slows it down."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from streamfn.core.patterns import Predicate, compile_rules, consistency, parse
from streamfn.core.patterns.explaining import explain
from streamfn.core.patterns.wildcards import TOO_COMPLEX
from streamfn.errors import InvalidPattern

from . import naive
from .made import EVENTS, OPERATORS, PATTERNS, SCALARS


def compiled(pattern: dict[str, Any]) -> Predicate:
    """One that is too complex is no example of anything."""
    try:
        return compile_rules(pattern)
    except InvalidPattern as error:
        assume(error.reason != TOO_COMPLEX)
        raise


@pytest.mark.timeout(120)  # some examples are large, and machines are shared
@settings(max_examples=300)
@given(PATTERNS, EVENTS)
@example({"a": {"b": [1], "c": [{"exists": False}]}}, {"a": [{"b": 1, "c": 2}, {"b": 1}]})
@example({"a": {"b": [{"exists": False}], "c": [1]}}, {"a": [{"b": 1}, {"c": 1}]})
@example({"a": {"b": [1]}, "a.c": [2]}, {"a": [{"b": 1}], "a.c": 2})
@example({"a": [1], "a.b": [2]}, {"a": [[1, {"b": 3}], [{"b": 2}]]})
def test_compiled_is_as_naive(pattern: dict[str, Any], event: dict[str, Any]) -> None:
    expected = naive.matches(pattern, event)
    assert compiled(pattern)(event) is expected
    assert compile_rules(json.dumps(pattern))(event) is expected
    assert any(consistency.test(rule)(event) for rule in parse(pattern)) is expected
    assert (explain(pattern, event) == ()) is expected


@settings(max_examples=500)
@given(OPERATORS, SCALARS)
def test_each_operator_is_as_naive(operator: Any, value: Any) -> None:
    assert compile_rules({"a": [operator]})({"a": value}) is naive.fits(operator, value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
    lambda below: st.lists(below) | st.dictionaries(st.text() | st.integers(), below),
)
WORDS = st.sampled_from([
    "a", "$or", "prefix", "suffix", "wildcard", "anything-but", "numeric", "exists", "cidr",
    "equals-ignore-case", "exactly", "<", ">=", "*", "**", "\\", "10.0.0.0/8", "",
])  # fmt: skip
LIKE_A_PATTERN = st.dictionaries(
    WORDS,
    st.recursive(
        WORDS | st.none() | st.booleans() | st.integers(-2, 2) | st.floats(),
        lambda below: st.lists(below, max_size=4) | st.dictionaries(WORDS, below, max_size=2),
        max_leaves=10,
    ),
    max_size=3,
)


def is_valid(pattern: Any) -> bool:
    """Whether it is, and that nothing else is raised for it, and nothing by it."""
    try:
        matches = compile_rules(pattern)
    except InvalidPattern as error:
        return not error.reason
    assert matches({"a": [{"a": "a"}]}) in (True, False)
    return True


@given(ANYTHING | st.text() | st.binary() | st.builds(object) | st.binary().map(memoryview))
def test_whatever_is_given_is_a_pattern_or_invalid(pattern: object) -> None:
    is_valid(pattern)


@settings(max_examples=500)
@given(LIKE_A_PATTERN)
def test_what_is_nearly_a_pattern_is_one_or_invalid(pattern: dict[str, Any]) -> None:
    valid = is_valid(pattern)
    # JSON says the same, but for what it doesn't have.
    try:
        text = json.dumps(pattern, allow_nan=False)
    except ValueError:
        assert not valid
    else:
        assert is_valid(text) is valid


@settings(max_examples=200)
@given(PATTERNS.map(json.dumps), st.data())
def test_a_pattern_with_a_slip_is_a_pattern_or_invalid(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 3)))
    slip = data.draw(st.text(st.sampled_from('{}[]",:\\u0é1e-.ntf* \n'), max_size=3))
    is_valid(text[:start] + slip + text[end:])


ALL_KINDS = [
    compile_rules({"a": [operator], "b": {"c": [operator]}})
    for operator in ("x", 1, None, {"anything-but": "x"}, {"numeric": [">", 0]}, {"exists": False})
]


@settings(max_examples=100)
@given(st.dictionaries(st.text() | st.integers(), ANYTHING | st.builds(object)))
def test_whatever_the_event_holds_nothing_is_raised(event: dict[Any, Any]) -> None:
    event["a"] = list(event.values())
    for matches in ALL_KINDS:
        assert matches(event) in (True, False)


@given(st.text() | st.binary())
def test_text_is_json_here_as_anywhere(text: str | bytes) -> None:
    try:
        json.loads(text)
    except ValueError:
        assert not is_valid(text)


def nested() -> Any:
    value: Any = "x"
    for _ in range(50_000):
        value = [value]
    return value


def of_itself() -> Any:
    pattern: dict[str, Any] = {}
    pattern["a"] = pattern
    return pattern


ENDLESS = {
    "objects that are never closed": lambda: '{"a":' * 600,
    "lists that are never closed": lambda: "[" * 4000,
    "operators within operators": lambda: '{"a":[' + '{"anything-but":' * 200,
    "branches that multiply": lambda: "{" + ",".join(['"$or":[{"a":[1]},{"b":[1]}]'] * 100) + "}",
    "asterisks": lambda: json.dumps({"a": [{"wildcard": "a*" * 2000}]}),
    "one letter after an asterisk": lambda: json.dumps({"a": [{"wildcard": "*" + "a" * 4000}]}),
    "repeated letters after asterisks": lambda: {"a": [{"wildcard": "*" + "ab" * 9 + "*" + "ab" * 500}]},
    "a long string": lambda: {"a": "x" * 10_000_000},
    "a long list": lambda: {"a": [1] * 10_000_000},
    "a long text": lambda: "[" * 10_000_000,
    "a long integer": lambda: {"a": [10**10_000]},
    "a number without end": lambda: {"a": [float("inf")]},
    "a path of many names": lambda: {".".join("a" * 1000): [1]},
    "lists within lists": lambda: {"a": nested()},
    "itself": of_itself,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_no_pattern_takes_long_to_be_refused(name: str) -> None:
    pattern = ENDLESS[name]()
    begun = time.process_time()
    assert not is_valid(pattern)
    assert time.process_time() - begun < 5


ABSENT = {"exists": False}
LONG: dict[str, tuple[dict[str, Any], Any]] = {
    "asterisks": ({"a": [{"wildcard": "*a*a*a*b"}]}, "a" * 200_000),
    "an end": ({"a": [{"suffix": {"equals-ignore-case": "a" * 500 + "b"}}]}, "a" * 200_000),
    "letters with two cases": ({"a": [{"equals-ignore-case": "ß" * 500}]}, "SS" * 499 + "S"),
    "what is nearly an address": ({"a": [{"cidr": "10.0.0.0/8"}]}, ":" * 200_000),
    "objects in an array": ({"a": {"b": [1], "c": [2]}}, [{"b": 1, "c": 1}] * 50_000),
    "objects that may lack the last": ({"a": {"b": [1], "c": [2, ABSENT]}}, [{"b": 1, "c": 1}] * 50_000),
    "objects that may lack the first": ({"a": {"b": [1, ABSENT], "c": [2]}}, [{"b": 1, "c": 1}] * 20_000),
    "values and objects": ({"a": ["x"], "a.b": ["x"]}, [{"b": "y"}] * 50_000),
    "arrays in arrays": (
        {"a": {"b": {"c": [1, ABSENT], "d": [1]}, "e": [2]}},
        [{"b": [{"c": 1, "d": 1}] * 100, "e": 1}] * 100,
    ),
    "deep arrays": ({"a": ["y"]}, nested()),
    "deep arrays of values and objects": ({"a": ["y"], "a.b": ["x"]}, nested()),
}


@pytest.mark.parametrize("name", LONG)
def test_no_event_takes_long(name: str) -> None:
    pattern, value = LONG[name]
    matches = compile_rules(pattern)
    begun = time.process_time()
    assert matches({"a": value}) is False
    assert time.process_time() - begun < 5


def test_two_arrays_are_searched_one_after_the_other() -> None:
    wanted = {"b": [1, ABSENT], "c": [2]}
    event = {"a": [{"b": 1, "c": 2}] * 5000, "d": [{"b": 1, "c": 1}] * 5000}
    begun = time.process_time()
    assert compile_rules({"a": wanted, "d": wanted})(event) is False
    assert time.process_time() - begun < 5


def test_a_thousand_combinations_are_taken_and_none_more() -> None:
    ten = {"$or": [{f"k{number}": [1]} for number in range(10)]}
    pattern = {f"o{number}": ten for number in range(3)}
    matches = compile_rules(pattern)
    assert matches({"o0": {"k9": 1}, "o1": {"k9": 1}, "o2": {"k9": 1}})
    assert not matches({"o0": {"k9": 1}, "o1": {"k9": 1}, "o2": {"k9": 2}})
    with pytest.raises(InvalidPattern, match="more than 1000 combinations"):
        parse({**pattern, "$or": [{"x": [1]}, {"y": [1]}]})
