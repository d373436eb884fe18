"""Messages as functions see them: views over what ReceiveMessage answered."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import orjson

from streamfn.core.events.sqs import SqsMessage

if TYPE_CHECKING:
    from streamfn.core.records import Headers

_METADATA = 480
"""What an event adds to a message: the source, its ARN and region, the digest of no attributes."""
_ATTRIBUTE = 60
"""What it adds to one of its attributes: the names of two empty lists."""


class ReceivedMessage(SqsMessage):
    """A message as SQS handed it out. A field costs nothing until it is read."""

    __slots__ = ("message",)

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message

    @property
    def headers(self) -> Headers:
        attributes = self.message.get("MessageAttributes")
        if not attributes:
            return ()
        return [(name, _bytes(value)) for name, value in attributes.items()]

    @property
    def size(self) -> int:
        attributes = self.message.get("MessageAttributes") or ()
        return _METADATA + len(orjson.dumps(self.message)) + _ATTRIBUTE * len(attributes)


def _bytes(attribute: dict[str, str]) -> bytes:
    if "BinaryValue" in attribute:
        return b64decode(attribute["BinaryValue"])
    return attribute.get("StringValue", "").encode()
