"""A message as a request: headers that no key and no header of a message can forge. Pure.

    webhook-id: msg_...                     the same each time it is sent
    streamfn-key: KEY
    streamfn-header-NAME: VALUE             one for each header, in order, doubles kept

Bytes that may not stand in a header are percent-encoded in UTF-8, names as well as values, as the HTTP
binding of CloudEvents does (3.1.3.2); commas too, so that doubles that a proxy has joined can be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from streamfn_http.signing import message_id

if TYPE_CHECKING:
    from streamfn.ports import Message

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
KEY: Final = "streamfn-key"
HEADER: Final = "streamfn-header-"

_OF_NAMES: Final = "!#$&'*+-.^_`|~"
"""Of a token (RFC 9110, 5.6.2), beside letters and digits."""
_OF_VALUES: Final = "!#$&'()*+-./:;<=>?@[\\]^_`{|}~"
"""What is visible in ASCII, without quotation mark, percent sign and comma."""


class Refused(Exception):
    """A message that can't be a request, and why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A message as it is sent, but for what differs from one try to the next."""

    index: int
    """Its place in what was to be sent."""
    id: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    lane: str | None = None
    """What is of one lane goes in its order; None: whenever."""


def request_of(index: int, message: Message) -> Request:
    """A message as a request. Raises Refused."""
    try:
        identifier = message_id(message)
        headers = [(ID, identifier)]
        if message.key is not None:
            headers.append((KEY, _quoted(message.key, _OF_VALUES)))
        for name, value in message.headers:
            headers.append((HEADER + _quoted(name, _OF_NAMES), quote(value, safe=_OF_VALUES)))
    except UnicodeEncodeError:
        raise Refused("its key or the name of a header is no text of Unicode") from None
    return Request(index, identifier, tuple(headers), message.body, message.key)


def _quoted(text: str, safe: str) -> str:
    # Bytes that were no text when they came stand in text as surrogates.
    return quote(text, safe=safe, errors="surrogateescape")
