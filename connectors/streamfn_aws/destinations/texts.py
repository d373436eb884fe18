"""Messages as SQS and SNS want them: text with attributes, in groups."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from streamfn.core.invocations import attribute_type
from streamfn.core.lineage import TRACE_HEADER, Trace
from streamfn_aws.destinations.sending import Entry, Refused

if TYPE_CHECKING:
    from streamfn.core.records import Headers
    from streamfn.ports import Message

DEDUPLICATION: Final = "MessageDeduplicationId"

_LEGAL_TEXT: Final = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
"""SendMessage: the characters of XML 1.0."""
_LEGAL_ID: Final = re.compile("[!-~]{1,128}")
"""Of groups and of deduplication: letters, digits and punctuation."""
_LEGAL_NAME: Final = re.compile(r"(?!(?i:aws|amazon)\.)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_LONGEST_NAME: Final = 256
_MOST_ATTRIBUTES: Final = 10
_GROUP: Final = "streamfn"
"""FIFO: what has no key and is to have no other group."""


def text_entry(
    index: int, message: Message, *, body: str, group: str | None, fifo: bool, largest: int
) -> Entry:
    """The message under the name `body`, with its headers as attributes. Raises Refused.

    Its key is its MessageGroupId: order in FIFO queues and topics, fair shares in standard ones. A key that
    is no legal MessageGroupId goes as its SHA-256.
    """
    key = message.key or group or (_GROUP if fifo else None)
    request: dict[str, Any] = {"Id": str(index), body: _text(message.body)}
    headers = message.headers
    if key is not None:
        request["MessageGroupId"] = _id(key)
    if fifo:
        given = [value for name, value in headers if name == DEDUPLICATION]
        headers = [header for header in headers if header[0] != DEDUPLICATION]
        # Without one AWS would take the same, where it is told to; and a send that is made again needs it.
        found = given[0].decode(errors="replace") if given else sha256(message.body).hexdigest()
        request[DEDUPLICATION] = _id(found)
    attributes = {} if not headers else _attributes(headers)
    size = len(message.body) + sum(map(_size, attributes.items()))
    if size > largest:
        raise Refused(f"{size} bytes, above the {largest} that are taken")
    if attributes:
        request["MessageAttributes"] = attributes
    return Entry(index, request, size, key if fifo else None)


def traced(headers: Headers) -> tuple[str | None, Headers]:
    """The header of a trace, which SQS has a place of its own for, and the other headers. None where there is
    none, or one that SQS would not take.
    """
    for place, (name, value) in enumerate(headers):
        if name == TRACE_HEADER:
            text = value.decode(errors="replace")
            if text.isascii() and text.isprintable() and Trace.parse(text) is not None:
                return text, [*headers[:place], *headers[place + 1 :]]
    return None, headers


def _id(text: str) -> str:
    if _LEGAL_ID.fullmatch(text):
        return text
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _text(body: bytes) -> str:
    if not body:
        raise Refused("there is no body, and none is not taken")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Refused("the body is not UTF-8 text") from None
    legal = _LEGAL_TEXT.match(text)
    if legal is None or legal.end() < len(text):
        place = legal.end() if legal else 0
        raise Refused(f"the body has a character that is not taken, U+{ord(text[place]):04X}")
    return text


def _attributes(headers: Headers) -> dict[str, dict[str, Any]]:
    attributes: dict[str, dict[str, Any]] = {}
    for name, value in headers:
        if not _LEGAL_NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
            raise Refused(f"the header {name!r} has no legal name of a message attribute")
        if name in attributes:
            raise Refused(f"the header {name!r} comes twice, which message attributes can't")
        if not value:
            raise Refused(f"the header {name!r} is empty, which message attributes can't be")
        attributes[name] = _attribute(name, value)
    if len(attributes) > _MOST_ATTRIBUTES:
        raise Refused(f"there are {len(attributes)} headers, above {_MOST_ATTRIBUTES}")
    return attributes


def _attribute(name: str, value: bytes) -> dict[str, Any]:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text and _LEGAL_TEXT.fullmatch(text):
        return {"DataType": attribute_type(name, value), "StringValue": text}
    return {"DataType": "Binary", "BinaryValue": value}


def _size(attribute: tuple[str, dict[str, Any]]) -> int:
    name, value = attribute
    held = value.get("BinaryValue") or value["StringValue"].encode()
    return len(name) + len(value["DataType"]) + len(held)
