"""Rules of matching, one by one (EventBridge User Guide: eb-create-pattern-operators; event-ruler)."""

from __future__ import annotations

import json
import string
from collections import OrderedDict, defaultdict
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from streamfn.core.patterns import compile_rules


def fits(leaf: list[Any], value: Any) -> bool:
    """Whether a value fits what stands in a list."""
    return compile_rules({"key": leaf})({"key": value})


def matches(pattern: Any, event: Any) -> bool:
    return compile_rules(pattern)(event)


# Values


def test_a_string_matches_exactly() -> None:
    assert fits(["a"], "a")
    assert not fits(["a"], "A")
    assert not fits(["é"], "e\u0301")
    assert not fits(["1"], 1)


def test_a_key_matches_exactly() -> None:
    assert not matches({"Key": ["a"]}, {"key": "a"})


def test_null_true_and_false_match_themselves() -> None:
    assert fits([None], None)
    assert fits([False], False)
    for other in ("null", "", 0, False, []):
        assert not fits([None], other)
    for other in (True, 0, "false", None):
        assert not fits([False], other)
    assert not fits([1], True)
    assert not fits([True], 1)


def test_an_empty_string_is_not_null() -> None:
    assert fits([""], "")
    assert not fits([""], None)


def test_members_of_a_list_are_alternatives() -> None:
    leaf = ["a", {"prefix": "b"}, 3, {"numeric": ["<", 0]}]
    assert all(fits(leaf, value) for value in ("a", "bc", 3, -1))
    assert not any(fits(leaf, value) for value in ("c", 4, None))


def test_keys_must_all_fit() -> None:
    pattern = {"a": [1], "b": {"c": [2]}}
    assert matches(pattern, {"a": 1, "b": {"c": 2}, "d": 3})
    assert not matches(pattern, {"a": 1, "b": {"c": 3}})
    assert not matches(pattern, {"a": 1})
    assert not matches(pattern, {"a": 1, "b": "c"})


def test_a_string_is_not_parsed() -> None:
    assert not matches({"a": {"b": [1]}}, {"a": '{"b":1}'})


def test_a_repeated_key_means_the_last() -> None:
    assert matches('{"x":["y"],"x":["z"]}', {"x": "z"})
    assert not matches('{"x":["y"],"x":["z"]}', {"x": "y"})


def test_a_key_that_is_both_value_and_object_is_both() -> None:
    pattern = '{"a":{"b":[1]},"a":[2]}'
    assert matches(pattern, {"a": [2, {"b": 1}]})
    assert not matches(pattern, {"a": [3, {"b": 1}]})
    assert not matches(pattern, {"a": {"b": 1}})
    assert not matches(pattern, {"a": 2})


def test_what_is_no_object_matches_nothing() -> None:
    either = {"$or": [{"a": [{"exists": False}]}, {"b": [{"exists": False}]}]}
    for event in ([], "a", None, 1):
        assert not matches({"a": [{"exists": False}]}, event)
        assert not matches(either, event)


# Numbers


@pytest.mark.parametrize("text", ["300", "300.0", "3.0e2", "3E+2", "0.3e3"])
def test_a_number_is_what_it_is_worth_not_how_it_is_written(text: str) -> None:
    pattern = f'{{"key":[{text}]}}'
    assert matches(pattern, {"key": 300})
    assert matches(pattern, {"key": 300.0})
    assert not matches(pattern, {"key": 301})
    assert not matches(pattern, {"key": "300"})


def test_a_fraction_matches_its_shortest_writing() -> None:
    assert matches('{"key":[1e-1]}', {"key": 0.1})
    assert matches('{"key":[0.10]}', {"key": 0.1})
    assert not matches('{"key":[0.3]}', {"key": 0.1 + 0.2})


def test_zero_has_no_sign() -> None:
    for text in ("0", "-0", "0.0", "-0.0", "0e99999999999999999999", "0.00E-400"):
        assert matches(f'{{"key":[{text}]}}', {"key": -0.0})


