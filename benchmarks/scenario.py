"""What a scenario is, and what is known of it when it was measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

Side: TypeAlias = Callable[[], float]
"""Measures once."""


class NotHere(Exception):
    """The scenario cannot be measured on this machine: the reason is its message."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure has to reach: itself, or its ratio to the bare client's, or its distance from it."""

    on: Literal["figure", "ratio", "difference"]
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        low, high = self.at_least, self.at_most
        return (low is None or value >= low) and (high is None or value <= high)

    def __str__(self) -> str:
        of = "" if self.on == "figure" else f"{self.on} "
        return f"{of}≥ {self.at_least:,g}" if self.at_least is not None else f"{of}≤ {self.at_most:,g}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One figure: a side of a group, and the side it is compared with."""

    name: str
    measures: str
    unit: str
    side: str
    bare: str | None = None
    target: Target | None = None
    """None: measured to be known, not to be kept."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run is made."""

    quick: bool = False
    repeat: int = 5
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None

    def size(self, full: int, quick: int) -> int:
        """How much to do."""
        return quick if self.quick else full

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it on a loop of its own, so that nothing is left over from the measurement before."""
        with asyncio.Runner(loop_factory=self.loop_factory) as runner:
            return runner.run(work)


class Group(Protocol):
    """Scenarios that are measured in turn, over the same preparations."""

    @property
    def scenarios(self) -> Sequence[Scenario]: ...

    def repeats(self, settings: Settings) -> int:
        """How often each side is measured."""

    def prepared(self, settings: Settings) -> AbstractContextManager[Mapping[str, Side]]:
        """The sides, in the order in which they take turns. Raises NotHere."""


@dataclass(slots=True)
class Result:
    """What was measured."""

    scenario: Scenario
    values: list[float] = field(default_factory=list)
    bare_values: list[float] = field(default_factory=list)
    skipped: str | None = None

    @property
    def figure(self) -> float | None:
        return median(self.values) if self.values else None

    @property
    def bare(self) -> float | None:
        return median(self.bare_values) if self.bare_values else None

    @property
    def ratio(self) -> float | None:
        return self.figure / self.bare if self.figure is not None and self.bare else None

    @property
    def difference(self) -> float | None:
        return self.figure - self.bare if self.figure is not None and self.bare is not None else None

    @property
    def holds(self) -> bool | None:
        """Whether the target is reached; None where there is none, or nothing was measured."""
        target = self.scenario.target
        if target is None:
            return None
        value: float | None = getattr(self, target.on)
        return None if value is None else target.holds(value)

    def as_json(self) -> dict[str, Any]:
        target = self.scenario.target
        return {
            "name": self.scenario.name,
            "measures": self.scenario.measures,
            "unit": self.scenario.unit,
            "figure": _rounded(self.figure),
            "bare": _rounded(self.bare),
            "ratio": _rounded(self.ratio),
            "difference": _rounded(self.difference),
            "target": target
            and {
                "on": target.on,
                "at_least": target.at_least,
                "at_most": target.at_most,
            },
            "holds": self.holds,
            "values": [_rounded(value) for value in self.values],
            "bare_values": [_rounded(value) for value in self.bare_values],
            "skipped": self.skipped,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
