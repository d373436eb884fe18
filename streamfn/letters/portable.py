"""Stored letters as lines of JSON, so that they can be taken elsewhere and come back as they were. Pure."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any, cast

import orjson

from streamfn.core.rendering import base64_text, iso_millis
from streamfn.ports import Message

if TYPE_CHECKING:
    from streamfn.core.letters import Stored


def line_of(stored: Stored) -> bytes:
    """One line, without its end. The body stands as JSON where that gives the same bytes again, else as text
    (`bodyText`) or base64 (`bodyBase64`).
    """
    return orjson.dumps(
        {
            "id": stored.id,
            "storedAt": None if stored.stored_at is None else iso_millis(stored.stored_at),
            "cameFrom": stored.came_from,
            **_key(stored.key),
            "headers": [[_shown(name), base64_text(value)] for name, value in stored.headers],
            **_body(stored.body),
        }
    )


def message_of(line: bytes) -> Message:
    """What a line holds, to be stored again. Raises ValueError for a line that `line_of` did not write."""
    said = orjson.loads(line)
    if not isinstance(said, dict) or "headers" not in said:
        raise ValueError("not a line of `streamfn dlq export`")
    try:
        headers = tuple((_hidden(name), b64decode(value, validate=True)) for name, value in said["headers"])
        return Message(_bytes(said), _text(said), headers)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a line of `streamfn dlq export`: {error}") from error


def _body(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
        if orjson.dumps(parsed) == body:
            return {"body": parsed}
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    try:
        return {"bodyText": body.decode()}
    except UnicodeDecodeError:
        return {"bodyBase64": base64_text(body)}


def _bytes(said: dict[str, Any]) -> bytes:
    if "bodyBase64" in said:
        return b64decode(said["bodyBase64"], validate=True)
    if "bodyText" in said:
        return cast("str", said["bodyText"]).encode()
    return orjson.dumps(said["body"])


def _key(key: str | None) -> dict[str, str | None]:
    if key is None:
        return {"key": None}
    data = key.encode("utf-8", "surrogateescape")
    try:
        return {"key": data.decode()}
    except UnicodeDecodeError:
        return {"key": None, "keyBase64": base64_text(data)}


def _text(said: dict[str, Any]) -> str | None:
    if "keyBase64" in said:
        return b64decode(said["keyBase64"], validate=True).decode("utf-8", "surrogateescape")
    key = said.get("key")
    if key is not None and not isinstance(key, str):
        raise TypeError("its key is no text")
    return key


def _shown(name: str) -> str:
    """A header's name with bytes that are no text in it is written as Latin-1 behind a mark."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return _MARK + name.encode("utf-8", "surrogateescape").decode("latin-1")
    return _MARK + name.encode().decode("latin-1") if name.startswith(_MARK) else name


def _hidden(name: str) -> str:
    if not name.startswith(_MARK):
        return name
    return name.removeprefix(_MARK).encode("latin-1").decode("utf-8", "surrogateescape")


_MARK = "bytes:"