def test_integers_beyond_doubles_match_digit_by_digit() -> None:
    assert fits([9007199254740993], 9007199254740993)
    assert not fits([9007199254740993], 9007199254740992)
    assert not fits([9007199254740993], 9007199254740992.0)
    assert fits([2**70 + 1], 2**70 + 1)
    assert fits([2**70 + 1], float(2**70)), "a parser makes a float of it"
    assert fits([123456789012], 123456789012)
    assert fits([1e22], 10**22)
    assert not fits([1e22], 10**22 + 1)
    assert matches('{"key":[1000000000000000000000e0]}', {"key": 1e21})


def test_a_fraction_beyond_doubles_matches_what_a_parser_makes_of_it() -> None:
    assert matches('{"key":[0.12345678901234567890123]}', {"key": 0.12345678901234568})
    assert not matches('{"key":[1e-400]}', {"key": 1})
    assert not matches('{"key":[1e400]}', {"key": 1})


@pytest.mark.parametrize(
    ("numeric", "fitting", "others"),
    [
        (["=", 5], [5, 5.0], [5.1]),
        (["<", 5], [4.9, -(10**300)], [5, 6]),
        (["<=", 5], [5], [5.1]),
        ([">", 5], [5.1, 10**300], [5, 4]),
        ([">=", 5], [5], [4.9]),
        ([">", 0, "<=", 5], [0.1, 5], [0, 5.1]),
        ([">=", 0, "<", 5], [0, 4.9], [5, -0.1]),
        ([">", 2**53], [2**53 + 2, 10**17], [2**53, 2**53 + 1, 2**60, 10**400]),
        ([">", 1], [], [float("nan"), float("inf"), True]),
        (["<", 1e-320], [0, 5e-324], [1e-320, 1]),
    ],
)
def test_a_range_takes_numbers_alone(numeric: list[Any], fitting: list[Any], others: list[Any]) -> None:
    assert all(fits([{"numeric": numeric}], value) for value in fitting)
    assert not any(fits([{"numeric": numeric}], value) for value in [*others, "3", "5", None, [], {}])


# Strings


def test_a_prefix_and_a_suffix_match_strings_alone() -> None:
    assert fits([{"prefix": "ab"}, {"suffix": "yz"}], "abc")
    assert fits([{"prefix": "ab"}, {"suffix": "yz"}], "xyz")
    assert not fits([{"prefix": "1"}, {"suffix": "1"}], 1)
    assert not fits([{"suffix": "PNG"}], "a.png")


def test_an_empty_prefix_or_suffix_matches_any_string() -> None:
    for name in ("prefix", "suffix"):
        assert fits([{name: ""}], "a")
        assert fits([{name: ""}], "")
        assert not fits([{name: ""}], None)


def test_a_prefix_or_suffix_may_ignore_case() -> None:
    assert fits([{"prefix": {"equals-ignore-case": "EventB"}}], "EvEnTbridge")
    assert not fits([{"prefix": {"equals-ignore-case": "EventB"}}], "Event")
    assert fits([{"suffix": {"equals-ignore-case": ".PNG"}}], "a.png")
    assert not fits([{"suffix": {"equals-ignore-case": ".PNG"}}], "png")
    assert fits([{"suffix": {"equals-ignore-case": ""}}], "a")


def test_case_is_ignored_character_by_character() -> None:
    def equal(text: str, value: str) -> bool:
        return fits([{"equals-ignore-case": text}], value)

    assert equal("x.Y", "X.y")
    assert not equal("x.y", "x-y")
    assert equal("ß", "SS")
    assert not equal("SS", "ß")
    assert not equal("ß", "Ss")
    assert equal("ⱥ", "Ⱥ")
    assert equal("\u212a", "k"), "the sign of Kelvin"
    assert not equal("k", "\u212a")
    assert not equal("ǅ", "ǅ"), "it is neither lower nor upper case"
    assert equal("Σ", "\u03c3")
    assert not equal("Σ", "ς")
    assert equal("", "")
    assert not equal("", "x")
    assert equal("😀", "😀")
    assert not equal("\U00010400", "\U00010428"), "Java takes it as two halves that have no case"
    assert fits([{"suffix": {"equals-ignore-case": "xŉ"}}], "X\u02bcN")


