"""The encoding of `application/vnd.amazon.eventstream`: messages with headers and check sums (Amazon
Transcribe Developer Guide: event-stream), and what of it InvokeWithResponseStream answers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final
from zlib import crc32

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"

_STRING: Final = 7
"""The type of a header's value: text, with its length before it."""


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message: both lengths, a check sum of them, the headers, the payload, a check sum of it all."""
    encoded = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack("!II", 12 + len(encoded) + len(payload) + 4, len(encoded))
    start = b"".join((prelude, struct.pack("!I", crc32(prelude)), encoded, payload))
    return start + struct.pack("!I", crc32(start))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", _STRING, len(text)) + text


def event(kind: str, content: Mapping[str, Any]) -> bytes:
    """One event: a `PayloadChunk` carries its `Payload` as it is, all others are JSON."""
    if kind == "PayloadChunk":
        content_type, payload = "application/octet-stream", content["Payload"]
    else:
        known = {name: value for name, value in content.items() if value is not None}
        content_type, payload = "application/json", json.dumps(known, separators=(",", ":")).encode()
    headers = {":event-type": kind, ":content-type": content_type, ":message-type": "event"}
    return message(headers, payload)


async def events(stream: AsyncGenerator[Mapping[str, Any], None]) -> AsyncIterator[bytes]:
    """The events of a result, encoded as they come: each one maps its kind to its members. Closing it closes
    where they come from.
    """
    async with aclosing(stream):
        async for each in stream:
            for kind, content in each.items():
                yield event(kind, content)
