"""Resource policies of functions and of layer versions: kept and shown. Who may call is another's concern."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from streamfn.control.errors import ApiError, invalid, not_found
from streamfn.control.function_catalog import KIND as FUNCTION
from streamfn.control.function_catalog import Catalog
from streamfn.control.function_keys import key_of
from streamfn.control.naming import FunctionReference, function_of
from streamfn.control.statements import (
    added,
    check_revision,
    parsed,
    removed,
    revised,
    statement_of,
    written,
)
from streamfn.core.deployments import LATEST
from streamfn.ports.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.control.plane import Operations, Params, Plane, Result

KIND: Final = "policy"
LAYER_KIND: Final = "layer-policy"
_GONE: Final = "The resource you requested does not exist."
_NONE: Final = "No policy is associated with the given resource."
_READING: Final = "GetFunction/GetAlias"
_READING_LAYER: Final = "GetLayerPolicy"
_ALIAS: Final = re.compile(r"(?![0-9]+$)[a-zA-Z0-9-_]+")
"""What may be an alias; other qualifiers are of versions."""


class FunctionPolicies:
    """The policy of a function, a version or an alias: statement by statement, or whole.

    Its revision is that of what it belongs to, which is another one after each change of its policy.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._catalog = Catalog(plane)

    def operations(self) -> Operations:
        return {
            "AddPermission": self.add,
            "DeleteResourcePolicy": self.delete,
            "GetPolicy": self.get,
            "GetResourcePolicy": self.get_whole,
            "PutResourcePolicy": self.put,
            "RemovePermission": self.remove,
        }

    async def add(self, params: Params) -> Result:
        function = function_of(params, self._plane.identity)
        if function.qualifier == LATEST:
            raise invalid("We currently do not support adding policies for $LATEST.")
        statement = statement_of(params, function.arn(self._plane.identity))
        async with self._plane.changing(f"function/{function.name}"):
            current = await self._current(function, params)
            await self._put(function, added(current and current["Policy"], statement))
        return {"Statement": written(statement)}

    async def get(self, params: Params) -> Result:
        function = function_of(params, self._plane.identity)
        self._catalog.check(function.name)
        return await self._shown(function, _GONE)

    async def remove(self, params: Params) -> Result:
        function = function_of(params, self._plane.identity)
        async with self._plane.changing(f"function/{function.name}"):
            try:
                self._catalog.check(function.name)
            except ApiError:
                arn = self._plane.identity.arn("function", function.name)
                raise not_found(f"No policy found for: {arn}") from None
            self._check(function)
            current = self._stored(function, _NONE)
            left = removed(current["Policy"], params["StatementId"])
            check_revision(params, await self._revision(function), _READING)
            await self._put(function, left)
        return {}

    async def get_whole(self, params: Params) -> Result:
        function = self._by_arn(params)
        self._check(function)
        return await self._shown(function, _NONE)

    async def put(self, params: Params) -> Result:
        function = self._by_arn(params)
        policy = parsed(params["Policy"])
        async with self._plane.changing(f"function/{function.name}"):
            await self._current(function, params)
            await self._put(function, policy)
            return await self._shown(function, _NONE)

    async def delete(self, params: Params) -> Result:
        function = self._by_arn(params)
        async with self._plane.changing(f"function/{function.name}"):
            self._check(function)
            self._stored(function, _NONE)
            check_revision(params, await self._revision(function), _READING)
            await self._put(function, None)
        return {}

    # --------------------------------------------------------------------------------------------- parts

    async def _current(self, function: FunctionReference, params: Params) -> Mapping[str, Any] | None:
        """What is stored, if anything, once it is sure that it is what the caller has read."""
        self._check(function)
        if params.get("RevisionId"):
            check_revision(params, await self._revision(function), _READING)
        return self._plane.resources.get(KIND, key_of(function))

    async def _revision(self, function: FunctionReference) -> str:
        """That of the function, or of the version or alias of it."""
        alias = self._catalog.aliases(function.name).get(str(function.qualifier))
        if alias is not None:
            return self._catalog.revision(key_of(function), alias.revision_id)
        revision: str = (await self._catalog.configuration(*function))["RevisionId"]
        return revision

    async def _put(self, function: FunctionReference, policy: Mapping[str, Any] | None) -> None:
        document = revised(policy)
        changes = [Resource(KIND, key_of(function), None if policy is None else document)]
        stored = self._catalog.stored(function.name)
        if stored is not None and key_of(function) == function.name:
            changed = {**stored, "RevisionId": document["RevisionId"]}
            changes.append(Resource(FUNCTION, function.name, changed))
        await self._plane.resources.write(changes)

    def _check(self, function: FunctionReference) -> None:
        """Raises ApiError where there is no such function, version or alias."""
        name, qualifier = function
        self._catalog.check(name)
        if qualifier in {None, LATEST} or qualifier in self._catalog.aliases(name):
            return
        if qualifier in self._catalog.versions(name):
            return
        said = "Cannot find alias arn" if _ALIAS.fullmatch(str(qualifier)) else "Function not found"
        raise not_found(f"{said}: {function.arn(self._plane.identity)}")

    def _by_arn(self, params: Params) -> FunctionReference:
        arn = params["ResourceArn"]
        if ":function:" not in arn:
            raise not_found(_GONE)
        return function_of({"FunctionName": arn}, self._plane.identity)

    def _stored(self, function: FunctionReference, otherwise: str) -> Mapping[str, Any]:
        document = self._plane.resources.get(KIND, key_of(function))
        if document is None:
            raise not_found(otherwise)
        return document

    async def _shown(self, function: FunctionReference, otherwise: str) -> Result:
        document = self._stored(function, otherwise)
        return {"Policy": written(document["Policy"]), "RevisionId": await self._revision(function)}


