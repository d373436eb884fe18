"""What the API tells of event source mappings, and how it finds them among thousands."""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import UUID

import pytest

from streamfn.config import EventSourceMapping
from streamfn.control import mapping_documents as documents
from streamfn.control import mapping_rules as rules
from streamfn.control.mapping_declared import declared
from streamfn.control.mapping_index import LARGEST_PAGE, MappingIndex, claims
from streamfn.control.mapping_rules import SourceType
from streamfn.control.naming import FunctionReference
from streamfn.control.plane import Identity
from tests.control.test_mapping_rules import BROKERS, CLUSTER, QUEUE, SOURCES, STREAM, TABLE

U = "11111111-2222-3333-4444-555555555555"
ARN = "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + U
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
F = FunctionReference("f", None)


def made(params: dict[str, Any], uuid: str = U, function: FunctionReference = F) -> dict[str, Any]:
    return documents.created(uuid, rules.source_type(params), params, function, Identity(), 7.0)


def changed(document: dict[str, Any], **params: Any) -> dict[str, Any]:
    return documents.changed(document, rules.source_type(document), params, document["FunctionArn"], 8.0)


@pytest.mark.parametrize("params", [STREAM, TABLE])
def test_a_stream_tells_of_all_its_defaults(params: dict[str, Any]) -> None:
    assert documents.shown(made(params), "Creating", None) == {
        "UUID": U,
        "EventSourceMappingArn": ARN,
        "EventSourceArn": params["EventSourceArn"],
        "FunctionArn": FUNCTION,
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 0,
        "ParallelizationFactor": 1,
        "StartingPosition": "LATEST",
        "BisectBatchOnFunctionError": False,
        "MaximumRecordAgeInSeconds": -1,
        "MaximumRetryAttempts": -1,
        "TumblingWindowInSeconds": 0,
        "DestinationConfig": {"OnFailure": {}},
        "FunctionResponseTypes": [],
        "LastProcessingResult": "No records processed",
        "LastModified": 7.0,
        "State": "Creating",
        "StateTransitionReason": "User action",
    }


def test_a_queue_tells_of_three() -> None:
    assert documents.shown(made(QUEUE), "Creating", None) == {
        "UUID": U,
        "EventSourceMappingArn": ARN,
        "EventSourceArn": QUEUE["EventSourceArn"],
        "FunctionArn": FUNCTION,
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        "LastModified": 7.0,
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
    }


def test_kafka_tells_of_its_consumer_group() -> None:
    assert documents.shown(made(BROKERS), "Creating", None) == {
        **BROKERS,
        "UUID": U,
        "EventSourceMappingArn": ARN,
        "FunctionArn": FUNCTION,
        "BatchSize": 100,
        "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": U},
        "LastModified": 7.0,
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
    }
    given = made({**CLUSTER, "AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"}})
    assert given["AmazonManagedKafkaEventSourceConfig"] == {"ConsumerGroupId": "g"}
    none = changed(given, AmazonManagedKafkaEventSourceConfig={"SchemaRegistryConfig": {}})
    assert none["AmazonManagedKafkaEventSourceConfig"] == {"ConsumerGroupId": "g"}


def test_what_was_given_is_told_and_what_says_nothing_is_not() -> None:
    told = {
        "BatchSize": 5,
        "ScalingConfig": {"MaximumConcurrency": 3},
        "FilterCriteria": {"Filters": [{"Pattern": '{"body": {"a": [1]}}'}]},
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
    }
    untold = {"Enabled": False, "Tags": {"a": "b"}, "FunctionName": "f"}
    shown = documents.shown(made({**QUEUE, **told, **untold}), "Disabled", None)
    assert {name: shown[name] for name in told} == told
    assert not set(untold) & set(shown)
    empty = {
        "FilterCriteria": {"Filters": []},
        "ScalingConfig": {},
        "ParallelizationFactor": 1,
        "MetricsConfig": {"Metrics": []},
        "ProvisionedPollerConfig": {"PollerGroupName": ""},
    }
    assert documents.shown(made({**QUEUE, **empty}), "x", None) == documents.shown(made(QUEUE), "x", None)


