"""What Lambda says of event source mappings whose parameters do not go together, in its words."""

from __future__ import annotations

from typing import Any

import pytest

from streamfn.config import EventSourceMapping
from streamfn.control import mapping_rules as rules
from streamfn.control.errors import ApiError
from streamfn.control.mapping_rules import SourceType
from streamfn.errors import ConfigurationError

QUEUE: dict[str, Any] = {"EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:orders"}
STREAM: dict[str, Any] = {
    "EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/flights",
    "StartingPosition": "LATEST",
}
TABLE: dict[str, Any] = {
    "EventSourceArn": "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000",
    "StartingPosition": "LATEST",
}
CLUSTER: dict[str, Any] = {
    "EventSourceArn": "arn:aws:kafka:us-east-1:000000000000:cluster/c/uuid-1",
    "StartingPosition": "LATEST",
    "Topics": ["t"],
}
BROKERS: dict[str, Any] = {
    "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka:1000"]}},
    "SourceAccessConfigurations": [{"Type": "VPC_SUBNET", "URI": "subnet:subnet-1"}],
    "StartingPosition": "LATEST",
    "Topics": ["t"],
}
SOURCES: dict[SourceType, dict[str, Any]] = {
    SourceType.SQS: QUEUE,
    SourceType.KINESIS: STREAM,
    SourceType.DYNAMODB: TABLE,
    SourceType.MSK: CLUSTER,
    SourceType.SELF_MANAGED: BROKERS,
}
VALUES: dict[str, Any] = {
    "Topics": ["t"],
    "Queues": ["q"],
    "SelfManagedEventSource": BROKERS["SelfManagedEventSource"],
    "SourceAccessConfigurations": BROKERS["SourceAccessConfigurations"],
    "AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"},
    "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"},
    "DocumentDBEventSourceConfig": {"DatabaseName": "d"},
    "ParallelizationFactor": 2,
    "TumblingWindowInSeconds": 1,
    "StartingPosition": "TRIM_HORIZON",
    "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:dlq"}},
    "MaximumRecordAgeInSeconds": 60,
    "MaximumRetryAttempts": 0,
    "BisectBatchOnFunctionError": True,
    "ScalingConfig": {"MaximumConcurrency": 2},
    "ProvisionedPollerConfig": {"MinimumPollers": 2},
    "LoggingConfig": {"SystemLogLevel": "INFO"},
}


def refusal(params: dict[str, Any]) -> tuple[str, int, str]:
    with pytest.raises(ApiError) as error:
        rules.check(params)
    return error.value.code, error.value.status, error.value.message


@pytest.mark.parametrize("source", SourceType)
def test_a_source_is_known_by_its_arn_or_its_brokers(source: SourceType) -> None:
    assert rules.check({"FunctionName": "f", **SOURCES[source]}) is source


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "arn:aws:s3:::bucket",
        "arn:aws:sns:us-east-1:000000000000:topic",
        "arn:aws:kinesis:us-east-1:000000000000:orders",
        "arn:aws:dynamodb:us-east-1:000000000000:table/orders",
        "arn:aws:sqs:us-east-1:000000000000:",
        "arn:aws:sqs",
        "arn:aws:sqs:us-east-1:000000000000:orders?endpoint_url=http://127.0.0.1:1",
    ],
)
def test_what_is_no_source_is_not_recognized(arn: str) -> None:
    params = {"EventSourceArn": arn} if arn else {}
    assert refusal(params) == ("InvalidParameterValueException", 400, "Unrecognized event source.")


def test_a_source_that_is_not_built_is_named() -> None:
    arn = "arn:aws:mq:us-east-1:000000000000:broker:b:b-1"
    assert refusal({"EventSourceArn": arn})[2] == "Event sources of mq are not supported by streamfn."


@pytest.mark.parametrize("option", [each for each in rules.TAKEN_BY if each != "StartingPositionTimestamp"])
@pytest.mark.parametrize("source", SourceType)
def test_each_option_goes_with_its_sources_only(source: SourceType, option: str) -> None:
    params = {**SOURCES[source], option: VALUES[option]}
    if source in rules.TAKEN_BY[option]:
        assert rules.check(params) is source
    else:
        message = f"Unsupported {option} parameter for given event source mapping type."
        if (source, option) == (SourceType.SQS, "StartingPosition"):
            message = "StartingPosition is not valid for SQS event sources."
        assert refusal(params) == ("InvalidParameterValueException", 400, message)


