"""What each kind of source takes, and what holds where nothing is said: one table, AWS's.

A kind is known by what the Source object can do: `shards` makes it a stream, `open` a queue. Kafka and
DynamoDB are known by the scheme of their names, a FIFO queue by the end of its name or its own word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from streamfn.core.events import (
    DYNAMODB_FILTERING,
    KAFKA_FILTERING,
    KINESIS_FILTERING,
    SQS_FILTERING,
    FilterForm,
)
from streamfn.core.policies import Ordering, StartingPosition
from streamfn.errors import ConfigurationError
from streamfn.ports import Source

ANY_SOURCE: Final = frozenset(
    {
        "name",
        "function",
        "source",
        "enabled",
        "batch_size",
        "circuit_breaker",
        "qualifier",
        "function_response_types",
        "filter",
        "filters",
        "tags",
    }
)
_STREAM: Final = ANY_SOURCE | {
    "maximum_batching_window_in_seconds",
    "starting_position",
    "starting_position_timestamp",
    "on_failure",
    "when_destination_fails",
    "maximum_record_age_in_seconds",
    "maximum_retry_attempts",
    "bisect_batch_on_function_error",
    "consumer_group_id",
    "ordering",
    "maximum_concurrency",
    "on_position_lost",
    "revoke_grace",
    "retry_backoff",
    "dead_letters",
    "sequenced",
    "sequenced_limit",
}
_QUEUE: Final = ANY_SOURCE | {
    "maximum_concurrency",
    "minimum_pollers",
    "maximum_pollers",
    "retry_delay",
    "dead_letters",
    "maximum_receive_count",
    "when_destination_fails",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source."""

    name: str
    is_stream: bool
    batch_size: int
    """BatchSize where none is given."""
    largest_batch: int
    window: float
    """MaximumBatchingWindowInSeconds where none is given."""
    ordering: Ordering
    """Which of its records wait for which where nothing is said."""
    takes: frozenset[str]
    """Options that go with it."""
    filtering: FilterForm
    """How event patterns speak of its records."""
    refuses: frozenset[StartingPosition] = frozenset()
    """Starting positions that it has not."""
    not_yet: frozenset[str] = frozenset()
    """Options that AWS takes for it."""
    retries_with_destination: int | None = None
    """What endless retries become when there is an on-failure destination; None: they stay endless."""


STREAM: Final = Kind(
    "stream",
    is_stream=True,
    batch_size=100,
    largest_batch=10_000,
    window=0.0,
    ordering=Ordering.SHARD,
    takes=_STREAM | {"parallelization_factor"},
    filtering=KINESIS_FILTERING,
)
DYNAMODB: Final = replace(
    STREAM,
    name="DynamoDB stream",
    filtering=DYNAMODB_FILTERING,
    refuses=frozenset({StartingPosition.AT_TIMESTAMP}),
)
KAFKA: Final = Kind(
    "Kafka topic",
    is_stream=True,
    batch_size=100,
    largest_batch=10_000,
    window=0.5,
    ordering=Ordering.SHARD,
    takes=_STREAM | {"source_access_configurations"},
    filtering=KAFKA_FILTERING,
    not_yet=frozenset({"minimum_pollers", "maximum_pollers"}),
    retries_with_destination=10,
)
QUEUE: Final = Kind(
    "queue",
    is_stream=False,
    batch_size=10,
    largest_batch=10_000,
    window=0.0,
    ordering=Ordering.NONE,
    takes=_QUEUE | {"maximum_batching_window_in_seconds"},
    filtering=SQS_FILTERING,
)
FIFO: Final = Kind(
    "FIFO queue",
    is_stream=False,
    batch_size=10,
    largest_batch=10,
    window=0.0,
    ordering=Ordering.KEY,
    takes=_QUEUE,
    filtering=SQS_FILTERING,
)


def kind_of(source: Source) -> Kind:
    """The kind of a source. Raises ConfigurationError for what is no source at all."""
    if hasattr(source, "shards"):
        return {"kafka": KAFKA, "dynamodb": DYNAMODB}.get(source.name.partition(":")[0], STREAM)
    if hasattr(source, "open"):
        fifo = getattr(source, "fifo", False) or source.name.partition("?")[0].endswith(".fifo")
        return FIFO if fifo else QUEUE
    raise ConfigurationError(
        f"{type(source).__name__} is no source: it has neither shards() nor open()",
        field="Source",
        fix="give a URI such as local:flights, or an object of a connector's source class",
    )
