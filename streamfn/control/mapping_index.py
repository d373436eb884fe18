"""Finding mappings among thousands: by source, by function, page by page, and those that do the same."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Final

from streamfn.control.mapping_rules import GROUPS, servers
from streamfn.control.naming import reference_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamfn.control.naming import FunctionReference
    from streamfn.control.plane import Params

LARGEST_PAGE: Final = 100
"""Mappings of one answer, however many were asked for (Lambda API: ListEventSourceMappings)."""

Key = tuple[str, str]


class MappingIndex:
    """UUIDs in their own order, so that pages go on where they were whatever comes and goes meanwhile."""

    def __init__(self) -> None:
        self._lists: dict[Key, list[str]] = {("all", ""): []}
        self._claims: dict[Key, str] = {}

    def add(self, uuid: str, document: Params) -> None:
        """Lists a mapping. What it claims is its own from now on."""
        for key in _listed_by(document):
            insort(self._lists.setdefault(key, []), uuid)
        for claim in claims(document):
            self._claims.setdefault(claim, uuid)

    def remove(self, uuid: str, document: Params) -> None:
        """Forgets a mapping, by the document that it was added with."""
        for key in _listed_by(document):
            there = self._lists[key]
            there.remove(uuid)
            if not there and key != ("all", ""):
                del self._lists[key]
        for claim in claims(document):
            if self._claims.get(claim) == uuid:
                del self._claims[claim]

    def holder(self, claims: Sequence[Key], uuid: str) -> str | None:
        """Another mapping that has one of these claims."""
        held = (self._claims.get(claim) for claim in claims)
        return next((other for other in held if other not in (None, uuid)), None)

    def page(
        self, source: str | None, function: FunctionReference | None, marker: str, limit: int
    ) -> tuple[list[str], str | None]:
        """Those that both filters let pass, beginning behind the marker; and the marker of the next page."""
        found = self._filtered(source, function)
        at = bisect_right(found, marker)
        end = at + min(limit, LARGEST_PAGE)
        page = found[at:end]
        return page, page[-1] if end < len(found) else None

    def _filtered(self, source: str | None, function: FunctionReference | None) -> list[str]:
        keys = []
        if source is not None:
            keys.append(("source", source))
        if function is not None:
            name, qualifier = function
            keys.append(("function", name) if qualifier is None else ("target", f"{name}:{qualifier}"))
        if not keys:
            return self._lists["all", ""]
        lists = sorted((self._lists.get(key, []) for key in keys), key=len)
        if len(lists) == 1:
            return lists[0]
        others = set(lists[1])
        return [uuid for uuid in lists[0] if uuid in others]


def claims(document: Params) -> list[Key]:
    """What no other mapping may have: a source together with a function, and a consumer group."""
    target: str = document["FunctionArn"]
    arn: str | None = document.get("EventSourceArn")
    sources = servers(document) or ([arn] if arn else [])
    topics = document.get("Topics") or [""]
    found = [(f"{source}/{topic}", target) for source in sources for topic in topics]
    groups = ((document.get(option) or {}).get("ConsumerGroupId") for option in GROUPS.values())
    return [*found, *((f"group {group}", "") for group in groups if group)]


def _listed_by(document: Params) -> Iterator[Key]:
    yield "all", ""
    if (arn := document.get("EventSourceArn")) is not None:
        yield "source", arn
    name, qualifier = reference_of(document["FunctionArn"])
    yield "function", name
    if qualifier is not None:
        yield "target", f"{name}:{qualifier}"
