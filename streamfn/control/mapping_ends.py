"""Proving the ends of an event source mapping before it is made: source, destination, function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from streamfn import planning
from streamfn.config import EventSourceMapping
from streamfn.config.function import LAMBDA_TIMEOUT
from streamfn.control import mapping_rules as rules
from streamfn.control.errors import ApiError, invalid
from streamfn.control.function_catalog import KIND as FUNCTION
from streamfn.control.mapping_documents import options
from streamfn.control.mapping_rules import SourceType
from streamfn.core.deployments import LATEST, Deployment
from streamfn.errors import ConfigurationError, StreamfnError
from streamfn.functions import FunctionSpec, elsewhere
from streamfn.ports import is_queue

if TYPE_CHECKING:
    from streamfn.app import App
    from streamfn.control.naming import FunctionReference
    from streamfn.control.plane import Params, Plane
    from streamfn.ports import Source

PATIENCE: Final = 10.0
"""Seconds in which a source has to answer."""


def function_meant(plane: Plane, reference: FunctionReference) -> FunctionSpec:
    """A function with the version or alias that is meant; it may still be in the making. Raises ApiError."""
    name, qualifier = reference
    stored = plane.resources.get(FUNCTION, name) or {}
    function = plane.app.functions.get(name)
    if function is None and stored:
        seconds = float(stored.get("Timeout", LAMBDA_TIMEOUT))
        function = FunctionSpec(name, elsewhere, timeout=seconds, deployment=Deployment(name, ""))
    if function is None or stored.get("State") == "Deleting":
        raise invalid(rules.NO_FUNCTION)
    if qualifier in (None, LATEST):
        return function
    try:
        function = planning.qualified(function, qualifier or "")
        plane.app.deployed.check(function)
    except ConfigurationError as error:
        if function.deployment is None:
            raise rules.refused(error) from None
        raise invalid(rules.NO_FUNCTION) from None
    return function


def loaded(document: Params) -> EventSourceMapping:
    """The mapping of a document. Raises ApiError where its options are wrong."""
    try:
        return EventSourceMapping.load(options(document))
    except ConfigurationError as error:
        raise rules.refused(error) from None


def fitting(app: App, mapping: EventSourceMapping) -> Source:
    """The source of a mapping, whose options go with it. No I/O. Raises ApiError."""
    try:
        source, _ = app.source_of(mapping)
        destination = app.destination_of(mapping.on_failure)
    except ConfigurationError as error:
        raise rules.refused(error) from None
    if destination is not None and destination.name == source.name:
        raise invalid(
            f"DestinationConfig: {mapping.on_failure} is the source itself: send failures elsewhere."
        )
    return source


async def reach(app: App, mapping: EventSourceMapping, kind: SourceType, function: FunctionSpec) -> None:
    """Proves that the source is there and fits the mapping, and that the function is quick enough.

    Raises ApiError.
    """
    source = fitting(app, mapping)
    # Brokers may be away while a mapping is made (recorded): then its last result tells.
    visibility = None if kind.is_kafka else await _asked(source, kind, _arn(mapping))
    rules.check_timeout(kind, function.timeout, visibility if function.deployment is not None else None)


async def check_timeout(app: App, mapping: EventSourceMapping, kind: SourceType, spec: FunctionSpec) -> None:
    """As far as the source can be asked now: that the function is quick enough for it. Raises ApiError."""
    try:
        await reach(app, mapping, kind, spec)
    except ApiError as error:
        if isinstance(error.__cause__, OSError | StreamfnError):
            return
        raise


async def _asked(source: Source, kind: SourceType, arn: str) -> float | None:
    """The visibility timeout of a queue. Raises ApiError where the source is not there, or does not
    answer.
    """
    try:
        with anyio.fail_after(PATIENCE):
            await source.check()
            if is_queue(source):
                async with source.open() as shard:
                    return shard.visibility_timeout
    except TimeoutError as error:
        raise invalid(f"{arn} cannot be reached: no answer within {PATIENCE:g} s") from error
    except (OSError, StreamfnError) as error:
        raise _unreached(error, kind, arn) from error
    return None


def _unreached(error: Exception, kind: SourceType, arn: str) -> ApiError:
    if getattr(error.__cause__, "missing", False):
        if kind is SourceType.SQS:
            return invalid(rules.NO_QUEUE)
        if kind.is_stream:
            return invalid(f"Stream not found: {arn}")
    if isinstance(error, ConfigurationError):
        return rules.refused(error)
    return invalid(f"{arn} cannot be reached: {error}")


def _arn(mapping: EventSourceMapping) -> str:
    return mapping.source.partition("?")[0] if isinstance(mapping.source, str) else mapping.source.name
