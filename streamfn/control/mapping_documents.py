"""The document of an event source mapping: what is stored of it is what the API shows, and little more.

A document holds the members of EventSourceMappingConfiguration that do not change by themselves, and beside
them `Enabled`, which is what is wanted, `Tags`, and `Deleting` once it is to go. It is never changed in
place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamfn.config.mapping import MAXIMUM_POLLERS, MINIMUM_POLLERS
from streamfn.control.mapping_rules import GROUPS, NEUTRAL, SourceType, is_given, told
from streamfn.core.lifecycle import ProcessingResult, TransitionReason, connection_error

if TYPE_CHECKING:
    from streamfn.control.naming import FunctionReference
    from streamfn.control.plane import Identity, Params, Result

Document = dict[str, Any]

_OURS: Final = frozenset({"Enabled", "Tags", "Deleting"})
"""Members that no answer has."""

_NOT_ECHOED: Final = frozenset({"FunctionName", "UUID"})

_KEPT: Final = frozenset({"UUID", "Enabled"})
"""Members of a request that say which mapping is meant, and what of it is wanted."""

_NO_OPTIONS: Final = frozenset(
    {
        "UUID",
        "EventSourceMappingArn",
        "FunctionArn",
        "LastModified",
        "StateTransitionReason",
        "Deleting",
        # Counted and shown whether asked for or not.
        "MetricsConfig",
    }
)
"""Members that the body of a request does not have, or that ask for nothing."""

_ALWAYS: Final[dict[str, Any]] = {"MaximumBatchingWindowInSeconds": 0, "FunctionResponseTypes": []}

_STREAM: Final[dict[str, Any]] = {
    "BatchSize": 100,
    **_ALWAYS,
    **NEUTRAL,
    "DestinationConfig": {"OnFailure": {}},
}
_KAFKA: Final[dict[str, Any]] = {"BatchSize": 100}

DEFAULTS: Final[dict[SourceType, dict[str, Any]]] = {
    SourceType.SQS: {"BatchSize": 10, **_ALWAYS},
    SourceType.KINESIS: _STREAM,
    SourceType.DYNAMODB: _STREAM,
    SourceType.MSK: _KAFKA,
    SourceType.SELF_MANAGED: _KAFKA,
}
"""What answers tell that nobody has said (recorded)."""

_POLLERS: Final = "ProvisionedPollerConfig"
PROVISIONED: Final = {"MinimumPollers": MINIMUM_POLLERS, "MaximumPollers": MAXIMUM_POLLERS}
"""What holds of the two where one is given."""

NOT_STARTED: Final = "PROBLEM: Configuration error."
"""How the result of a mapping begins that is to run and does not."""

_KNOWN: Final = (
    *(one.value for one in ProcessingResult),
    NOT_STARTED,
    "PROBLEM: Function call",
    "PROBLEM: Recursive",
)
"""How results begin that say what they are about."""


def reason_of(source: SourceType | None) -> str:
    """StateTransitionReason, whose words differ by source (recorded)."""
    stream = source is not None and source.is_stream
    return str((TransitionReason.USER_ACTION if stream else TransitionReason.USER_INITIATED).value)


def created(
    uuid: str,
    source: SourceType,
    params: Params,
    reference: FunctionReference,
    identity: Identity,
    now: float,
) -> Document:
    """The document of a new mapping. `now` in epoch seconds."""
    document = {
        "UUID": uuid,
        "EventSourceMappingArn": identity.arn("event-source-mapping", uuid),
        "StateTransitionReason": reason_of(source),
        "Enabled": params.get("Enabled", True) is not False,
    }
    return _merged(document, source, params, reference.arn(identity), now)


def changed(document: Params, source: SourceType, params: Params, function_arn: str, now: float) -> Document:
    """The document after an update: what was given, and what had been said before."""
    rest = {name: value for name, value in document.items() if name not in params or name in _KEPT}
    group = GROUPS.get(source, "")
    if group in params:
        params = {**params, group: {**document.get(group, {}), **(params[group] or {})}}
    rest["Enabled"] = params.get("Enabled", document["Enabled"])
    return _merged(rest, source, params, function_arn, now)


def _merged(
    document: Document, source: SourceType, params: Params, function_arn: str, now: float
) -> Document:
    echoed = {
        name: told(name, value)
        for name, value in params.items()
        if name not in _NOT_ECHOED and name not in _OURS and value is not None and _says(name, value, source)
    }
    now = round(now, 3)
    merged = {**DEFAULTS[source], **document, **echoed, "FunctionArn": function_arn, "LastModified": now}
    if _POLLERS in echoed:
        merged[_POLLERS] = {**PROVISIONED, **echoed[_POLLERS]}
    if params.get("Tags"):
        merged["Tags"] = dict(params["Tags"])
    if (group := GROUPS.get(source)) is not None:
        merged[group] = {"ConsumerGroupId": merged["UUID"], **merged.get(group, {})}
    return merged


def _says(name: str, value: Any, source: SourceType) -> bool:
    """Whether it is told: what asks for nothing is not, unless the source always tells of the option."""
    return is_given(name, value) or (name in NEUTRAL and name in DEFAULTS[source])


def options(document: Params) -> dict[str, Any]:
    """The mapping as the body of a request, for `EventSourceMapping.load`; named by its UUID."""
    given = {name: value for name, value in document.items() if name not in _NO_OPTIONS}
    return {**given, "FunctionName": document["FunctionArn"], "Name": document["UUID"]}


def shown(document: Params, state: str, result: str | None) -> Result:
    """As the API answers. `result`: LastProcessingResult, where there is one."""
    found = {name: value for name, value in document.items() if name not in _OURS}
    found["State"] = state
    if (said := _result(document, result)) is not None:
        found["LastProcessingResult"] = said
    return found


def _result(document: Params, result: str | None) -> str | None:
    nothing = ProcessingResult.NO_RECORDS_PROCESSED.value
    if result in (None, nothing):
        # Of queues and Kafka nothing is said before there is something to say (recorded).
        return nothing if document["StateTransitionReason"] == TransitionReason.USER_ACTION.value else None
    if result is None or result.startswith(_KNOWN):
        return result
    return connection_error(result.removeprefix("PROBLEM: "))
