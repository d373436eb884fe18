"""How often each function was invoked in one chain of requests, and when that is a loop. Pure.

A chain carries a trace header as AWS X-Ray writes it, and counts in its `Lineage` (Developer Guides: X-Ray,
tracing header; Lambda, invocation-recursion). How Lambda makes the hash of a function is not published: what
it counted itself, now written `1:fe460cdd:0` and once `a87bd80c:1|68fd508a:5`, is carried on beside ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TRACE_HEADER: Final = "AWSTraceHeader"
"""Where the header travels: a system attribute of SQS's messages, and of ours."""
LOOP_LIMIT: Final = 16
"""Invocations of one function in one chain of requests. The next one is not made."""
LINEAGE_LIMIT: Final = 16
"""Functions that a lineage counts, as Lambda's did. Of more it keeps those with the highest counts."""
OTHERS_LIMIT: Final = 512
"""Characters of the fields that are not known here. One that does not fit is left out, whole."""
HEADER_LIMIT: Final = 1024
"""No header that is written here has more characters; the limits above see to it."""

_MOST: Final = 255
"""Counts end here, so that they take three characters at most."""
_ARN_PARTS: Final = 7
"""`arn:aws:lambda:region:account:function:name`; behind it a version or an alias."""

_ROOT: Final = re.compile(r"1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24}")
_PARENT: Final = re.compile(r"[0-9a-fA-F]{16}")
_SAMPLED: Final = re.compile(r"[01?]")
_COUNTED: Final = re.compile(r"((?:[0-9]{1,5}:)?[0-9a-fA-F]{8}):([0-9]{1,9})")
_SINGLE: Final = {"root": _ROOT, "parent": _PARENT, "sampled": _SAMPLED}


@dataclass(frozen=True, slots=True)
class Trace:
    """What a request knows of the chain that it stands in. `parse` and `begun` make one.

    Counts are never too low, and exact while the lineage has room. In a full one, a function that it does
    not name counts as its least one does, so that every chain comes to an end, whichever functions it is of:
    after LINEAGE_LIMIT x LOOP_LIMIT invocations at most (our rule).
    """

    root: str
    """The id of the chain: `1-5759e988-bd862e3fe1be46a994272793`."""
    parent: str = ""
    """The segment that the request came from, 16 hex digits; empty if there is none."""
    sampled: str = ""
    """`1`, `0`, or `?` where the decision is asked for; empty if nobody spoke of it."""
    lineage: tuple[tuple[str, int], ...] = ()
    """Hash and count of each function, in the order in which they came."""
    others: tuple[str, ...] = ()
    """Further fields as they came, in their order: `Self=1-...`."""

    @classmethod
    def parse(cls, text: str) -> Trace | None:
        """The trace of a header, or None if it has no well-formed `Root`. Never raises; linear in the text.

        Names are read in any case. Of a known field the first that is well-formed is taken; of the counts of
        one function, in however many lineages, the highest. What is malformed, or no printable ASCII, is left
        out.
        """
        single: dict[str, str] = {}
        counted: list[str] = []
        others: list[str] = []
        for field in map(str.strip, text.split(";")):
            name, _, value = (part.strip() for part in field.partition("="))
            known = name.lower()
            if known == "lineage":
                counted += value.split("|")
            elif known not in _SINGLE:
                others.append(field)
            elif known not in single and _SINGLE[known].fullmatch(value):
                single[known] = value
        if "root" not in single:
            return None
        return cls(**single, lineage=_highest(_counts(counted)), others=_fitting(others))

    @classmethod
    def begun(cls, now: float, digits: str) -> Trace:
        """A new chain. `now` is in epoch seconds, `digits` are 24 hex digits that no other chain has.

        Raises ValueError for other digits.
        """
        root = f"1-{int(now) & 0xFFFF_FFFF:08x}-{digits}"
        if not _ROOT.fullmatch(root):
            raise ValueError(f"{digits!r} is not 24 hex digits")
        return cls(root)

    def __str__(self) -> str:
        """The header. `parse` gives the same trace again."""
        counts = "|".join(f"{function}:{count}" for function, count in self.lineage)
        known = {"Root": self.root, "Parent": self.parent, "Sampled": self.sampled, "Lineage": counts}
        return ";".join([*(f"{name}={value}" for name, value in known.items() if value), *self.others])

    def invoked(self, function_arn: str) -> Trace:
        """The trace that the function's own calls carry."""
        count = min(self.count(function_arn) + 1, _MOST)
        return replace(self, lineage=_highest(dict(self.lineage) | {_hash(function_arn): count}))

    def count(self, function_arn: str) -> int:
        """How often the chain has invoked the function, under whatever version or alias."""
        counts = dict(self.lineage)
        unnamed = min(counts.values()) if len(counts) >= LINEAGE_LIMIT else 0
        return counts.get(_hash(function_arn), unnamed)

    def loops(self, function_arn: str) -> bool:
        """Whether one more invocation of the function would be one too many."""
        return self.count(function_arn) >= LOOP_LIMIT


def _hash(function_arn: str) -> str:
    unqualified = ":".join(function_arn.split(":")[:_ARN_PARTS])
    return sha256(unqualified.encode()).hexdigest()[:8]


def _counts(entries: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in entries:
        if found := _COUNTED.fullmatch(entry.strip()):
            function, count = found[1].lower(), min(int(found[2]), _MOST)
            counts[function] = max(count, counts.get(function, 0))
    return counts


def _highest(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    kept = set(sorted(counts, key=counts.__getitem__, reverse=True)[:LINEAGE_LIMIT])
    return tuple(item for item in counts.items() if item[0] in kept)


def _fitting(fields: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    left = OTHERS_LIMIT
    for field in fields:
        # Only what any header can carry: a line break within would be a header of its own.
        if field and len(field) < left and field.isascii() and field.isprintable():
            kept.append(field)
            left -= len(field) + 1
    return tuple(kept)
