"""What is done with asynchronous invocations: FunctionEventInvokeConfig."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamfn.config import EventInvokeConfig
from streamfn.control.arns import plain_arn
from streamfn.control.errors import ApiError, invalid, not_found
from streamfn.control.function_catalog import Catalog
from streamfn.control.naming import function_of
from streamfn.control.paging import page
from streamfn.core.deployments import LATEST
from streamfn.errors import StreamfnError, UnknownKind
from streamfn.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.control.functions import Functions
    from streamfn.control.plane import Operations, Params, Plane, Result

KIND: Final = "event-invoke-config"
"""By `NAME`, or `NAME:QUALIFIER`."""

_SERVICES: Final = {
    "OnSuccess": ("events", "lambda", "sns", "sqs"),
    "OnFailure": ("events", "lambda", "s3", "sns", "sqs"),
}
"""What events may go to (Developer Guide: invocation-async-retain-records)."""

_MEMBERS: Final = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")


class EventInvokeConfigs:
    """Each is of a function, or of a version or an alias of it."""

    def __init__(self, plane: Plane, functions: Functions) -> None:
        self._plane = plane
        self._functions = functions
        self._catalog = Catalog(plane)

    def operations(self) -> Operations:
        return {
            "PutFunctionEventInvokeConfig": self.put,
            "UpdateFunctionEventInvokeConfig": self.update,
            "GetFunctionEventInvokeConfig": self.get,
            "DeleteFunctionEventInvokeConfig": self.delete,
            "ListFunctionEventInvokeConfigs": self.list_configs,
        }

    async def restore(self) -> None:
        """Brings back what is stored. What cannot be is logged: AWS's defaults hold there."""
        for key, document in list(self._plane.resources.all(KIND).items()):
            try:
                await self._plane.app.put_event_invoke_config(_loaded(key, document))
            except (StreamfnError, OSError) as error:
                logger()[0].error("event_invoke_config_unready", function=key, reason=str(error))

    async def put(self, params: Params) -> Result:
        """Overwrites what was there."""
        given = _given(params)
        key = self._changeable(params)
        await self._check_destinations(given)
        async with self._plane.changing(f"event-invoke-config/{key}"):
            return await self._store(key, given)

    async def update(self, params: Params) -> Result:
        """Changes what is given, and leaves the rest."""
        given = _given(params)
        key = self._changeable(params)
        await self._check_destinations(given)
        async with self._plane.changing(f"event-invoke-config/{key}"):
            before = self._known(key)
            kept = {name: before[name] for name in _MEMBERS if name in before}
            return await self._store(key, {**kept, **given})

    async def get(self, params: Params) -> Result:
        key = self._key(params)
        return self._shown(key, self._known(key))

    async def delete(self, params: Params) -> Result:
        key = self._key(params)
        async with self._plane.changing(f"event-invoke-config/{key}"):
            self._known(key)
            await self._plane.resources.remove(KIND, key)
            await self._plane.app.remove_event_invoke_config(key)
        return {}

    async def list_configs(self, params: Params) -> Result:
        name = function_of(params, self._plane.identity).name
        self._check(name)
        stored = self._plane.resources.all(KIND)
        found, marker = page([(key,) for key in stored if key.partition(":")[0] == name], params)
        configs = [self._shown(key, stored[key]) for (key,) in found]
        return {"FunctionEventInvokeConfigs": configs, "NextMarker": marker}

    async def _store(self, key: str, given: Mapping[str, Any]) -> Result:
        app, resources = self._plane.app, self._plane.resources
        before = resources.get(KIND, key)
        try:
            await app.put_event_invoke_config(_loaded(key, given))
        except UnknownKind as error:
            named = ", ".join(each for _, each in _destinations(given))
            raise invalid(f"The destination ARN {named} is invalid.") from error
        document = {**given, "LastModified": self._plane.clock()}
        try:
            await resources.put(KIND, key, document)
        except OSError:
            if before is None:
                await app.remove_event_invoke_config(key)
            else:
                await app.put_event_invoke_config(_loaded(key, before))
            raise
        return self._shown(key, document)

    async def _check_destinations(self, given: Mapping[str, Any]) -> None:
        """Raises ApiError for what events cannot go to. Waits for a function that is being made."""
        for side, destination in _destinations(given):
            arn = plain_arn(destination)
            if arn is None or arn.service not in _SERVICES[side]:
                raise invalid(f"The destination ARN {destination} is invalid.")
            if arn.service != "lambda":
                continue
            try:
                name, qualifier = function_of({"FunctionName": destination}, self._plane.identity)
                self._check(name, "" if qualifier in (None, LATEST) else str(qualifier))
            except ApiError as error:
                raise invalid(f"The destination ARN {destination} is invalid.") from error
            await self._functions.ready(name)

    def _key(self, params: Params) -> str:
        name, qualifier = function_of(params, self._plane.identity)
        return name if qualifier in (None, LATEST) else f"{name}:{qualifier}"

    def _check(self, name: str, qualifier: str = "") -> None:
        """Raises ApiError where there is no such function, version or alias."""
        missing = not_found("The function doesn't exist.")
        try:
            self._catalog.check(name)
        except ApiError as error:
            raise missing from error
        if qualifier and qualifier not in {*self._catalog.versions(name), *self._catalog.aliases(name)}:
            raise missing

    def _changeable(self, params: Params) -> str:
        key = self._key(params)
        name, _, qualifier = key.partition(":")
        self._check(name, qualifier)
        self._catalog.changeable(name)
        return key

    def _known(self, key: str) -> Mapping[str, Any]:
        document = self._plane.resources.get(KIND, key)
        if document is None:
            raise not_found(f"The function {self._arn(key)} doesn't have an EventInvokeConfig")
        return document

    def _arn(self, key: str) -> str:
        return self._plane.identity.arn("function", key if ":" in key else f"{key}:{LATEST}")

    def _shown(self, key: str, document: Mapping[str, Any]) -> dict[str, Any]:
        destinations = {"OnSuccess": {}, "OnFailure": {}, **document.get("DestinationConfig", {})}
        return {"FunctionArn": self._arn(key), **document, "DestinationConfig": destinations}


def _given(params: Params) -> dict[str, Any]:
    """What a request says. Raises ApiError where that is nothing."""
    given = {name: params[name] for name in _MEMBERS if params.get(name) is not None}
    if not given:
        raise invalid("You must specify at least one of error handling or destination setting.")
    return given


def _destinations(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Side and ARN of each destination that is named."""
    found = given.get("DestinationConfig", {}).items()
    return [(side, target["Destination"]) for side, target in found if target.get("Destination")]


def _loaded(key: str, document: Mapping[str, Any]) -> EventInvokeConfig:
    given = {name: document[name] for name in _MEMBERS if name in document}
    return EventInvokeConfig.load({"function": key, **given}, "the API")
