"""Our options beside the service model that boto3 has: name by name, range by range, value by value.

What differs stands in a table here, with the reason; a table that no longer tells the truth fails, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

from streamfn.config.function import FunctionConfig
from streamfn.config.invoking import EventInvokeConfig
from streamfn.config.mapping import EventSourceMapping
from streamfn.errors import ConfigurationError

SERVICE = ServiceModel(Loader().load_service_model("lambda", "service-2"), "lambda")

STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
MAPPING = {"FunctionName": "f", "EventSourceArn": STREAM}
FUNCTION = {"InlineCode": "pass", "Runtime": "python3.12", "Handler": "index.handler"}
IMAGE = {"CodeUri": "docker:image"}
BROKERS = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["host:9092"]}}

Load = Callable[[Mapping[str, Any]], object]
OPERATIONS: dict[str, tuple[Load, Mapping[str, Any]]] = {
    "CreateEventSourceMapping": (EventSourceMapping.load, MAPPING),
    "UpdateEventSourceMapping": (EventSourceMapping.load, MAPPING),
    "PutFunctionEventInvokeConfig": (EventInvokeConfig.load, {"FunctionName": "f"}),
    "UpdateFunctionEventInvokeConfig": (EventInvokeConfig.load, {"FunctionName": "f"}),
    "CreateFunction": (FunctionConfig.load, FUNCTION),
    "UpdateFunctionConfiguration": (FunctionConfig.load, FUNCTION),
}

NOT_HERE = {
    "UUID": "the API's own name of a mapping, which is its name here",
    "FunctionName": "of a function: the key under which it is configured",
    "Code": "CodeUri and InlineCode, as in SAM",
    "Publish": "asks for something to be done, and is no option: AutoPublishAlias, as in SAM",
    "PublishTo": "as Publish",
    "RevisionId": "guards one change, and is no option",
}
"""Members that are no options."""

NOT_YET = {
    "AmazonManagedKafkaEventSourceConfig.SchemaRegistryConfig",
    "CapacityProviderConfig",
    "CodeSigningConfigArn",
    "DocumentDBEventSourceConfig",
    "DurableConfig",
    "FileSystemConfigs",
    "KMSKeyArn",
    "LoggingConfig",
    "MetricsConfig",
    "ProvisionedPollerConfig.PollerGroupName",
    "Queues",
    "SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig",
    "TenancyConfig",
}
"""Members that are refused as not supported yet. Of functions, KMSKeyArn and LoggingConfig are supported."""
BUILT_FOR_FUNCTIONS = {"KMSKeyArn", "LoggingConfig"}

OTHER_RANGES = {
    # Whether one less than AWS's least, the least, the most, and one more than the most are taken.
    ("EventSourceMapping", "ProvisionedPollerConfig.MaximumPollers"): (False, True, False, False),
    # 2000 is the quota.
    ("EventSourceMapping", "TumblingWindowInSeconds"): (False, True, False, False),
    # Windows are not built yet.
    ("EventInvokeConfig", "MaximumRetryAttempts"): (False, True, True, True),
    # There may be more tries than on AWS.
    ("FunctionConfig", "Timeout"): (False, True, True, True),
    # A day, and parts of a second.
    ("FunctionConfig", "MemorySize"): (False, True, False, False),
    ("FunctionConfig", "EphemeralStorage.Size"): (False, True, False, False),
    # 10,240: more is for managed instances.
}


OTHER_TEXTS = {
    "DeadLetterConfig.TargetArn": "a URI, too",
    "DestinationConfig.OnFailure.Destination": "a URI with options, too: longer than any ARN",
    "DestinationConfig.OnSuccess.Destination": "the same, and no option of mappings",
    "EventSourceArn": "a URI, too",
    "FilterCriteria.Filters.Pattern": "held to its length beside the other rules of patterns",
    "FunctionName": "AWS's limit is of an ARN, ours of the name in it",
    "Handler": "module:name of this process, too",
    "KMSKeyArn": "a URI, too",
    "Layers": "a path, too",
    "SourceAccessConfigurations.URI": "held to its length beside Type",
    "VpcConfig.SecurityGroupIds": "kept and shown",
    "VpcConfig.SubnetIds": "kept and shown",
}
"""Members whose texts may be of another length, and why."""


class Leaf(NamedTuple):
    """A member that is no structure, and where it stands. 0 in a path is any element of a list."""

    operation: str
    path: tuple[str | int, ...]
    shape: Shape

    @property
    def name(self) -> str:
        return ".".join(str(part) for part in self.path if part != 0)

    @property
    def model(self) -> str:
        return str(getattr(OPERATIONS[self.operation][0], "__self__", None).__name__)  # type: ignore[union-attr]

    def problem(self, value: Any) -> str:
        """What loading says of a value at this place; empty where it is taken."""
        load, base = OPERATIONS[self.operation]
        if self.path[0] == "ImageConfig":
            base = IMAGE
        if self.path[0] in ("SelfManagedEventSource", "Topics"):
            base = {"FunctionName": "f", "SelfManagedEventSource": BROKERS, "Topics": ["topic"]}
        options: Any = value
        for part in reversed(self.path):
            options = [options] if part == 0 else {part: options}
        try:
            load({**base, **options})
        except ConfigurationError as error:
            return str(error)
        return ""


def leaves(operation: str) -> Iterator[Leaf]:
    def below(shape: Shape, path: tuple[str | int, ...]) -> Iterator[Leaf]:
        if shape.type_name == "structure":
            for name, member in shape.members.items():
                yield from below(member, (*path, name))
        elif shape.type_name == "map" and path[-1] == "Endpoints":
            yield from below(shape.value, (*path, *shape.key.enum))
        else:
            yield Leaf(operation, path, shape)
            if shape.type_name == "list":
                yield from below(shape.member, (*path, 0))

    return below(SERVICE.operation_model(operation).input_shape, ())


LEAVES = [leaf for operation in OPERATIONS for leaf in leaves(operation)]


def is_listed(leaf: Leaf, names: set[str]) -> bool:
    built = BUILT_FOR_FUNCTIONS if leaf.model == "FunctionConfig" else set()
    return any(f"{leaf.name}.".startswith(f"{name}.") for name in names - built)


SUPPORTED = [
    leaf
    for leaf in LEAVES
    if not is_listed(leaf, NOT_YET)
    and not (leaf.path[0] in NOT_HERE and (leaf.model == "FunctionConfig" or leaf.path[0] == "UUID"))
]


def of(kind: str, which: Callable[[Leaf], object] = bool) -> Any:
    """The leaves of a type, for parametrize."""
    found = [leaf for leaf in SUPPORTED if leaf.shape.type_name == kind and which(leaf)]
    return pytest.mark.parametrize("leaf", found, ids=lambda leaf: f"{leaf.operation}-{leaf.name}")


def sample(shape: Shape) -> Any:
    """A value of the shape's type."""
    match shape.type_name:
        case "structure":
            return {name: sample(member) for name, member in shape.members.items()}
        case "list":
            return [sample(shape.member)]
        case "map":
            return {"k": "v"}
        case "string":
            return shape.enum[0] if shape.enum else "x" * max(1, shape.metadata.get("min", 1))
        case "boolean":
            return True
        case "blob":
            return b"x"
    return shape.metadata.get("min", 1)


