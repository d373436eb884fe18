"""Which parameters of an event source mapping go together, and what Lambda says where they do not.

Ranges are in Lambda's service model; what holds for one kind of source is in `config.checks`. Here is the
rest: what is known without asking anybody.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from streamfn.config import problems
from streamfn.config.filters import INVALID
from streamfn.control.arns import plain_arn
from streamfn.control.errors import ApiError, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.control.plane import Params
    from streamfn.errors import ConfigurationError


class SourceType(Enum):
    """What a mapping reads, by the service in the ARN of its source."""

    SQS = "sqs"
    KINESIS = "kinesis"
    DYNAMODB = "dynamodb"
    MSK = "kafka"
    SELF_MANAGED = "self-managed Kafka"
    """Known by its bootstrap servers: it has no ARN."""

    @property
    def is_stream(self) -> bool:
        return self in _STREAMS

    @property
    def is_kafka(self) -> bool:
        return self in _KAFKA


_STREAMS: Final = frozenset({SourceType.KINESIS, SourceType.DYNAMODB})
_KAFKA: Final = frozenset({SourceType.MSK, SourceType.SELF_MANAGED})
_QUEUES: Final = frozenset({SourceType.SQS})
_NONE: Final[frozenset[SourceType]] = frozenset()

TAKEN_BY: Final[Mapping[str, frozenset[SourceType]]] = {
    "Topics": _KAFKA,
    "Queues": _NONE,
    # With the ARN of an MSK cluster too, which does not say where its brokers are.
    "SelfManagedEventSource": _KAFKA,
    "SourceAccessConfigurations": _KAFKA,
    "AmazonManagedKafkaEventSourceConfig": frozenset({SourceType.MSK}),
    "SelfManagedKafkaEventSourceConfig": frozenset({SourceType.SELF_MANAGED}),
    "DocumentDBEventSourceConfig": _NONE,
    "ParallelizationFactor": _STREAMS,
    "TumblingWindowInSeconds": _STREAMS,
    "StartingPosition": _STREAMS | _KAFKA,
    "StartingPositionTimestamp": _STREAMS | _KAFKA,
    "DestinationConfig": _STREAMS | _KAFKA,
    "MaximumRecordAgeInSeconds": _STREAMS | _KAFKA,
    "MaximumRetryAttempts": _STREAMS | _KAFKA,
    "BisectBatchOnFunctionError": _STREAMS | _KAFKA,
    "ScalingConfig": _QUEUES,
    "ProvisionedPollerConfig": _QUEUES | _KAFKA,
    "LoggingConfig": _KAFKA,
}
"""Which sources take an option; those that are not named here go with all."""

GROUPS: Final[Mapping[SourceType, str]] = {
    SourceType.MSK: "AmazonManagedKafkaEventSourceConfig",
    SourceType.SELF_MANAGED: "SelfManagedKafkaEventSourceConfig",
}
"""Where the consumer group stands."""

NEUTRAL: Final[Mapping[str, Any]] = {
    "ParallelizationFactor": 1,
    "TumblingWindowInSeconds": 0,
    "MaximumRecordAgeInSeconds": -1,
    "MaximumRetryAttempts": -1,
    "BisectBatchOnFunctionError": False,
}
"""Values that say no more than if the option had been left out."""

_IN_SERVICES_WORDS: Final[Mapping[tuple[str, SourceType], str]] = {
    ("StartingPosition", SourceType.SQS): "StartingPosition is not valid for SQS event sources.",
}
"""What is said of an option that a source does not take, where that is known (recorded)."""

_EMPTY: Final[tuple[Any, ...]] = (None, "", [], {})
"""Values that take away the option, or the member of one, that they are given for."""

_OF_MEMBERS: Final = frozenset({"MetricsConfig", "ProvisionedPollerConfig", *GROUPS.values()})
"""Options that are no more than their members."""

_METRICS: Final = frozenset({"ErrorCount", "KafkaMetrics"})
"""Those of Kafka only (Developer Guide: monitoring-metrics-types)."""

LONGEST_KAFKA_TIMEOUT: Final = 840.0
"""Seconds (Developer Guide: with-msk)."""

IN_USE: Final = "Cannot {} the event source mapping because it is in use."
GONE: Final = "The resource you requested does not exist."
UNRECOGNIZED: Final = "Unrecognized event source."
NO_FUNCTION: Final = "Function does not exist"
NO_QUEUE: Final = (
    "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
    "SQS Error Message: The specified queue does not exist."
)


def source_type(params: Params) -> SourceType:
    """What is read. Raises ApiError where that is nothing that could be."""
    text: str = params.get("EventSourceArn") or ""
    if not text and params.get("SelfManagedEventSource"):
        return SourceType.SELF_MANAGED
    arn = plain_arn(text)
    if arn is None:
        raise invalid(UNRECOGNIZED)
    service, rest = arn.service, arn.rest
    if service in ("mq", "rds", "docdb-elastic"):
        raise invalid(f"Event sources of {service} are not supported by streamfn.")
    named = {"kinesis": "stream/", "dynamodb": "table/", "kafka": "cluster/", "sqs": ""}
    if service not in named or not rest.startswith(named[service]):
        raise invalid(UNRECOGNIZED)
    if service == "dynamodb" and "/stream/" not in rest:
        raise invalid(UNRECOGNIZED)
    return SourceType(service)


def check(params: Params) -> SourceType:
    """What is read, once all that is given goes with it. Raises ApiError."""
    source = source_type(params)
    for option, takers in TAKEN_BY.items():
        if source not in takers and is_given(option, params.get(option)):
            raise _unsupported(option, source)
    if ((params.get("DestinationConfig") or {}).get("OnSuccess") or {}).get("Destination"):
        raise _unsupported("DestinationConfig", source)
    _check_destination(params, source)
    if not source.is_kafka and _metrics(params) & _METRICS:
        raise _unsupported("MetricsConfig", source)
    if source.is_kafka and (params.get(GROUPS[source]) or {}).get("SchemaRegistryConfig"):
        _check_provisioned(params)
    if source is SourceType.SELF_MANAGED and not params.get("SourceAccessConfigurations"):
        raise invalid("Required 'sourceAccessConfigurations' parameter is missing.")
    if source is not SourceType.SQS:
        _check_position(params, source)
    return source


def is_given(option: str, value: Any) -> bool:
    """Whether a value asks for anything: `{}`, `[]` and empty text take an option away."""
    if option == "DestinationConfig":
        value = {end: to for end, to in (value or {}).items() if (to or {}).get("Destination")}
    if option == "FilterCriteria":
        value = (value or {}).get("Filters")
    if told(option, value) in _EMPTY:
        return False
    return option not in NEUTRAL or value != NEUTRAL[option]


def told(option: str, value: Any) -> Any:
    """The value as answers have it: without members that ask for nothing."""
    if option in _OF_MEMBERS:
        return {name: each for name, each in (value or {}).items() if each not in _EMPTY}
    return value


def fixed(old: Params, new: Params) -> None:
    """Refuses what holds from the beginning. Raises ApiError."""
    for option in GROUPS.values():
        before, after = old.get(option) or {}, new.get(option) or {}
        for member in ("ConsumerGroupId", "ConsumptionMode"):
            if member in after and after[member] != before.get(member, _UNSAID.get(member)):
                raise invalid(f"{option}.{member} cannot be changed after creation.")


_UNSAID: Final = {"ConsumptionMode": "Stream"}


def check_timeout(source: SourceType, timeout: float, visibility: float | None) -> None:
    """Refuses a function that may take longer than its source waits. Times in seconds. Raises ApiError."""
    if source.is_kafka and timeout > LONGEST_KAFKA_TIMEOUT:
        raise invalid(
            f"Function timeout: {timeout:g} seconds is more than the {LONGEST_KAFKA_TIMEOUT:g} seconds that "
            "Kafka event sources allow"
        )
    if visibility is not None and timeout > visibility:
        raise invalid(
            f"Queue visibility timeout: {visibility:g} seconds is less than Function timeout: "
            f"{timeout:g} seconds"
        )


def duplicate(source: SourceType, params: Params, function: str, function_arn: str, uuid: str) -> ApiError:
    """What is said where another mapping, `uuid`, does the same. The words differ by source."""
    again = f"already exists. Please update or delete the existing mapping with UUID {uuid}"
    if source is SourceType.SQS:
        said = f'An event source mapping with SQS arn (" {params["EventSourceArn"]} ") '
        said += f'and function (" {function} ")'
    elif source.is_stream:
        said = f'The event source arn (" {params["EventSourceArn"]} ") '
        said += f'and function (" {function} ") provided mapping'
    else:
        where = ",".join(servers(params)) or params["EventSourceArn"]
        topics = ",".join(params.get("Topics") or ())
        said = f'An event source mapping with event source ("{where}"), '
        said += f'function ("{function_arn}"), topics ("{topics}")'
    return ApiError("ResourceConflictException", f"{said} {again}")


def servers(params: Params) -> list[str]:
    """The bootstrap servers, where some are given."""
    endpoints = (params.get("SelfManagedEventSource") or {}).get("Endpoints") or {}
    return list(endpoints.get("KAFKA_BOOTSTRAP_SERVERS") or ())


def refused(error: ConfigurationError) -> ApiError:
    """A problem of the configuration as the API says it: AWS's words where they are."""
    said = list(dict.fromkeys(map(_sentence, problems(error))))
    if INVALID in said:
        return invalid(INVALID)
    if said[0].startswith("1 validation error detected: Value '"):
        return ApiError("ValidationException", said[0])
    # AWS says one thing at a time, and clients look for its sentences.
    theirs = next((each.problem for each in problems(error) if not _is_ours(each)), None)
    return invalid(theirs or "; ".join(said))


