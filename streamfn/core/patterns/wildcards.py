r"""Patterns with `*`: any run of characters, none included. `\*` is an asterisk and `\\` a backslash.

Matched piece by piece, each at the first place it fits: no choice is ever taken back, so the time grows with
the text. AWS refuses those that its own matcher would be slow on, by a score that is computed here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from streamfn.errors import InvalidPattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MOST_COMPLEX: Final = 10
"""The score that is accepted. Recorded on AWS: 7 is, 11 is not."""
TOO_COMPLEX: Final = (
    "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences "
    "after a wildcard character"
)


@dataclass(frozen=True, slots=True)
class Wildcard:
    """The pieces between the asterisks: one more than there are asterisks."""

    pieces: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it is written."""
        return "*".join(piece.replace("\\", r"\\").replace("*", r"\*") for piece in self.pieces)


def parse(text: str, place: str) -> Wildcard:
    """Raises InvalidPattern with the position that AWS gives: in bytes, behind an opening quote."""
    pieces = [""]
    position = 0
    while position < len(text):
        char, after = text[position], text[position + 1 : position + 2]
        if char == "*":
            if after == "*":
                raise InvalidPattern(
                    f"Consecutive wildcard characters at pos {_in_bytes(text, position)}", place
                )
            pieces.append("")
        elif char == "\\":
            if after not in ("*", "\\"):
                raise InvalidPattern(f"Invalid escape character at pos {_in_bytes(text, position)}", place)
            pieces[-1] += after
            position += 1
        else:
            pieces[-1] += char
        position += 1
    return Wildcard(tuple(pieces))


def _in_bytes(text: str, position: int) -> int:
    return len(text[:position].encode(errors="replace")) + 1


def test(wildcard: Wildcard) -> Callable[[str], bool]:
    """Whether a whole string fits."""
    first, *middle, last = wildcard.pieces if len(wildcard.pieces) > 1 else (*wildcard.pieces, "")
    shortest = sum(map(len, wildcard.pieces))
    if len(wildcard.pieces) == 1:
        return first.__eq__
    if not any(middle):
        return lambda value: len(value) >= shortest and value.startswith(first) and value.endswith(last)

    def fits(value: str) -> bool:
        if len(value) < shortest or not value.startswith(first) or not value.endswith(last):
            return False
        place, end = len(first), len(value) - len(last)
        for piece in middle:
            place = value.find(piece, place, end)
            if place < 0:
                return False
            place += len(piece)
        return True

    return fits


def complexity(groups: Iterable[Sequence[Wildcard]]) -> int:
    """How many beginnings of patterns one text can fit at once, at most.

    Beginnings that patterns of one group share count once. Once all asterisks have been passed, each of them
    stays fit; what stands between is fit as far as the text now ends with it. So: the asterisks, and the most
    pieces begun that are ends of each other, which the links of an Aho-Corasick automaton count.
    (event-ruler: MachineComplexityEvaluator.)
    """
    begun: dict[tuple[int, tuple[str, ...]], set[str]] = {}
    ended: list[set[str]] = []
    for number, group in enumerate(groups):
        ended.append({f'{wildcard.pieces[-1]}"' for wildcard in group if len(wildcard.pieces) > 1})
        for wildcard in group:
            for after in range(1, len(wildcard.pieces)):
                begun.setdefault((number, wildcard.pieces[:after]), set()).add(wildcard.pieces[after])
    return len(begun) + _most_at_once(begun.values(), ended) if begun else 1


def _most_at_once(begun: Iterable[set[str]], ended: Iterable[set[str]]) -> int:
    """The most pieces, one or more of each set, whose beginnings are ends of one text."""
    steps: list[dict[str, int]] = [{}]
    weights = [0]

    def passed(piece: str) -> list[int]:
        nodes = [0]
        for char in piece:
            if char not in steps[nodes[-1]]:
                steps[nodes[-1]][char] = len(steps)
                steps.append({})
                weights.append(0)
            nodes.append(steps[nodes[-1]][char])
        return nodes[1:]

    for pieces in begun:
        for node in {node for piece in pieces for node in passed(piece)}:
            weights[node] += 1
    for pieces in ended:
        for node in {passed(piece)[-1] for piece in pieces}:
            weights[node] += 1
    return max(_summed(steps, weights))


def _summed(steps: Sequence[dict[str, int]], weights: Sequence[int]) -> list[int]:
    """The weights of each node and of all that its text ends with."""
    links = [0] * len(steps)
    sums = list(weights)
    queue = list(steps[0].values())
    for node in queue:
        sums[node] += sums[links[node]]
        for char, below in steps[node].items():
            queue.append(below)
            link = links[node]
            while link and char not in steps[link]:
                link = links[link]
            links[below] = steps[link].get(char, 0)
    return sums
