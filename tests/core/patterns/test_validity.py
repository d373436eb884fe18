"""What is no pattern, and what is said of it: in AWS's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamfn.core.patterns import parse
from streamfn.core.patterns.numbers import Number
from streamfn.core.patterns.operators import Exists, Leaf, Text
from streamfn.core.patterns.wildcards import MOST_COMPLEX, TOO_COMPLEX, Wildcard, complexity
from streamfn.core.patterns.wildcards import parse as wildcard
from streamfn.errors import ConfigurationError, InvalidPattern


def refused(pattern: Any) -> InvalidPattern:
    with pytest.raises(InvalidPattern) as caught:
        parse(pattern)
    return caught.value


def test_a_refusal_says_what_and_where() -> None:
    error = refused({"a": {"b": [{"numeric": [">", 0, ">", 0]}]}})
    assert isinstance(error, ConfigurationError)
    assert error.reason == "Bad numeric range operator: >"
    assert error.place == "a.b"
    assert error.problem == "Event pattern is not valid. Reason: Bad numeric range operator: >"
    assert str(error) == "a.b: Event pattern is not valid. Reason: Bad numeric range operator: >"


def test_a_pattern_is_some_rules_of_leaves_by_path() -> None:
    both = {"a": [1, "x"], "b": {"$or": [{"c": [{"exists": True}]}, {"d": ["y"]}]}}
    first = Leaf((Number("1"), Text("x")))
    rules = (
        {"a": first, "b.c": Leaf((Exists(wanted=True),))},
        {"a": first, "b.d": Leaf((Text("y"),))},
    )
    text = json.dumps(both, indent=1)
    for form in (both, text, text.encode(), bytearray(text.encode()), memoryview(text.encode())):
        assert parse(form) == rules


@pytest.mark.parametrize(
    ("leaf", "reason"),
    [
        ([], "Empty arrays are not allowed"),
        ([[]], "Match value must be String, number, true, false, or null"),
        ([{}], "Match expression name not found"),
        ([{"EXISTS": True}], "Unrecognized match type EXISTS"),
        ([{"exists": "yes"}], "exists match pattern must be either true or false."),
        ([{"exists": True, "a": 1}], "Only one key allowed in match expression"),
        ([{"exactly": 3}], "exact match pattern must be a string"),
        ([{"prefix": 3}], "prefix match pattern must be a string"),
        ([{"prefix": "a", "b": []}], "Only one key allowed in match expression"),
        ([{"prefix": {}}], "Prefix expression name not found"),
        ([{"prefix": {"b": "a"}}], "Unsupported prefix pattern: b"),
        ([{"prefix": {"equals-ignore-case": []}}], "equals-ignore-case match pattern must be a string"),
        ([{"prefix": {"equals-ignore-case": "a", "b": 1}}], "Only one key allowed in match expression"),
        ([{"suffix": None}], "suffix match pattern must be a string"),
        ([{"suffix": {}}], "Suffix expression name not found"),
        ([{"suffix": {"b": "a"}}], "Unsupported suffix pattern: b"),
        ([{"equals-ignore-case": ["a"]}], "equals-ignore-case match pattern must be a string"),
        ([{"wildcard": 1}], "wildcard match pattern must be a string"),
        ([{"wildcard": "arn:x:**:y"}], "Consecutive wildcard characters at pos 7"),
        ([{"wildcard": "é**"}], "Consecutive wildcard characters at pos 3"),
        ([{"wildcard": "a\\b"}], "Invalid escape character at pos 2"),
        ([{"wildcard": "a\\"}], "Invalid escape character at pos 2"),
        ([{"wildcard": "arn:*:*:*:*:*:bus/*"}], TOO_COMPLEX),
        ([{"wildcard": f"*{c}*"} for c in "abcde"], TOO_COMPLEX),
        ([{"anything-but": {"wildcard": "*a*a*a*a*a*a*"}}], TOO_COMPLEX),
        ([{"numeric": 1}], "Value of numeric must be an array."),
        ([{"numeric": []}], "Invalid member in numeric match: ]"),
        ([{"numeric": [1]}], "Invalid member in numeric match: 1"),
        ([{"numeric": ["="]}], "Value of equals must be numeric"),
        ([{"numeric": ["<", True]}], "Value of < must be numeric"),
        ([{"numeric": ["==", 1]}], "Unrecognized numeric range operator: =="),
        ([{"numeric": ["=", 1, "<", 2]}], "Too many elements in numeric expression"),
        ([{"numeric": ["<", 1, ">", 0]}], "Too many elements in numeric expression"),
        ([{"numeric": [">", 1, 2]}], "Bad value in numeric range: 2"),
        ([{"numeric": [">", 0, "<"]}], "Value of < must be numeric"),
        ([{"numeric": [">", 0, "<", 1, 2]}], "Too many terms in numeric range expression"),
        ([{"numeric": [">", 1, "<", 1]}], "Bottom must be less than top"),
        ([{"numeric": [">", 9007199254740993]}], "Cannot compare number : 9007199254740993"),
        ([{"numeric": ["=", 1], "a": 1}], "Too many elements in numeric expression"),
        ([{"anything-but": None}], "Value of anything-but must be an array or single string/number value."),
        ([{"anything-but": []}], "Inside anything but list, either all values are number or string, "),
        ([{"anything-but": ["a", 1]}], "Inside anything but list, either all values are number or string, "),
        ([{"anything-but": [None]}], "Inside anything but list, start|null|boolean is not supported."),
        ([{"anything-but": 2**63 + 1}], "Cannot compare number : 9223372036854775809"),
        ([{"anything-but": {}}], "Anything-But expression name not found"),
        ([{"anything-but": {"numeric": []}}], "Unsupported anything-but pattern: numeric"),
        (
            [{"anything-but": {"prefix": {"equals-ignore-case": "a"}}}],
            "Value of anything-but must be an array or single string/number value.",
        ),
        ([{"anything-but": {"prefix": 1}}], "prefix/suffix match pattern must be a string"),
        ([{"anything-but": {"prefix": ""}}], "Null prefix/suffix not allowed"),
        ([{"anything-but": {"suffix": ["a", ""]}}], "Null prefix/suffix not allowed"),
        ([{"anything-but": {"wildcard": [1]}}], "wildcard match pattern must be a string"),
        (
            [{"anything-but": {"equals-ignore-case": [1]}}],
            "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.",
        ),
        ([{"anything-but": {"prefix": "a", "b": 1}}], "Too many elements in numeric expression"),
        ([{"anything-but": "a", "b": 1}], "Too many elements in numeric expression"),
        ([{"cidr": 1}], "prefix match pattern must be a string"),
        ([{"cidr": "10.0.0.0"}], "Malformed CIDR, one '/' required"),
        ([{"cidr": "10.0.0.0/8/8"}], "Malformed CIDR, one '/' required"),
        ([{"cidr": "10.0.0.0/x"}], "Malformed CIDR, mask bits must be an integer"),
        ([{"cidr": "10.0.0.0/99999999999"}], "Malformed CIDR, mask bits must be an integer"),
        ([{"cidr": "10.0.0.0/999999999999"}], "Malformed CIDR, mask bits must be an integer"),
        ([{"cidr": "10.0.0.0/-1"}], "Malformed CIDR, mask bits must not be negative"),
        ([{"cidr": "10.0.0.0/32"}], "IPv4 mask bits must be < 32"),
        ([{"cidr": "::/128"}], "IPv6 mask bits must be < 128"),
        ([{"cidr": "host/8"}], "Nonstandard IP address: host"),
        ([{"cidr": "10.0.0.256/8"}], "Invalid IP address: 10.0.0.256"),
        ([{"cidr": "1:2/8"}], "Invalid IP address: 1:2"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_a_list_is_refused_in_the_words_of_aws(leaf: list[Any], reason: str) -> None:
    for pattern in ({"a": {"b": leaf}}, json.dumps({"a": {"b": leaf}})):
        error = refused(pattern)
        assert error.reason.startswith(reason)
        assert error.place == "a.b"


@pytest.mark.parametrize(
    ("pattern", "reason", "place"),
    [
        ([1, 2], "Filter is not an object", ""),
        (None, "Filter is not an object", ""),
        ("null", "Filter is not an object", ""),
        ('"a"', "Filter is not an object", ""),
        ({}, "Empty objects are not allowed", ""),
        ({"a": {"b": {}}}, "Empty objects are not allowed", "a.b"),
        ({"a": {"b": 42}}, '"b" must be an object or an array', "a.b"),
        ({"$or": 1}, '"$or" must be an object or an array', "$or"),
        ({"$or": []}, "Empty arrays are not allowed", "$or"),
        ({"a": {"$or": [{"b": [1]}]}}, "There must have at least 2 Objects in $or relationship.", "a.$or"),
        ({"$or": [{"b": [1]}, 1]}, "Only JSON object is allowed in array of $or relationship.", "$or"),
        ({"$or": [{}, {}]}, "Empty objects are not allowed", ""),
        (
            {"$or": [{"b": [1]}, {"c": {"regex": [1]}}]},
            "regex is Ruler reserved fieldName which cannot be used inside $or.",
            "c.regex",
        ),
    ],
)
def test_an_object_is_refused_in_the_words_of_aws(pattern: Any, reason: str, place: str) -> None:
    error = refused(pattern)
    assert (error.reason, error.place) == (reason, place)


@pytest.mark.parametrize(
    ("text", "reason", "place"),
    [
        ("", "Unexpected end-of-input", "line 1, column 1"),
        ('{"a":[1]', "Unexpected end-of-input", "line 1, column 9"),
        (
            '{\n "a": [1,]}',
            "Unexpected character (']' (code 93)): was expecting a value",
            "line 2, column 10",
        ),
        (
            '{"a":[1 2]}',
            "Unexpected character ('2' (code 50)): was expecting comma to separate Array entries",
            "line 1, column 9",
        ),
        (
            '{"a":[1]"b"',
            "Unexpected character ('\"' (code 34)): was expecting comma to separate Object entries",
            "line 1, column 9",
        ),
        ('{"a":["x"}', "Unexpected close marker '}': expected ']' (for Array)", "line 1, column 10"),
        ('{"a":[1]]', "Unexpected close marker ']': expected '}' (for Object)", "line 1, column 9"),
        (
            "{'a':[1]}",
            "Unexpected character (''' (code 39)): was expecting double-quote to start field name",
            "line 1, column 2",
        ),
        (
            '{"a"}',
            "Unexpected character ('}' (code 125)): was expecting a colon to separate field name and value",
            "line 1, column 5",
        ),
        ('{"a":[01]}', "Unexpected character ('0' (code 48)): was expecting a number as JSON has it", ""),
        ('{"a":[1.]}', "Unexpected character ('1' (code 49)): was expecting a number as JSON has it", ""),
        ('{"a":["\\d"]}', "Unrecognized character escape 'd' (code 100)", "line 1, column 8"),
        ('{"a":["x', "Unterminated string starting at", "line 1, column 7"),
        ('{"a":["\t"]}', "Invalid control character at", "line 1, column 8"),
        (
            "this is not",
            "Unrecognized token 'this': was expecting "
            "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
            "line 1, column 1",
        ),
        ('{"a":[1]} x', "Unexpected character ('x' (code 120)): was expecting the end of the pattern", ""),
        (b'{"a":["\xff"]}', "Invalid UTF-8 at byte 7", ""),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text: str | bytes, reason: str, place: str) -> None:
    error = refused(text)
    assert error.reason == reason
    assert place in error.place


def test_what_stands_first_is_reported_first() -> None:
    assert refused('{"a":[{"prefix":[1, 2 3]}]}').reason == "prefix match pattern must be a string"


def test_a_pattern_has_no_more_than_4096_characters() -> None:
    longest = '{"a":["' + "x" * 4086 + '"]}'
    assert len(longest) == 4096
    parse(longest)
    for pattern in (longest + " ", longest.encode() + b" ", b"x" * 20_000, {"a": ["x" * 4090]}):
        assert refused(pattern).reason == "Pattern is longer than 4096 characters"


def test_a_pattern_has_no_more_than_100_levels() -> None:
    parse('{"a":' * 99 + "[1]" + "}" * 99)
    assert "100 levels" in refused('{"a":' * 100 + "[1]" + "}" * 100).reason
    parse({".".join("a" * 100): [1]})
    assert "100 levels" in refused({".".join("a" * 101): [1]}).reason


@pytest.mark.parametrize("value", [b"a", {1}, object(), float("nan"), float("inf"), 10**10_000], ids=type)
def test_values_that_json_lacks_are_refused(value: object) -> None:
    assert refused({"a": [value]}).reason.startswith(("Match value must be", "Cannot compare number"))


def test_keys_are_strings() -> None:
    assert refused({"a": {1: [1]}}).reason == "A key must be a string, not int"


@pytest.mark.parametrize(
    ("score", "wildcards"),
    [
        (1, [[""]]),
        (1, []),
        (2, [["*bc"]]),
        (2, [["foo*bar"]]),
        (2, [["*"]]),
        (2, [["foo*bar", ""]]),
        (3, [["d*ff"]]),
        (3, [["a*b*c"]]),
        (3, [["*bar*"]]),
        (3, [["12*4*"]]),
        (4, [["*foo*", "*bar*"]]),
        (5, [["*bbb*"]]),
        (5, [["foo*bar", "*foobar*"]]),
        (6, [["*foo*"], ["*bar*"]]),
        (7, [["*abab*b*ab"]]),
        (11, [["arn:*:*:*:*:*:bus/*"]]),
    ],
)
def test_a_wildcard_scores_as_in_event_ruler(score: int, wildcards: list[list[str]]) -> None:
    assert complexity([[wildcard(text, "") for text in group] for group in wildcards]) == score


def test_the_score_that_aws_accepts_is_accepted() -> None:
    assert 7 <= MOST_COMPLEX < 11
    parse({"a": [{"wildcard": "*a*b*c*d*e*"}]})


def test_a_wildcard_is_written_as_it_was_read() -> None:
    for text in ("", "*", "a*b", r"\*a*\\"):
        assert wildcard(text, "").text == text
    assert wildcard(r"\*a*\\", "") == Wildcard(("*a", "\\"))
