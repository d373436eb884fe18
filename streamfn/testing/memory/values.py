"""What may be put into a fake, in the words a test finds natural."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from streamfn.ports import Message

if TYPE_CHECKING:
    from streamfn.core.records import Headers

Value: TypeAlias = Message | bytes | str | Mapping[str, Any] | Sequence[Any] | int
"""A message; or its body alone: bytes, text, or anything else that JSON can say."""


def unpacked(value: Value) -> tuple[bytes, str | None, Headers]:
    """Body, key and headers of a value."""
    match value:
        case Message(body, key, headers):
            return body, key, headers
        case bytes():
            return value, None, ()
        case str():
            return value.encode(), None, ()
        case _:
            return json.dumps(value).encode(), None, ()
