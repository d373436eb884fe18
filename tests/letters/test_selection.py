"""Which letters are meant, and how instants are written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.outcomes import Failed
from streamfn.core.patterns import compile_rules
from streamfn.errors import ConfigurationError
from streamfn.letters import Selection, moment
from tests.letters.made import AT, metadata, of_invocation, of_queue, of_stream, read

LETTER = read(of_stream({"city": "Porto"}, at=AT))
PLAIN = read(b"plain")


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        ({}, True),
        ({"ids": frozenset("1")}, True),
        ({"ids": frozenset("2")}, False),
        ({"since": AT}, True),
        ({"since": AT + 1}, False),
        ({"until": AT}, False),
        ({"until": AT + 1}, True),
        ({"since": AT, "until": AT + 1}, True),
        ({"errors": frozenset({"ValueError"})}, True),
        ({"errors": frozenset({"KeyError"})}, False),
        ({"errors": frozenset({"KeyError", "ValueError"})}, True),
        ({"conditions": frozenset({"RetryAttemptsExhausted"})}, True),
        ({"conditions": frozenset({"RecordAgeExceeded"})}, False),
        ({"mapping": "ship-orders"}, True),
        ({"mapping": "ship"}, False),
        ({"function": "ship"}, True),
        ({"function": "ship:2"}, False),
        ({"pattern": compile_rules({"data": {"city": ["Porto"]}})}, True),
        ({"pattern": compile_rules({"data": {"city": ["Lagos"]}})}, False),
        ({"pattern": compile_rules({"event": {"Records": {"eventSource": ["aws:kinesis"]}}})}, True),
        ({"pattern": compile_rules({"deadLetter": {"attempts": [{"numeric": [">", 2]}]}})}, True),
        ({"mapping": "ship-orders", "errors": frozenset({"KeyError"})}, False),
    ],
)
def test_a_letter_is_meant_when_it_fits_all(wanted: dict[str, Any], takes: bool) -> None:
    assert Selection(**wanted).takes(LETTER) is takes


@pytest.mark.parametrize(
    "wanted",
    [
        {"since": 0.0},
        {"until": 9e9},
        {"errors": frozenset({"ValueError"})},
        {"mapping": "m"},
        {"function": "f"},
        {"pattern": compile_rules({"deadLetter": {"id": ["x"]}})},
    ],
)
def test_what_is_not_known_fits_nothing_that_is_asked(wanted: dict[str, Any]) -> None:
    assert Selection().takes(PLAIN)
    assert not Selection(**wanted).takes(PLAIN)


def test_a_letter_without_an_error_is_found_under_its_condition() -> None:
    assert Selection(errors=frozenset({"RetryAttemptsExhausted"})).takes(read(metadata(1, 2)))


def test_a_function_is_meant_with_all_its_qualifiers_or_with_one() -> None:
    document = of_invocation({}).replace(b'"function":"resize"', b'"function":"resize:live"')
    letter = read(document)
    assert [
        Selection(function=name).takes(letter) for name in ("resize", "resize:live", "resize:1", "live")
    ] == [
        True,
        True,
        False,
        False,
    ]


def test_only_a_selection_that_asks_nothing_takes_all() -> None:
    assert Selection().takes_all
    assert not Selection(mapping="m").takes_all


parts = st.fixed_dictionaries(
    {},
    optional={
        "ids": st.sampled_from([frozenset("1"), frozenset("2")]),
        "since": st.sampled_from([AT - 1, AT, AT + 1]),
        "until": st.sampled_from([AT - 1, AT, AT + 1]),
        "errors": st.sampled_from([frozenset({"ValueError"}), frozenset({"OSError"})]),
        "mapping": st.sampled_from(["ship-orders", "pack-parcels"]),
        "function": st.sampled_from(["ship", "pack", "resize"]),
    },
)
letters = st.sampled_from(
    [
        LETTER,
        PLAIN,
        read(of_queue("x"), "2"),
        read(of_stream(error=Failed("OSError", "")), "2"),
        read(of_invocation([1])),
        read(metadata(3, 4)),
    ]
)


@given(parts, parts, letters)
def test_asking_more_takes_what_both_take(one: dict[str, Any], other: dict[str, Any], letter: Any) -> None:
    if one.keys() & other.keys():
        other = {name: value for name, value in other.items() if name not in one}
    both = Selection(**(one | other))
    assert both.takes(letter) is (Selection(**one).takes(letter) and Selection(**other).takes(letter))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2h", AT - 7200),
        ("30m", AT - 1800),
        ("45 s", AT - 45),
        ("7d", AT - 604_800),
        ("1w", AT - 604_800),
        ("1.5h", AT - 5400),
        ("2023-11-14T22:13:20Z", AT),
        ("2023-11-14T22:13:20", AT),
        ("2023-11-15T00:13:20+02:00", AT),
        ("1970-01-02", 86_400.0),
    ],
)
def test_instants(text: str, at: float) -> None:
    assert moment(text, AT, "--since") == at


@pytest.mark.parametrize("text", ["", "yesterday", "2y", "-2h", "2023-13-01", "h"])
def test_what_is_no_time_is_refused_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--since: .* is no time. Fix: write 2026-"):
        moment(text, AT, "--since")
