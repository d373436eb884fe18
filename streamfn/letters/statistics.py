"""What a store of dead letters holds, counted. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamfn.core.rendering import iso_millis

if TYPE_CHECKING:
    from streamfn.core.letters import Letter

_HOUR = len("2026-01-31T18")


@dataclass(slots=True)
class Statistics:
    """Counts that grow with every letter."""

    letters: int = 0
    behind: int = 0
    """Records that wait behind letters of their key (sequenced mode)."""
    oldest: float | None = None
    newest: float | None = None
    by_error: Counter[str | None] = field(default_factory=Counter)
    by_function: Counter[str | None] = field(default_factory=Counter)
    by_mapping: Counter[str | None] = field(default_factory=Counter)
    by_source: Counter[str | None] = field(default_factory=Counter)
    by_hour: Counter[str | None] = field(default_factory=Counter)
    """By the hour in UTC, as `2026-01-31T18Z`."""

    def add(self, letter: Letter) -> None:
        """Counts one letter. What it does not tell is counted under None."""
        self.letters += 1
        self.behind += letter.behind
        self.by_error[letter.error] += 1
        self.by_function[letter.function] += 1
        self.by_mapping[letter.mapping] += 1
        self.by_source[letter.source] += 1
        hour = None
        if letter.at is not None:
            hour = f"{iso_millis(letter.at)[:_HOUR]}Z"
            self.oldest = letter.at if self.oldest is None else min(self.oldest, letter.at)
            self.newest = letter.at if self.newest is None else max(self.newest, letter.at)
        self.by_hour[hour] += 1

    def document(self) -> dict[str, Any]:
        """All of it, for JSON. Counts are lists of a name and a number, most first; hours in order."""
        return {
            "letters": self.letters,
            "behind": self.behind,
            "oldest": None if self.oldest is None else iso_millis(self.oldest),
            "newest": None if self.newest is None else iso_millis(self.newest),
            "byError": ranked(self.by_error),
            "byFunction": ranked(self.by_function),
            "byMapping": ranked(self.by_mapping),
            "bySource": ranked(self.by_source),
            "byHour": sorted(self.by_hour.items(), key=lambda item: item[0] or ""),
        }


def ranked(counts: Counter[str | None]) -> list[tuple[str | None, int]]:
    """Most first; of equal numbers by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0] or ""))
