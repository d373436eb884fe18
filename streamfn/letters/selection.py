"""Which dead letters are meant. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from streamfn.core.letters import Letter
    from streamfn.core.patterns import Predicate

_AGE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Selection:
    """What a letter has to be like. What is empty or None asks for nothing."""

    ids: frozenset[str] = frozenset()
    pattern: Predicate | None = None
    """An event pattern, for `Letter.view`."""
    since: float | None = None
    until: float | None = None
    errors: frozenset[str] = frozenset()
    """Types of errors; of letters without one, conditions."""
    conditions: frozenset[str] = frozenset()
    mapping: str | None = None
    function: str | None = None
    """With a qualifier that one alone, without one all of the function."""

    @property
    def takes_all(self) -> bool:
        return self == Selection()

    def takes(self, letter: Letter) -> bool:
        """Whether the letter is meant. One whose time is not known is in no span of time."""
        return (
            (not self.ids or letter.id in self.ids)
            and self._in_time(letter.at)
            and (not self.errors or letter.error in self.errors)
            and (not self.conditions or letter.condition in self.conditions)
            and (self.mapping is None or letter.mapping == self.mapping)
            and self._of_function(letter.function)
            and (self.pattern is None or self.pattern(letter.view()))
        )

    def _in_time(self, at: float | None) -> bool:
        if self.since is None and self.until is None:
            return True
        if at is None:
            return False
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)

    def _of_function(self, function: str | None) -> bool:
        if self.function is None:
            return True
        return function is not None and self.function in (function, function.partition(":")[0])


def moment(text: str, now: float, field: str) -> float:
    """An instant in epoch seconds: ISO 8601, in UTC where it says no zone, or an age such as `2h`, `30m`,
    `7d`. Raises ConfigurationError.
    """
    age = _AGE.fullmatch(text.strip())
    if age is not None:
        return now - float(age[1]) * _SECONDS[age[2]]
    try:
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is no time",
            field=field,
            fix="write 2026-01-31T18:00:00Z, or an age such as 2h, 30m, 7d",
        ) from None
