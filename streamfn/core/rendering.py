"""Bytes and instants as they stand in AWS's JSON, and what they weigh there."""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Callable
from datetime import datetime, timedelta
from json.encoder import encode_basestring
from typing import Any, TypeAlias

Loads: TypeAlias = Callable[[bytes], Any]
"""Reads JSON. Raises ValueError for what is none."""

_BLANKS = b" \t\n\r"
_BRACKETS = (b"{", b"[")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the Z is written by hand
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 and 9999 in milliseconds."""


def base64_text(data: bytes) -> str:
    """The data as AWS puts it into an event."""
    return b2a_base64(data, newline=False).decode("ascii")


def base64_size(data: bytes | None) -> int:
    """Characters of `base64_text`, by arithmetic."""
    return (len(data) + 2) // 3 * 4 if data else 0


def text_of(data: bytes) -> str:
    """The data as text that any JSON encoder takes: bytes that are not UTF-8 become U+FFFD."""
    return data.decode("utf-8", "replace")


def text_size(data: bytes) -> int:
    """Bytes of `text_of` as a JSON string in UTF-8, its escapes included, its quotes not. Exact."""
    written = encode_basestring(text_of(data))
    return (len(written) if written.isascii() else len(written.encode())) - 2


def loads(data: bytes) -> Any:
    """JSON in UTF-8, and nothing else that Python takes for it. Raises ValueError, or RecursionError."""
    return json.loads(data.decode(), parse_constant=_no_json)


def decoded(data: bytes, read: Loads = loads) -> Any:
    """The data as filters match it: an object or an array where it is one in JSON, else the text; the bytes
    themselves where they are not UTF-8.

    (Developer Guide: invocation-eventfiltering, the table of filter and data formats.) Never raises. What
    `read` refuses is read again by the standard library, which knows characters that quicker readers don't.
    """
    if data.lstrip(_BLANKS)[:1] in _BRACKETS:
        for reader in (read, loads):
            try:
                return reader(data)
            except (ValueError, RecursionError):
                continue
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def uuids(data: bytes) -> list[str]:
    """UUIDs of version 4 out of random bytes, sixteen for each."""
    digits = data.hex()
    return [
        f"{one[:8]}-{one[8:12]}-4{one[13:16]}-a{one[17:20]}-{one[20:]}"
        for one in (digits[start : start + 32] for start in range(0, len(digits), 32))
    ]


def iso_millis(instant: float) -> str:
    """An instant as AWS's records spell it: `2019-11-14T18:16:05.568Z`.

    Total: instants come from producers, some of whom count microseconds. One beyond year 9999 is drawn back
    to it, for a record that cannot be described could never be given up.
    """
    millis = round(min(max(instant * 1000, _FIRST), _LAST))
    return f"{(_EPOCH + timedelta(milliseconds=millis)).isoformat(timespec='milliseconds')}Z"


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
