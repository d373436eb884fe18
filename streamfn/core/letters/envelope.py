"""The envelope of a dead letter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streamfn.core.events.sqs import SqsMessage
from streamfn.core.invocations import failure_of
from streamfn.core.lineage import TRACE_HEADER
from streamfn.core.outcomes import Condition, Succeeded
from streamfn.core.rendering import base64_text, iso_millis, text_of

if TYPE_CHECKING:
    from streamfn.core.delivery import Discard
    from streamfn.core.outcomes import Failed
    from streamfn.core.records import Headers, Record

REDRIVES: Final = "streamfn-redrives"
"""The header of a record that was redriven: how often."""

_DIGITS: Final = 9
"""A longer number was not written by us, and one of thousands of digits cannot be read."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the dead letters of one mapping come from."""

    app: str
    mapping: str
    function: str
    """Its name, with the qualifier that was asked for."""
    source: str
    """What people call the source: `local:flights`."""


def letter(
    document: dict[str, Any], discard: Discard, record: Record, origin: Origin, *, shard: str, unique: str
) -> dict[str, Any]:
    """One record that was given up, with all that is known of it.

    `document` is AWS's record about it alone, with its payload; `unique` becomes the letter's id.
    """
    failed = failure_of(discard.outcome)
    dead: dict[str, Any] = {
        "id": unique,
        "app": origin.app,
        "mapping": origin.mapping,
        "function": origin.function,
        "source": origin.source,
        "shard": shard,
        "recordId": record.id,
        **_key(record.key),
        "headers": [[_text(name), base64_text(value or b"")] for name, value in record.headers],
        "arrivedAt": iso_millis(record.arrived_at),
        "attempts": discard.attempts,
        "condition": discard.condition.value,
        "redrives": redrives_of(record.headers),
    }
    if failed is not None:
        dead["error"] = _error(failed)
    trace = trace_of(record)
    if trace is not None:
        dead["trace"] = trace
    return document | {"deadLetter": dead}


def given_up_again(document: dict[str, Any], discard: Discard, at: float) -> dict[str, Any]:
    """A letter whose record was delivered once more, and given up once more.

    One that was parked until then has not been redriven: it was its first time.
    """
    dead: dict[str, Any] = document["deadLetter"]
    was_parked = dead["condition"] == Condition.PARKED.value
    condition = discard.condition
    if condition is Condition.RETRIES_EXHAUSTED:
        condition = Condition.RETRY_ATTEMPTS_EXHAUSTED
    failed = failure_of(discard.outcome)
    dead |= {
        "attempts": discard.attempts,
        "condition": condition.value,
        "redrives": dead["redrives"] + (0 if was_parked else 1),
    }
    context = document["requestContext"] | {
        "condition": discard.condition.value,
        "approximateInvokeCount": discard.attempts,
    }
    document |= {"requestContext": context, "timestamp": iso_millis(at), "deadLetter": dead}
    if discard.outcome is not None:
        document["responseContext"] = {
            "statusCode": 200,
            "executedVersion": context["functionArn"].rpartition(":")[2],
            "functionError": None if isinstance(discard.outcome, Succeeded) else "Unhandled",
        }
    if failed is not None:
        document["responsePayload"] = failed.payload(context["requestId"])
        dead["error"] = _error(failed)
    return document


def redrives_of(headers: Headers) -> int:
    """How often a record was redriven, by its headers."""
    for name, value in headers:
        if name == REDRIVES and value and value.isdigit() and len(value) <= _DIGITS:
            return int(value)
    return 0


def trace_of(record: Record) -> str | None:
    """The trace header that a record came with: in SQS it stands beside the attributes of producers."""
    if isinstance(record, SqsMessage) and TRACE_HEADER in record.message["Attributes"]:
        return _text(record.message["Attributes"][TRACE_HEADER])
    for name, value in record.headers:
        if name == TRACE_HEADER:
            return text_of(value or b"")
    return None


def _error(failed: Failed) -> dict[str, Any]:
    return {
        "type": _text(failed.type),
        "message": _text(failed.message),
        "stackTrace": [_text(line) for line in failed.stack],
    }


def _key(key: str | None) -> dict[str, Any]:
    """A key that is no text stands as base64, for JSON has no bytes."""
    if key is None:
        return {"key": None}
    try:
        key.encode()
    except UnicodeEncodeError:
        return {"key": None, "keyBase64": base64_text(_bytes(key))}
    return {"key": key}


def _bytes(key: str) -> bytes:
    try:
        return key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair, which no bytes were
        return key.encode("utf-8", "replace")


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
