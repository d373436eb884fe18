"""Messages of a queue as dead letters. Pure.

A topic puts what it delivers into an envelope, unless raw delivery is on:
`{"Type": "Notification", "Message": "...", "MessageAttributes": {...}}`. Of a letter in one, that is an
on-failure record or an event with the attributes of a dead-letter queue, the envelope is taken off. Of all
else it stays on: whoever reads the queue that the message failed in knows it in no other form.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamfn.core.letters import Form, Stored, read_letter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.core.records import Headers
    from streamfn_aws.sqs.records import ReceivedMessage

_MARK: Final = b'"Notification"'


def stored_of(message: ReceivedMessage) -> Stored:
    """A message as a store of dead letters has it."""
    found = Stored(
        id=message.id,
        body=message.value,
        key=message.key,
        headers=tuple(message.headers),
        stored_at=message.arrived_at,
        came_from=message.message["Attributes"].get("DeadLetterQueueSourceArn"),
        receipt=message.receipt,
    )
    # What a redrive policy brought here was given up as it is.
    return found if found.came_from else _unwrapped(found)


def _unwrapped(found: Stored) -> Stored:
    if _MARK not in found.body:
        return found
    try:
        said = orjson.loads(found.body)
        if said["Type"] != "Notification" or not isinstance(said["TopicArn"], str):
            return found
        inside = replace(
            found,
            body=said["Message"].encode(),
            headers=_headers(said.get("MessageAttributes") or {}) or found.headers,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return found
    return found if read_letter(inside, orjson.loads).form is Form.MESSAGE else inside


def _headers(attributes: Mapping[str, Mapping[str, Any]]) -> Headers:
    return tuple(
        (name, b64decode(text, validate=True) if value["Type"] == "Binary" else text.encode())
        for name, value in attributes.items()
        if isinstance(text := value["Value"], str)
    )
