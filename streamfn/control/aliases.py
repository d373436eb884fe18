"""Aliases of functions: names for a version, or for two with weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamfn.control import function_documents as documents
from streamfn.control.errors import ApiError, conflict, invalid, not_found
from streamfn.control.naming import function_of
from streamfn.control.paging import page
from streamfn.core.deployments import LATEST
from streamfn.core.versions import Alias, check_alias
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from streamfn.control.function_catalog import Catalog
    from streamfn.control.function_life import FunctionLife
    from streamfn.control.plane import Operations, Params, Plane, Result


class Aliases:
    """CreateAlias, GetAlias, UpdateAlias, DeleteAlias and ListAliases."""

    def __init__(self, plane: Plane, catalog: Catalog, life: FunctionLife) -> None:
        self._plane = plane
        self._catalog = catalog
        self._life = life

    def served(self) -> Operations:
        return {
            "CreateAlias": self.create,
            "DeleteAlias": self.delete,
            "GetAlias": self.get,
            "ListAliases": self.list_aliases,
            "UpdateAlias": self.update,
        }

    async def create(self, params: Params) -> Result:
        name = self._function(params)
        if name not in self._plane.app.deployments:
            await self._life.ready(name)
        async with self._plane.changing(f"function/{name}"):
            self._catalog.check(name, params["FunctionVersion"])
            alias = Alias(
                name,
                params["Name"],
                params["FunctionVersion"],
                _weights(params),
                params.get("Description") or "",
            )
            if params["Name"] in self._catalog.aliases(name):
                raise conflict(f"Alias already exists: {self._arn(name, params['Name'])}")
            return await self._put(alias)

    async def update(self, params: Params) -> Result:
        name = self._function(params)
        async with self._plane.changing(f"function/{name}"):
            known = self._known(name, params["Name"])
            documents.check_revision({"RevisionId": self._revision(known)}, params)
            changed = replace(
                known,
                version=params.get("FunctionVersion") or known.version,
                description=known.description if params.get("Description") is None else params["Description"],
                additional=known.additional if params.get("RoutingConfig") is None else _weights(params),
            )
            if known.shift is not None and changed != known:
                raise conflict(
                    f"The traffic of alias {known.name} is being shifted: change it when that has ended."
                )
            return await self._put(changed)

    async def get(self, params: Params) -> Result:
        return self._shown(self._known(self._function(params), params["Name"]))

    async def list_aliases(self, params: Params) -> Result:
        name = self._function(params)
        self._catalog.check(name)
        aliases, version = self._catalog.aliases(name), params.get("FunctionVersion")
        keys = [(each.name,) for each in aliases.values() if version is None or version in each.versions]
        wanted, marker = page(keys, params)
        return {"Aliases": [self._shown(aliases[each]) for (each,) in wanted], "NextMarker": marker}

    async def delete(self, params: Params) -> Result:
        name = self._function(params)
        async with self._plane.changing(f"function/{name}"):
            self._catalog.check(name)
            if params["Name"] in self._catalog.aliases(name):
                await self._plane.app.deployed.delete_alias(name, params["Name"])
                await self._life.detach(name, params["Name"])
        return {}

    # --------------------------------------------------------------------------------------------- parts

    def _function(self, params: Params) -> str:
        return function_of({"FunctionName": params["FunctionName"]}, self._plane.identity).name

    def _arn(self, function: str, name: str) -> str:
        return f"{self._plane.identity.arn('function', function)}:{name}"

    def _known(self, function: str, name: str) -> Alias:
        self._catalog.check(function)
        alias = self._catalog.aliases(function).get(name)
        if alias is None:
            raise not_found(f"Cannot find alias arn: {self._arn(function, name)}")
        return alias

    async def _put(self, alias: Alias) -> dict[str, Any]:
        self._catalog.releasable(alias.function)
        try:
            # Whether the versions are there is asked below: it has another answer.
            check_alias(alias, alias.versions)
            self._check_versions(alias)
            self._check_alike(alias)
            return self._shown(await self._plane.app.deployed.put_alias(alias))
        except ConfigurationError as error:
            kind = "ValidationException" if error.problem.startswith("1 validation error") else None
            raise ApiError(kind or "InvalidParameterValueException", error.problem) from error

    def _check_versions(self, alias: Alias) -> None:
        published = self._catalog.versions(alias.function)
        for version in alias.versions:
            if version != LATEST and version not in published:
                raise not_found(f"Function not found: {self._arn(alias.function, version)}")

    def _check_alike(self, alias: Alias) -> None:
        """Versions that share invocations have one role and one dead-letter queue (Developer Guide:
        configuring-alias-routing). Raises ApiError.
        """
        published = self._catalog.versions(alias.function)
        every = [published[each].deployment.settings for each in alias.versions if each in published]
        queues = {(each.get("DeadLetterConfig") or {}).get("TargetArn") or "" for each in every}
        if len({each.get("Role") for each in every}) > 1 or len(queues) > 1:
            raise invalid(
                f"Function versions {' and '.join(alias.versions)} cannot share an alias: they have "
                "different roles or dead-letter queues."
            )

    def _shown(self, alias: Alias) -> dict[str, Any]:
        weights = dict(alias.additional)
        return {
            "AliasArn": self._arn(alias.function, alias.name),
            "Name": alias.name,
            "FunctionVersion": alias.version,
            "Description": alias.description,
            "RoutingConfig": {"AdditionalVersionWeights": weights} if weights else None,
            "RevisionId": self._revision(alias),
        }

    def _revision(self, alias: Alias) -> str:
        return self._catalog.revision(f"{alias.function}:{alias.name}", alias.revision_id)


def _weights(params: Params) -> dict[str, float]:
    return dict((params.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {})