def _sentence(problem: ConfigurationError) -> str:
    text = problem.problem
    if text.startswith(INVALID):
        return INVALID
    return f"{problem.field}: {text}" if problem.field and _is_ours(problem) else text


def _is_ours(problem: ConfigurationError) -> bool:
    """AWS's own sentences begin in capitals; ours go on from the name of the option."""
    return problem.problem[:1].islower()


def _unsupported(option: str, source: SourceType) -> ApiError:
    words = f"Unsupported {option} parameter for given event source mapping type."
    return invalid(_IN_SERVICES_WORDS.get((option, source), words))


def _metrics(params: Params) -> set[str]:
    return set((params.get("MetricsConfig") or {}).get("Metrics") or ())


def _check_provisioned(params: Params) -> None:
    """Developer Guide: services-consume-kafka-events."""
    if not is_given("ProvisionedPollerConfig", params.get("ProvisionedPollerConfig")):
        raise invalid(
            "SchemaRegistryConfig is only available for Provisioned Mode. To configure Schema Registry, "
            "please enable Provisioned Mode by specifying MinimumPollers in ProvisionedPollerConfig."
        )


def _check_destination(params: Params, source: SourceType) -> None:
    """On-failure destinations are fewer than those of asynchronous invocations (API reference: OnFailure)."""
    to: str = ((params.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination") or ""
    if not to or (to.startswith("kafka://") and source.is_kafka):
        return
    arn = plain_arn(to)
    if arn is None or arn.service not in ("sqs", "sns", "s3") or arn.name.endswith(".fifo"):
        topics = ", Kafka topics of the same cluster" if source.is_kafka else ""
        raise invalid(
            f"The destination ARN {to} is invalid. This event source takes standard SQS queues, standard SNS "
            f"topics{topics} and S3 buckets."
        )


def _check_position(params: Params, source: SourceType) -> None:
    position, timestamp = params.get("StartingPosition"), params.get("StartingPositionTimestamp")
    if position is None:
        raise invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: "
            "Member must not be null."
        )
    if position == "AT_TIMESTAMP" and source is SourceType.DYNAMODB:
        raise invalid(f"Unsupported starting position for arn type: {params['EventSourceArn']}")
    if position != "AT_TIMESTAMP" and timestamp is not None:
        raise invalid("Timestamp only valid with StartingPosition AT_TIMESTAMP")
    if position == "AT_TIMESTAMP" and timestamp is None:
        raise invalid("Need to specify a timestamp")
    if timestamp is not None and timestamp < 0:
        raise invalid("StartingPositionTimestamp: must not be before 1970")
