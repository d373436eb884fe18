"""Settings of functions that stand beside their configuration: runtime updates, recursion, code signing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamfn.control.errors import ApiError, invalid, not_found
from streamfn.control.function_catalog import Catalog
from streamfn.control.function_keys import key_of
from streamfn.control.naming import FunctionReference, function_of
from streamfn.core.deployments import LATEST

if TYPE_CHECKING:
    from streamfn.control.plane import Operations, Params, Plane, Result

RUNTIME_KIND: Final = "runtime-management"


class FunctionSettings:
    """Runtime updates are kept and shown, though there are none. Loops are stopped, and no code is signed."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._catalog = Catalog(plane)

    def operations(self) -> Operations:
        return {
            "DeleteFunctionCodeSigningConfig": self.delete_code_signing,
            "GetFunctionCodeSigningConfig": self.get_code_signing,
            "GetFunctionRecursionConfig": self.get_recursion,
            "GetRuntimeManagementConfig": self.get_runtime,
            "PutFunctionCodeSigningConfig": self.put_code_signing,
            "PutFunctionRecursionConfig": self.put_recursion,
            "PutRuntimeManagementConfig": self.put_runtime,
        }

    async def get_runtime(self, params: Params) -> Result:
        function = self._version(params)
        stored = self._plane.resources.get(RUNTIME_KIND, key_of(function)) or {"UpdateRuntimeOn": "Auto"}
        return {**stored, "FunctionArn": function.arn(self._plane.identity)}

    async def put_runtime(self, params: Params) -> Result:
        function = self._version(params)
        mode, version = params["UpdateRuntimeOn"], params.get("RuntimeVersionArn")
        if mode == "Manual" and not version:
            raise invalid("RuntimeVersionArn is required when UpdateRuntimeOn is Manual.")
        if mode != "Manual" and version:
            raise invalid("RuntimeVersionArn is only supported when UpdateRuntimeOn is Manual.")
        async with self._plane.changing(f"function/{function.name}"):
            self._version(params)
            document = {"UpdateRuntimeOn": mode, **({"RuntimeVersionArn": version} if version else {})}
            await self._plane.resources.put(RUNTIME_KIND, key_of(function), document)
        return {**document, "FunctionArn": function.arn(self._plane.identity)}

    async def get_recursion(self, params: Params) -> Result:
        self._named(params)
        return {"RecursiveLoop": "Terminate"}

    async def put_recursion(self, params: Params) -> Result:
        self._named(params)
        if params["RecursiveLoop"] != "Terminate":
            raise invalid("RecursiveLoop Allow is not supported by streamfn: what loops is stopped.")
        return {"RecursiveLoop": "Terminate"}

    async def get_code_signing(self, params: Params) -> Result:
        self._named(params)
        return {}

    async def put_code_signing(self, params: Params) -> Result:
        self._named(params)
        message = (
            "The code signing configuration cannot be found. "
            f"Check that the provided configuration is not deleted: {params['CodeSigningConfigArn']}."
        )
        raise ApiError("CodeSigningConfigNotFoundException", message, 404)

    async def delete_code_signing(self, params: Params) -> Result:
        self._named(params)
        return {}

    def _named(self, params: Params) -> str:
        """The function. Raises ApiError where there is none."""
        name, _ = function_of(params, self._plane.identity)
        self._catalog.check(name)
        return name

    def _version(self, params: Params) -> FunctionReference:
        """The function or the version of it. Raises ApiError where there is none."""
        function = function_of(params, self._plane.identity)
        self._catalog.check(function.name)
        if function.qualifier not in {None, LATEST} and function.qualifier not in self._catalog.versions(
            function.name
        ):
            raise not_found(f"Function not found: {function.arn(self._plane.identity)}")
        return function