def test_pollers_are_told_both() -> None:
    for given, least, most in (
        ({"MinimumPollers": 3}, 3, 200),
        ({"MaximumPollers": 5, "PollerGroupName": ""}, 2, 5),
    ):
        document = made({**QUEUE, "ProvisionedPollerConfig": given})
        assert document["ProvisionedPollerConfig"] == {"MinimumPollers": least, "MaximumPollers": most}
        again = changed(document, BatchSize=5)
        assert again["ProvisionedPollerConfig"] == {"MinimumPollers": least, "MaximumPollers": most}
        assert "ProvisionedPollerConfig" not in changed(document, ProvisionedPollerConfig={})


def test_times_have_milliseconds() -> None:
    source = rules.source_type(QUEUE)
    document = documents.created(U, source, QUEUE, F, Identity(), 1795782817.8174021)
    assert document["LastModified"] == 1795782817.817


def test_the_qualifier_is_kept_as_it_was_given() -> None:
    for qualifier in ("$LATEST", "1", "live"):
        document = made(QUEUE, function=FunctionReference("f", qualifier))
        assert document["FunctionArn"] == f"{FUNCTION}:{qualifier}"


@pytest.mark.parametrize(
    ("params", "result", "shown"),
    [
        (STREAM, None, "No records processed"),
        (STREAM, "OK", "OK"),
        (QUEUE, None, None),
        (QUEUE, "No records processed", None),
        (QUEUE, "OK", "OK"),
        (BROKERS, "PROBLEM: Function call failed", "PROBLEM: Function call failed"),
        (STREAM, "PROBLEM: no broker answers", "PROBLEM: Connection error. no broker answers"),
        (STREAM, "PROBLEM: Configuration error. x", "PROBLEM: Configuration error. x"),
    ],
)
def test_results_are_told_in_lambdas_words(
    params: dict[str, Any], result: str | None, shown: str | None
) -> None:
    assert documents.shown(made(params), "Enabled", result).get("LastProcessingResult") == shown


# ------------------------------------------------------------------------------------------------ changing


def test_an_update_changes_what_was_given() -> None:
    old = made({**STREAM, "BatchSize": 5, "MaximumRetryAttempts": 2})
    new = changed(old, UUID=U, BatchSize=6, Enabled=False)
    assert new == {**old, "BatchSize": 6, "Enabled": False, "LastModified": 8.0}
    assert changed(new, UUID=U)["Enabled"] is False
    assert (old["BatchSize"], old["Enabled"]) == (5, True)


def test_an_empty_value_takes_an_option_away() -> None:
    old = made(
        {
            **STREAM,
            "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:q"}},
            "FilterCriteria": {"Filters": [{"Pattern": "{}"}]},
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        }
    )
    new = changed(
        old, DestinationConfig={"OnFailure": {"Destination": ""}}, FilterCriteria={}, FunctionResponseTypes=[]
    )
    assert new == {**made(STREAM), "LastModified": 8.0}
    scaled = made({**QUEUE, "ScalingConfig": {"MaximumConcurrency": 2}})
    assert changed(scaled, ScalingConfig={}) == {**made(QUEUE), "LastModified": 8.0}


def test_a_consumer_group_survives_updates() -> None:
    old = made({**BROKERS, "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"}})
    new = changed(old, SelfManagedKafkaEventSourceConfig={"ConsumptionMode": "Stream"})
    assert new["SelfManagedKafkaEventSourceConfig"] == {"ConsumerGroupId": "g", "ConsumptionMode": "Stream"}


