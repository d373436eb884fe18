"""Records that the Kinesis Producer Library packed into one. Pure.

(KPL: aggregation-format.md. Magic number, a protobuf message `AggregatedRecord`, its MD5.)
"""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING, Final, NamedTuple

from streamfn_aws.positions import LAST_PART

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC: Final = b"\xf3\x89\x9a\xc2"
BASE64_MAGIC: Final = "84maw"
"""What the base64 text of everything that begins with `MAGIC` begins with."""

_DIGEST: Final = 16
_KEYS, _RECORDS = 1, 3
"""Fields of AggregatedRecord. The second, explicit hash keys, has been of use when the shard was chosen."""
_KEY_INDEX, _DATA = 1, 3
"""Fields of Record."""


class Part(NamedTuple):
    """One of the records."""

    key: str
    data: bytes


def unpacked(data: bytes) -> list[Part] | None:
    """The records in it, in order; None where it is not a whole aggregate: then it is a record itself.

    Total: whatever the data are, this neither raises nor takes longer than they are long.
    """
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + _DIGEST:
        return None
    message = memoryview(data)[len(MAGIC) : -_DIGEST]
    if md5(message, usedforsecurity=False).digest() != data[-_DIGEST:]:
        return None
    try:
        parts = _parts(message)
    except ValueError:
        return None
    return parts if 0 < len(parts) <= LAST_PART else None


def _parts(message: memoryview) -> list[Part]:
    keys: list[str] = []
    packed: list[memoryview] = []
    for number, value in _fields(message):
        if number == _KEYS:
            keys.append(str(_block(value), "utf-8"))
        elif number == _RECORDS:
            packed.append(_block(value))
    return [_part(record, keys) for record in packed]


def _part(record: memoryview, keys: list[str]) -> Part:
    index: int | None = None
    data: memoryview | None = None
    for number, value in _fields(record):
        if number == _KEY_INDEX and isinstance(value, int):
            index = value
        elif number == _DATA:
            data = _block(value)
    if index is None or data is None or index >= len(keys):
        raise ValueError("a record lacks what it must have")
    return Part(keys[index], bytes(data))


def _block(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where bytes are due")  # noqa: TRY004 - of the message, not of our types
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field, in order. Raises ValueError where the message is not well formed."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | memoryview
        match tag & 7:
            case 0:  # a number
                value, at = _varint(message, at)
            case 1:
                value, at = _taken(message, at, 8)
            case 2:  # bytes
                length, at = _varint(message, at)
                value, at = _taken(message, at, length)
            case 5:
                value, at = _taken(message, at, 4)
            case kind:
                raise ValueError(f"no such wire type: {kind}")
        yield tag >> 3, value


def _taken(message: memoryview, at: int, length: int) -> tuple[memoryview, int]:
    end = at + length
    if end > len(message):
        raise ValueError("the message ends within a field")
    return message[at:end], end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")
