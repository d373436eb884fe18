"""What stood in the records of a Lambda event, to be sent once more; and where they came from."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.core.records import Headers

_KAFKA: Final = frozenset({"aws:kafka", "SelfManagedKafka", "aws:SelfManagedKafka"})
_LOCAL: Final = "local"
"""The region of local streams and queues in their ARNs."""


@dataclass(frozen=True, slots=True)
class Content:
    """A record as its producer sent it, as far as an event shows that."""

    value: bytes
    key: str | None = None
    headers: Headers = ()


def contents_of(event: Any) -> list[Content] | None:
    """The records of an event of SQS, Kinesis or Kafka; None where it is none of these, or shows no values:
    what a table's stream holds cannot be written to it.
    """
    if not isinstance(event, dict):
        return None
    try:
        if event.get("eventSource") in _KAFKA:
            return [_of_kafka(item) for items in event["records"].values() for item in items]
        match event["Records"][0]["eventSource"]:
            case "aws:kinesis":
                return [_of_kinesis(item["kinesis"]) for item in event["Records"]]
            case "aws:sqs":
                return [_of_sqs(item) for item in event["Records"]]
            case _:
                return None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None


def place_of(event: Any) -> str | None:
    """Where the records of an event came from, as a URI or an ARN; None where it does not tell."""
    if not isinstance(event, dict):
        return None
    try:
        if event.get("eventSource") in _KAFKA:
            topic = next(iter(event["records"].values()))[0]["topic"]
            return f"kafka://{event['bootstrapServers']}/{topic}"
        return place_of_arn(event["Records"][0]["eventSourceARN"])
    except (KeyError, IndexError, TypeError, AttributeError, StopIteration):
        return None


def place_of_arn(arn: Any) -> str | None:
    """What an ARN names: `local:` for a local stream or queue, else the ARN itself."""
    if not isinstance(arn, str) or not arn.startswith("arn:"):
        return None
    parts = arn.split(":", 5)
    if len(parts) < 6 or parts[3] != _LOCAL:
        return arn
    name = parts[5].removeprefix("stream/")
    return f"local:queue/{name}" if parts[2] == "sqs" else f"local:{name}"


def _of_kafka(item: Mapping[str, Any]) -> Content:
    key, value = item.get("key"), item.get("value")
    headers = [
        (name, bytes(byte & 0xFF for byte in content))
        for header in item.get("headers") or ()
        for name, content in header.items()
    ]
    return Content(
        b"" if value is None else _bytes(value),
        None if key is None else _bytes(key).decode("utf-8", "surrogateescape"),
        tuple(headers),
    )


def _of_kinesis(item: Mapping[str, Any]) -> Content:
    return Content(_bytes(item["data"]), _key(item.get("partitionKey")))


def _of_sqs(item: Mapping[str, Any]) -> Content:
    headers = tuple(
        (name, _attribute(attribute)) for name, attribute in (item.get("messageAttributes") or {}).items()
    )
    return Content(item["body"].encode(), _key(item["attributes"].get("MessageGroupId")), headers)


def _key(said: Any) -> str | None:
    return said if isinstance(said, str) and said else None


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)


def _attribute(attribute: Mapping[str, Any]) -> bytes:
    text = attribute.get("stringValue")
    return _bytes(attribute["binaryValue"]) if text is None else bytes(text, "utf-8")
