"""Typed events of what streamfn does, and the sinks that turn them into log lines and counters.

One event a batch at most, none a record. A sink must not block or raise.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from streamfn.core.outcomes import Condition, Failed, Outcome, Refused, Succeeded, Throttled

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class RecordsPolled:
    """Records were read; `filtered` of them were for nobody and count as done."""

    mapping: str
    shard: str
    records: int
    filtered: int


@dataclass(frozen=True, slots=True)
class BatchDelivered:
    """The function was called on a batch."""

    mapping: str
    shard: str
    records: int
    failed: int
    """Records of it that go again or are given up."""
    attempt: int
    seconds: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class BatchRetried:
    """A batch goes again: whole, from a failed record on, or in two halves."""

    mapping: str
    shard: str
    records: int
    parts: int
    attempt: int
    delay: float


@dataclass(frozen=True, slots=True)
class RecordsDiscarded:
    """Records were given up. With a destination they are durable there by now."""

    mapping: str
    shard: str
    records: int
    first: str
    last: str
    condition: str
    attempts: int
    destination: str | None
    asynchronous: bool = False
    """An event of a function, not a record of an event source mapping."""


@dataclass(frozen=True, slots=True)
class DestinationDeliveryFailed:
    """A destination did not take what it was sent. `dropped`: it is lost to it; `role` says what it was."""

    mapping: str
    destination: str
    records: int
    reason: str
    dropped: bool
    role: str = "OnFailure"
    """OnSuccess, OnFailure, DeadLetterQueue or DeadLetters."""
    asynchronous: bool = False
    """It was about an event of a function, not a record of an event source mapping."""


@dataclass(frozen=True, slots=True)
class RecordsParked:
    """Records wait behind dead letters of their keys; they are durable there."""

    mapping: str
    shard: str
    records: int


@dataclass(frozen=True, slots=True)
class EventsReceived:
    """Asynchronous invocations were taken; they are durable."""

    mapping: str
    events: int


@dataclass(frozen=True, slots=True)
class ShardAssigned:
    mapping: str
    shard: str
    position: int | None
    crashes: int = 0
    """Owners before that ended without a word at this position."""


@dataclass(frozen=True, slots=True)
class ShardReleased:
    mapping: str
    shard: str
    reason: str


@dataclass(frozen=True, slots=True)
class SettlementFailed:
    """A commit, an ack or an extension failed: records may come again."""

    mapping: str
    shard: str
    action: str
    reason: str


@dataclass(frozen=True, slots=True)
class FunctionStuck:
    """An invocation was given up but its thread runs on and keeps its place."""

    function: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BreakerOpened:
    """The function failed so often that it is not called for `delay` seconds."""

    mapping: str
    failures: int
    """On end, before it opened first."""
    openings: int
    """1, and one more for each call that failed to close it."""
    delay: float


@dataclass(frozen=True, slots=True)
class BreakerClosed:
    """The function works again, after `seconds` in which it was hardly called."""

    mapping: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ConcurrencyAdapted:
    """A function may run another number of times at a time from now on."""

    function: str
    limit: int
    was: int
    latency: float
    """Mean seconds of the calls that led to it; 0: none of them went well."""
    dropped: float
    """The share of them that failed or was throttled."""


@dataclass(frozen=True, slots=True)
class EnvironmentStarted:
    """An execution environment of a function was initialised, or has failed to be and tries it again."""

    function: str
    version: str
    seconds: float
    provisioned: bool


@dataclass(frozen=True, slots=True)
class EnvironmentFailed:
    """An execution environment could not be made, or not be left."""

    function: str
    version: str
    reason: str
    provisioned: bool


@dataclass(frozen=True, slots=True)
class EnvironmentEnded:
    """An execution environment was left: idle, or beyond its lifetime, or for the reason that is given."""

    function: str
    version: str
    reason: str
    invocations: int


@dataclass(frozen=True, slots=True)
class InvocationThrottled:
    """An invocation got no execution environment."""

    function: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class StateChanged:
    mapping: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class MappingCrashed:
    """A mapping ended with an error and starts again by itself."""

    mapping: str
    error: BaseException
    restart_in: float


@dataclass(frozen=True, slots=True)
class DrainBegun:
    grace: float


@dataclass(frozen=True, slots=True)
class DrainEnded:
    clean: bool
    seconds: float


TelemetryEvent: TypeAlias = (
    RecordsPolled
    | BatchDelivered
    | BatchRetried
    | RecordsDiscarded
    | DestinationDeliveryFailed
    | EventsReceived
    | RecordsParked
    | ShardAssigned
    | ShardReleased
    | SettlementFailed
    | FunctionStuck
    | BreakerOpened
    | BreakerClosed
    | ConcurrencyAdapted
    | EnvironmentStarted
    | EnvironmentFailed
    | EnvironmentEnded
    | InvocationThrottled
    | StateChanged
    | MappingCrashed
    | DrainBegun
    | DrainEnded
)


class _Sink(Protocol):
    def emit(self, event: TelemetryEvent) -> None: ...


class Fanout:
    """Gives each event to every sink."""

    __slots__ = ("_sinks",)

    def __init__(self, sinks: Sequence[_Sink]) -> None:
        self._sinks = tuple(sinks)

    def emit(self, event: TelemetryEvent) -> None:
        for sink in self._sinks:
            sink.emit(event)


class Counters:
    """Counts by mapping, under the names of Lambda's event source mapping metrics where it has them."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._of_functions: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.last_results: dict[str, str] = {}
        """By mapping: Lambda's LastProcessingResult."""

    def of(self, mapping: str) -> dict[str, int]:
        """The counts of one mapping since the process began."""
        return dict(self._counts[mapping])

    def of_function(self, function: str) -> dict[str, int]:
        """The counts of one function's execution environments since the process began."""
        return dict(self._of_functions[function])

    def emit(self, event: TelemetryEvent) -> None:
        match event:
            case RecordsPolled():
                counts = self._counts[event.mapping]
                counts["PolledEventCount"] += event.records
                if event.filtered:
                    counts["FilteredOutEventCount"] += event.filtered
            case BatchDelivered():
                counts = self._counts[event.mapping]
                counts["InvokedEventCount"] += event.records
                counts["Batches"] += 1
                if event.failed:
                    counts["FailedInvokeEventCount"] += event.failed
                match event.outcome:
                    case Succeeded():
                        self.last_results[event.mapping] = "OK"
                    case Failed():
                        counts["InvokeErrorCount"] += 1
                        self.last_results[event.mapping] = "PROBLEM: Function call failed"
                    case Refused():
                        counts["RecursiveInvocationsDropped"] += event.records
                        self.last_results[event.mapping] = "PROBLEM: Recursive invocations were stopped"
                    case Throttled(reason=reason):
                        counts["Throttles"] += 1
                        self.last_results[event.mapping] = f"PROBLEM: Function call throttled. {reason}"
            case BatchRetried():
                self._counts[event.mapping]["Bisections" if event.parts > 1 else "Retries"] += 1
            case RecordsDiscarded():
                self._discarded(event)
            case DestinationDeliveryFailed():
                # Lambda has one name for both destinations of a function, and one for those of mappings.
                role = "OnSuccess" if event.asynchronous and event.role == "OnFailure" else event.role
                self._counts[event.mapping][_DELIVERY_FAILURES[role]] += 1
            case RecordsParked():
                self._counts[event.mapping]["ParkedEventCount"] += event.records
            case EventsReceived():
                self._counts[event.mapping]["AsyncEventsReceived"] += event.events
            case BreakerOpened():
                self._counts[event.mapping]["CircuitBreakerOpenings"] += 1
            case EnvironmentStarted() | EnvironmentFailed() | EnvironmentEnded() | InvocationThrottled():
                self._of_functions[event.function][_OF_ENVIRONMENTS[type(event)]] += 1
            case MappingCrashed():
                self._counts[event.mapping]["Crashes"] += 1
                self.last_results[event.mapping] = f"PROBLEM: {event.error}"
            case _:
                pass

    def _discarded(self, event: RecordsDiscarded) -> None:
        counts = self._counts[event.mapping]
        if event.asynchronous:
            counts["AsyncEventsDropped"] += event.records
            if event.condition == Condition.RECURSIVE_INVOCATION.value:
                counts["RecursiveInvocationsDropped"] += event.records
        if event.destination is None:
            counts["DroppedEventCount"] += event.records
        elif not event.asynchronous:
            counts["OnFailureDestinationDeliveredEventCount"] += event.records