@pytest.mark.parametrize(
    ("wildcard", "fitting", "others"),
    [
        ("*", ["", "a"], [None, 1]),
        ("", [""], ["a"]),
        ("a", ["a"], ["ab", "b"]),
        ("a*", ["a", "ab"], ["ba"]),
        ("*a", ["a", "ba"], ["ab"]),
        ("ab*bc", ["abbc", "abxbc"], ["abc"]),
        ("*ab*", ["ab", "xaby"], ["axb"]),
        ("a*b*c", ["abc", "axbxc", "abcbc"], ["acb", "ac"]),
        ("*a*b*", ["ab", "xaxbx"], ["ba"]),
        ("a*a*a", ["aaa", "aaaa"], ["aa"]),
        (r"a\*b", ["a*b"], ["axb"]),
        (r"a\\*", ["a\\", "a\\x"], ["a", "a*"]),
        (r"\**", ["*", "*a"], ["a"]),
        ("/Users/*/doc.txt", ["/Users/me/doc.txt", "/Users//doc.txt"], ["/Users/doc.txt"]),
    ],
)
def test_an_asterisk_is_any_run_of_characters(wildcard: str, fitting: list[Any], others: list[Any]) -> None:
    assert all(fits([{"wildcard": wildcard}], value) for value in fitting)
    assert not any(fits([{"wildcard": wildcard}], value) for value in others)


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        (
            "10.0.0.0/24",
            ["10.0.0.0", "10.0.0.255", "010.000.0.1", "::ffff:a00:1"],
            ["10.0.1.0", "10.0.0.256"],
        ),
        ("10.0.0.9/31", ["10.0.0.8", "10.0.0.9"], ["10.0.0.10", "10.0.0", "10.0.0.9.1", "x"]),
        ("0.0.0.0/0", ["255.255.255.255"], ["::1", ""]),
        ("2001:db8::/32", ["2001:db8::1", "2001:0DB8:0:0::1"], ["2001:db9::1", "2001:db8:::1", "10.0.0.1"]),
        ("10.0.0.0/+8/", ["10.1.2.3"], ["11.0.0.0", "10.0.0.1%eth0", "::ffff:10.0.0.1"]),
    ],
)
def test_a_network_takes_its_addresses(network: str, inside: list[str], outside: list[str]) -> None:
    assert all(fits([{"cidr": network}], value) for value in inside)
    assert not any(fits([{"cidr": network}], value) for value in [*outside, 1, None])


def test_an_address_is_equal_in_any_writing() -> None:
    assert fits(["::1"], "0:0:0:0:0:0:0:1")
    assert fits(["10.0.0.1"], "10.0.0.01")
    assert not fits(["10.0.0.1"], "10.0.0.2")
    assert fits(["08:23"], "08:23")
    assert not fits([{"exactly": "a"}], "b")


# Anything but


@pytest.mark.parametrize(
    ("but", "fitting", "others"),
    [
        ("a", ["b", 1, None, True], ["a"]),
        (["a", "b"], ["c", 1], ["a", "b"]),
        (5, [4, "5", None], [5, 5.0]),
        ([1, 2], [3, "1"], [1, 2.0]),
        ({"prefix": "a"}, ["b", "ba", 1], ["a", "ab"]),
        ({"prefix": ["a", "b"]}, ["c"], ["ab", "ba"]),
        ({"suffix": "a"}, ["b", "ab", None], ["a", "ba"]),
        ({"suffix": ["a", "b"]}, ["c"], ["ba", "ab"]),
        ({"equals-ignore-case": "a"}, ["b", 1], ["a", "A"]),
        ({"equals-ignore-case": ["a", ""]}, ["b"], ["A", ""]),
        ({"wildcard": "a*c"}, ["ab", 1], ["abc", "ac"]),
        ({"wildcard": ["a*", ""]}, ["b"], ["a", ""]),
        ({"prefix": []}, ["a", 1], []),
    ],
)
def test_anything_but_takes_the_others_of_any_kind(but: Any, fitting: list[Any], others: list[Any]) -> None:
    assert all(fits([{"anything-but": but}], value) for value in fitting)
    assert not any(fits([{"anything-but": but}], value) for value in others)


def test_anything_but_needs_a_value() -> None:
    assert not matches({"key": [{"anything-but": "a"}]}, {})
    assert not fits([{"anything-but": "a"}], [])
    assert not fits([{"anything-but": "a"}], {})


# Exists