@pytest.mark.parametrize("leaf", SUPPORTED, ids=lambda leaf: f"{leaf.operation}-{leaf.name}")
def test_every_member_has_a_field(leaf: Leaf) -> None:
    problem = leaf.problem(sample(leaf.shape))
    assert "unknown option" not in problem
    assert "not supported yet" not in problem


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_not_here_is_unknown_or_said_to_be_missing(operation: str) -> None:
    missing = [leaf for leaf in leaves(operation) if leaf not in SUPPORTED and leaf.shape.type_name != "list"]
    assert missing or operation.endswith("EventInvokeConfig")
    for leaf in missing:
        words = "unknown option" if leaf.path[0] in NOT_HERE else "not supported yet"
        assert words in leaf.problem(sample(leaf.shape)), leaf.name


@of("integer")
def test_ranges_are_awss(leaf: Leaf) -> None:
    low, high = leaf.shape.metadata["min"], leaf.shape.metadata["max"]
    taken = tuple(not leaf.problem(value) for value in (low - 1, low, high, high + 1))
    assert taken == OTHER_RANGES.get((leaf.model, leaf.name), (False, True, True, False))


def test_ranges_that_differ_are_of_members_that_there_are() -> None:
    assert {(leaf.model, leaf.name) for leaf in SUPPORTED} >= OTHER_RANGES.keys()


@of("string", lambda leaf: leaf.shape.enum and leaf.name != "Runtime")
def test_values_of_enums_are_awss(leaf: Leaf) -> None:
    assert [value for value in leaf.shape.enum if leaf.problem(value)] == []
    assert leaf.problem("Nothing")


def test_every_runtime_of_awss_can_be_named() -> None:
    (leaf,) = (each for each in leaves("CreateFunction") if each.name == "Runtime")
    assert [value for value in leaf.shape.enum if leaf.problem(value)] == []


@of("string", lambda leaf: leaf.shape.metadata.get("max") and leaf.name not in OTHER_TEXTS)
def test_texts_are_as_long_as_awss(leaf: Leaf) -> None:
    most = leaf.shape.metadata["max"]
    end = ":9092" if leaf.name.endswith("SERVERS") else ""
    assert leaf.problem("x" * (most - len(end)) + end) == ""
    assert leaf.problem("x" * (most + 1 - len(end)) + end)


@of("list", lambda leaf: leaf.shape.metadata.get("max"))
def test_lists_are_as_long_as_awss(leaf: Leaf) -> None:
    most = leaf.shape.metadata["max"]
    one = sample(leaf.shape.member)
    entry = f"{one}:1" if leaf.name.endswith("SERVERS") else one
    assert leaf.problem([entry] * most) == ""
    assert leaf.problem([entry] * (most + 1))
