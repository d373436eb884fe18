"""AWS's runtime identifiers, taken apart: `python3.12`, `nodejs22.x`, `provided.al2023`. Pure."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final, NamedTuple

from streamfn.errors import ConfigurationError

FAMILIES: Final = ("python", "nodejs", "provided", "go", "java", "ruby", "dotnet")

_EXAMPLES: Final = (
    *(f"python3.{minor}" for minor in range(9, 15)),
    *(f"nodejs{major}.x" for major in range(18, 25, 2)),
    *("provided", "provided.al2", "provided.al2023", "go1.x", "java17", "java21", "ruby3.3", "dotnet8"),
)
_FORM: Final = re.compile(rf"({'|'.join(FAMILIES)})(?:core)?(\d+)?(?:\.(\d+))?(?:\.x)?(?:\.al\d+)?")


class RuntimeId(NamedTuple):
    """A language and its version, or `provided`: any program."""

    text: str
    family: str
    version: tuple[int, ...]
    """What is known of it: `(3, 12)`, `(22,)`; empty for `provided`."""

    @property
    def own(self) -> bool:
        """Whether the function brings a runtime of its own: an executable `bootstrap`."""
        return self.family in ("provided", "go")


def parse(text: str) -> RuntimeId:
    """Raises ConfigurationError for what is no runtime identifier. New versions of languages are taken."""
    form = _FORM.fullmatch(text)
    if form is None:
        near = get_close_matches(text, _EXAMPLES, n=1)
        raise ConfigurationError(
            f"{text!r} is no runtime",
            field="Runtime",
            fix=f"did you mean {near[0]}?" if near else "take one such as python3.12 or nodejs22.x",
        )
    version = tuple(int(number) for number in form.groups()[1:] if number)
    runtime = RuntimeId(text, form[1], version)
    if len(version) < {"provided": 0, "python": 2}.get(runtime.family, 1):
        raise ConfigurationError(
            f"{text!r} names no version", field="Runtime", fix="add it, as in python3.12 or nodejs22.x"
        )
    return runtime
