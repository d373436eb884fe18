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
)
from streamfn.core.policies import (
    StartingPosition,
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
        ("DeadLetters", "dead_letters", True),
        ("DeadLetters", "dead_letters", "local:queue/lost"),
        ("Sequenced", "sequenced", True),
        ("SequencedLimit", "sequenced_limit", 5),
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
    assert (mapping.concurrency(QUEUE), mapping.idle_pollers()) == (5, 1)


@pytest.mark.parametrize(
    ("pollers", "batches", "idle"),
    [
        ({"MinimumPollers": 5, "MaximumPollers": 50}, 500, 5),
        ({"minimum_pollers": 5}, 2000, 5),
        ({"MaximumPollers": 2000, "PollerGroupName": ""}, 20_000, 2),
        ({"MaximumPollers": None}, 10, 1),
        ({}, 10, 1),
        (None, 10, 1),
    ],
)
def test_provisioned_pollers_of_a_queue_load_as_they_are(
    pollers: dict[str, Any] | None, batches: int, idle: int
) -> None:
    arn = "arn:aws:sqs:us-east-1:000000000000:q?endpoint_url=http://127.0.0.1:4566"
    body = {"FunctionName": "f", "EventSourceArn": arn, "ProvisionedPollerConfig": pollers}
    mapping = EventSourceMapping.load(body)
    for kind in (QUEUE, FIFO):
        mapping.check(kind)
        assert (mapping.concurrency(kind), mapping.idle_pollers()) == (batches, idle)
    assert mapping.source == arn


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


def test_dead_letters_may_go_to_a_topic_of_the_same_cluster() -> None:
    mapping = load(source="kafka://a:9092/flights", on_failure="kafka://failed", dead_letters="kafka://dead")
    assert mapping.on_failure == "kafka://a:9092/failed"
    assert mapping.dead_letters == "kafka://a:9092/dead"


@pytest.mark.parametrize("value", [None, True, False, "file:dead.jsonl", "arn:aws:s3:::dead"])
def test_dead_letters_are_kept_or_not_or_somewhere(value: object) -> None:
    assert load(dead_letters=value).dead_letters == value


def test_nothing_is_said_of_dead_letters_by_default_nor_by_empty_text() -> None:
    assert load().dead_letters is None
    assert load(dead_letters="").dead_letters is None


def test_an_object_takes_dead_letters_too() -> None:
    destination = SimpleNamespace(name="memory:dead", send=None)
    assert load(dead_letters=destination).dead_letters is destination


@pytest.mark.parametrize("limit", [1, 10_000_000])
def test_the_ends_of_the_range_of_parked_records(limit: int) -> None:
    assert load(sequenced_limit=limit).sequenced_limit == limit


def test_an_empty_destination_is_none() -> None:
    assert load(DestinationConfig={"OnFailure": {"Destination": ""}}).on_failure is None
    assert load(DestinationConfig={"OnFailure": {}}).on_failure is None
    assert load(on_failure="").on_failure is None


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("local:flights", "f-flights"),
        ("kafka://a:9092,b:9092/flights?acks=all", "f-flights"),
        ("arn:aws:sqs:us-east-1:000000000000:q", "f-q"),
        ("arn:aws:sqs:us-east-1:000000000000:q?endpoint_url=http://127.0.0.1:4566/x", "f-q"),
        ("arn:aws:sqs:us-east-1:000000000000:orders.fifo", "f-orders.fifo"),
        ("arn:aws:kinesis:eu-west-1:123456789012:stream/x", "f-x"),
        ("arn:aws:kinesis:eu-west-1:123456789012:stream/x/consumer/c:1700000000", "f-x"),
        ("arn:aws:dynamodb:eu-west-1:1:table/t/stream/2024-06-10T19:26:16.525", "f-t"),
        ("arn:aws:mq:us-east-1:1:broker:b:b-1", "f-broker-b-b-1"),
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
            {"function": "f:prod", "Qualifier": "2"},
            "FunctionName: The derived qualifier from the function name does not match the specified "
            "qualifier. Fix: write f and keep Qualifier",
        ),
        (
            {"function": "f:"},
            "Qualifier: '' is no qualifier: $LATEST, a version's number, "
            "or an alias of 1 to 128 letters, digits, - or _",
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
        (
            {"dead_letters": "lost"},
            "DeadLetters: 'lost' is no URI. Fix: write its kind first, such as file:dead-letters.jsonl",
        ),
        (
            {"dead_letters": 1},
            "DeadLetters: must be true, false, a URI or a destination, not 1. "
            "Fix: write true for local:queue/dead-letters",
        ),
        (
            {"dead_letters": "arn:aws:sqs:q"},
            "DeadLetters: The destination ARN arn:aws:sqs:q is invalid. "
            "Fix: write arn:aws:SERVICE:REGION:ACCOUNT:NAME, or a URI",
        ),
        (
            {"source": "kafka://a:1/t", "dead_letters": "kafka://t"},
            "DeadLetters: is the topic that the mapping reads. Fix: send failures to another topic",
        ),
        (
            {"dead_letters": "kafka://dead"},
            "DeadLetters: names a topic and no broker. Fix: write kafka://host:9092/topic",
        ),
        ({"sequenced": "perhaps"}, "Sequenced: must be true or false, not 'perhaps'"),
        ({"sequenced_limit": 0}, "SequencedLimit: must be 1 to 10000000, not 0"),
        ({"sequenced_limit": 10_000_001}, "SequencedLimit: must be 1 to 10000000, not 10000001"),
        ({"sequenced_limit": True}, "SequencedLimit: must be a number, not true"),
        ({"dead_leters": True}, "dead_leters: unknown option. Fix: did you mean dead_letters?"),
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
            {"ProvisionedPollerConfig": {"PollerGroupName": "g"}},
            "ProvisionedPollerConfig.PollerGroupName: not supported yet. Fix: remove it",
        ),
        (
            {"ProvisionedPollerConfig": {"MinimumPollers": 201}},
            "ProvisionedPollerConfig.MinimumPollers: must be 1 to 200, not 201",
        ),
        (
            {"provisioned_poller_config": {"maximum_pollers": 2001}},
            "ProvisionedPollerConfig.MaximumPollers: must be 1 to 2000, not 2001",
        ),
        (
            {"minimum_pollers": 0},
            "MinimumPollers: must be 1 to 200, not 0",
        ),
        (
            {"minimum_pollers": 3, "ProvisionedPollerConfig": {"MinimumPollers": 3}},
            "ProvisionedPollerConfig: is given twice, here and as MinimumPollers. Fix: keep one of the two",
        ),
        (
            {"SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": ""}]},
            "SourceAccessConfigurations[0].URI: String should have at least 1 character",
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
            "SelfManagedKafkaEventSourceConfig.ConsumptionMode: mode Queue: not supported yet. "
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
            {"function": "f", "EventSourceArn": "arn:aws:kafka:eu-west-1:1:cluster/c/1"},
            "Topics: is required with an MSK cluster. Fix: name one topic",
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
