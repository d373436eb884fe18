"""Payloads that connectors tend to trip over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streamfn.testing.seen import seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.records import Record
    from streamfn.ports import Shard

TEXTS: dict[str, bytes] = {
    "empty": b"",
    "unicode": "Grüße, Zürich 東京 🛫 \u0000 \u2028 e\u0301".encode(),
    "quotes": b'{"a": "\\"\\\\\\n"}\r\n\t',
    "spaces": b"  leading and trailing  ",
}
"""Payloads that are text: queues take these."""

XML_TEXTS: dict[str, bytes] = {
    name: text.replace(b"\0", b"") for name, text in TEXTS.items() if name != "empty"
}
"""The same for brokers that take only what may stand in XML."""

BINARY: dict[str, bytes] = {"binary": bytes(range(256)), "not utf-8": b"\xff\xfe\x80"}

HEADERS = (("a", b"1"), ("b", b""), ("a", b"2"), ("Ünïcode", "✓".encode()))
"""With a name that comes twice, out of order, and a value that is empty."""

KEYS = ("plain", "Zürich 東京", "a b/c:d", "x" * 100)


def texts(any_text: bool | str) -> list[bytes]:
    """Those that a broker takes, by its feature `any_text`."""
    return list((TEXTS if any_text is True else XML_TEXTS).values())


def assert_rendered(shard: Shard, records: Sequence[Record]) -> None:
    """The event holds all records in order, is JSON, and takes no more room than they say."""
    event = shard.shape.to_event(records)
    text = json.dumps(event, separators=(",", ":"))
    assert [one.id for one in seen(event)] == [record.id for record in records]
    assert [shard.shape.record_id(one.identifier) for one in seen(event)] == [record.id for record in records]
    around = 500  # what stands around the records, once an event
    assert len(text.encode()) <= sum(record.size for record in records) + around
