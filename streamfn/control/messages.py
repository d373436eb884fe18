"""A request and its answer, as the server hands them on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, read whole."""

    method: str
    path: str
    """As it was sent: percent signs stand for themselves, for names may hold slashes and colons."""
    query: str = ""
    """What follows the question mark, as it was sent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By names in small letters; of a header that came twice the values are joined by `,`."""
    body: bytes = b""


class HttpResponse(NamedTuple):
    """One answer. The server adds Content-Length, Date and Connection."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | AsyncIterator[bytes] = b""
    """An iterator is sent in chunks, as it yields."""


Handler: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponse]]
