"""Messages of queues, as SQS shows them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import md5
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from streamfn.core.events.shape import FilterForm
from streamfn.core.invocations import attribute_type
from streamfn.core.lineage import TRACE_HEADER
from streamfn.core.records import Record
from streamfn.core.rendering import base64_text, decoded, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamfn.core.records import Headers, QueueRecord
    from streamfn.core.rendering import Loads

# The order in which recorded events have them; FIFO queues and dead-letter queues add theirs in between.
_SYSTEM_ATTRIBUTES = (
    "DeadLetterQueueSourceArn",
    "ApproximateReceiveCount",
    TRACE_HEADER,
    "SentTimestamp",
    "SequenceNumber",
    "MessageGroupId",
    "SenderId",
    "MessageDeduplicationId",
    "ApproximateFirstReceiveTimestamp",
)
_STRING, _BINARY = b"\x01", b"\x02"


class SqsMessage(Record):
    """A message as SQS hands it out (API reference: Message). Connectors subclass it over their client's own
    object, which is a mapping with SQS's names in it.
    """

    __slots__ = ()

    message: Mapping[str, Any]

    @property
    def id(self) -> str:
        return cast("str", self.message["MessageId"])

    @property
    def position(self) -> int:
        return 0

    @property
    def key(self) -> str | None:
        return cast("str | None", self.message["Attributes"].get("MessageGroupId"))

    @property
    def value(self) -> bytes:
        return cast("str", self.message["Body"]).encode()

    @property
    def arrived_at(self) -> float:
        return int(self.message["Attributes"]["SentTimestamp"]) / 1000

    @property
    def attempt(self) -> int:
        return int(self.message["Attributes"]["ApproximateReceiveCount"]) - 1

    @property
    def receipt(self) -> str:
        """What SQS takes to settle this delivery."""
        return cast("str", self.message["ReceiptHandle"])


SQS_FILTERING: Final = FilterForm(("body",), lambda item, data: {**item, "body": data})


@dataclass(frozen=True, slots=True)
class SqsShape:
    """The SQS event (Developer Guide: with-sqs, example event; recorded events).

    Takes SqsMessages, and QueueRecords of queues that are not SQS's.
    """

    filtering: ClassVar[FilterForm] = SQS_FILTERING

    queue_arn: str
    region: str
    window: float = 0.0
    """MaximumBatchingWindowInSeconds. At 0, AWS leaves out the digest of no attributes; else it is null."""

    def to_event(self, records: Sequence[Record]) -> dict[str, Any]:
        """`{"Records": [...]}`. Bytes of a body that are not UTF-8 become U+FFFD, for an SQS body is text."""
        return {"Records": [self._message(record) for record in records]}

    def filter_data(self, record: Record, read: Loads) -> Any:
        """The body decoded (Developer Guide: with-sqs-filtering); text always, as it is in the event."""
        data = decoded(record.value or b"", read)
        return text_of(data) if isinstance(data, bytes) else data

    def filter_view(self, record: Record, data: Any) -> Mapping[str, Any]:
        """The message as delivered, the data as its `body`."""
        view = self._message(record)
        view["body"] = data
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

    def _message(self, record: Record) -> dict[str, Any]:
        shown = _as_received(record) if isinstance(record, SqsMessage) else _as_if_received(record)
        if self.window:
            shown.setdefault("md5OfMessageAttributes", None)
        shown |= {"eventSource": "aws:sqs", "eventSourceARN": self.queue_arn, "awsRegion": self.region}
        return shown


def _as_received(record: SqsMessage) -> dict[str, Any]:
    message = record.message
    attributes = message.get("MessageAttributes") or {}
    shown = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": _in_order(message["Attributes"]),
        "messageAttributes": {name: _received(value) for name, value in attributes.items()},
        "md5OfBody": message["MD5OfBody"],
    }
    if "MD5OfMessageAttributes" in message:
        shown["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return shown


def _received(attribute: Mapping[str, str]) -> dict[str, Any]:
    names = {"StringValue": "stringValue", "BinaryValue": "binaryValue"}
    shown = {names[name]: value for name, value in attribute.items() if name in names}
    return {**shown, "stringListValues": [], "binaryListValues": [], "dataType": attribute["DataType"]}


def _as_if_received(any_record: Record) -> dict[str, Any]:
    record = cast("QueueRecord", any_record)
    body = text_of(record.value)
    headers = [header for header in record.headers if header[0] != TRACE_HEADER]
    message: dict[str, Any] = {
        "messageId": record.id,
        # A source whose handle is no text has no API that would take it back.
        "receiptHandle": record.receipt if isinstance(record.receipt, str) else record.id,
        "body": body,
        "attributes": _system_attributes(record),
        "messageAttributes": {name: _attribute(name, value) for name, value in headers},
        "md5OfBody": md5(body.encode(), usedforsecurity=False).hexdigest(),
    }
    if headers:
        message["md5OfMessageAttributes"] = _digest(headers)
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
    # Where the header of a trace stands in SQS.
    values |= {name: text_of(value) for name, value in record.headers if name == TRACE_HEADER}
    return _in_order(values)


def _in_order(values: Mapping[str, str]) -> dict[str, str]:
    return {**{name: values[name] for name in _SYSTEM_ATTRIBUTES if name in values}, **values}


def _attribute(name: str, value: bytes) -> dict[str, Any]:
    text = _as_text(value)
    shown = {"binaryValue": base64_text(value)} if text is None else {"stringValue": text}
    data_type = "Binary" if text is None else attribute_type(name, value)
    return {**shown, "stringListValues": [], "binaryListValues": [], "dataType": data_type}


def _digest(headers: Headers) -> str:
    """MD5 over names, types and values, each with its length before it (SQS guide: message attributes)."""
    pieces: list[bytes] = []
    for name, value in sorted(dict(headers).items()):
        text = _as_text(value) is not None
        data_type = attribute_type(name, value) if text else "Binary"
        pieces += _with_length((name.encode(), data_type.encode()))
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
