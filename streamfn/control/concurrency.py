"""Reserved and provisioned concurrency."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from streamfn.control.errors import ApiError, conflict, invalid, not_found
from streamfn.control.function_catalog import Catalog
from streamfn.control.naming import function_of
from streamfn.control.paging import page
from streamfn.core.admission import InvalidConcurrency
from streamfn.core.deployments import LATEST
from streamfn.core.versions import is_version
from streamfn.errors import StreamfnError
from streamfn.telemetry import logger

if TYPE_CHECKING:
    from streamfn.control.plane import Operations, Params, Plane, Result

KIND: Final = "reserved"


class FunctionConcurrency:
    """What is reserved for functions."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._catalog = Catalog(plane)

    def operations(self) -> Operations:
        return {
            "PutFunctionConcurrency": self.put,
            "GetFunctionConcurrency": self.get,
            "DeleteFunctionConcurrency": self.delete,
        }

    async def restore(self) -> None:
        """Reserves what is stored. What does not fit any more is logged."""
        for name, document in list(self._plane.resources.all(KIND).items()):
            try:
                await self._plane.app.reserve(name, document["ReservedConcurrentExecutions"])
            except (InvalidConcurrency, StreamfnError, OSError) as error:
                logger()[0].error("concurrency_not_reserved", function=name, reason=str(error))

    async def put(self, params: Params) -> Result:
        reference = function_of(params, self._plane.identity)
        if reference.qualifier is not None:
            raise invalid(
                "This operation is permitted on Lambda functions only. Aliases and versions do not support "
                "this operation. Please specify either a function name or an unqualified function ARN."
            )
        # As recorded: the others name the function alone.
        self._catalog.check(reference.name, LATEST)
        name = self._changeable(params)
        number = params["ReservedConcurrentExecutions"]
        async with self._plane.changing(f"reserved/{name}"):
            await self._reserve(name, number)
        return {"ReservedConcurrentExecutions": number}

    async def get(self, params: Params) -> Result:
        name = function_of(params, self._plane.identity).name
        self._catalog.check(name)
        return {"ReservedConcurrentExecutions": self._plane.app.account.reserved.get(name)}

    async def delete(self, params: Params) -> Result:
        name = self._changeable(params)
        async with self._plane.changing(f"reserved/{name}"):
            await self._reserve(name, None)
        return {}

    async def _reserve(self, name: str, number: int | None) -> None:
        app, resources = self._plane.app, self._plane.resources
        before = app.account.reserved.get(name)
        await app.reserve(name, number)
        try:
            if number is None:
                await resources.remove(KIND, name)
            else:
                await resources.put(KIND, name, {"ReservedConcurrentExecutions": number})
        except OSError:
            await app.reserve(name, before)
            raise

    def _changeable(self, params: Params) -> str:
        name = function_of(params, self._plane.identity).name
        self._catalog.changeable(name)
        return name


class ProvisionedConcurrency:
    """What is kept initialised for versions and aliases. Their store has it."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._catalog = Catalog(plane)

    def operations(self) -> Operations:
        return {
            "PutProvisionedConcurrencyConfig": self.put,
            "GetProvisionedConcurrencyConfig": self.get,
            "ListProvisionedConcurrencyConfigs": self.list_configs,
            "DeleteProvisionedConcurrencyConfig": self.delete,
        }

    async def put(self, params: Params) -> Result:
        name, qualifier = self._named(params)
        alias = self._catalog.aliases(name).get(qualifier)
        if LATEST in (qualifier, alias and alias.version):
            raise invalid(
                "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
            )
        self._check(name, qualifier)
        self._catalog.changeable(name)
        async with self._plane.changing(f"reserved/{name}"):
            self._check_apart(name, qualifier)
            number = params["ProvisionedConcurrentExecutions"]
            await self._plane.app.provision(name, qualifier, number)
        return self._shown(name, qualifier)

    async def get(self, params: Params) -> Result:
        name, qualifier = self._of_release(params)
        return self._shown(name, qualifier)

    async def delete(self, params: Params) -> Result:
        name, qualifier = self._of_release(params)
        async with self._plane.changing(f"reserved/{name}"):
            await self._plane.app.provision(name, qualifier, None)
        return {}

    async def list_configs(self, params: Params) -> Result:
        name = function_of(params, self._plane.identity).name
        self._catalog.check(name)
        keys = [(qualifier,) for qualifier in self._asked(name)]
        found, marker = page(keys, params)
        arn = self._plane.identity.arn("function", name)
        configs = [
            {"FunctionArn": f"{arn}:{qualifier}", **self._shown(name, qualifier)} for (qualifier,) in found
        ]
        return {"ProvisionedConcurrencyConfigs": configs, "NextMarker": marker}

    def _named(self, params: Params) -> tuple[str, str]:
        name, qualifier = function_of(params, self._plane.identity)
        return name, qualifier or LATEST

    def _of_release(self, params: Params) -> tuple[str, str]:
        name, qualifier = self._named(params)
        if qualifier == LATEST:
            raise invalid("The function resource provided must be an alias or a published version.")
        self._check(name, qualifier)
        return name, qualifier

    def _check(self, name: str, qualifier: str) -> None:
        """Raises ApiError where there is no such version or alias."""
        arn = self._plane.identity.arn("function", name)
        if is_version(qualifier):
            if qualifier not in self._catalog.versions(name):
                raise not_found(f"Function not found: {arn}:{qualifier}")
        elif qualifier not in self._catalog.aliases(name):
            raise not_found(f"Cannot find alias arn: {arn}:{qualifier}")

    def _check_apart(self, name: str, qualifier: str) -> None:
        """Raises ApiError where version and alias would both be provisioned."""
        asked, aliases = self._asked(name), self._catalog.aliases(name)
        if is_version(qualifier):
            if any(alias.version == qualifier for label, alias in aliases.items() if label in asked):
                raise conflict("Version is pointed by a Provisioned Concurrency alias")
        elif aliases[qualifier].version in asked:
            raise conflict(
                "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned "
                "version"
            )

    def _asked(self, name: str) -> Any:
        app = self._plane.app
        return app.deployed.releases.provisioned(name) if name in app.deployments else {}

    def _shown(self, name: str, qualifier: str) -> dict[str, Any]:
        asked = self._asked(name).get(qualifier)
        status = None if asked is None else self._plane.app.deployed.provisioned(name, qualifier)
        if asked is None or status is None:
            raise ApiError(
                "ProvisionedConcurrencyConfigNotFoundException",
                "No Provisioned Concurrency Config found for this function",
            )
        since = datetime.fromtimestamp(asked.since, UTC)
        return {
            "RequestedProvisionedConcurrentExecutions": status.requested,
            "AvailableProvisionedConcurrentExecutions": status.available,
            "AllocatedProvisionedConcurrentExecutions": status.available,
            "Status": status.status,
            "StatusReason": status.reason or None,
            "LastModified": since.strftime("%Y-%m-%dT%H:%M:%S+0000"),
        }
