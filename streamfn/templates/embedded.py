"""Queues and streams of the embedded broker as resources of a template, by their `local:` URIs. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

QUEUE: Final = "AWS::SQS::Queue"
STREAM: Final = "AWS::Kinesis::Stream"

_LOCAL: Final = "local:"
_SECONDS: Final = {
    "visibility_timeout": "VisibilityTimeout",
    "delay": "DelaySeconds",
    "retention": "MessageRetentionPeriod",
}
_HOUR: Final = 3600


@dataclass(slots=True)
class Embedded:
    """What a URI says of a queue or a stream."""

    kind: str
    name: str
    properties: dict[str, Any] = field(default_factory=dict)
    dead_letter: str = ""
    """The name of the queue for what is received too often; empty: there is none."""
    receives: int = 0
    """How often that is."""
    lost: list[str] = field(default_factory=list)
    """Options that AWS has no words for."""


def embedded(uri: str) -> Embedded | None:
    """None: it is none of the embedded broker."""
    place, _, query = uri.partition("?")
    if not place.startswith(_LOCAL):
        return None
    words = place.removeprefix(_LOCAL)
    is_queue = words.startswith("queue/")
    found = Embedded(QUEUE if is_queue else STREAM, words.removeprefix("queue/").removeprefix("stream/"))
    if is_queue and found.name.endswith(".fifo"):
        found.properties["FifoQueue"] = True
    for name, value in parse_qsl(query):
        if name == "event_source_arn":
            continue  # which ARN functions see is a matter of the place
        try:
            is_told = _told(found, name, value)
        except ValueError:
            is_told = False  # it is no number, which `check` says
        found.lost += [] if is_told else [name]
    return found


def _told(found: Embedded, name: str, value: str) -> bool:
    """Whether the resource can say it, as it does now."""
    match found.kind, name:
        case (kind, "visibility_timeout" | "delay" | "retention") if kind == QUEUE:
            # AWS knows whole seconds only.
            found.properties[_SECONDS[name]] = math.ceil(float(value))
        case (kind, "content_based_deduplication") if kind == QUEUE:
            found.properties["ContentBasedDeduplication"] = value == "true"
        case (kind, "max_receive_count") if kind == QUEUE:
            found.receives = int(value)
        case (kind, "dead_letter") if kind == QUEUE:
            found.dead_letter = value
        case (kind, "shards") if kind == STREAM:
            found.properties["ShardCount"] = int(value)
        case (kind, "retention") if kind == STREAM:
            found.properties["RetentionPeriodHours"] = math.ceil(float(value) / _HOUR)
        case _:
            return False
    return True
