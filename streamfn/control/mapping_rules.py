"""Which parameters of an event source mapping go together, and what Lambda says where they do not.

Ranges are in Lambda's service model; what holds for one kind of source is in `config.checks`. Here is the
rest: what is known without asking anybody.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from streamfn.config import problems
from streamfn.config.filters import INVALID
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

_METRICS: Final = frozenset({"ErrorCount", "KafkaMetrics"})
"""Those of Kafka only (Developer Guide: monitoring-metrics-types)."""

LONGEST_KAFKA_TIMEOUT: Final = 840.0
"""Seconds (Developer Guide: with-msk)."""

IN_USE: Final = "Cannot {} the event source mapping because it is in use."
GONE: Final = "The resource you requested does not exist."
NO_FUNCTION: Final = "Function does not exist"
NO_QUEUE: Final = (
    "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
    "SQS Error Message: The specified queue does not exist."
)


def source_type(params: Params) -> SourceType:
    """What is read. Raises ApiError where that is nothing that could be."""
    arn: str = params.get("EventSourceArn") or ""
    parts = arn.split(":", 5)
    service = parts[2] if len(parts) == 6 else ""
    if service in ("mq", "rds", "docdb-elastic"):
        raise invalid(f"Event sources of {service} are not supported by streamfn.")
    if not arn and params.get("SelfManagedEventSource"):
        return SourceType.SELF_MANAGED
    named = {"kinesis": "stream/", "dynamodb": "table/", "kafka": "cluster/", "sqs": ""}
    if service not in named or not parts[5].startswith(named[service]) or not parts[5]:
        raise invalid("Unrecognized event source.")
    if service == "dynamodb" and "/stream/" not in parts[5]:
        raise invalid("Unrecognized event source.")
    return SourceType(service)


def check(params: Params) -> SourceType:
    """What is read, once all that is given goes with it. Raises ApiError."""
    source = source_type(params)
    for option, takers in TAKEN_BY.items():
        if source not in takers and is_given(option, params.get(option)):
            raise _unsupported(option)
    if ((params.get("DestinationConfig") or {}).get("OnSuccess") or {}).get("Destination"):
        raise _unsupported("DestinationConfig")
    if not source.is_kafka and _metrics(params) & _METRICS:
        raise _unsupported("MetricsConfig")
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
    if value is None or value in ("", [], {}):
        return False
    return option not in NEUTRAL or value != NEUTRAL[option]


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
    return invalid("; ".join(said))


def _sentence(problem: ConfigurationError) -> str:
    text = problem.problem
    if text.startswith(INVALID):
        return INVALID
    # AWS's own sentences begin in capitals; ours go on from the name of the option.
    return f"{problem.field}: {text}" if problem.field and text[:1].islower() else text


def _unsupported(option: str) -> ApiError:
    return invalid(f"Unsupported {option} parameter for given event source mapping type.")


def _metrics(params: Params) -> set[str]:
    return set((params.get("MetricsConfig") or {}).get("Metrics") or ())


def _check_position(params: Params, source: SourceType) -> None:
    position = params.get("StartingPosition")
    if position is None:
        raise invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: "
            "Member must not be null."
        )
    if position == "AT_TIMESTAMP" and source is SourceType.DYNAMODB:
        raise invalid(f"Unsupported starting position for arn type: {params['EventSourceArn']}")
