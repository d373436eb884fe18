"""Aggregates as a producer makes them, good ones and others."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import md5

from streamfn_aws.kinesis.aggregation import MAGIC


def packed(parts: Sequence[tuple[str, bytes]]) -> bytes:
    """Records with their keys, in one."""
    keys = list(dict.fromkeys(key for key, _ in parts))
    message = b"".join(block(1, key.encode()) for key in keys)
    for key, data in parts:
        message += block(
            3, number(1, keys.index(key)) + number(2, 0) + block(3, data) + block(4, block(1, b"tag"))
        )
    return sealed(message)


def sealed(message: bytes) -> bytes:
    """Anything, as if it were one."""
    return MAGIC + message + md5(message).digest()


def block(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
