"""What goes with which kind of source, what the core makes of it, and how a mapping is changed."""

from __future__ import annotations

from typing import Any

import pytest

from streamfn.config import (
    DYNAMODB,
    FIFO,
    KAFKA,
    QUEUE,
    STREAM,
    ConfigurationErrors,
    EventSourceMapping,
    Kind,
    OnPositionLost,
    kind_of,
)
from streamfn.core.policies import (
    Backoff,
    BatchPolicy,
    DeliveryPolicy,
    Ordering,
    StartingPosition,
    WhenDestinationFails,
)
from streamfn.errors import ConfigurationError
from streamfn.ports import Subscription

WHERE = "app.py:7"
MINIMAL: dict[str, Any] = {"function": "f", "source": "local:flights"}


def load(**options: Any) -> EventSourceMapping:
    return EventSourceMapping.load(MINIMAL | options, WHERE)


def said(options: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        EventSourceMapping.load(options, WHERE)
    assert str(caught.value) == "\n".join(lines(caught.value))
    return lines(caught.value)


def lines(errors: ConfigurationErrors) -> list[str]:
    return str(errors).splitlines()


# ------------------------------------------------------------------------------- kinds of source


def refused(kind: Kind, **options: Any) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        load(**options).check(kind)
    return [line.removeprefix(f"{WHERE}: ") for line in lines(caught.value)]


def unsupported(name: str, rest: str) -> str:
    return f"{name}: Unsupported {name} parameter for given event source mapping type. Fix: {rest}"


@pytest.mark.parametrize(
    ("option", "value", "accepting"),
    [
        ("enabled", False, {STREAM, KAFKA, QUEUE, FIFO}),
        ("batch_size", 10, {STREAM, KAFKA, QUEUE, FIFO}),
        ("maximum_batching_window_in_seconds", 1, {STREAM, KAFKA, QUEUE}),
        ("parallelization_factor", 2, {STREAM}),
        ("starting_position", "LATEST", {STREAM, KAFKA}),
        ("on_failure", "log:", {STREAM, KAFKA}),
        ("when_destination_fails", "drop", {STREAM, KAFKA, QUEUE, FIFO}),
        ("maximum_record_age_in_seconds", 60, {STREAM, KAFKA}),
        ("maximum_retry_attempts", 1, {STREAM, KAFKA}),
        ("bisect_batch_on_function_error", True, {STREAM, KAFKA}),
        ("function_response_types", ["ReportBatchItemFailures"], {STREAM, KAFKA, QUEUE, FIFO}),
        ("filter", bool, {STREAM, KAFKA, QUEUE, FIFO}),
        ("filters", [{"eventID": ["1"]}], {STREAM, KAFKA, QUEUE, FIFO}),
        ("consumer_group_id", "g", {STREAM, KAFKA}),
        ("tags", {"a": "b"}, {STREAM, KAFKA, QUEUE, FIFO}),
        ("ordering", "key", {STREAM, KAFKA}),
        ("on_position_lost", "latest", {STREAM, KAFKA}),
        ("revoke_grace", 1, {STREAM, KAFKA}),
        ("retry_backoff", {"first": 0.1}, {STREAM, KAFKA}),
        ("maximum_receive_count", 3, {QUEUE, FIFO}),
        ("retry_delay", 1, {QUEUE, FIFO}),
        ("maximum_concurrency", 2, {QUEUE, FIFO}),
        ("minimum_pollers", 2, {QUEUE, FIFO}),
        ("maximum_pollers", 2, {QUEUE, FIFO}),
    ],
)
@pytest.mark.parametrize("kind", [STREAM, DYNAMODB, KAFKA, QUEUE, FIFO], ids=lambda kind: kind.name)
def test_a_kind_takes_what_goes_with_it_and_refuses_the_rest(
    kind: Kind, option: str, value: object, accepting: set[Kind]
) -> None:
    if kind in accepting or (kind is DYNAMODB and STREAM in accepting):
        load(**{option: value}).check(kind)
    elif kind.is_stream and option == "maximum_concurrency":
        assert refused(kind, maximum_concurrency=2) == [
            "MaximumConcurrency: goes with ordering key or none: with ordering shard, one batch of a shard "
            "is in flight. Fix: set ordering: key, or remove it"
        ]
    else:
        assert len(refused(kind, **{option: value})) == 1


def test_what_is_refused_is_said_in_the_words_of_aws() -> None:
    assert refused(QUEUE, on_failure="log:") == [
        unsupported(
            "DestinationConfig",
            "a queue does not take it: remove it and set MaximumReceiveCount, "
            "or give the queue a dead-letter queue",
        )
    ]
    assert refused(KAFKA, parallelization_factor=2) == [
        unsupported(
            "ParallelizationFactor",
            "a Kafka topic does not take it: remove it, or set ordering: key and MaximumConcurrency",
        )
    ]
    assert refused(FIFO, maximum_batching_window_in_seconds=1) == [
        "MaximumBatchingWindowInSeconds: Batching window is not supported for FIFO queues. "
        "Fix: a FIFO queue does not take it: remove it"
    ]


def test_an_option_at_its_default_does_no_harm() -> None:
    load(bisect_batch_on_function_error=False, maximum_retry_attempts=-1).check(QUEUE)


@pytest.mark.parametrize(
    ("kind", "size", "window", "message"),
    [
        (QUEUE, 10, None, None),
        (QUEUE, 11, 1, None),
        (QUEUE, 10_000, 300, None),
        (
            QUEUE,
            11,
            None,
            "BatchSize: Maximum batch window in seconds must be greater than 0 if maximum batch size is "
            "greater than 10. "
            "Fix: set MaximumBatchingWindowInSeconds to 1 or more, or BatchSize to 10 or less",
        ),
        (FIFO, 10, None, None),
        (FIFO, 11, None, "BatchSize: must be 1 to 10 for a FIFO queue, not 11"),
        (STREAM, 10_000, None, None),
        (KAFKA, 10_000, 0, None),
    ],
)
def test_batches_of_queues_over_ten_need_a_window(
    kind: Kind, size: int, window: int | None, message: str | None
) -> None:
    options = {"batch_size": size} | (
        {} if window is None else {"maximum_batching_window_in_seconds": window}
    )
    if message is None:
        load(**options).check(kind)
    else:
        assert refused(kind, **options) == [message]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"starting_position": "AT_TIMESTAMP"},
            "StartingPositionTimestamp: is required with StartingPosition AT_TIMESTAMP. "
            "Fix: give epoch seconds",
        ),
        (
            {"starting_position": "LATEST", "starting_position_timestamp": 1},
            "StartingPositionTimestamp: goes with StartingPosition AT_TIMESTAMP only. "
            "Fix: set that, or remove it",
        ),
        (
            {"starting_position": "AT_TIMESTAMP", "starting_position_timestamp": 1001},
            "StartingPositionTimestamp: must not be in the future",
        ),
    ],
)
def test_a_timestamp_goes_with_at_timestamp(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationErrors) as caught:
        load(**options).check(STREAM, now=1000)
    assert str(caught.value) == f"{WHERE}: {message}"


