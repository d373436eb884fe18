"""The life of an event source mapping: its states, what leads from one to another, and what is said of it."""

from __future__ import annotations

from enum import Enum


class MappingState(Enum):
    """`State` of an event source mapping (Lambda API: EventSourceMappingConfiguration)."""

    CREATING = "Creating"
    ENABLING = "Enabling"
    ENABLED = "Enabled"
    DISABLING = "Disabling"
    DISABLED = "Disabled"
    UPDATING = "Updating"
    DELETING = "Deleting"
    DELETED = "Deleted"
    """Seen by nobody: the API no longer knows the mapping."""


class MappingEvent(Enum):
    """What happens to a mapping: somebody asks for something, or its workers have got there."""

    ENABLE = "enable"
    DISABLE = "disable"
    UPDATE = "update"
    DELETE = "delete"
    STARTED = "started"
    """It reads its source."""
    STOPPED = "stopped"
    """It reads no more and has let go of its shards, because it was to, or because its source refuses it."""


class TransitionReason(Enum):
    """`StateTransitionReason`: two by kind of source (recorded), the others for consumers that stopped.

    (Developer Guide: with-kafka-troubleshoot, services-mq-errors.)
    """

    USER_ACTION = "User action"
    """Streams."""
    USER_INITIATED = "USER_INITIATED"
    """Queues and Kafka."""
    ESM_CONFIG_NOT_VALID = "ESM_CONFIG_NOT_VALID"
    EVENT_SOURCE_AUTHN_ERROR = "EVENT_SOURCE_AUTHN_ERROR"
    EVENT_SOURCE_AUTHZ_ERROR = "EVENT_SOURCE_AUTHZ_ERROR"
    FUNCTION_CONFIG_NOT_VALID = "FUNCTION_CONFIG_NOT_VALID"


class ProcessingResult(Enum):
    """`LastProcessingResult` (recorded; the last is followed by what is wrong, see `connection_error`)."""

    NO_RECORDS_PROCESSED = "No records processed"
    OK = "OK"
    FUNCTION_CALL_FAILED = "PROBLEM: Function call failed"
    CONNECTION_ERROR = "PROBLEM: Connection error."


class InvalidTransition(ValueError):
    """The mapping cannot do that now: on AWS a ResourceInUseException, while it is on its way elsewhere."""

    def __init__(self, state: MappingState, event: MappingEvent) -> None:
        self.state, self.event = state, event
        super().__init__(f"a mapping that is {state.value} cannot {event.value}")


_S, _E = MappingState, MappingEvent

TRANSITIONS: dict[tuple[MappingState, MappingEvent], MappingState] = {
    (_S.CREATING, _E.STARTED): _S.ENABLED,
    (_S.CREATING, _E.STOPPED): _S.DISABLED,
    (_S.ENABLED, _E.DISABLE): _S.DISABLING,
    (_S.ENABLED, _E.UPDATE): _S.UPDATING,
    (_S.ENABLED, _E.DELETE): _S.DELETING,
    (_S.ENABLED, _E.STOPPED): _S.DISABLED,
    (_S.DISABLED, _E.ENABLE): _S.ENABLING,
    (_S.DISABLED, _E.UPDATE): _S.UPDATING,
    (_S.DISABLED, _E.DELETE): _S.DELETING,
    (_S.ENABLING, _E.STARTED): _S.ENABLED,
    (_S.ENABLING, _E.STOPPED): _S.DISABLED,
    (_S.DISABLING, _E.STOPPED): _S.DISABLED,
    (_S.UPDATING, _E.STARTED): _S.ENABLED,
    (_S.UPDATING, _E.STOPPED): _S.DISABLED,
    (_S.DELETING, _E.STOPPED): _S.DELETED,
}
"""All that is allowed. A mapping created disabled stops without ever having started (recorded on AWS)."""


def transition(state: MappingState, event: MappingEvent) -> MappingState:
    """The state an event leads to. Raises InvalidTransition where it is not allowed.

    From every state but Deleted a STOPPED, with a request before it where none is pending, leads to Disabled
    or Deleted; so a mapping never hangs.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise InvalidTransition(state, event) from None


def connection_error(problem: str) -> str:
    """`LastProcessingResult` for a source that cannot be reached."""
    return f"{ProcessingResult.CONNECTION_ERROR.value} {problem}"


def mermaid() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = [f"    {old.value} --> {new.value}: {event.value}" for (old, event), new in TRANSITIONS.items()]
    first, last = MappingState.CREATING.value, MappingState.DELETED.value
    return "\n".join(["stateDiagram-v2", f"    [*] --> {first}", *lines, f"    {last} --> [*]", ""])