def test_an_option_that_says_nothing_goes_with_all() -> None:
    nothing: dict[str, Any] = {
        **rules.NEUTRAL,
        "Topics": [],
        "ScalingConfig": {},
        "ProvisionedPollerConfig": {"PollerGroupName": ""},
        "MetricsConfig": {"Metrics": []},
        "DestinationConfig": {"OnFailure": {"Destination": ""}, "OnSuccess": {}},
        "FilterCriteria": {"Filters": []},
    }
    for source, params in SOURCES.items():
        assert rules.check({**nothing, **params}) is source


def test_a_mapping_has_no_destination_for_what_goes_well() -> None:
    on_success = {"OnSuccess": {"Destination": "arn:aws:sqs:us-east-1:000000000000:q"}}
    message = "Unsupported DestinationConfig parameter for given event source mapping type."
    for params in SOURCES.values():
        assert refusal({**params, "DestinationConfig": on_success})[2] == message


@pytest.mark.parametrize("source", [each for each in SourceType if each is not SourceType.SQS])
def test_streams_need_a_starting_position(source: SourceType) -> None:
    params = {name: value for name, value in SOURCES[source].items() if name != "StartingPosition"}
    assert refusal(params) == (
        "InvalidParameterValueException",
        400,
        "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: "
        "Member must not be null.",
    )