@pytest.mark.parametrize(
    ("source", "arn"),
    [
        ("arn:aws:dynamodb:eu-west-1:1:table/t/stream/2024-06-10T19:26:16.525", None),
        (
            "arn:aws:dynamodb:eu-west-1:1:table/t/stream/1?region=eu-west-1",
            "arn:aws:dynamodb:eu-west-1:1:table/t/stream/1",
        ),
        ("dynamodb:t", None),
    ],
)
def test_a_table_has_no_timestamps_to_begin_at(source: str, arn: str | None) -> None:
    for end in (source, _Stream(source)):
        mapping = load(source=end, starting_position="AT_TIMESTAMP", starting_position_timestamp=1)
        with pytest.raises(ConfigurationErrors) as caught:
            mapping.check(DYNAMODB, now=1000)
        assert lines(caught.value) == [
            f"{WHERE}: StartingPosition: Unsupported starting position for arn type: {arn or source}. "
            "Fix: set one of LATEST, TRIM_HORIZON"
        ]


def test_pollers_are_refused_in_the_words_of_aws_but_for_kafka() -> None:
    both = {"ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": 10}}
    assert refused(STREAM, **both) == [
        unsupported("ProvisionedPollerConfig", "a stream does not take it: remove it")
    ]
    assert refused(KAFKA, **both) == [
        "ProvisionedPollerConfig: not supported yet for a Kafka topic. Fix: remove it"
    ]


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (
            {"minimum_pollers": 1, "maximum_pollers": 1},
            [
                "MinimumPollers must be 2 to 200 for a queue, not 1. "
                "Fix: set MaximumConcurrency instead, and remove it",
                "MaximumPollers must be 2 to 2000 for a queue, not 1. "
                "Fix: set MaximumConcurrency instead, and remove it",
            ],
        ),
        (
            {"minimum_pollers": 6, "maximum_pollers": 5},
            ["MaximumPollers, 5, is less than MinimumPollers, 6. Fix: set MaximumPollers to 6 or more"],
        ),
        (
            {"minimum_pollers": 6, "ScalingConfig": {"MaximumConcurrency": 5}},
            ["does not go with ScalingConfig.MaximumConcurrency. Fix: keep one of the two"],
        ),
        (
            {"maximum_pollers": 6, "maximum_concurrency": 5},
            ["does not go with ScalingConfig.MaximumConcurrency. Fix: keep one of the two"],
        ),
    ],
)
def test_pollers_of_a_queue_are_as_aws_has_them(options: dict[str, Any], messages: list[str]) -> None:
    assert refused(QUEUE, **options) == [f"ProvisionedPollerConfig: {message}" for message in messages]