def test_only_values_exist() -> None:
    for value in ("", 0, None, False, ["a"], [[1]], [{}, 1]):
        assert fits([{"exists": True}], value)
        assert not fits([{"exists": False}], value)
    for nothing in ({}, {"a": 1}, [], [[]], [{"a": 1}]):
        assert not fits([{"exists": True}], nothing)
        assert fits([{"exists": False}], nothing)


def test_a_path_may_be_missing_at_any_level() -> None:
    pattern = {"a": {"b": [{"exists": False}]}}
    for event in ({}, {"a": {}}, {"a": 1}, {"a": {"b": {"c": 1}}}, {"a": []}, {"a": [1]}):
        assert matches(pattern, event)
    assert not matches(pattern, {"a": {"b": 1}})


def test_a_value_may_be_missing_or_another() -> None:
    assert matches({"a": ["x", {"exists": False}]}, {})
    assert matches({"a": ["x", {"exists": False}]}, {"a": "x"})
    assert not matches({"a": ["x", {"exists": False}]}, {"a": "y"})


# Arrays


def test_one_value_of_an_array_has_to_fit() -> None:
    assert fits(["a"], ["b", "a"])
    assert fits(["a"], [["b"], ["c", ["a"]]])
    assert not fits(["a"], ["b", {"a": "a"}])
    assert not fits(["a"], [])


def test_all_that_fits_in_an_array_is_in_one_element() -> None:
    pattern = {"a": {"b": [1], "c": [2]}}
    assert matches(pattern, {"a": [{"b": 1}, {"b": 1, "c": 2}]})
    assert not matches(pattern, {"a": [{"b": 1}, {"c": 2}]})
    assert matches(pattern, {"a": [[{"b": 0}], [{"b": 1, "c": 2}]]})
    assert not matches(pattern, {"a": [[{"b": 1}, {"c": 2}]]})
    assert matches(pattern, {"a": [{"b": 1, "c": [0, 2]}]})
    assert not matches(pattern, {"a": [1, "b"]})


def test_arrays_beside_each_other_are_free() -> None:
    pattern = {"a": {"b": [1]}, "c": {"b": [1]}}
    assert matches(pattern, {"a": [{"b": 0}, {"b": 1}], "c": [{"b": 1}, {"b": 0}]})


def test_arrays_within_arrays_agree() -> None:
    pattern = {"a": {"b": {"c": [1], "d": [2]}, "e": [3]}}
    there = {"b": [{"c": 1, "d": 2}], "e": 3}
    assert matches(pattern, {"a": [{"b": [{"c": 1}, {"d": 2}], "e": 3}, there]})
    assert not matches(pattern, {"a": [{"b": there["b"], "e": 0}, {"b": [], "e": 3}]})


def test_or_keeps_to_one_element_as_well() -> None:
    pattern = {"a": {"b": [1]}, "$or": [{"a": {"c": [2]}}, {"d": [3]}]}
    assert matches(pattern, {"a": [{"b": 1, "c": 2}]})
    assert not matches(pattern, {"a": [{"b": 1}, {"c": 2}]})
    assert matches(pattern, {"a": [{"b": 1}, {"c": 2}], "d": 3})


def test_what_may_be_absent_is_looked_for_in_the_element_settled_by_then() -> None:
    event = {"a": [{"b": 1}, {"c": 1}]}
    assert matches({"a": {"b": [1], "c": [{"exists": False}]}}, event)
    assert not matches({"a": {"b": [{"exists": False}], "c": [1]}}, event)
    assert matches({"a": {"b": [{"exists": False}], "c": [1]}}, {"a": [{"c": 0}, {"c": 1}]})


def test_an_array_that_stands_at_two_paths_is_two_arrays() -> None:
    shared = [{"b": 1}, {"c": 2, "b": 0}]
    pattern = {"a": {"b": [1, {"exists": False}]}, "d": {"c": [2]}, "x.y": [{"exists": False}]}
    assert matches(pattern, {"a": shared, "d": shared})


# Dots