@pytest.mark.parametrize("source", SourceType)
def test_a_document_is_a_mapping(source: SourceType) -> None:
    """What runs is what is told: the document loads as the request would have."""
    params = {**SOURCES[source], "Tags": {"a": "b"}, "Enabled": False}
    function = FunctionReference("f", "live")
    mapping = EventSourceMapping.load(documents.options(made(params, function=function)))
    assert (mapping.name, mapping.function, mapping.qualifier) == (U, "f", "live")
    assert (mapping.enabled, mapping.tags) == (False, {"a": "b"})
    asked = EventSourceMapping.load({**params, "FunctionName": "f:live", "Name": U})
    assert mapping.source == asked.source
    assert mapping.starting_position == asked.starting_position
    for policy in ("maximum_retry_attempts", "parallelization_factor", "on_failure", "filters"):
        assert getattr(mapping, policy) == getattr(asked, policy)
    assert mapping.consumer_group_id == (U if source.is_kafka else None)


STREAMS_OWN: dict[str, Any] = {
    "LastProcessingResult": "No records processed",
    "StateTransitionReason": "User action",
}


def shown_of(source: str, **options: Any) -> dict[str, Any]:
    mapping = EventSourceMapping.load({"function": "f:live", "source": source, **options})
    return dict(documents.shown(declared(U, mapping, Identity(), 7.0), "Enabled", None))


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            "local:flights?retention=5",
            {"EventSourceArn": "local:flights", **documents.DEFAULTS[SourceType.KINESIS], **STREAMS_OWN},
        ),
        ("local:queue/q", {"EventSourceArn": "local:queue/q", **documents.DEFAULTS[SourceType.SQS]}),
        (QUEUE["EventSourceArn"], {**QUEUE, **documents.DEFAULTS[SourceType.SQS]}),
        (
            TABLE["EventSourceArn"],
            {
                "EventSourceArn": TABLE["EventSourceArn"],
                **documents.DEFAULTS[SourceType.DYNAMODB],
                **STREAMS_OWN,
            },
        ),
        (
            f"{CLUSTER['EventSourceArn']}?topic=t&sasl_password=secret",
            {"EventSourceArn": CLUSTER["EventSourceArn"], "Topics": ["t"]},
        ),
        (
            "kafka://user:secret@a:1,b:2/t?sasl_password=secret",
            {
                "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:1", "b:2"]}},
                "Topics": ["t"],
            },
        ),
        ("own://user:secret@host/x?key=secret", {"EventSourceArn": "own://host/x"}),
    ],
)
def test_a_declared_mapping_tells_of_its_ends_and_of_no_secret(source: str, shown: dict[str, Any]) -> None:
    assert shown_of(source, batch_size=7) == {
        "StateTransitionReason": "USER_INITIATED",
        **shown,
        "UUID": U,
        "EventSourceMappingArn": ARN,
        "FunctionArn": f"{FUNCTION}:live",
        "BatchSize": 7,
        "LastModified": 7.0,
        "State": "Enabled",
    }


def test_a_declared_mapping_tells_of_its_options() -> None:
    stream = {
        "ParallelizationFactor": 2,
        "StartingPosition": "AT_TIMESTAMP",
        "StartingPositionTimestamp": 1.5,
        "MaximumRecordAgeInSeconds": 60,
        "MaximumRetryAttempts": 0,
        "BisectBatchOnFunctionError": True,
        "MaximumBatchingWindowInSeconds": 3,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "FilterCriteria": {"Filters": [{"Pattern": '{"data": {"a": [1]}}'}]},
        "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:dlq"}},
    }
    found = shown_of("local:flights", **stream)
    assert {name: found[name] for name in stream} == stream
    queue = shown_of("local:queue/q", MaximumConcurrency=3)
    assert queue["ScalingConfig"] == {"MaximumConcurrency": 3}
    polled = shown_of("local:queue/q", MinimumPollers=3)
    assert polled["ProvisionedPollerConfig"] == {"MinimumPollers": 3, "MaximumPollers": 200}
    assert "ScalingConfig" not in shown_of("local:flights", Ordering="key", MaximumConcurrency=3)
    hook = shown_of("local:flights", OnFailure="https://user:secret@host/secret?key=secret")
    assert hook["DestinationConfig"] == {"OnFailure": {"Destination": "https://host"}}