def test_shares_of_a_shard_go_with_its_order_only() -> None:
    assert refused(STREAM, ordering="key", parallelization_factor=2) == [
        "ParallelizationFactor: goes with ordering shard only. Fix: set MaximumConcurrency instead"
    ]


class _Stream:
    def __init__(self, name: str) -> None:
        self.name = name

    def shards(self) -> None: ...


class _Queue:
    def __init__(self, name: str, *, fifo: bool = False) -> None:
        self.name = name
        self.fifo = fifo

    def open(self) -> None: ...


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (_Stream("local:flights"), STREAM),
        (_Stream("kafka://host:9092/flights"), KAFKA),
        (_Stream("kinesis:flights"), STREAM),
        (_Stream("dynamodb:flights"), DYNAMODB),
        (_Stream("dynamodb://flights"), DYNAMODB),
        (_Queue("sqs://orders"), QUEUE),
        (_Queue("sqs://orders.fifo"), FIFO),
        (_Queue("local:orders"), QUEUE),
        (_Queue("local:orders.fifo"), FIFO),
        (_Queue("local:orders.fifo?visibility=3"), FIFO),
        (_Queue("local:orders", fifo=True), FIFO),
    ],
)
def test_a_source_tells_its_kind(source: Any, kind: Kind) -> None:
    assert kind_of(source) is kind


def test_what_is_no_source_has_no_kind() -> None:
    with pytest.raises(ConfigurationError, match="object is no source"):
        kind_of(object())  # type: ignore[arg-type]


# ------------------------------------------------------------------------- what the core makes of it


