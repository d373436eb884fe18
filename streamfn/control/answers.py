"""The head of an answer, as it is sent, and answers that the server gives by itself."""

from __future__ import annotations

import os
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import orjson

from streamfn.control.messages import HttpResponse

NO_BODY: Final = frozenset({204, 304})


def request_id() -> str:
    """One more id, in the form of a UUID."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def refusal(status: int, code: str, message: str) -> HttpResponse:
    """An error as Lambda's API gives it: its code and an id of its own in headers, its message in JSON."""
    kind = "Server" if status >= 500 else "User"
    body = orjson.dumps({"Type": kind, "message": message, "Message": message})
    headers = [
        ("x-amzn-RequestId", request_id()),
        ("x-amzn-ErrorType", code),
        ("Content-Type", "application/json"),
    ]
    return HttpResponse(status, headers, body)


def head_of(response: HttpResponse, date: str, size: int | None, *, keep_alive: bool | None) -> bytes:
    """Status and headers.

    `size`: bytes of the body; -1: it comes in chunks; None: it ends with the connection. `keep_alive`: what
    is said of the connection; None is nothing.
    """
    lines = [_status_line(response.status)]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if size is not None and response.status not in NO_BODY:
        lines.append("Transfer-Encoding: chunked" if size < 0 else f"Content-Length: {size}")
    if keep_alive is not None:
        lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
    lines.append(f"Date: {date}")
    head = "\r\n".join(lines)
    if head.count("\n") >= len(lines) or head.count("\r") >= len(lines):
        # A value of somebody else's holds the end of a line, and must not end ours.
        head = "\r\n".join(line.replace("\r", " ").replace("\n", " ") for line in lines)
    return f"{head}\r\n\r\n".encode("utf-8", "replace")


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    try:
        return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP/1.1 {status} Unknown"
