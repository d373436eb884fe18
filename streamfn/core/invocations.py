"""What is said of asynchronous invocations in the end: the records for destinations, and for dead-letter
queues. Pure.

Fields, their order and their spelling are AWS's (Developer Guide: invocation-async-retain-records;
recordings).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from streamfn.core.outcomes import Condition, Failed, Outcome, Succeeded
from streamfn.core.rendering import iso_millis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.core.delivery import Discard
    from streamfn.core.envelopes import Invocation
    from streamfn.core.records import Headers

PAYLOAD_LIMIT: Final = 1024 * 1024
"""Bytes of an asynchronous invocation's payload (Lambda quota: 1 MB)."""

ERROR_CODE: Final = "ErrorCode"
"""The attribute of a dead-letter queue's message that is a number, not text."""

_NUMBER: Final = re.compile(rb"[0-9]{1,38}")
"""As many digits as an attribute may have that is a number."""
_LONGEST_MESSAGE: Final = 1024
"""Bytes of `ErrorMessage` (Developer Guide: invocation-async-retain-records)."""

_STATUS: Final[Mapping[Condition, tuple[int, str]]] = {
    Condition.ZERO_RESERVED_CONCURRENCY: (429, "Rate Exceeded."),
    Condition.EVENT_AGE_EXCEEDED: (429, "Rate Exceeded."),
    Condition.RECURSIVE_INVOCATION: (
        400,
        "The function is in a chain of requests that invoked it 16 times already: the loop was stopped.",
    ),
    Condition.MAXIMUM_PAYLOAD_SIZE_EXCEEDED: (413, "The payload is larger than an invocation takes."),
}
"""What callers get where the function never ran. AWS does not publish it for dead-letter queues."""
_REPORTED: Final = (200, "The function returned and reported that the event failed.")


def success_record(invocation: Invocation, attempts: int, payload: Any, answer: Any) -> dict[str, Any]:
    """The record of an OnSuccess destination. `attempts` are those that it took; both payloads as JSON."""
    return _record(invocation, Condition.SUCCESS, attempts, payload) | {
        "responseContext": {"statusCode": 200, "executedVersion": invocation.executed_version},
        "responsePayload": answer,
    }


def failure_record(invocation: Invocation, discard: Discard, payload: Any) -> dict[str, Any]:
    """The record of an OnFailure destination.

    It has a response if the function ever ran. Of a loop that was stopped the reason stands there (our rule:
    AWS does not tell what its record says).
    """
    record = _record(invocation, discard.condition, discard.attempts, payload)
    if isinstance(discard.outcome, Failed | Succeeded):
        record["responseContext"] = {
            "statusCode": 200,
            "executedVersion": invocation.executed_version,
            "functionError": "Unhandled",
        }
    failed = failure_of(discard.outcome)
    if failed is not None:
        record["responsePayload"] = failed.payload(invocation.request_id)
    elif discard.condition is Condition.RECURSIVE_INVOCATION:
        _, reason = _STATUS[discard.condition]
        record["responsePayload"] = {"errorMessage": reason, "errorType": discard.condition.value}
    return record


def dead_letter_headers(invocation: Invocation, discard: Discard) -> Headers:
    """Beside the event alone, which is the body: `RequestID`, `ErrorCode` (a number: the HTTP status) and
    `ErrorMessage` (its first KB).
    """
    failed = failure_of(discard.outcome)
    status, text = (200, failed.message) if failed else _STATUS.get(discard.condition, _REPORTED)
    message = text.encode("utf-8", "replace")[:_LONGEST_MESSAGE].decode("utf-8", "ignore")
    return (
        ("RequestID", invocation.request_id.encode()),
        (ERROR_CODE, str(status).encode()),
        ("ErrorMessage", (message or "-").encode()),
    )


def attribute_type(name: str, value: bytes) -> str:
    """The type of a message attribute whose value is text: `Number` for an `ErrorCode`, else `String`."""
    return "Number" if name == ERROR_CODE and _NUMBER.fullmatch(value) else "String"


def failure_of(outcome: Outcome | None) -> Failed | None:
    """The failure in an outcome, if there is one: also of a function that returned and reported it."""
    match outcome:
        case Failed():
            return outcome
        case Succeeded(error=error):
            return error
        case _:
            return None


def s3_key(function: str, at: float, unique: str) -> str:
    """Where the record of an event stands in a bucket: `aws/lambda/async/NAME/YYYY/MM/DD/TIME-UUID`, in UTC
    (Developer Guide: invocation-async-retain-records).
    """
    moment = datetime.fromtimestamp(at, UTC)
    return f"aws/lambda/async/{function}/{moment:%Y/%m/%d/%Y-%m-%dT%H.%M.%S}-{unique}"


def _record(invocation: Invocation, condition: Condition, attempts: int, payload: Any) -> dict[str, Any]:
    return {
        "version": "1.0",
        "timestamp": iso_millis(invocation.at),
        "requestContext": {
            "requestId": invocation.request_id,
            "functionArn": invocation.qualified_arn,
            "condition": condition.value,
            "approximateInvokeCount": attempts,
        },
        "requestPayload": payload,
    }