@pytest.mark.parametrize(
    ("kind", "batching"),
    [
        (STREAM, BatchPolicy(100, 0.0)),
        (KAFKA, BatchPolicy(100, 0.5)),
        (QUEUE, BatchPolicy(10, 0.0)),
        (FIFO, BatchPolicy(10, 0.0)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_defaults_of_batching_are_those_of_the_kind(kind: Kind, batching: BatchPolicy) -> None:
    assert load().batch_policy(kind) == batching


def test_options_of_batching_win_over_the_kind() -> None:
    mapping = load(batch_size=7, maximum_batching_window_in_seconds=0)
    assert mapping.batch_policy(KAFKA) == BatchPolicy(7, 0.0)


@pytest.mark.parametrize(
    ("kind", "policy"),
    [
        (STREAM, DeliveryPolicy()),
        (KAFKA, DeliveryPolicy()),
        (QUEUE, DeliveryPolicy(ordering=Ordering.NONE)),
        (FIFO, DeliveryPolicy(ordering=Ordering.KEY)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_defaults_of_delivery_are_those_of_the_kind(kind: Kind, policy: DeliveryPolicy) -> None:
    assert load().delivery_policy(kind) == policy


def test_every_failure_option_reaches_the_policy() -> None:
    mapping = load(
        ordering="key",
        function_response_types=["ReportBatchItemFailures"],
        bisect_batch_on_function_error=True,
        maximum_retry_attempts=3,
        maximum_record_age_in_seconds=60,
        retry_backoff={"first": 0.5, "factor": 3, "cap": 9},
    )
    assert mapping.delivery_policy(STREAM) == DeliveryPolicy(
        ordering=Ordering.KEY,
        report_batch_item_failures=True,
        bisect_batch_on_function_error=True,
        maximum_retry_attempts=3,
        maximum_record_age=60.0,
        backoff=Backoff(0.5, 3.0, 9.0),
    )


@pytest.mark.parametrize(
    ("kind", "options", "retries"),
    [
        (KAFKA, {"on_failure": "log:"}, 10),
        (KAFKA, {"on_failure": "log:", "maximum_retry_attempts": -1}, 10),
        (KAFKA, {"on_failure": "log:", "maximum_retry_attempts": 0}, 0),
        (KAFKA, {"on_failure": "log:", "maximum_retry_attempts": 50}, 50),
        (KAFKA, {}, None),
        (STREAM, {"on_failure": "log:"}, None),
    ],
)
def test_endless_retries_with_a_destination_are_ten_on_kafka(
    kind: Kind, options: dict[str, Any], retries: int | None
) -> None:
    assert load(**options).delivery_policy(kind).maximum_retry_attempts == retries


def test_the_group_is_named_after_app_and_mapping() -> None:
    assert load().subscription("app") == Subscription("app.f-flights", StartingPosition.TRIM_HORIZON, None)
    at = load(starting_position="AT_TIMESTAMP", starting_position_timestamp=5, consumer_group_id="g")
    assert at.subscription("app") == Subscription("g", StartingPosition.AT_TIMESTAMP, 5.0)


@pytest.mark.parametrize(
    ("kind", "options", "batches"),
    [
        (STREAM, {}, 1),
        (STREAM, {"ordering": "shard"}, 1),
        (STREAM, {"ordering": "key"}, 10),
        (KAFKA, {"ordering": "none", "maximum_concurrency": 100}, 100),
        (QUEUE, {}, 10),
        (FIFO, {"maximum_concurrency": 3}, 3),
    ],
)
def test_concurrency_follows_the_order(kind: Kind, options: dict[str, Any], batches: int) -> None:
    assert load(**options).concurrency(kind) == batches


def test_our_own_options_have_safe_defaults() -> None:
    mapping = load()
    assert mapping.when_destination_fails is WhenDestinationFails.BLOCK
    assert mapping.on_position_lost is OnPositionLost.FAIL
    assert (mapping.dead_letters, mapping.sequenced, mapping.sequenced_limit) == (None, False, 100_000)


# -------------------------------------------------------------------------------------------- update


def test_an_update_changes_what_it_names() -> None:
    mapping = load(batch_size=5, on_failure="log:", name="m")
    changed = mapping.updated({"BatchSize": 6, "MaximumRetryAttempts": 2})
    assert (changed.batch_size, changed.maximum_retry_attempts) == (6, 2)
    assert (changed.on_failure, changed.name, changed.source) == ("log:", "m", "local:flights")


def test_an_update_takes_options_away_in_the_ways_of_aws() -> None:
    mapping = load(on_failure="log:", ScalingConfig={"MaximumConcurrency": 3})
    assert mapping.updated({"DestinationConfig": {"OnFailure": {"Destination": ""}}}).on_failure is None
    assert mapping.updated({"DestinationConfig": {"OnFailure": {}}}).on_failure is None
    assert (
        mapping.updated({"DestinationConfig": {"OnFailure": {"Destination": "file:x"}}}).on_failure
        == "file:x"
    )
    assert mapping.updated({"ScalingConfig": {}}).maximum_concurrency is None
    assert mapping.updated({"ScalingConfig": {"MaximumConcurrency": 4}}).maximum_concurrency == 4


def test_an_update_changes_what_becomes_of_failures() -> None:
    mapping = load(ordering="key", dead_letters="log:", sequenced=True, sequenced_limit=5)
    assert mapping.updated({"BatchSize": 6}).dead_letters == "log:"
    changed = mapping.updated({"DeadLetters": True, "sequenced": False, "SequencedLimit": 100_000})
    assert (changed.dead_letters, changed.sequenced, changed.sequenced_limit) == (True, False, 100_000)
    changed.check(STREAM)
    assert mapping.updated({"dead_letters": ""}).dead_letters is None
    with pytest.raises(ConfigurationErrors, match="Sequenced: goes with ordering key only"):
        mapping.updated({"Ordering": "shard"}).check(STREAM)


def test_an_update_goes_from_one_way_of_scaling_to_the_other() -> None:
    mapping = load(ProvisionedPollerConfig={"MinimumPollers": 3, "MaximumPollers": 30})
    for nothing in ("ProvisionedPollerConfig", "provisioned_poller_config"):
        changed = mapping.updated({nothing: {}, "ScalingConfig": {"MaximumConcurrency": 4}})
        assert (changed.minimum_pollers, changed.maximum_pollers) == (None, None)
        assert changed.concurrency(QUEUE) == 4
        changed.check(QUEUE)
    changed = mapping.updated({"ProvisionedPollerConfig": {"MaximumPollers": 5}})
    assert (changed.minimum_pollers, changed.maximum_pollers) == (3, 5)
    with pytest.raises(ConfigurationErrors, match="keep one of the two"):
        mapping.updated({"ScalingConfig": {"MaximumConcurrency": 4}}).check(QUEUE)


@pytest.mark.parametrize(
    ("option", "value", "field"),
    [
        ("source", "local:other", "Source"),
        ("EventSourceArn", "local:other", "Source"),
        ("StartingPosition", "LATEST", "StartingPosition"),
        ("consumer_group_id", "g", "ConsumerGroupId"),
        ("name", "other", "Name"),
    ],
)
def test_an_update_cannot_change_what_holds_from_the_beginning(option: str, value: str, field: str) -> None:
    with pytest.raises(ConfigurationErrors, match="cannot be changed after creation") as caught:
        load().updated({option: value})
    assert caught.value.field == field


def test_an_update_checks_what_it_sets() -> None:
    with pytest.raises(ConfigurationErrors, match="BatchSize: must be 1 to 10000, not 0"):
        load().updated({"batch_size": 0})
