"""How keys and headers travel."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.ports import Message
from streamfn_http.requests import Refused, request_of

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VISIBLE = re.compile(r"[!-~]*")

# Text as records have it: any of Unicode, or bytes that were none.
texts = st.text() | st.binary().map(lambda data: data.decode(errors="surrogateescape"))


@given(texts, st.lists(st.tuples(texts, st.binary())))
def test_headers_are_legal_and_lose_nothing(key: str, headers: list[tuple[str, bytes]]) -> None:
    request = request_of(3, Message(b"body", key, tuple(headers)))
    assert (request.index, request.body, request.lane) == (3, b"body", key)
    assert all(TOKEN.fullmatch(name) and VISIBLE.fullmatch(value) for name, value in request.headers)
    (_, (said, value), *rest) = request.headers
    assert (said, unquote(value, errors="surrogateescape")) == ("streamfn-key", key)
    assert [
        (unquote(name.removeprefix("streamfn-header-"), errors="surrogateescape"), unquote_to_bytes(value))
        for name, value in rest
    ] == headers


def test_what_is_readable_stays_readable() -> None:
    headers: Any = (("trace-parent", b"00-ab"), ("Content-Type", b"text/plain; a=b, c"), ("x", b""))
    request = request_of(0, Message(b"", "flight-7", headers))
    assert request.headers[1:] == (
        ("streamfn-key", "flight-7"),
        ("streamfn-header-trace-parent", "00-ab"),
        ("streamfn-header-Content-Type", "text/plain;%20a=b%2C%20c"),
        ("streamfn-header-x", ""),
    )


def test_no_header_of_a_message_is_one_of_ours() -> None:
    names = [
        "webhook-id",
        "webhook-signature",
        "Authorization",
        "Host",
        "streamfn-key",
        "",
        "a\r\nb: c",
        "a:",
    ]
    request = request_of(0, Message(b"", None, tuple((name, b"\r\nforged: yes") for name in names)))
    assert [name for name, _ in request.headers if not name.startswith("streamfn-header-")] == ["webhook-id"]
    assert not any("\n" in name + value or ":" in name for name, value in request.headers)


def test_without_a_key_there_is_no_header_for_it() -> None:
    assert [name for name, _ in request_of(0, Message(b"")).headers] == ["webhook-id"]
    assert ("streamfn-key", "") in request_of(0, Message(b"", "")).headers


@pytest.mark.parametrize("message", [Message(b"", "\ud800"), Message(b"", None, (("\ud800", b""),))])
def test_what_is_no_text_is_refused(message: Message) -> None:
    with pytest.raises(Refused, match="no text"):
        request_of(0, message)
