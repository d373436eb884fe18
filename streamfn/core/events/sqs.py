"""Messages of queues, as SQS shows them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import md5
from typing import TYPE_CHECKING, Any, cast

from streamfn.core.rendering import base64_text, decoded, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamfn.core.records import Headers, QueueRecord, Record

# The order in which recorded events have them; FIFO queues and dead-letter queues add theirs in between.
_SYSTEM_ATTRIBUTES = (
    "DeadLetterQueueSourceArn",
    "ApproximateReceiveCount",
    "AWSTraceHeader",
    "SentTimestamp",
    "SequenceNumber",
    "MessageGroupId",
    "SenderId",
    "MessageDeduplicationId",
    "ApproximateFirstReceiveTimestamp",
)
_STRING, _BINARY = b"\x01", b"\x02"


@dataclass(frozen=True, slots=True)
class SqsShape:
    """The SQS event (Developer Guide: with-sqs, example event; recorded events). Takes QueueRecords."""

    queue_arn: str
    region: str
    window: float = 0.0
    """MaximumBatchingWindowInSeconds. At 0, AWS leaves out the digest of no attributes; else it is null."""

    def to_event(self, records: Sequence[Record]) -> dict[str, Any]:
        """`{"Records": [...]}`. Bytes of a body that are not UTF-8 become U+FFFD, for an SQS body is text."""
        return {"Records": [self._message(record) for record in cast("Sequence[QueueRecord]", records)]}

    def filter_view(self, record: Record) -> Mapping[str, Any]:
        """The message as delivered, with `body` decoded (Developer Guide: with-sqs-filtering)."""
        view = self._message(cast("QueueRecord", record))
        view["body"] = decoded(record.value or b"")
        return view

    def record_id(self, identifier: object) -> str | None:
        """A message id, which is a string."""
        return identifier if isinstance(identifier, str) else None

    def batch_info(self, records: Sequence[Record]) -> dict[str, Any]:
        """`QueueBatchInfo`, which is streamfn's own: on AWS a queue mapping has no on-failure destination."""
        return {
            "QueueBatchInfo": {
                "messageIds": [record.id for record in records],
                "batchSize": len(records),
                "queueArn": self.queue_arn,
            }
        }

    def _message(self, record: QueueRecord) -> dict[str, Any]:
        body = text_of(record.value)
        message: dict[str, Any] = {
            "messageId": record.id,
            # A source whose handle is no text has no API that would take it back.
            "receiptHandle": record.receipt if isinstance(record.receipt, str) else record.id,
            "body": body,
            "attributes": _system_attributes(record),
            "messageAttributes": {name: _attribute(value) for name, value in record.headers},
            "md5OfBody": md5(body.encode(), usedforsecurity=False).hexdigest(),
        }
        if record.headers:
            message["md5OfMessageAttributes"] = _digest(record.headers)
        elif self.window:
            message["md5OfMessageAttributes"] = None
        message |= {"eventSource": "aws:sqs", "eventSourceARN": self.queue_arn, "awsRegion": self.region}
        return message


def _system_attributes(record: QueueRecord) -> dict[str, str]:
    values = {
        "SenderId": "streamfn",
        **(record.attributes or {}),
        "ApproximateReceiveCount": str(record.receive_count),
        "SentTimestamp": str(round(record.sent_at * 1000)),
        "ApproximateFirstReceiveTimestamp": str(round(record.first_received_at * 1000)),
    }
    if record.key is not None:
        values["MessageGroupId"] = record.key
    return {name: values[name] for name in _SYSTEM_ATTRIBUTES if name in values} | values


def _attribute(value: bytes) -> dict[str, Any]:
    text = _as_text(value)
    shown = {"binaryValue": base64_text(value)} if text is None else {"stringValue": text}
    data_type = "Binary" if text is None else "String"
    return {**shown, "stringListValues": [], "binaryListValues": [], "dataType": data_type}


def _digest(headers: Headers) -> str:
    """MD5 over names, types and values, each with its length before it (SQS guide: message attributes)."""
    pieces: list[bytes] = []
    for name, value in sorted(dict(headers).items()):
        text = _as_text(value) is not None
        pieces += _with_length((name.encode(), b"String" if text else b"Binary"))
        pieces.append(_STRING if text else _BINARY)
        pieces += _with_length((value,))
    return md5(b"".join(pieces), usedforsecurity=False).hexdigest()


def _with_length(pieces: Iterable[bytes]) -> list[bytes]:
    return [len(piece).to_bytes(4, "big") + piece for piece in pieces]


def _as_text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