def test_a_table_has_no_timestamps() -> None:
    assert refusal({**TABLE, "StartingPosition": "AT_TIMESTAMP"})[2] == (
        f"Unsupported starting position for arn type: {TABLE['EventSourceArn']}"
    )
    stream = {**STREAM, "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1.0}
    assert rules.check(stream) is SourceType.KINESIS
    timed = {**TABLE, "StartingPositionTimestamp": 1.0}
    assert refusal(timed)[2] == "Timestamp only valid with StartingPosition AT_TIMESTAMP"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"StartingPositionTimestamp": 1.0}, "Timestamp only valid with StartingPosition AT_TIMESTAMP"),
        ({"StartingPosition": "AT_TIMESTAMP"}, "Need to specify a timestamp"),
        (
            {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": -7.0},
            "StartingPositionTimestamp: must not be before 1970",
        ),
    ],
)
@pytest.mark.parametrize("params", [STREAM, CLUSTER, BROKERS])
def test_a_timestamp_goes_with_one_position(
    params: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    assert refusal({**params, **more}) == ("InvalidParameterValueException", 400, message)
    timed = {**params, "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1.0}
    assert rules.check(timed) is rules.source_type(params)
    assert refusal({**QUEUE, "StartingPositionTimestamp": 1.0})[2] == (
        "Unsupported StartingPositionTimestamp parameter for given event source mapping type."
    )


SQS, SNS = "arn:aws:sqs:us-east-1:000000000000:", "arn:aws:sns:us-east-1:000000000000:"


@pytest.mark.parametrize("source", [SourceType.KINESIS, SourceType.DYNAMODB, SourceType.SELF_MANAGED])
def test_failures_go_to_queues_topics_and_buckets(source: SourceType) -> None:
    def to(destination: str) -> dict[str, Any]:
        return {**SOURCES[source], "DestinationConfig": {"OnFailure": {"Destination": destination}}}

    for good in (f"{SQS}dlq", f"{SNS}failures", "arn:aws:s3:::failures"):
        assert rules.check(to(good)) is source
    for bad in (
        f"{SQS}dlq.fifo",
        f"{SNS}failures.fifo",
        SQS,
        f"{SQS}dlq?endpoint_url=http://127.0.0.1:1",
        "arn:aws:lambda:us-east-1:000000000000:function:f",
        "arn:aws:events:us-east-1:000000000000:event-bus/default",
        "arn:aws:kinesis:us-east-1:000000000000:stream/s",
    ):
        code, status, message = refusal(to(bad))
        assert (code, status) == ("InvalidParameterValueException", 400)
        assert message.startswith(f"The destination ARN {bad} is invalid. ")
    if source.is_kafka:
        assert rules.check(to("kafka://failures")) is source
    else:
        assert "kafka://failures is invalid" in refusal(to("kafka://failures"))[2]


def test_brokers_need_access() -> None:
    nothing: list[list[str] | None] = [None, []]
    for none in nothing:
        params = {**BROKERS, "SourceAccessConfigurations": none, "StartingPosition": None}
        assert refusal(params)[2] == "Required 'sourceAccessConfigurations' parameter is missing."


@pytest.mark.parametrize("params", [CLUSTER, BROKERS])
def test_a_registry_of_schemas_needs_pollers(params: dict[str, Any]) -> None:
    group = rules.GROUPS[rules.source_type(params)]
    registry = {group: {"SchemaRegistryConfig": {"SchemaRegistryURI": "https://registry"}}}
    assert refusal({**params, **registry}) == (
        "InvalidParameterValueException",
        400,
        "SchemaRegistryConfig is only available for Provisioned Mode. To configure Schema Registry, please "
        "enable Provisioned Mode by specifying MinimumPollers in ProvisionedPollerConfig.",
    )
    rules.check({**params, **registry, "ProvisionedPollerConfig": {"MinimumPollers": 1}})
    rules.check({**params, group: {"SchemaRegistryConfig": {}}})


def test_metrics_of_kafka_are_those_of_kafka() -> None:
    rules.check({**QUEUE, "MetricsConfig": {"Metrics": ["EventCount"]}})
    rules.check({**CLUSTER, "MetricsConfig": {"Metrics": ["EventCount", "KafkaMetrics"]}})
    message = "Unsupported MetricsConfig parameter for given event source mapping type."
    assert refusal({**QUEUE, "MetricsConfig": {"Metrics": ["ErrorCount"]}})[2] == message


def test_a_consumer_group_stays() -> None:
    old = {"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"}}
    rules.fixed(old, {"BatchSize": 1})
    rules.fixed(old, old)
    rules.fixed(old, {"SelfManagedKafkaEventSourceConfig": {"ConsumptionMode": "Stream"}})
    for member, value in (("ConsumerGroupId", "h"), ("ConsumptionMode", "Queue")):
        with pytest.raises(ApiError, match=f"{member} cannot be changed after creation"):
            rules.fixed(old, {"SelfManagedKafkaEventSourceConfig": {member: value}})


def test_a_function_is_quicker_than_its_source_waits() -> None:
    rules.check_timeout(SourceType.SQS, 30.0, 30.0)
    rules.check_timeout(SourceType.KINESIS, 900.0, None)
    rules.check_timeout(SourceType.MSK, 840.0, None)
    with pytest.raises(ApiError) as error:
        rules.check_timeout(SourceType.SQS, 31.0, 30.0)
    assert error.value.message == (
        "Queue visibility timeout: 30 seconds is less than Function timeout: 31 seconds"
    )
    with pytest.raises(ApiError, match="Function timeout: 841 seconds is more than the 840 seconds"):
        rules.check_timeout(SourceType.SELF_MANAGED, 841.0, None)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            SourceType.SQS,
            'An event source mapping with SQS arn (" arn:aws:sqs:us-east-1:000000000000:orders ") and '
            'function (" f:1 ") already exists. Please update or delete the existing mapping with UUID u',
        ),
        (
            SourceType.KINESIS,
            'The event source arn (" arn:aws:kinesis:us-east-1:000000000000:stream/flights ") and function '
            '(" f:1 ") provided mapping already exists. Please update or delete the existing mapping with '
            "UUID u",
        ),
        (
            SourceType.SELF_MANAGED,
            'An event source mapping with event source ("kafka:1000"), function ("ARN"), topics ("t") '
            "already exists. Please update or delete the existing mapping with UUID u",
        ),
    ],
)
def test_the_words_for_duplicates_differ_by_source(source: SourceType, said: str) -> None:
    error = rules.duplicate(source, SOURCES[source], "f:1", "ARN", "u")
    assert (error.code, error.status, error.message) == ("ResourceConflictException", 409, said)


def said_of(**options: Any) -> ApiError:
    with pytest.raises(ConfigurationError) as error:
        EventSourceMapping.load({"FunctionName": "f", "Source": "local:s", **options})
    return rules.refused(error.value)


def test_problems_of_the_configuration_are_told_in_its_words() -> None:
    pattern = {"FilterCriteria": {"Filters": [{"Pattern": '{"a": 1}'}]}}
    assert said_of(**pattern).message == "Invalid filter pattern definition."
    wrong = said_of(StartingPosition="NOW")
    assert (wrong.code, wrong.status) == ("ValidationException", 400)
    assert wrong.message == (
        "1 validation error detected: Value 'NOW' at 'startingPosition' failed to satisfy constraint: "
        "Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]"
    )
    age = said_of(MaximumRecordAgeInSeconds=30)
    assert (age.code, age.message) == (
        "InvalidParameterValueException",
        "MaximumRecordAgeInSeconds: must be -1 (no limit) or 60 to 604800, not 30",
    )
    assert said_of(TumblingWindowInSeconds=5).message == "TumblingWindowInSeconds: not supported yet"
    many = {"FilterCriteria": {"Filters": [{"Pattern": "{}"}] * 11}}
    assert "must be at most 10 filters, not 11" in said_of(**many).message
