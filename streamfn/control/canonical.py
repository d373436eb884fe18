"""What AWS Signature Version 4 signs of a request, out of the request as it came.

(AWS General Reference: Signature Version 4, canonical request. Its texts are octets: ours are Latin-1.)
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamfn.control.messages import HttpRequest


class Scope(NamedTuple):
    """What a signing key is good for."""

    day: str
    region: str
    service: str
    end: str

    def __str__(self) -> str:
        return "/".join(self)


def canonical_request(
    request: HttpRequest, query: Iterable[tuple[str, str]], signed: Sequence[str], payload: str
) -> str:
    """The text whose hash is signed. `signed`: names of headers, `payload`: what is said of the body."""
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed)
    return "\n".join((request.method, _path(request.path), _query(query), headers, ";".join(signed), payload))


def pairs(query: str) -> list[tuple[str, str]]:
    """Names and values of a query, without their percent signs."""
    split = (part.partition("=") for part in query.split("&") if part)
    return [(_decoded(name), _decoded(value)) for name, _, value in split]


def sign(secret: str, scope: Scope, stamp: str, canonical: str) -> str:
    """The signature in hex."""
    digest = sha256(canonical.encode("latin-1")).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    return hmac.digest(_key(secret, scope), text.encode("latin-1"), "sha256").hex()


@lru_cache(maxsize=256)
def _key(secret: str, scope: Scope) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


def _path(path: str) -> str:
    """Its segments, encoded once more, without dots and empty ones between them."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    end = "/" if kept and path.endswith("/") else ""
    return quote(f"/{'/'.join(kept)}{end}".encode("latin-1"), safe="/~")


def _query(query: Iterable[tuple[str, str]]) -> str:
    ordered = sorted((_encoded(name), _encoded(value)) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in ordered)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("latin-1")


def _encoded(text: str) -> str:
    return quote(text.encode("latin-1"), safe="~")