def test_keys_are_joined_by_dots() -> None:
    for pattern in (
        {"a": {"b": {"c": ["x"]}}},
        {"a.b": {"c": ["x"]}},
        {"a.b.c": ["x"]},
        {"a": {"b.c": ["x"]}},
    ):
        for event in (
            {"a": {"b": {"c": "x"}}},
            {"a.b": {"c": "x"}},
            {"a": {"b.c": "x"}},
            {"a.b.c": "x"},
            {"a": {"b": {"c": "y"}}, "a.b.c": "x"},
        ):
            assert matches(pattern, event)
        assert not matches(pattern, {"a.b": {"b.c": "x"}})


def test_what_stands_behind_dots_agrees_with_the_rest() -> None:
    assert matches({"a": {"b": [1], "c": [2]}}, {"a": [{"b": 1}], "a.c": 2})
    assert not matches({"a": {"b": [1], "c": [2]}}, {"a": [{"b": 1}], "a.c": 3})


def test_an_empty_key_is_a_key() -> None:
    assert matches({"": {"": ["x"]}}, {"": {"": "x"}})
    assert matches({"": {"": ["x"]}}, {".": "x"})
    assert matches({"a.": ["x"]}, {"a": {"": "x"}})


# $or


def test_or_takes_any_branch() -> None:
    pattern = {"s": ["x"], "$or": [{"a": [1]}, {"b": [2], "c": [3]}]}
    assert matches(pattern, {"s": "x", "a": 1})
    assert matches(pattern, {"s": "x", "b": 2, "c": 3})
    assert not matches(pattern, {"s": "x", "b": 2})
    assert not matches(pattern, {"s": "y", "a": 1})


def test_ors_stand_beside_and_within_each_other() -> None:
    pattern = {
        "$or": [{"a": [1]}, {"$or": [{"b": [1]}, {"c": [1]}], "d": [1]}],
        "e": {"$or": [{"f": [1]}, {"g": [1]}]},
    }
    assert matches(pattern, {"a": 1, "e": {"g": 1}})
    assert matches(pattern, {"c": 1, "d": 1, "e": {"f": 1}})
    assert not matches(pattern, {"c": 1, "e": {"f": 1}})
    assert not matches(pattern, {"a": 1, "f": 1})


def test_the_last_list_of_a_path_holds() -> None:
    inside = {"name": ["a", "b"], "$or": [{"name": [{"anything-but": "a"}]}, {"c": ["x"]}]}
    assert matches(inside, {"name": "z"})
    assert matches(inside, {"name": "a", "c": "x"})
    assert not matches(inside, {"name": "a"})
    after = {"$or": [{"name": ["a"]}, {"c": ["x"]}], "name": ["b"]}
    assert matches(after, {"name": "b"})
    assert not matches(after, {"name": "a"})


def test_or_is_a_key_like_others_where_it_cannot_be_the_relation() -> None:
    assert matches({"$or": {"a": ["x"]}}, {"$or": {"a": "x"}})
    assert matches({"$or": ["x"]}, {"$or": "x"})
    assert matches({"$or": [{"prefix": "x"}]}, {"$or": "xy"})


# Events of Python


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


class Weight(float):
    pass


def test_values_derived_from_those_of_json_are_those() -> None:
    assert fits(["red"], Colour.RED)
    assert fits([1], Size.SMALL)
    assert fits([1.5], Weight(1.5))
    assert fits(["a"], ("b", "a"))
    assert matches({"a": {"b": [1]}}, OrderedDict(a=defaultdict(int, b=1)))
    assert matches({"a": {"b": [1]}}, {"a": ({"b": 1},)})
    assert matches({Colour.RED: [Colour.RED, (1,)[0]]}, {"red": "red"})


def test_other_values_are_there_and_equal_nothing() -> None:
    for odd in (Decimal(1), b"a", object(), {1}, float("nan")):
        assert fits([{"exists": True}], odd)
        assert fits([{"anything-but": [1]}], odd)
        assert not fits(["a", 1, None, {"prefix": ""}, {"numeric": [">", 0]}], odd)


def test_long_lists_of_a_key_hold_every_kind_at_once() -> None:
    letters = list(string.ascii_lowercase)
    leaf = [*letters, *range(50), True, None, {"cidr": "10.0.0.0/8"}, {"suffix": "!"}, {"anything-but": "?"}]
    assert all(fits(leaf, value) for value in ("z", 49, None, "10.1.1.1", "a!", "other", False))
    assert not fits(leaf, "?")
    assert json.loads(json.dumps(leaf)) == leaf
