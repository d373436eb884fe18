"""Event source mappings that the app declares, as the API shows them: in Lambda's form, with no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from streamfn.control.mapping_documents import DEFAULTS, PROVISIONED, reason_of
from streamfn.control.mapping_rules import SourceType, is_given

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamfn.config import EventSourceMapping
    from streamfn.control.mapping_documents import Document
    from streamfn.control.plane import Identity

_QUEUE: Final = "local:queue/"
"""How queues of the embedded broker begin; all else of it are streams."""


def declared(uuid: str, mapping: EventSourceMapping, identity: Identity, now: float) -> Document:
    """Its document. `now` in epoch seconds: what is declared is as old as the daemon."""
    arn = identity.arn("function", mapping.function)
    name = _without_secrets(mapping.source)
    source = _type_of(name)
    return {
        **({} if source is None else DEFAULTS[source]),
        "UUID": uuid,
        "EventSourceMappingArn": identity.arn("event-source-mapping", uuid),
        "FunctionArn": f"{arn}:{mapping.qualifier}" if mapping.qualifier else arn,
        "LastModified": round(now, 3),
        "StateTransitionReason": reason_of(source),
        "Enabled": mapping.enabled,
        **_source(name),
        **{option: value for option, value in _options(mapping, source) if is_given(option, value)},
    }


def _options(mapping: EventSourceMapping, source: SourceType | None) -> Iterator[tuple[str, Any]]:
    """Those that Lambda has, as far as they were given."""
    yield "BatchSize", mapping.batch_size
    yield "MaximumBatchingWindowInSeconds", mapping.maximum_batching_window_in_seconds
    yield "ParallelizationFactor", mapping.parallelization_factor
    yield "StartingPosition", mapping.starting_position and mapping.starting_position.name
    yield "StartingPositionTimestamp", mapping.starting_position_timestamp
    yield "MaximumRecordAgeInSeconds", mapping.maximum_record_age_in_seconds
    yield "MaximumRetryAttempts", mapping.maximum_retry_attempts
    yield "BisectBatchOnFunctionError", mapping.bisect_batch_on_function_error
    yield "FunctionResponseTypes", list(mapping.function_response_types)
    yield "FilterCriteria", {"Filters": [{"Pattern": one} for one in mapping.filters]}
    if mapping.on_failure is not None:
        destination = _without_secrets(mapping.on_failure)
        yield "DestinationConfig", {"OnFailure": {"Destination": destination}}
    if source is SourceType.MSK and isinstance(mapping.source, str):
        # With an ARN; a URI has it in its path.
        yield "Topics", [value for key, value in parse_qsl(urlsplit(mapping.source).query) if key == "topic"]
    if source is SourceType.SQS:
        pollers = {"MinimumPollers": mapping.minimum_pollers, "MaximumPollers": mapping.maximum_pollers}
        if given := {name: each for name, each in pollers.items() if each is not None}:
            yield "ProvisionedPollerConfig", {**PROVISIONED, **given}
        if mapping.maximum_concurrency is not None:
            yield "ScalingConfig", {"MaximumConcurrency": mapping.maximum_concurrency}


def _type_of(name: str) -> SourceType | None:
    """What its answers look like; None: like no source of Lambda's."""
    if name.startswith("local:"):
        return SourceType.SQS if name.startswith(_QUEUE) else SourceType.KINESIS
    words = name.split(":")
    service = words[2] if words[0] == "arn" and len(words) > 2 else words[0]
    return next((each for each in SourceType if each.value == service), None)


def _without_secrets(end: object) -> str:
    """The name of a source or a destination. Behind a question mark, before an @, and in the path of a
    webhook may stand what gives access.
    """
    name = (end if isinstance(end, str) else str(getattr(end, "name", ""))).partition("?")[0]
    scheme, slashes, rest = name.partition("://")
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2]
    return f"{scheme}://{host}" if scheme in ("http", "https") else f"{scheme}{slashes}{host}{slash}{path}"


def _source(name: str) -> Document:
    parts = urlsplit(name)
    if parts.scheme != "kafka":
        return {"EventSourceArn": name}
    return {
        "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": parts.netloc.split(",")}},
        "Topics": [parts.path.strip("/")],
    }
