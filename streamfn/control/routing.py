"""Which operation a request asks for: by its method, its path, and now and then its query."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from streamfn.control.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamfn.control.service import OperationModel

Query = list[tuple[str, str]]

MOST_FIELDS: Final = 1000
"""Fields of a query. More is no request of an SDK."""
_REMEMBERED: Final = 256
"""Routes that are known at a time."""
_MEMORABLE: Final = 512
"""Characters of a path and a query up to which their route is remembered."""


class Route(NamedTuple):
    """An operation, and what the path and the query say to it."""

    operation: OperationModel
    values: Sequence[str]
    """Of the path's members, in its order."""
    query: Query


@dataclass(slots=True)
class _Node:
    """A place in the tree of all paths."""

    below: dict[str, _Node] = field(default_factory=dict)
    """By the literal text of the next segment."""
    any: _Node | None = None
    """Where the next segment is a member."""
    operations: dict[str, list[tuple[Query, OperationModel]]] = field(default_factory=dict)
    """By method; those with a query of their own first."""


class Router:
    """All paths of the API. A lookup takes as long as the path has segments, not as there are operations."""

    def __init__(self, operations: Iterable[OperationModel]) -> None:
        self._root = _Node()
        self._known = lru_cache(_REMEMBERED)(self._found)
        for operation in operations:
            path, _, query = operation.path.partition("?")
            node = self._root
            for segment in _segments(path):
                if segment.startswith("{"):
                    node.any = node.any or _Node()
                    node = node.any
                else:
                    node = node.below.setdefault(segment, _Node())
            choices = node.operations.setdefault(operation.method, [])
            choices.append((parse_qsl(query), operation))
            choices.sort(key=lambda choice: not choice[0])

    def route(self, method: str, path: str, query: str) -> Route:
        """The operation of a request, its path and query as they were sent.

        The path is split before percent signs are read: a name may hold slashes. One slash at the end says
        nothing. Raises ApiError: UnknownOperationException, SerializationException for a query of thousands.
        """
        find = self._known if len(path) + len(query) <= _MEMORABLE else self._found
        return find(method, path, query)

    def _found(self, method: str, path: str, query: str) -> Route:
        node = self._root
        values = []
        for segment in _segments(path):
            below = node.below.get(segment)
            if below is None and segment and node.any is not None:
                values.append(unquote(segment) if "%" in segment else segment)
                below = node.any
            if below is None:
                raise ApiError("UnknownOperationException", f"There is no operation at {path}.")
            node = below
        found = _fields(query)
        for needed, operation in node.operations.get(method, ()):
            if all(each in found for each in needed):
                return Route(operation, values, found)
        raise ApiError("UnknownOperationException", f"There is no operation {method} {path}.")


def _segments(path: str) -> list[str]:
    segments = path.split("/")
    if len(segments) > 2 and not segments[-1]:
        segments.pop()
    return segments[1:]


def _fields(query: str) -> Query:
    if not query:
        return []
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise ApiError("SerializationException", "The query has too many fields.") from error
