"""Runtime identifiers."""

from __future__ import annotations

import pytest

from streamfn.core.runtime_ids import parse
from streamfn.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "family", "version"),
    [
        ("python3.9", "python", (3, 9)),
        ("python3.14", "python", (3, 14)),
        ("nodejs22.x", "nodejs", (22,)),
        ("nodejs4.3", "nodejs", (4, 3)),
        ("provided", "provided", ()),
        ("provided.al2023", "provided", ()),
        ("go1.x", "go", (1,)),
        ("java8.al2", "java", (8,)),
        ("ruby3.4", "ruby", (3, 4)),
        ("dotnetcore3.1", "dotnet", (3, 1)),
        ("dotnet8", "dotnet", (8,)),
    ],
)
def test_identifiers_are_taken_apart(text: str, family: str, version: tuple[int, ...]) -> None:
    runtime = parse(text)
    assert (runtime.text, runtime.family, runtime.version) == (text, family, version)


def test_provided_and_go_bring_their_own_runtime() -> None:
    assert [parse(text).own for text in ("provided.al2023", "go1.x", "python3.12", "java21")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_slip_is_answered_with_what_was_meant() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'pyhton3.12' is no runtime. Fix: did you mean python3.12\?"
    ):
        parse("pyhton3.12")


@pytest.mark.parametrize("text", ["", "cobol", "python3.12 ", "xpython3.12"])
def test_what_is_no_identifier_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no runtime"):
        parse(text)


@pytest.mark.parametrize("text", ["python", "python3", "nodejs", "ruby"])
def test_a_language_without_a_version_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="names no version"):
        parse(text)
