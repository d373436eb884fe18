"""Values of options as connectors are given them: refused with the option's name and what to do.

All functions raise ConfigurationError.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

_SECRET: Final = "env:"  # noqa: S105 - the mark of a reference, not a password
_TRUTH: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def unknown(given: Collection[str], known: Collection[str], where: str = "here") -> None:
    """Refuses options that do not exist."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise ConfigurationError(
                f"there is no such option {where}",
                field=name,
                fix=f"did you mean {near[0]}?" if near else f"take one of {', '.join(sorted(known))}",
            )


def parsed(name: str, value: str, kind: type) -> Any:
    """An option of a URI as a value of its type."""
    try:
        return _TRUTH[value.lower()] if kind is bool else kind(value)
    except (KeyError, ValueError):
        word = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise ConfigurationError(f"must be {word}, not {value!r}", field=name, fix="change it") from None


def within(name: str, value: Any, low: float, high: float) -> float:
    """A number in a range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigurationError(
            f"must be a number from {low:g} to {high:g}, not {value!r}", field=name, fix="change it"
        )
    return value


def one_of(name: str, value: str, choices: Collection[str]) -> str:
    """One of some words."""
    if value not in choices:
        raise ConfigurationError(
            f"{value!r} is not known", field=name, fix=f"take one of {', '.join(choices)}"
        )
    return value


def text(name: str, value: object) -> str:
    """Text that says something."""
    if not isinstance(value, str) or not value:
        kind = "empty" if value == "" else type(value).__name__
        raise ConfigurationError(f"must be text, not {kind}", field=name, fix="change it or remove it")
    return value


def secret(name: str, value: str) -> str:
    """What is written as it is, or as `env:NAME`: then it stands in that variable of the environment."""
    if not value.startswith(_SECRET):
        return value
    variable = value.removeprefix(_SECRET)
    found = os.environ.get(variable)
    if not found:
        raise ConfigurationError(
            f"the environment variable {variable} is not set", field=name, fix=f"set {variable}"
        )
    return found