_OF_ENVIRONMENTS: dict[type, str] = {
    EnvironmentStarted: "EnvironmentsStarted",
    EnvironmentFailed: "EnvironmentFailures",
    EnvironmentEnded: "EnvironmentsEnded",
    InvocationThrottled: "Throttles",
}

_DELIVERY_FAILURES = {
    "OnSuccess": "DestinationDeliveryFailures",
    "OnFailure": "OnFailureDestinationDeliveryErrorCount",
    "DeadLetterQueue": "DeadLetterErrors",
    "DeadLetters": "DeadLetterErrors",
}


class LogTelemetry:
    """Events as structured log lines: a batch at debug, a failure at warning, nothing a record."""

    def __init__(self, logger: Any, *, debug: bool = False) -> None:
        self._log = logger
        self._debug = debug

    def emit(self, event: TelemetryEvent) -> None:
        match event:
            case RecordsPolled() | EventsReceived():
                pass
            case BatchDelivered():
                self._delivered(event)
            case BatchRetried():
                if self._debug:
                    self._log.debug("batch_retried", **_fields(event))
            case RecordsDiscarded():
                self._log.warning("records_discarded", **_fields(event))
            case RecordsParked():
                if self._debug:
                    self._log.debug("records_parked", **_fields(event))
            case DestinationDeliveryFailed():
                self._log.error("destination_delivery_failed", **_fields(event))
            case EnvironmentStarted() | EnvironmentEnded() | InvocationThrottled():
                if self._debug:
                    self._log.debug(_name(event), **_fields(event))
            case SettlementFailed() | BreakerOpened() | EnvironmentFailed():
                self._log.warning(_name(event), **_fields(event))
            case ConcurrencyAdapted():
                if self._debug:
                    self._log.debug("concurrency_adapted", **_fields(event))
            case FunctionStuck():
                self._log.error("function_stuck", **_fields(event))
            case MappingCrashed():
                self._log.error(
                    "mapping_crashed",
                    mapping=event.mapping,
                    restart_in=round(event.restart_in, 1),
                    exc_info=event.error,
                )
            case (
                ShardAssigned()
                | ShardReleased()
                | StateChanged()
                | BreakerClosed()
                | DrainBegun()
                | DrainEnded()
            ):
                self._log.info(_name(event), **_fields(event))

    def _delivered(self, event: BatchDelivered) -> None:
        match event.outcome:
            case Failed(type=error, message=message):
                level = self._log.warning
                extra = {"error": error, "message": message}
            case Refused(condition=condition):
                level = self._log.error
                extra = {"error": condition.value, "message": "a loop of requests was stopped"}
            case Throttled(reason=reason):
                level = self._log.warning
                extra = {"error": "Throttled", "message": reason}
            case Succeeded(error=Failed(type=error, message=message)):
                level = self._log.warning
                extra = {"error": error, "message": message}
            case _:
                if not self._debug:
                    return
                level = self._log.debug
                extra = {}
        level(
            "batch_delivered",
            mapping=event.mapping,
            shard=event.shard,
            records=event.records,
            failed=event.failed,
            attempt=event.attempt,
            ms=round(event.seconds * 1000, 1),
            **extra,
        )


def logger() -> tuple[Any, bool]:
    """Where log lines go, and whether debug lines do: structlog as the host has configured it.

    Where it has not, the standard logger `streamfn`: a library that prints unasked is a nuisance.
    """
    import structlog  # it takes longer than all else that an app needs before it runs

    if structlog.is_configured():
        log = structlog.get_logger("streamfn").bind()
        asks = getattr(log, "is_enabled_for", None) or getattr(log, "isEnabledFor", None)
        return log, asks is None or bool(asks(logging.DEBUG))
    standard = logging.getLogger("streamfn")
    log = structlog.wrap_logger(
        standard,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return log, standard.isEnabledFor(logging.DEBUG)


def _name(event: TelemetryEvent) -> str:
    name = type(event).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _fields(event: TelemetryEvent) -> dict[str, object]:
    return {name: getattr(event, name) for name in event.__dataclass_fields__}
