"""Moving an alias from one version to another: how much and when, and when it goes back. Pure.

The words are CodeDeploy's: `Canary10Percent5Minutes`, `Linear10PercentEvery1Minute`, `AllAtOnce`, with or
without `CodeDeployDefault.Lambda` before them. Any numbers may be in them, and seconds and hours too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from streamfn.core.versions import Alias

_PREFERENCE: Final = re.compile(
    r"(?:CodeDeployDefault\.)?(?:Lambda)?(?:"
    r"(?P<once>AllAtOnce)|"
    r"Canary(?P<share>\d{1,2})Percent(?P<time>\d{1,5})(?P<unit>Second|Minute|Hour)s?|"
    r"Linear(?P<step>\d{1,2})PercentEvery(?P<pause>\d{1,5})(?P<every>Second|Minute|Hour)s?)"
)
_SECONDS: Final = {"Second": 1, "Minute": 60, "Hour": 3600}


@dataclass(frozen=True, slots=True)
class Pace:
    """How traffic moves: a share at once, and as much again with each step, or all of it with the second."""

    step: float
    """Share of the first step, from 0 to 1."""
    pause: float
    """Seconds between two steps."""
    linear: bool

    def weight(self, elapsed: float) -> float:
        """The share of the new version so many seconds after the beginning; 1.0 when it has all."""
        steps = 1 + int(max(elapsed, 0.0) / self.pause) if self.pause else 1
        if not self.linear:
            return self.step if steps == 1 else 1.0
        # Whole percents: 0.1 * 3 is not 0.3.
        return min(round(self.step * 100) * steps, 100) / 100

    def next(self, elapsed: float) -> float:
        """Seconds until the next step, from so many after the beginning; 0 where there is one step only."""
        elapsed = max(elapsed, 0.0)
        if not self.pause:
            return 0.0
        return (int(elapsed / self.pause) + 1) * self.pause - elapsed


def pace_of(preference: str) -> Pace:
    """What CodeDeploy's words mean. Raises ConfigurationError."""
    found = _PREFERENCE.fullmatch(preference)
    if found is None:
        raise _unknown(preference)
    if found["once"]:
        return Pace(1.0, 0.0, linear=False)
    linear = found["step"] is not None
    share = int(found["step"] or found["share"])
    pause = int(found["pause"] or found["time"]) * _SECONDS[found["every"] or found["unit"]]
    if not share or not pause:
        raise _unknown(preference)
    return Pace(share / 100, float(pause), linear)


def _unknown(preference: str) -> ConfigurationError:
    return ConfigurationError(
        f"{preference!r} says nothing of how traffic moves",
        field="DeploymentPreference",
        fix="write AllAtOnce, or such as Canary10Percent5Minutes or Linear10PercentEvery1Minute",
    )


@dataclass(frozen=True, slots=True)
class Guard:
    """When the new version is given up."""

    error_rate: float = 0.05
    """Share of its invocations that failed, above which it goes back; 1 never does."""
    invocations: int = 20
    """What has to be seen of it before its rate says anything."""

    def trips(self, invocations: int, errors: int) -> bool:
        """Whether so many invocations of the new version, and errors among them, are too bad."""
        return invocations >= max(self.invocations, 1) and errors > self.error_rate * invocations


def check_guard(guard: Guard) -> None:
    """Raises ConfigurationError for numbers that mean nothing."""
    if not 0.0 <= guard.error_rate <= 1.0:
        raise ConfigurationError(
            f"must be a number from 0 to 1, not {guard.error_rate:g}", field="error_rate", fix="change it"
        )
    if guard.invocations < 1:
        raise ConfigurationError(
            f"must be 1 or more, not {guard.invocations}", field="invocations", fix="change it"
        )


@dataclass(frozen=True, slots=True)
class Shift:
    """A move that is under way. It is stored with its alias: whoever reads it can carry on."""

    version: str
    """Where the traffic goes."""
    preference: str
    started_at: float
    """Epoch seconds."""
    guard: Guard = Guard()

    def weight(self, now: float) -> float:
        """The share of the new version at an instant; 1.0 when it has all."""
        return pace_of(self.preference).weight(now - self.started_at)

    def next(self, now: float) -> float:
        """Seconds until its share changes."""
        return pace_of(self.preference).next(now - self.started_at)


def shifted(alias: Alias, shift: Shift, now: float) -> Alias:
    """The alias as the shift has it at an instant: with no shift any more when all has moved."""
    weight = shift.weight(now)
    if weight >= 1.0:
        return replace(alias, version=shift.version, additional={}, shift=None)
    return replace(alias, additional={shift.version: weight}, shift=shift)


def reverted(alias: Alias) -> Alias:
    """The alias as it was before its traffic began to move."""
    return replace(alias, additional={}, shift=None)
