"""What of a mapping does not go with the kind of its source: found when the source is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pydantic.alias_generators import to_pascal

from streamfn.config.errors import Places, spelled
from streamfn.config.filters import refused_filters
from streamfn.config.kinds import Kind
from streamfn.core.policies import Ordering, StartingPosition
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from streamfn.config.mapping import EventSourceMapping

_Found = Iterator[tuple[str, str, str]]
"""Options, what is wrong with them, and the fix."""


def refused(
    mapping: EventSourceMapping, kind: Kind, places: Places, now: float | None
) -> list[ConfigurationError]:
    """All problems of a mapping with its kind of source. `now`, epoch seconds, is for timestamps."""
    options, filters = [*_options(mapping, kind), *_batch(mapping, kind)], mapping.filters
    looks = (_position(mapping, kind, now), _ordering(mapping, kind), _sequenced(mapping))
    rest = looks if kind.is_stream else (_pollers(mapping, kind), _receives(mapping))
    return [
        *(_problem(places, *found) for found in options),
        *refused_filters(filters, kind, places),
        *(_problem(places, *found) for look in rest for found in look),
    ]


def _problem(places: Places, name: str, problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError(problem, field=_aws(name), where=places.of((name,)), fix=fix)


def _options(mapping: EventSourceMapping, kind: Kind) -> _Found:
    others = mapping.model_fields_set - kind.takes
    by_name = {_aws(name): name for name in others if _asks(mapping, name, kind)}
    for aws, name in sorted(by_name.items()):
        if name in kind.not_yet:
            yield name, f"not supported yet for a {kind.name}", "remove it"
            continue
        problem = _IN_SERVICES_WORDS.get((name, kind.name)) or (
            f"Unsupported {aws} parameter for given event source mapping type."
        )
        yield name, problem, f"a {kind.name} does not take it: remove it{_INSTEAD.get((name, kind.name), '')}"


def _asks(mapping: EventSourceMapping, name: str, kind: Kind) -> bool:
    """Whether an option says anything else than what holds without it."""
    value = getattr(mapping, name)
    if name == "maximum_batching_window_in_seconds" and value == kind.window:
        return False
    return bool(value != mapping.default(name))


def _batch(mapping: EventSourceMapping, kind: Kind) -> _Found:
    policy = mapping.batch_policy(kind)
    size = policy.batch_size
    if size > kind.largest_batch:
        yield "batch_size", f"must be 1 to {kind.largest_batch} for a {kind.name}, not {size}", ""
    elif not kind.is_stream and size > 10 and policy.window < 1:
        yield (
            "batch_size",
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
            "set MaximumBatchingWindowInSeconds to 1 or more, or BatchSize to 10 or less",
        )


def _position(mapping: EventSourceMapping, kind: Kind, now: float | None) -> _Found:
    at, timestamp = mapping.starting_position, mapping.starting_position_timestamp
    timed, name = at is StartingPosition.AT_TIMESTAMP, "starting_position_timestamp"
    if at in kind.refuses:
        source = mapping.source if isinstance(mapping.source, str) else mapping.source.name
        others = sorted(one.name for one in StartingPosition if one not in kind.refuses)
        yield (
            "starting_position",
            f"Unsupported starting position for arn type: {source.partition('?')[0]}",
            f"set one of {', '.join(others)}",
        )
    elif timed and timestamp is None:
        yield name, "is required with StartingPosition AT_TIMESTAMP", "give epoch seconds"
    elif timestamp is not None and not timed:
        yield name, "goes with StartingPosition AT_TIMESTAMP only", "set that, or remove it"
    elif timestamp is not None and now is not None and timestamp > now:
        yield name, "must not be in the future", ""


def _ordering(mapping: EventSourceMapping, kind: Kind) -> _Found:
    shard = (mapping.ordering or Ordering.SHARD) is Ordering.SHARD
    if shard and mapping.maximum_concurrency is not None:
        yield (
            "maximum_concurrency",
            "goes with ordering key or none: with ordering shard, one batch of a shard is in flight",
            "set ordering: key, or remove it",
        )
    elif not shard and mapping.parallelization_factor > 1 and "parallelization_factor" in kind.takes:
        yield "parallelization_factor", "goes with ordering shard only", "set MaximumConcurrency instead"


def _sequenced(mapping: EventSourceMapping) -> _Found:
    """Ours: AWS has no such mode."""
    if mapping.sequenced and mapping.ordering is not Ordering.KEY:
        yield (
            "sequenced",
            "goes with ordering key only: records are parked by their key",
            "set ordering: key, or remove it",
        )
    if mapping.sequenced and mapping.dead_letters is False:
        yield (
            "sequenced",
            "needs dead letters: what is parked is released after the redrive of one",
            "set dead_letters: true, or remove it",
        )
    if not mapping.sequenced and mapping.sequenced_limit != mapping.default("sequenced_limit"):
        yield "sequenced_limit", "goes with sequenced only", "set sequenced: true, or remove it"


def _receives(mapping: EventSourceMapping) -> _Found:
    """Ours: on AWS the redrive policy of the queue is all there is."""
    if mapping.maximum_receive_count is not None and mapping.dead_letters is False:
        yield (
            "maximum_receive_count",
            "needs dead letters: what is given up is kept there",
            "set dead_letters: true, or remove it",
        )
    if mapping.maximum_receive_count is None and mapping.dead_letters not in (None, False):
        yield (
            "dead_letters",
            "goes with MaximumReceiveCount: else the queue's own redrive policy takes what fails",
            "set MaximumReceiveCount, or remove it",
        )


def _pollers(mapping: EventSourceMapping, kind: Kind) -> _Found:
    """Developer Guide: services-sqs-configure, services-sqs-scaling."""
    least, most = mapping.minimum_pollers, mapping.maximum_pollers
    for name, value, top in (("minimum_pollers", least, 200), ("maximum_pollers", most, 2000)):
        if value == 1:
            problem = f"{to_pascal(name)} must be 2 to {top} for a {kind.name}, not 1"
            yield name, problem, "set MaximumConcurrency instead, and remove it"
    if least is not None and most is not None and least > most:
        problem = f"MaximumPollers, {most}, is less than MinimumPollers, {least}"
        yield "maximum_pollers", problem, f"set MaximumPollers to {least} or more"
    if (least, most) != (None, None) and mapping.maximum_concurrency is not None:
        name = "minimum_pollers" if least is not None else "maximum_pollers"
        yield name, "does not go with ScalingConfig.MaximumConcurrency", "keep one of the two"


_IN_SERVICES_WORDS: Final = {
    ("maximum_batching_window_in_seconds", "FIFO queue"): "Batching window is not supported for FIFO queues",
}
"""What AWS says of an option that a kind does not take, where that is known."""

_INSTEAD: Final = {
    ("parallelization_factor", "Kafka topic"): ", or set ordering: key and MaximumConcurrency",
} | {
    (name, kind): instead
    for kind in ("queue", "FIFO queue")
    for name, instead in (
        ("maximum_retry_attempts", " and set MaximumReceiveCount"),
        ("on_failure", " and set MaximumReceiveCount, or give the queue a dead-letter queue"),
    )
}

_AWS: Final = {
    "on_failure": "DestinationConfig",
    "minimum_pollers": "ProvisionedPollerConfig",
    "maximum_pollers": "ProvisionedPollerConfig",
}


def _aws(name: str) -> str:
    """A field as AWS has it; for our own, as it would."""
    return _AWS.get(name) or spelled((name,))