class LayerPolicies:
    """The policy of a layer's version."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def operations(self) -> Operations:
        return {
            "AddLayerVersionPermission": self.add,
            "GetLayerVersionPolicy": self.get,
            "RemoveLayerVersionPermission": self.remove,
        }

    async def add(self, params: Params) -> Result:
        key, arn = self._layer(params)
        statement = statement_of(params, arn)
        async with self._plane.changing(f"layer-policy/{key}"):
            current = self._plane.resources.get(LAYER_KIND, key)
            policy = added(current and current["Policy"], statement)
            check_revision(params, current["RevisionId"] if current else None, _READING_LAYER)
            document = revised(policy)
            await self._plane.resources.put(LAYER_KIND, key, document)
        return {"Statement": written(statement), "RevisionId": document["RevisionId"]}

    async def get(self, params: Params) -> Result:
        key, _ = self._layer(params)
        document = self._plane.resources.get(LAYER_KIND, key)
        if document is None:
            raise not_found(_NONE)
        return _shown(document)

    async def remove(self, params: Params) -> Result:
        key, _ = self._layer(params)
        async with self._plane.changing(f"layer-policy/{key}"):
            current = self._plane.resources.get(LAYER_KIND, key) or {"Policy": {}, "RevisionId": None}
            check_revision(params, current["RevisionId"], _READING_LAYER)
            left = removed(current["Policy"], params["StatementId"])
            if left is None:
                await self._plane.resources.remove(LAYER_KIND, key)
            else:
                await self._plane.resources.put(LAYER_KIND, key, revised(left))
        return {}

    def _layer(self, params: Params) -> tuple[str, str]:
        """Key and ARN of a layer's version. Raises ApiError where there is none."""
        given, number = params["LayerName"], params["VersionNumber"]
        name = given.rpartition(":")[2]
        arn = f"{self._plane.identity.arn('layer', name)}:{number}"
        ours = given in {name, self._plane.identity.arn("layer", name)}
        if not ours or self._plane.resources.get("layer-version", f"{name}:{number}") is None:
            raise not_found(f"Layer version {f'{given}:{number}' if ':' in given else arn} does not exist.")
        return f"{name}:{number}", arn


def _shown(document: Mapping[str, Any]) -> Result:
    return {"Policy": written(document["Policy"]), "RevisionId": document["RevisionId"]}
