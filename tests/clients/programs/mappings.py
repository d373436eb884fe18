"""Event source mappings: made, listed, changed, deleted, their states, and what they are refused for.

The queues and streams are those of the embedded broker.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import checks
from checks import api, arn, create, refused, unique, until

INVALID = "InvalidParameterValueException"
MISSING = ("ResourceNotFoundException", "The resource you requested does not exist.", 404)
BOOTSTRAP = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["127.0.0.1:1", "127.0.0.1:2"]}}
ACCESS = [{"Type": "VPC_SUBNET", "URI": "subnet:subnet-1"}, {"Type": "VPC_SECURITY_GROUP", "URI": "sg-1"}]
_made: list[str] = []


def function() -> str:
    """One function for all checks."""
    if not _made:
        _made.append(create(Publish=True))
        api.create_alias(FunctionName=_made[0], Name="live", FunctionVersion="1")
    return _made[0]


def queue(suffix: str = "") -> str:
    return arn("", unique("queue") + suffix, "sqs")


def stream() -> str:
    return arn("stream/" + unique("stream"), "", "kinesis")


def table() -> str:
    return arn(f"table/{unique('table')}/stream/2026-01-01T00:00:00.000", "", "dynamodb")


def of_queue(**options: Any) -> Any:
    given = {"FunctionName": function(), "EventSourceArn": queue(), **options}
    return api.create_event_source_mapping(**given)


def of_stream(**options: Any) -> Any:
    given = {"FunctionName": function(), "EventSourceArn": stream(), "StartingPosition": "TRIM_HORIZON"}
    return api.create_event_source_mapping(**{**given, **options})


def of_kafka(**options: Any) -> Any:
    given = {
        "FunctionName": function(),
        "SelfManagedEventSource": BOOTSTRAP,
        "Topics": [unique("topic")],
        "SourceAccessConfigurations": ACCESS,
        "StartingPosition": "LATEST",
        "Enabled": False,
    }
    return api.create_event_source_mapping(**{**given, **options})


def settled(mapping: Any, state: str) -> Any:
    """The mapping once it is in that state."""

    def found() -> Any:
        answer = api.get_event_source_mapping(UUID=mapping["UUID"])
        return answer if answer["State"] == state else None

    return until(found)


def gone(mapping: Any) -> bool:
    try:
        api.get_event_source_mapping(UUID=mapping["UUID"])
    except api.exceptions.ResourceNotFoundException:
        return True
    return False


def check_the_life_of_a_mapping_of_a_queue() -> None:
    source = queue()
    made = of_queue(EventSourceArn=source)
    assert checks.status(made) == 202
    expected = {
        "EventSourceArn": source,
        "FunctionArn": arn("function", function()),
        "EventSourceMappingArn": arn("event-source-mapping", made["UUID"]),
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
    }
    assert {key: made.get(key) for key in expected} == expected, made
    assert uuid.UUID(made["UUID"])
    assert made["LastModified"].tzinfo is not None
    assert set(made) - set(expected) == {"UUID", "LastModified", "ResponseMetadata"}, made
    settled(made, "Enabled")
    changed = api.update_event_source_mapping(UUID=made["UUID"], BatchSize=5)
    assert (checks.status(changed), changed["State"], changed["BatchSize"]) == (202, "Updating", 5), changed
    assert settled(made, "Enabled")["BatchSize"] == 5
    paused = api.update_event_source_mapping(UUID=made["UUID"], Enabled=False)
    assert paused["State"] == "Disabling", paused
    settled(made, "Disabled")
    resumed = api.update_event_source_mapping(UUID=made["UUID"], Enabled=True)
    assert resumed["State"] == "Enabling", resumed
    settled(made, "Enabled")
    deleted = api.delete_event_source_mapping(UUID=made["UUID"])
    assert (checks.status(deleted), deleted["State"]) == (202, "Deleting"), deleted
    until(lambda: gone(made))


def check_the_document_of_a_mapping_of_a_stream() -> None:
    source = stream()
    made = of_stream(EventSourceArn=source)
    expected = {
        "EventSourceArn": source,
        "FunctionArn": arn("function", function()),
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 0,
        "ParallelizationFactor": 1,
        "StartingPosition": "TRIM_HORIZON",
        "BisectBatchOnFunctionError": False,
        "MaximumRecordAgeInSeconds": -1,
        "MaximumRetryAttempts": -1,
        "TumblingWindowInSeconds": 0,
        "DestinationConfig": {"OnFailure": {}},
        "FunctionResponseTypes": [],
        "LastProcessingResult": "No records processed",
        "State": "Creating",
        "StateTransitionReason": "User action",
    }
    assert {key: made.get(key) for key in expected} == expected, made
    assert settled(made, "Enabled")["LastProcessingResult"] == "No records processed"


def check_the_document_of_a_mapping_of_kafka() -> None:
    made = of_kafka()
    assert made["BatchSize"] == 100
    assert made["SelfManagedKafkaEventSourceConfig"]["ConsumerGroupId"] == made["UUID"], made
    assert made["SelfManagedEventSource"] == BOOTSTRAP
    assert made["SourceAccessConfigurations"] == ACCESS
    assert made["StateTransitionReason"] == "USER_INITIATED"
    settled(made, "Disabled")
    chosen = of_kafka(SelfManagedKafkaEventSourceConfig={"ConsumerGroupId": "mine"})
    assert chosen["SelfManagedKafkaEventSourceConfig"]["ConsumerGroupId"] == "mine"


def check_all_that_is_given_is_given_back() -> None:
    given = {
        "BatchSize": 50,
        "MaximumBatchingWindowInSeconds": 7,
        "ParallelizationFactor": 3,
        "StartingPosition": "LATEST",
        "BisectBatchOnFunctionError": True,
        "MaximumRecordAgeInSeconds": 600,
        "MaximumRetryAttempts": 4,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "DestinationConfig": {"OnFailure": {"Destination": queue()}},
        "FilterCriteria": {"Filters": [{"Pattern": json.dumps({"data": {"a": ["b"]}})}]},
    }
    made = of_stream(**given, Enabled=False, Tags={"team": "a"})
    assert {key: made.get(key) for key in given} == given, made
    found = settled(made, "Disabled")
    assert {key: found.get(key) for key in given} == given, found
    assert api.list_tags(Resource=made["EventSourceMappingArn"])["Tags"] == {"team": "a"}
    empty = of_queue(FilterCriteria={"Filters": []})
    assert "FilterCriteria" not in empty


def check_one_made_disabled_stays_so_until_it_is_enabled() -> None:
    made = of_queue(Enabled=False)
    settled(made, "Disabled")
    changed = api.update_event_source_mapping(UUID=made["UUID"], Enabled=True)
    assert changed["State"] == "Enabling", changed
    settled(made, "Enabled")


def check_what_updates_change_and_keep() -> None:
    made = settled(of_stream(Enabled=False, MaximumRetryAttempts=7), "Disabled")
    other = create()
    api.update_event_source_mapping(
        UUID=made["UUID"],
        FunctionName=other,
        BatchSize=9,
        DestinationConfig={"OnFailure": {"Destination": queue()}},
    )
    found = settled(made, "Disabled")
    assert (found["FunctionArn"], found["BatchSize"]) == (arn("function", other), 9), found
    assert found["MaximumRetryAttempts"] == 7
    assert found["DestinationConfig"]["OnFailure"]["Destination"]
    assert found["LastModified"] >= made["LastModified"]


def check_changes_while_changing() -> None:
    """Each is done, or refused because another is under way; the last one that was done holds."""
    made = of_queue()
    sizes = []
    for size in range(1, 11):
        try:
            api.update_event_source_mapping(UUID=made["UUID"], BatchSize=size)
        except api.exceptions.ResourceInUseException:
            continue
        sizes.append(size)
    found = settled(made, "Enabled")
    assert found["BatchSize"] == (sizes[-1] if sizes else 10), (found, sizes)


def check_mappings_are_listed_by_pages_and_filters() -> None:
    source, other = queue(), create()
    mine = {
        of_queue(EventSourceArn=source, FunctionName=name, Enabled=False)["UUID"]
        for name in (function(), f"{function()}:live", other)
    }
    by_source = checks.pages("list_event_source_mappings", "EventSourceMappings", EventSourceArn=source)
    assert {each["UUID"] for each in by_source} == mine
    by_function = api.list_event_source_mappings(FunctionName=other)["EventSourceMappings"]
    assert [each["FunctionArn"] for each in by_function] == [arn("function", other)]
    both = api.list_event_source_mappings(FunctionName=f"{function()}:live", EventSourceArn=source)
    assert [each["FunctionArn"] for each in both["EventSourceMappings"]] == [
        f"{arn('function', function())}:live"
    ]
    everything = checks.pages("list_event_source_mappings", "EventSourceMappings")
    assert mine <= {each["UUID"] for each in everything}
    assert len({each["UUID"] for each in everything}) == len(everything)


def check_a_mapping_is_made_once() -> None:
    source, name = stream(), arn("function", function())
    first = of_stream(EventSourceArn=source)
    exists = "provided mapping already exists. Please update or delete the existing mapping with UUID"
    with refused(
        "ResourceConflictException",
        f'The event source arn (" {source} ") and function (" {function()} ") {exists} {first["UUID"]}',
        409,
    ):
        of_stream(EventSourceArn=source)
    with_qualifier = of_stream(EventSourceArn=source, FunctionName=f"{name}:live")
    assert with_qualifier["FunctionArn"] == f"{name}:live"
    latest = of_stream(EventSourceArn=source, FunctionName=f"{name}:$LATEST")
    assert latest["FunctionArn"] == f"{name}:$LATEST"
    source = queue()
    first = of_queue(EventSourceArn=source)
    exists = "already exists. Please update or delete the existing mapping with UUID"
    with refused(
        "ResourceConflictException",
        f'An event source mapping with SQS arn (" {source} ") and function (" {function()} ") '
        f"{exists} {first['UUID']}",
        409,
    ):
        of_queue(EventSourceArn=source)
    topic = unique("topic")
    first = of_kafka(Topics=[topic])
    with refused("ResourceConflictException", status=409) as _:
        of_kafka(
            Topics=[topic], SelfManagedEventSource={"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["127.0.0.1:2"]}}
        )


def check_what_is_not_there() -> None:
    nobody = str(uuid.uuid4())
    for operation in (
        api.get_event_source_mapping,
        api.update_event_source_mapping,
        api.delete_event_source_mapping,
    ):
        with refused(*MISSING):
            operation(UUID=nobody)
    with refused(INVALID, "Function does not exist", 400):
        of_queue(FunctionName="nobody")


def check_sources_that_are_refused() -> None:
    with refused(INVALID, "Unrecognized event source.", 400):
        api.create_event_source_mapping(FunctionName=function())
    with refused(INVALID, "Unrecognized event source.", 400):
        of_queue(EventSourceArn=arn("", "topic", "sns"))
    with refused(
        INVALID,
        "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: "
        "Member must not be null.",
        400,
    ):
        api.create_event_source_mapping(FunctionName=function(), EventSourceArn=stream())
    with refused(
        "ValidationException",
        "1 validation error detected: Value 'invalid' at 'startingPosition' failed to satisfy constraint: "
        "Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]",
        400,
    ):
        of_stream(StartingPosition="invalid")
    of_table = table()
    with refused(INVALID, f"Unsupported starting position for arn type: {of_table}", 400):
        of_stream(EventSourceArn=of_table, StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=1)
    with refused(INVALID, "Required 'sourceAccessConfigurations' parameter is missing.", 400):
        api.create_event_source_mapping(
            FunctionName=function(),
            SelfManagedEventSource=BOOTSTRAP,
            Topics=["topic"],
            StartingPosition="LATEST",
        )


def check_timestamps_that_are_refused() -> None:
    with refused(INVALID, "Timestamp only valid with StartingPosition AT_TIMESTAMP", 400):
        of_stream(StartingPositionTimestamp=1)
    with refused(INVALID, "Timestamp only valid with StartingPosition AT_TIMESTAMP", 400):
        of_stream(EventSourceArn=table(), StartingPositionTimestamp=1)
    with refused(INVALID, "Need to specify a timestamp", 400):
        of_stream(StartingPosition="AT_TIMESTAMP")
    with refused(INVALID, "StartingPositionTimestamp: must not be in the future", 400):
        of_stream(StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=32_503_680_000)
    made = of_stream(StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=1.5)
    assert made["StartingPositionTimestamp"].timestamp() == 1.5


def check_destinations_that_are_refused() -> None:
    topic = arn("", unique("topic"), "sns")
    for destination in (
        queue(".fifo"),
        f"{topic}.fifo",
        arn("function", function()),
        arn("event-bus/default", "", "events"),
        "kafka://failures",
        f"{queue()}?endpoint_url=http://127.0.0.1:1",
    ):
        with refused(INVALID, status=400):
            of_stream(DestinationConfig={"OnFailure": {"Destination": destination}})
    for destination in (queue(), topic, "arn:aws:s3:::failures"):
        made = of_stream(DestinationConfig={"OnFailure": {"Destination": destination}})
        assert made["DestinationConfig"] == {"OnFailure": {"Destination": destination}}


def check_an_arn_says_what_and_not_where() -> None:
    with refused(INVALID, "Unrecognized event source.", 400):
        of_queue(EventSourceArn=f"{queue()}?endpoint_url=http://127.0.0.1:1")


def check_options_that_go_by_empty_values() -> None:
    made = settled(
        of_queue(
            FilterCriteria={"Filters": [{"Pattern": '{"body": ["a"]}'}]},
            FunctionResponseTypes=["ReportBatchItemFailures"],
            MetricsConfig={"Metrics": ["EventCount"]},
            MaximumBatchingWindowInSeconds=5,
        ),
        "Enabled",
    )
    assert made["MetricsConfig"] == {"Metrics": ["EventCount"]}
    api.update_event_source_mapping(
        UUID=made["UUID"],
        FilterCriteria={},
        FunctionResponseTypes=[],
        MetricsConfig={"Metrics": []},
        MaximumBatchingWindowInSeconds=0,
    )
    found = settled(made, "Enabled")
    assert not {"FilterCriteria", "MetricsConfig"} & set(found)
    assert (found["FunctionResponseTypes"], found["MaximumBatchingWindowInSeconds"]) == ([], 0)
    for option, value, shown in (
        ("ScalingConfig", {"MaximumConcurrency": 2}, {"MaximumConcurrency": 2}),
        (
            "ProvisionedPollerConfig",
            {"MinimumPollers": 3},
            {"MinimumPollers": 3, "MaximumPollers": 200},
        ),
    ):
        changed = api.update_event_source_mapping(UUID=made["UUID"], **{option: value})
        assert changed[option] == shown
        settled(made, "Enabled")
        changed = api.update_event_source_mapping(UUID=made["UUID"], **{option: {}})
        assert option not in changed
        settled(made, "Enabled")


def check_windows_that_are_refused() -> None:
    needed = "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
    with refused(INVALID, needed, 400):
        of_queue(BatchSize=11)
    made = settled(of_queue(BatchSize=11, MaximumBatchingWindowInSeconds=1, Enabled=False), "Disabled")
    with refused(INVALID, needed, 400):
        api.update_event_source_mapping(UUID=made["UUID"], MaximumBatchingWindowInSeconds=0)
    assert api.get_event_source_mapping(UUID=made["UUID"])["MaximumBatchingWindowInSeconds"] == 1


def check_options_that_are_refused() -> None:
    to_queue = {"Destination": queue()}
    unsupported = "Unsupported {} parameter for given event source mapping type."
    with refused(INVALID, unsupported.format("DestinationConfig"), 400):
        of_stream(DestinationConfig={"OnSuccess": to_queue})
    with refused(INVALID, unsupported.format("DestinationConfig"), 400):
        of_queue(DestinationConfig={"OnFailure": to_queue})
    for option, value in {
        "ParallelizationFactor": 2,
        "BisectBatchOnFunctionError": True,
        "MaximumRetryAttempts": 1,
        "MaximumRecordAgeInSeconds": 60,
        "TumblingWindowInSeconds": 5,
        "Topics": ["topic"],
        "Queues": ["q"],
    }.items():
        with refused(INVALID, unsupported.format(option), 400):
            of_queue(**{option: value})
    with refused(INVALID, unsupported.format("ScalingConfig"), 400):
        of_stream(ScalingConfig={"MaximumConcurrency": 2})
    with refused(INVALID, "Batching window is not supported for FIFO queues", 400):
        of_queue(EventSourceArn=queue(".fifo"), MaximumBatchingWindowInSeconds=1)
    with refused(INVALID, "StartingPosition is not valid for SQS event sources.", 400):
        of_queue(StartingPosition="LATEST")
    mode = "SelfManagedKafkaEventSourceConfig.ConsumptionMode: mode Queue: not supported yet"
    with refused(INVALID, mode, 400):
        of_kafka(SelfManagedKafkaEventSourceConfig={"ConsumptionMode": "Queue"})
    with refused(INVALID, "Invalid filter pattern definition.", 400):
        of_queue(FilterCriteria={"Filters": [{"Pattern": '{"body": "no list"}'}]})
    with refused(INVALID, "Invalid filter pattern definition.", 400):
        of_queue(FilterCriteria={"Filters": [{"Pattern": "{"}]})
    with refused(INVALID, status=400):
        of_queue(
            ScalingConfig={"MaximumConcurrency": 2},
            ProvisionedPollerConfig={"MinimumPollers": 2, "MaximumPollers": 2},
        )
    with refused(INVALID, status=400):
        of_stream(TumblingWindowInSeconds=30)


def check_numbers_out_of_their_ranges() -> None:
    for options in (
        {"BatchSize": 10_001},
        {"MaximumBatchingWindowInSeconds": 301},
        {"ParallelizationFactor": 11},
        {"MaximumRetryAttempts": 10_001},
        {"MaximumRecordAgeInSeconds": 604_801},
    ):
        with refused("ValidationException", status=400):
            of_stream(**options)
    with refused("InvalidParameterValueException", status=400):
        of_stream(MaximumRecordAgeInSeconds=59)
    with refused("ValidationException", status=400):
        of_queue(ScalingConfig={"MaximumConcurrency": 1})


def check_a_function_that_may_take_longer_than_a_message_is_hidden() -> None:
    slow = create(Timeout=31)
    with refused(
        INVALID,
        "Queue visibility timeout: 30 seconds is less than Function timeout: 31 seconds",
        400,
    ):
        of_queue(FunctionName=slow)


def check_a_mapping_outlives_its_function() -> None:
    name = create()
    made = settled(of_queue(FunctionName=name), "Enabled")
    api.delete_function(FunctionName=name)
    assert api.get_event_source_mapping(UUID=made["UUID"])["State"] == "Enabled"
    api.delete_event_source_mapping(UUID=made["UUID"])
    until(lambda: gone(made))


checks.run(globals())
