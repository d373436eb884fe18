"""Event patterns as programs use them."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import pytest

import streamfn
from streamfn import ConfigurationError, InvalidPattern, compile_pattern, matches, validate_pattern

PATTERN = {"source": ["aws.ec2"], "detail": {"state": ["running"]}}
EVENT = {"source": "aws.ec2", "detail": {"state": "running"}}


def forms(value: dict[str, Any]) -> list[Any]:
    return [value, json.dumps(value), json.dumps(value).encode()]


@pytest.mark.parametrize("event", [*forms(EVENT), bytearray(forms(EVENT)[2]), memoryview(forms(EVENT)[2])])
@pytest.mark.parametrize("pattern", [*forms(PATTERN), OrderedDict(PATTERN), bytearray(forms(PATTERN)[2])])
def test_patterns_and_events_are_objects_or_json(pattern: Any, event: Any) -> None:
    assert matches(pattern, event)
    assert compile_pattern(pattern)(event)
    assert validate_pattern(pattern) is None


def test_what_does_not_fit_does_not_match() -> None:
    assert not matches(PATTERN, {**EVENT, "source": "aws.s3"})
    assert not compile_pattern(PATTERN)(b'{"source":"aws.ec2"}')


def test_a_pattern_that_was_changed_is_another() -> None:
    pattern: dict[str, list[Any]] = {"a": [1]}
    assert matches(pattern, {"a": 1})
    for other in (True, "1", 2):
        pattern["a"][0] = other
        assert not matches(pattern, {"a": 1})
        assert matches(pattern, {"a": other})


def test_an_invalid_pattern_is_refused_at_once() -> None:
    for call in (validate_pattern, compile_pattern, lambda pattern: matches(pattern, {})):
        for pattern in ({"a": 1}, '{"a":1}', b'{"a":1}', {"a": [1j]}, None, 5):
            with pytest.raises(InvalidPattern) as caught:
                call(pattern)  # type: ignore[operator]
            assert isinstance(caught.value, ConfigurationError)


def test_a_pattern_within_itself_is_refused() -> None:
    pattern: dict[str, Any] = {}
    pattern["a"] = pattern
    with pytest.raises(InvalidPattern, match="levels"):
        matches(pattern, {})


@pytest.mark.parametrize("event", ["", "{", b"\xff", '{"a":NaN}', b"[" * 5000])
def test_an_event_that_is_not_json_is_an_error_of_value(event: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        matches(PATTERN, event)


@pytest.mark.parametrize("event", ["null", "[]", b"1", '"a"'])
def test_an_event_that_is_no_object_fits_nothing(event: Any) -> None:
    assert not matches({"a": [{"exists": False}]}, event)


@pytest.mark.parametrize(
    "number", ["300", "300.0", "3e2", "0.1", "1e-7", "9007199254740993", "123456789012345678901"]
)
def test_numbers_of_text_are_those_of_values(number: str) -> None:
    event = f'{{"a":{number}}}'
    assert matches(f'{{"a":[{number}]}}', event)
    assert matches(f'{{"a":[{number}]}}', json.loads(event))
    assert matches({"a": [json.loads(number)]}, event)


def test_the_names_are_public() -> None:
    assert {"matches", "compile_pattern", "validate_pattern", "InvalidPattern"} <= set(streamfn.__all__)
