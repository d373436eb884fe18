"""What became of the letters of one run. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

KEPT: Final = 1000
"""Problems that are told of one by one; of more there is the number."""


class Fate(Enum):
    """What became of a letter. Each that was met has one."""

    SENT = "sent"
    FINISHED = "finished"
    """An earlier run had sent it: now it was taken out only."""
    PURGED = "purged"
    REFUSED = "refused"
    """By the loop guard."""
    FAILED = "failed"
    """It stays where it is."""
    LEFT = "left"
    """Its turn did not come."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a letter stays."""

    letter: str
    fate: Fate
    reason: str


@dataclass(slots=True)
class Report:
    """Counts that grow as a run goes on."""

    dry: bool = False
    """Nothing is done: the counts are of what would be."""
    run: str | None = None
    """The run in the audit, once it has begun to change something."""
    fates: Counter[Fate] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    """Letters by where they were sent."""
    problems: list[Problem] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Ids that were asked for and that the store does not have."""
    newer: int = 0
    """Letters that came since the run began, and wait for the next."""
    in_store: int | None = None
    """Letters in the store afterwards, where it tells."""
    unseen: bool = False
    """The store kept letters back to the end: more may be there that are meant."""
    stopped: bool = False
    """Somebody stopped it."""
    broken: str | None = None
    """What went wrong with the store or the audit, which ended the run."""
    purged_all: bool = False
    """All of the store was purged, uncounted where it does not tell how much that was."""

    def count(self, fate: Fate, number: int = 1) -> None:
        self.fates[fate] += number

    def sent(self, target: str) -> None:
        self.fates[Fate.SENT] += 1
        self.targets[target] += 1

    def trouble(self, letter: str, fate: Fate, reason: str) -> None:
        """Counts a letter that stays, and why."""
        self.fates[fate] += 1
        if len(self.problems) < KEPT:
            self.problems.append(Problem(letter, fate, reason))

    @property
    def is_clean(self) -> bool:
        """Whether all that was asked for was done."""
        troubled = self.fates[Fate.REFUSED] + self.fates[Fate.FAILED]
        unseen = self.unseen and not self.dry
        return not (troubled or self.unknown or unseen or self.stopped or self.broken)

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "run": self.run,
            "dryRun": self.dry,
            **{fate.value: self.fates[fate] for fate in Fate},
            "targets": dict(self.targets.most_common()),
            "problems": [
                {"id": one.letter, "fate": one.fate.value, "reason": one.reason} for one in self.problems
            ],
            "unknown": self.unknown,
            "newer": self.newer,
            "unseen": self.unseen,
            "inStore": self.in_store,
            "stopped": self.stopped,
            "broken": self.broken,
        }
