"""Long lists in pages: where the next one begins is in the answer."""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, TypeVar

from streamfn.control.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Collection

    from streamfn.control.plane import Params

K = TypeVar("K", bound=tuple[str | int, ...])

MOST: Final = 50
"""Items of a page at most, whatever `MaxItems` says (Lambda API, ListFunctions)."""


def page(keys: Collection[K], params: Params, most: int = MOST) -> tuple[list[K], str | None]:
    """The keys of the page that `Marker` and `MaxItems` ask for, in order, and the next page's marker.

    What comes or goes meanwhile neither hides nor doubles another. Raises ApiError for a marker that none of
    our answers held.
    """
    ordered = sorted(keys)
    begin = bisect_right(ordered, _read(params["Marker"], ordered)) if params.get("Marker") else 0
    end = begin + min(most, params.get("MaxItems") or most)
    found = ordered[begin:end]
    return found, _written(found[-1]) if end < len(ordered) else None


def _written(key: tuple[str | int, ...]) -> str:
    return urlsafe_b64encode(json.dumps(key).encode()).decode()


def _read(marker: str, like: list[K]) -> K:
    """The key in a marker, if it could be one of those."""
    try:
        key = json.loads(urlsafe_b64decode(marker.encode()))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    if not isinstance(key, list) or any(_types(key) != _types(one) for one in like[:1]):
        raise invalid("The Marker is not one that this operation gave.")
    return tuple(key)  # type: ignore[return-value]


def _types(key: Collection[object]) -> list[type]:
    return list(map(type, key))
