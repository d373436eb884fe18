"""What is said of records that were given up: the on-failure documents of event source mappings. Pure.

Fields, their order and their spelling are AWS's (Developer Guide: kinesis-on-failure-destination,
kafka-on-failure, kafka-on-failure-destination; recordings). Beyond AWS, documents that carry the payload also
carry the error that ended it, as `responsePayload`, the way the records of asynchronous invocations do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from streamfn.core.invocations import failure_of
from streamfn.core.outcomes import Condition, Succeeded
from streamfn.core.rendering import iso_millis

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfn.core.delivery import Discard
    from streamfn.core.records import Record

_compact: Callable[[object], str] = partial(json.dumps, separators=(",", ":"), ensure_ascii=False)
_PAYLOADS = ("payload", "requestPayload", "responsePayload")

_UNQUALIFIED_COLONS = 6
"""In `arn:aws:lambda:region:account:function:name`; a version or alias adds one."""


class FailureFormat(Enum):
    """Which of AWS's on-failure records a destination gets."""

    METADATA = "metadata"
    """One message a batch, without the payload: SQS and SNS."""
    PAYLOAD = "payload"
    """One message a batch, the payload as a JSON string: S3."""
    RECORD = "record"
    """One message a record, with the payload as an object: Kafka topics, and `local:`."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """The invocation that a record for a destination tells of."""

    function_arn: str
    """As the mapping has it: with a qualifier only if it was configured with one."""
    request_id: str
    at: float
    """When the records were given up, or the function had returned."""
    version: str = ""
    """What was executed, where the qualifier is an alias."""

    @property
    def qualified_arn(self) -> str:
        return self.function_arn if self._qualifier else f"{self.function_arn}:$LATEST"

    @property
    def executed_version(self) -> str:
        return self.version or self._qualifier or "$LATEST"

    @property
    def _qualifier(self) -> str:
        return ":".join(self.function_arn.split(":")[_UNQUALIFIED_COLONS + 1 :])


def failure_documents(
    discard: Discard, style: FailureFormat, call: Invocation, dumps: Callable[[object], str] = _compact
) -> list[dict[str, Any]]:
    """The documents a destination of that format gets: one, or with RECORD one for each record, in order.

    `dumps` writes the payload that stands as text within a document.
    """
    match style:
        case FailureFormat.METADATA:
            return [metadata_document(discard, call)]
        case FailureFormat.PAYLOAD:
            return [payload_document(discard, call, dumps)]
        case FailureFormat.RECORD:
            return [record_document(discard, record, call) for record in discard.batch.records]
        case _:  # pragma: no cover
            assert_never(style)


def metadata_document(discard: Discard, call: Invocation) -> dict[str, Any]:
    """The document of SQS and SNS destinations: where the records are to be found, not what is in them.

    `responseContext` is absent when age ended it and null when the payload was too large. Its `functionError`
    is null when the function returned and reported the records (all recorded, or shown in the guide).
    """
    document = _document(discard, call, call.function_arn, discard.condition.value)
    return document | discard.batch.shape.batch_info(discard.batch.records)


def payload_document(
    discard: Discard, call: Invocation, dumps: Callable[[object], str] = _compact
) -> dict[str, Any]:
    """The object put into S3: the same, and the whole event as an escaped JSON string."""
    return (
        metadata_document(discard, call)
        | _error(discard, call)
        | {"payload": dumps(discard.batch.to_event())}
    )


def record_document(discard: Discard, record: Record, call: Invocation) -> dict[str, Any]:
    """The message of a Kafka topic about one record, the event with it alone as an object.

    Where it differs, it does on AWS too: `RetriesExhausted` for the condition, a qualified function ARN, and
    `recordInfo` in place of `recordsInfo`.
    """
    condition = discard.condition.value
    if discard.condition is Condition.RETRY_ATTEMPTS_EXHAUSTED:
        condition = "RetriesExhausted"
    shape = discard.batch.shape
    info = shape.batch_info((record,))
    kafka = info.get("KafkaBatchInfo")
    if kafka is not None:
        (of_one,) = kafka.pop("recordsInfo").values()
        kafka["recordInfo"] = {
            "offset": of_one["firstRecordOffset"],
            "timestamp": of_one["firstRecordTimestamp"],
        }
    document = _document(discard, call, call.qualified_arn, condition)
    return document | info | _error(discard, call) | {"payload": shape.to_event((record,))}


def s3_key(mapping_id: str, shard_id: str, at: float, unique: str) -> str:
    """Where the document stands in a bucket.

    `aws/lambda/UUID/shard/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-UUID`, in UTC. (Recorded for Kinesis. What AWS takes
    for the shard of a Kafka partition is not published; here it is `topic-partition`.)
    """
    moment = datetime.fromtimestamp(at, UTC)
    return f"aws/lambda/{mapping_id}/{shard_id}/{moment:%Y/%m/%d/%Y-%m-%dT%H.%M.%S}-{unique}"


def without_payload(body: bytes, limit: int) -> bytes | None:
    """An on-failure record that is too large for its destination, without the payloads that it carries.

    None where that does not help: it is no on-failure record, carries none, or has more than `limit` bytes
    all the same. (Lambda API: `OnFailure` of SNS.)
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    context = document.get("requestContext") if isinstance(document, dict) else None
    if not isinstance(context, dict) or "condition" not in context:
        return None
    bare = {name: value for name, value in document.items() if name not in _PAYLOADS}
    # Escaped, so that also half a surrogate pair can be written.
    text = json.dumps(bare, separators=(",", ":")).encode()
    return text if len(bare) < len(document) and len(text) <= limit else None


def _document(discard: Discard, call: Invocation, function_arn: str, condition: str) -> dict[str, Any]:
    return {
        "requestContext": {
            "requestId": call.request_id,
            "functionArn": function_arn,
            "condition": condition,
            "approximateInvokeCount": discard.attempts,
        },
        **_response_context(discard, call),
        "version": "1.0",
        "timestamp": iso_millis(call.at),
    }


def _response_context(discard: Discard, call: Invocation) -> dict[str, Any]:
    match discard.condition:
        case Condition.RECORD_AGE_EXCEEDED:
            return {}
        case Condition.MAXIMUM_PAYLOAD_SIZE_EXCEEDED:
            return {"responseContext": None}
        case Condition.RETRY_ATTEMPTS_EXHAUSTED:
            returned = isinstance(discard.outcome, Succeeded)
            return {
                "responseContext": {
                    "statusCode": 200,
                    "executedVersion": call.executed_version,
                    "functionError": None if returned else "Unhandled",
                }
            }
        case _:
            # Conditions of asynchronous invocations, whose records are in `core.invocations`.
            return {}


def _error(discard: Discard, call: Invocation) -> dict[str, Any]:
    failed = failure_of(discard.outcome)
    return {} if failed is None else {"responsePayload": failed.payload(call.request_id)}
