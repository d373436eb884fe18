"""What an event source mapping takes, in which spelling, and what it says of what it does not take."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from streamfn.config import (
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


# ------------------------------------------------------------------------------------------ spelling


@pytest.mark.parametrize(
    ("aws", "ours", "value"),
    [
        ("FunctionName", "function", "g"),
        ("FunctionName", "function_name", "g"),
        ("EventSourceArn", "source", "local:trains"),
        ("Enabled", "enabled", False),
        ("BatchSize", "batch_size", 7),
        ("MaximumBatchingWindowInSeconds", "maximum_batching_window_in_seconds", 3),
        ("ParallelizationFactor", "parallelization_factor", 10),
        ("StartingPosition", "starting_position", "LATEST"),
        ("StartingPositionTimestamp", "starting_position_timestamp", 1_700_000_000),
        ("MaximumRecordAgeInSeconds", "maximum_record_age_in_seconds", 60),
        ("MaximumRetryAttempts", "maximum_retry_attempts", 0),
        ("BisectBatchOnFunctionError", "bisect_batch_on_function_error", True),
        ("FunctionResponseTypes", "function_response_types", ["ReportBatchItemFailures"]),
        ("ConsumerGroupId", "consumer_group_id", "group"),
        ("Tags", "tags", {"team": "air"}),
        ("Ordering", "ordering", "key"),
        ("MaximumConcurrency", "maximum_concurrency", 100),
        ("OnFailure", "on_failure", "log:"),
        ("WhenDestinationFails", "when_destination_fails", "drop"),
        ("OnPositionLost", "on_position_lost", "latest"),
        ("RevokeGrace", "revoke_grace", 5),
        ("RetryBackoff", "retry_backoff", {"first": 0.1}),
        ("RetryDelay", "retry_delay", 2),
        ("Name", "name", "m"),
    ],
)
def test_both_spellings_of_a_name_mean_the_same(aws: str, ours: str, value: object) -> None:
    rest = {k: v for k, v in MINIMAL.items() if ours not in (k, f"{k}_name")}
    assert EventSourceMapping.load(rest | {aws: value}) == EventSourceMapping.load(rest | {ours: value})


def test_a_request_body_of_aws_for_kinesis_loads_as_it_is() -> None:
    mapping = EventSourceMapping.load(
        {
            "FunctionName": "arn:aws:lambda:eu-west-1:123456789012:function:delays",
            "EventSourceArn": "arn:aws:kinesis:eu-west-1:123456789012:stream/flights",
            "Enabled": True,
            "BatchSize": 100,
            "MaximumBatchingWindowInSeconds": 0,
            "ParallelizationFactor": 2,
            "StartingPosition": "AT_TIMESTAMP",
            "StartingPositionTimestamp": "2024-01-01T00:00:00Z",
            "DestinationConfig": {"OnFailure": {"Destination": "file:dead.jsonl"}},
            "MaximumRecordAgeInSeconds": -1,
            "MaximumRetryAttempts": 3,
            "BisectBatchOnFunctionError": True,
            "TumblingWindowInSeconds": 0,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "FilterCriteria": {"Filters": []},
            "Tags": {},
        }
    )
    mapping.check(STREAM, now=1_800_000_000)
    assert mapping.function == "delays"
    assert mapping.source == "arn:aws:kinesis:eu-west-1:123456789012:stream/flights"
    assert mapping.name == "delays-flights"
    assert mapping.on_failure == "file:dead.jsonl"
    assert mapping.starting_position_timestamp == datetime(2024, 1, 1, tzinfo=UTC).timestamp()


def test_a_request_body_of_aws_for_self_managed_kafka_loads_as_it_is() -> None:
    mapping = EventSourceMapping.load(
        {
            "FunctionName": "delays:$LATEST",
            "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:9092", "b:9092"]}},
            "Topics": ["flights"],
            "StartingPosition": "TRIM_HORIZON",
            "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "group", "ConsumptionMode": "Stream"},
            "DestinationConfig": {"OnFailure": {"Destination": "kafka://dead"}},
        }
    )
    mapping.check(KAFKA)
    assert mapping.source == "kafka://a:9092,b:9092/flights"
    assert mapping.on_failure == "kafka://a:9092,b:9092/dead"
    assert mapping.subscription("app") == Subscription("group", StartingPosition.TRIM_HORIZON)


def test_a_request_body_of_aws_for_a_queue_loads_as_it_is() -> None:
    body = {"FunctionName": "f", "EventSourceArn": "local:q", "ScalingConfig": {"MaximumConcurrency": 5}}
    mapping = EventSourceMapping.load(body)
    mapping.check(QUEUE)
    assert mapping.concurrency(QUEUE) == 5


def test_pydantic_itself_loads_the_same() -> None:
    body = {"FunctionName": "f", "Source": "local:x", "ScalingConfig": {"MaximumConcurrency": 5}}
    assert EventSourceMapping.model_validate(body) == EventSourceMapping.load(body)


def test_a_topic_of_the_same_cluster_is_reached_as_the_source_is() -> None:
    source = "kafka://a:9092/flights?security_protocol=SSL&ssl_cafile=/etc/ca.pem&session_timeout=30"
    assert load(source=source, on_failure="kafka://dead").on_failure == (
        "kafka://a:9092/dead?security_protocol=SSL&ssl_cafile=/etc/ca.pem"
    )


def test_brokers_together_with_the_arn_of_their_cluster_make_events_of_msk() -> None:
    mapping = EventSourceMapping.load(
        {
            "FunctionName": "f",
            "EventSourceArn": "arn:aws:kafka:eu-west-1:1:cluster/c/1",
            "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:9092"]}},
            "Topics": ["t"],
        }
    )
    assert mapping.source == "kafka://a:9092/t?event_source_arn=arn:aws:kafka:eu-west-1:1:cluster/c/1"


def test_an_empty_destination_is_none() -> None:
    assert load(DestinationConfig={"OnFailure": {"Destination": ""}}).on_failure is None
    assert load(DestinationConfig={"OnFailure": {}}).on_failure is None
    assert load(on_failure="").on_failure is None


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("local:flights", "f-flights"),
        ("kafka://a:9092,b:9092/flights?acks=all", "f-flights"),
        ("arn:aws:sqs:eu-west-1:1:orders.fifo", "f-orders.fifo"),
        ("local:näive", "f-n-ive"),
    ],
)
def test_a_mapping_without_a_name_is_called_after_its_ends(source: str, name: str) -> None:
    assert load(source=source).name == name


def test_sources_and_destinations_may_be_objects() -> None:
    source = SimpleNamespace(name="memory:x", shards=None)
    destination = SimpleNamespace(name="memory:dead", send=None)
    mapping = load(source=source, on_failure=destination)
    assert mapping.source is source
    assert mapping.on_failure is destination
    assert mapping.name == "f-x"


@pytest.mark.parametrize("name", ["", None])
def test_no_name_is_the_same_as_none_given(name: str | None) -> None:
    assert load(name=name).name == "f-flights"


def test_a_mapping_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().batch_size = 3  # type: ignore[misc]


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "BatchSize: must be 1 to 10000, not 0"),
        ({"BatchSize": 10_001}, "BatchSize: must be 1 to 10000, not 10001"),
        ({"batch_size": "many"}, "BatchSize: must be a whole number, not 'many'"),
        ({"batch_size": 1.5}, "BatchSize: must be a whole number, not 1.5"),
        ({"batch_size": True}, "BatchSize: must be a number, not true"),
        (
            {"maximum_batching_window_in_seconds": 301},
            "MaximumBatchingWindowInSeconds: must be 0 to 300, not 301",
        ),
        ({"parallelization_factor": 11}, "ParallelizationFactor: must be 1 to 10, not 11"),
        (
            {"maximum_record_age_in_seconds": 59},
            "MaximumRecordAgeInSeconds: must be -1 (no limit) or 60 to 604800, not 59",
        ),
        (
            {"maximum_record_age_in_seconds": 604_801},
            "MaximumRecordAgeInSeconds: must be -1 (no limit) or 60 to 604800, not 604801",
        ),
        (
            {"maximum_retry_attempts": -2},
            "MaximumRetryAttempts: must be -1 (no limit) or 0 to 10000, not -2",
        ),
        (
            {"maximum_retry_attempts": 10_001},
            "MaximumRetryAttempts: must be -1 (no limit) or 0 to 10000, not 10001",
        ),
        (
            {"starting_position": "BEGINNING"},
            "StartingPosition: 1 validation error detected: Value 'BEGINNING' at 'startingPosition' failed "
            "to satisfy constraint: Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]",
        ),
        (
            {"starting_position_timestamp": "yesterday"},
            "StartingPositionTimestamp: must be epoch seconds or an ISO 8601 time, not 'yesterday'",
        ),
        (
            {"function_response_types": ["ReportBatchItemFailure"]},
            "FunctionResponseTypes[0]: must be 'ReportBatchItemFailures', not 'ReportBatchItemFailure'",
        ),
        ({"enabled": "perhaps"}, "Enabled: must be true or false, not 'perhaps'"),
        ({"ordering": "keys"}, "Ordering: must be 'shard', 'key' or 'none', not 'keys'"),
        ({"filter": "x > 1"}, "Filter: must be a Python function, not 'x > 1'"),
        ({"tags": {"a": 1}}, "Tags.a: must be text, not 1"),
        (
            {"retry_backoff": {"first": -1}},
            "RetryBackoff.First: must be 0 to 3600 seconds, not -1",
        ),
        ({"revoke_grace": float("nan")}, "RevokeGrace: must be 0 to 3600 seconds, not nan"),
        ({"name": "a b"}, "Name: 'a b' is no name: 1 to 140 letters, digits, ., - or _"),
        ({"function": "a b"}, "FunctionName: 'a b' is no function's name: 1 to 64 letters, digits, - or _"),
        (
            {"function": "f:prod"},
            "FunctionName: versions and aliases (prod) are not supported yet. Fix: write f",
        ),
        (
            {"source": "flights"},
            "Source: 'flights' is no URI. Fix: write its kind first, such as local:flights",
        ),
        (
            {"source": 3},
            "Source: must be a URI or a source, not 3. Fix: write a URI such as local:flights",
        ),
        (
            {"on_failure": "dead"},
            "OnFailure: 'dead' is no URI. Fix: write its kind first, such as file:dead-letters.jsonl",
        ),
        (
            {"ScalingConfig": {"MaximumConcurrency": 1}},
            "ScalingConfig.MaximumConcurrency: must be 2 to 1000, not 1",
        ),
        ({"maximum_concurrency": 1001}, "MaximumConcurrency: must be 1 to 1000, not 1001"),
        (
            {"DestinationConfig": {"OnSuccess": {"Destination": "log:"}}},
            "DestinationConfig.OnSuccess: Unsupported DestinationConfig parameter for given event "
            "source mapping type. "
            "Fix: remove OnSuccess: an event source mapping has a destination for failures only",
        ),
        (
            {"DestinationConfig": {"OnFailure": {"Destinaton": "log:"}}},
            "DestinationConfig.OnFailure.Destinaton: unknown option. Fix: did you mean Destination?",
        ),
        (
            {"DestinationConfig": {"OnFailure": {"Destination": "log:"}}, "on_failure": "log:"},
            "DestinationConfig: is given twice, here and as OnFailure. Fix: keep one of the two",
        ),
        ({"Batchsize": 1}, "Batchsize: unknown option. Fix: did you mean BatchSize?"),
        ({"batchSize": 1}, "batchSize: unknown option. Fix: did you mean BatchSize?"),
        ({"batch_siz": 1}, "batch_siz: unknown option. Fix: did you mean batch_size?"),
        ({"xyzzy": 1}, "xyzzy: unknown option"),
        (
            {"FunctionName": "g"},
            "function: is given twice, as FunctionName and as function. Fix: keep one of the two",
        ),
        (
            {"EventSourceArn": "local:x"},
            "EventSourceArn: is given twice, here and as Source. Fix: keep one of the two",
        ),
        (
            {"BatchSize": 1, "batch_size": 1},
            "batch_size: is given twice, as BatchSize and as batch_size. Fix: keep one of the two",
        ),
        ({"TumblingWindowInSeconds": 30}, "TumblingWindowInSeconds: not supported yet. Fix: remove it"),
        (
            {"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}},
            "FilterCriteria: not supported yet. Fix: remove it",
        ),
        (
            {"ProvisionedPollerConfig": {"MinimumPollers": 1}},
            "ProvisionedPollerConfig: not supported yet. Fix: remove it",
        ),
        (
            {"SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": "arn"}]},
            "SourceAccessConfigurations: not supported yet. Fix: remove it",
        ),
        ({"KMSKeyArn": "arn"}, "KMSKeyArn: not supported yet. Fix: remove it"),
        ({"MetricsConfig": {"Metrics": ["EventCount"]}}, "MetricsConfig: not supported yet. Fix: remove it"),
        ({"LoggingConfig": {"SystemLogLevel": "INFO"}}, "LoggingConfig: not supported yet. Fix: remove it"),
        (
            {"DocumentDBEventSourceConfig": {"DatabaseName": "d"}},
            "DocumentDBEventSourceConfig: not supported yet. Fix: remove it",
        ),
        ({"Queues": ["q"]}, "Queues: not supported yet. Fix: remove it"),
        (
            {"SelfManagedKafkaEventSourceConfig": {"SchemaRegistryConfig": {"SchemaRegistryURI": "x"}}},
            "SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig: not supported yet. Fix: remove it",
        ),
        (
            {"SelfManagedKafkaEventSourceConfig": {"ConsumptionMode": "Queue"}},
            "SelfManagedKafkaEventSourceConfig.ConsumptionMode: Queue: not supported yet. "
            "Fix: remove it, or write Stream",
        ),
        (
            {"source": "kafka://a:1/t", "on_failure": "kafka://t"},
            "OnFailure: is the topic that the mapping reads. Fix: send failures to another topic",
        ),
        (
            {"on_failure": "kafka://dead"},
            "OnFailure: names a topic and no broker. Fix: write kafka://host:9092/topic",
        ),
    ],
)
def test_a_wrong_option_is_refused_with_its_place_and_field(options: dict[str, Any], message: str) -> None:
    assert said(MINIMAL | options) == [f"{WHERE}: {message}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "local:x"}, "FunctionName: is required"),
        ({"function": "f"}, "Source: is required"),
        (
            {"function": "f", "Topics": ["t"]},
            "Topics: needs the brokers of the topic. Fix: give SelfManagedEventSource, or a source kafka://…",
        ),
        (
            {"function": "f", "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:1"]}}},
            "Topics: is required with SelfManagedEventSource. Fix: name one topic",
        ),
        (
            {"function": "f", "EventSourceArn": "arn:aws:kafka:eu-west-1:1:cluster/c/1", "Topics": ["t"]},
            "EventSourceArn: the brokers of an MSK cluster are not in its ARN. "
            "Fix: give SelfManagedEventSource too, or Source: kafka://host:9092/t?event_source_arn=ARN",
        ),
    ],
)
def test_a_missing_end_is_told_of(options: dict[str, Any], message: str) -> None:
    assert said(options) == [f"{WHERE}: {message}"]


def test_all_problems_are_told_together() -> None:
    options = MINIMAL | {"BatchSize": 0, "Batchsize": 1, "TumblingWindowInSeconds": 9, "ordering": "x"}
    assert [line.split(": ")[1] for line in said(options)] == [
        "TumblingWindowInSeconds",
        "BatchSize",
        "Ordering",
        "Batchsize",
    ]


def test_each_problem_is_an_error_of_its_own() -> None:
    with pytest.raises(ConfigurationErrors) as caught:
        load(batch_size=0, ordering="x")
    assert [(error.where, error.field) for error in caught.value.errors] == [
        (WHERE, "BatchSize"),
        (WHERE, "Ordering"),
    ]
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.field == "BatchSize"


def test_the_place_is_the_line_that_called() -> None:
    with pytest.raises(ConfigurationErrors, match=r"test_mapping\.py:\d+: BatchSize: must be") as caught:
        EventSourceMapping.load(MINIMAL | {"batch_size": 0})
    assert caught.value.where.startswith(("tests/", "/"))


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
        ("when_destination_fails", "drop", {STREAM, KAFKA}),
        ("maximum_record_age_in_seconds", 60, {STREAM, KAFKA}),
        ("maximum_retry_attempts", 1, {STREAM, KAFKA}),
        ("bisect_batch_on_function_error", True, {STREAM, KAFKA}),
        ("function_response_types", ["ReportBatchItemFailures"], {STREAM, KAFKA, QUEUE, FIFO}),
        ("filter", bool, {STREAM, KAFKA, QUEUE, FIFO}),
        ("consumer_group_id", "g", {STREAM, KAFKA}),
        ("tags", {"a": "b"}, {STREAM, KAFKA, QUEUE, FIFO}),
        ("ordering", "key", {STREAM, KAFKA}),
        ("on_position_lost", "latest", {STREAM, KAFKA}),
        ("revoke_grace", 1, {STREAM, KAFKA}),
        ("retry_backoff", {"first": 0.1}, {STREAM, KAFKA}),
        ("retry_delay", 1, {QUEUE, FIFO}),
        ("maximum_concurrency", 2, {QUEUE, FIFO}),
    ],
)
@pytest.mark.parametrize("kind", [STREAM, KAFKA, QUEUE, FIFO], ids=lambda kind: kind.name)
def test_a_kind_takes_what_goes_with_it_and_refuses_the_rest(
    kind: Kind, option: str, value: object, accepting: set[Kind]
) -> None:
    if kind in accepting:
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
            "DestinationConfig", "a queue does not take it: remove it and give the queue a dead-letter queue"
        )
    ]
    assert refused(KAFKA, parallelization_factor=2) == [
        unsupported(
            "ParallelizationFactor",
            "a Kafka topic does not take it: remove it, or set ordering: key and MaximumConcurrency",
        )
    ]
    assert refused(FIFO, maximum_batching_window_in_seconds=1) == [
        unsupported("MaximumBatchingWindowInSeconds", "a FIFO queue does not take it: remove it")
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
