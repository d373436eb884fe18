"""Aliases: what Lambda refuses, and which version an invocation gets."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.versions import (
    Alias,
    PreconditionFailed,
    check_alias,
    check_code,
    check_unused,
    is_version,
    resolve,
    route,
)
from streamfn.errors import ConfigurationError

PUBLISHED = {"1", "2", "10"}


def alias(version: str = "1", additional: dict[str, float] | None = None, name: str = "live") -> Alias:
    return Alias("orders", name, version, additional or {})


@given(st.floats(0, 1), st.integers(100, 1000))
def test_a_version_has_the_share_that_its_weight_says(weight: float, rolls: int) -> None:
    weighted = alias("1", {"2": weight})
    got = Counter(route(weighted, roll / rolls) for roll in range(rolls))
    assert abs(got["2"] - weight * rolls) <= 1
    assert got["1"] + got["2"] == rolls


@pytest.mark.parametrize(
    ("additional", "roll", "version"),
    [
        ({}, 0.0, "1"),
        ({}, 0.999999, "1"),
        ({"2": 0.0}, 0.0, "1"),
        ({"2": 1.0}, 0.999999, "2"),
        ({"2": 0.1}, 0.0999, "2"),
        ({"2": 0.1}, 0.1, "1"),
    ],
)
def test_an_invocation_gets_one_version(additional: dict[str, float], roll: float, version: str) -> None:
    assert route(alias("1", additional), roll) == version


def test_an_alias_knows_its_versions() -> None:
    assert alias("1", {"2": 0.1}).versions == ("1", "2")


@pytest.mark.parametrize(
    ("qualifier", "version"),
    [("", "$LATEST"), ("$LATEST", "$LATEST"), ("2", "2"), ("10", "10"), ("live", "1"), ("canary", "2")],
)
def test_a_qualifier_means_a_version(qualifier: str, version: str) -> None:
    aliases = {"live": alias(), "canary": alias("1", {"2": 0.5}, "canary")}
    assert resolve("orders", qualifier, PUBLISHED, aliases, 0.4) == version


def test_a_qualifier_that_means_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError) as error:
        resolve("orders", "3", PUBLISHED, {"live": alias()}, 0.0)
    assert str(error.value) == (
        "Qualifier: function orders has no version 3. Fix: take one of 1, 2, 10, live"
    )
    with pytest.raises(ConfigurationError, match="no version or alias dead. Fix: publish a version"):
        resolve("orders", "dead", (), {}, 0.0)


@pytest.mark.parametrize(
    ("qualifier", "holds"), [("1", True), ("120", True), ("0", False), ("01", False), ("v1", False)]
)
def test_numbers_are_versions(qualifier: str, holds: bool) -> None:
    assert is_version(qualifier) is holds


@pytest.mark.parametrize(
    "good",
    [
        alias(),
        alias("$LATEST"),
        alias("10", {"2": 0.0}),
        alias("1", {"2": 1.0}),
        alias(name="2b_-"),
        alias(name="a" * 128),
    ],
    ids=repr,
)
def test_these_aliases_can_be(good: Alias) -> None:
    check_alias(good, PUBLISHED)


@pytest.mark.parametrize(
    ("bad", "field", "said"),
    [
        (
            alias("1", {"2": 0.1, "10": 0.1}),
            "AdditionalVersionWeights",
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ),
        (
            alias("$LATEST", {"2": 0.1}),
            "AdditionalVersionWeights",
            "$LATEST is not supported for an alias pointing to more than 1 version",
        ),
        (
            alias("1", {"$LATEST": 0.1}),
            "AdditionalVersionWeights",
            "$LATEST is not supported for an alias pointing to more than 1 version",
        ),
        (
            alias("1", {"1": 0.1}),
            "AdditionalVersionWeights",
            "Invalid function version 1. Function version 1 is already included in routing configuration.",
        ),
        (alias("1", {"2": 1.01}), "AdditionalVersionWeights", "the weight of version 2 is 1.01"),
        (alias("1", {"2": -0.01}), "AdditionalVersionWeights", "the weight of version 2 is -0.01"),
        (alias("1", {"2": float("nan")}), "AdditionalVersionWeights", "the weight of version 2 is nan"),
        (alias("3"), "FunctionVersion", "function orders has no version 3"),
        (alias("1", {"3": 0.1}), "AdditionalVersionWeights", "function orders has no version 3"),
        (
            alias(name="12"),
            "Name",
            "1 validation error detected: Value '12' at 'name' failed to satisfy constraint: Member must "
            "satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
        ),
        (
            alias(name="a" * 129),
            "Name",
            f"1 validation error detected: Value '{'a' * 129}' at 'name' failed to satisfy constraint: "
            "Member must have length less than or equal to 128",
        ),
        (
            Alias("orders", "live", "1", description="x" * 257),
            "Description",
            "must have 256 characters at most",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_these_cannot(bad: Alias, field: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        check_alias(bad, PUBLISHED)
    assert (error.value.field, error.value.problem) == (field, said)
    assert error.value.fix


@pytest.mark.parametrize("name", ["", "a b", "$LATEST", "a.b", "ä", "a\n", "live:2", "1\n"])
def test_a_name_has_letters_digits_hyphens_and_underscores(name: str) -> None:
    with pytest.raises(ConfigurationError, match="at 'name' failed to satisfy constraint"):
        check_alias(alias(name=name), PUBLISHED)


def test_a_version_that_aliases_point_to_is_in_use() -> None:
    aliases = [alias(name="b"), alias("2", {"1": 0.1}, "a"), alias("10", name="c")]
    with pytest.raises(ConfigurationError) as error:
        check_unused("1", aliases)
    assert error.value.problem == (
        "Unable to delete version because the following aliases reference it: [a, b]"
    )
    check_unused("3", aliases)


def test_code_is_what_it_is_expected_to_be() -> None:
    check_code("a=", "a=")
    with pytest.raises(ConfigurationError) as error:
        check_code("a=", "b=")
    assert error.value.problem == (
        "CodeSHA256 (a=) is different from current CodeSHA256 in $LATEST (b=). Please try again with the "
        "CodeSHA256 in $LATEST."
    )


def test_a_stale_revision_is_told_in_the_words_of_lambda() -> None:
    assert str(PreconditionFailed("GetAlias")) == (
        "The Revision Id provided does not match the latest Revision Id. Call the GetAlias API to retrieve "
        "the latest Revision Id"
    )