# ------------------------------------------------------------------------------------------------- finding


def uuids(count: int) -> list[str]:
    random = Random(1)
    return [str(UUID(int=random.getrandbits(128))) for _ in range(count)]


def test_pages_go_on_where_they_were_whatever_comes_and_goes() -> None:
    index, all_of_them = MappingIndex(), uuids(250)
    kept = {uuid: made({"EventSourceArn": f"arn:aws:sqs:::{n}"}, uuid) for n, uuid in enumerate(all_of_them)}
    for uuid, document in kept.items():
        index.add(uuid, document)
    first, marker = index.page(None, None, "", 10_000)
    assert (len(first), marker) == (LARGEST_PAGE, first[-1])
    for uuid in first[50:]:
        index.remove(uuid, kept[uuid])
    second, marker = index.page(None, None, marker or "", 100)
    third, end = index.page(None, None, marker or "", 100)
    assert sorted(all_of_them) == [*first, *second, *third]
    assert (len(third), end) == (50, None)
    exactly = MappingIndex()
    for uuid in first:
        exactly.add(uuid, kept[uuid])
    assert exactly.page(None, None, "", 100) == (first, None)
    assert exactly.page(None, None, "", 1) == (first[:1], first[0])


def test_filters_are_by_source_and_by_function() -> None:
    index, names = MappingIndex(), iter(sorted(uuids(6)))
    made_of = {
        (name, qualifier, source): next(names)
        for name, qualifier, source in (
            ("f", None, "a"),
            ("f", "1", "a"),
            ("f", "$LATEST", "b"),
            ("g", None, "a"),
            ("g", "live", "b"),
        )
    }
    kept = {}
    for (name, qualifier, source), uuid in made_of.items():
        params = {"EventSourceArn": f"arn:aws:sqs:::{source}"}
        kept[uuid] = made(params, uuid, FunctionReference(name, qualifier))
        index.add(uuid, kept[uuid])

    def found(source: str | None, function: FunctionReference | None) -> set[tuple[str, str | None, str]]:
        page, _ = index.page(source and f"arn:aws:sqs:::{source}", function, "", 100)
        return {key for key, uuid in made_of.items() if uuid in page}

    assert found("a", None) == {("f", None, "a"), ("f", "1", "a"), ("g", None, "a")}
    assert found(None, F) == {("f", None, "a"), ("f", "1", "a"), ("f", "$LATEST", "b")}
    assert found(None, FunctionReference("f", "1")) == {("f", "1", "a")}
    assert found("b", F) == {("f", "$LATEST", "b")}
    assert found("b", FunctionReference("g", "1")) == set()
    assert found("c", None) == set()
    for uuid, document in kept.items():
        index.remove(uuid, document)
    assert found("a", None) == set()
    assert index.page(None, None, "", 100) == ([], None)


def test_twins_are_found_by_any_broker_they_share() -> None:
    index, (one, two) = MappingIndex(), uuids(2)

    def kafka(uuid: str, servers: list[str], topic: str = "t", **more: Any) -> dict[str, Any]:
        endpoints = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": servers}}
        return made({**BROKERS, "SelfManagedEventSource": endpoints, "Topics": [topic], **more}, uuid)

    group: dict[str, Any] = {"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"}}
    document = kafka(one, ["a:1", "b:1"], **group)
    index.add(one, document)
    assert index.holder(claims(document), one) is None
    assert index.holder(claims(kafka(two, ["c:1", "b:1"])), two) == one
    assert index.holder(claims(kafka(two, ["c:1"])), two) is None
    assert index.holder(claims(kafka(two, ["a:1"], "other")), two) is None
    assert index.holder(claims(kafka(two, ["c:1"], "other", **group)), two) == one
    index.remove(one, document)
    assert index.holder(claims(document), two) is None
