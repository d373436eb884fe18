"""The records of an invocation, in whatever form the function got them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from streamfn.core.events import KafkaRecord
from streamfn.core.records import Batch


@dataclass(frozen=True, slots=True)
class Seen:
    """One record as a function sees it."""

    id: str
    key: str | None
    value: bytes | None
    identifier: object
    """What names it in a partial batch response."""

    def json(self) -> Any:
        """The value parsed."""
        return json.loads(self.value or b"")


def seen(event: object) -> Iterator[Seen]:
    """The records of a batch or of a Lambda event. Any other event is one record, without an id."""
    match event:
        case Batch():
            for record in event:
                identifier: object = record.id
                if isinstance(record, KafkaRecord):
                    identifier = _kafka_identifier(record.topic, record.partition, record.offset)
                yield Seen(record.id, record.key, record.value, identifier)
        case {"Records": list(items)}:
            yield from map(_item, items)
        case {"records": Mapping() as partitions}:
            for items in partitions.values():
                yield from map(_kafka, items)
        case _:
            yield Seen(
                "", None, event if isinstance(event, bytes) else json.dumps(event, default=str).encode(), ""
            )


def _item(item: Mapping[str, Any]) -> Seen:
    match item:
        case {"kinesis": data}:
            number = data["sequenceNumber"]
            return Seen(number, data["partitionKey"] or None, base64.b64decode(data["data"]), number)
        case {"dynamodb": data}:
            number = data["SequenceNumber"]
            return Seen(number, None, json.dumps(data).encode(), number)
        case {"messageId": message_id}:
            return Seen(
                message_id, item["attributes"].get("MessageGroupId"), item["body"].encode(), message_id
            )
        case _:
            return Seen("", None, json.dumps(item, default=str).encode(), "")


def _kafka(item: Mapping[str, Any]) -> Seen:
    key, value = (
        None if item.get(name) is None else base64.b64decode(item[name]) for name in ("key", "value")
    )
    identifier = _kafka_identifier(item["topic"], item["partition"], item["offset"])
    text = None if key is None else key.decode("utf-8", "surrogateescape")
    return Seen(str(item["offset"]), text, value, identifier)


def _kafka_identifier(topic: str, partition: int, offset: int) -> object:
    return {"partition": f"{topic}-{partition}", "offset": offset}
