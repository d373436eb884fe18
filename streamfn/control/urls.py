"""Configuration of function URLs."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from streamfn.control.answers import refusal
from streamfn.control.errors import ApiError, conflict, not_found
from streamfn.control.function_catalog import Catalog
from streamfn.control.function_keys import key_of
from streamfn.control.naming import FunctionReference, function_of
from streamfn.control.paging import page
from streamfn.core.deployments import LATEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.control.messages import HttpRequest, HttpResponse
    from streamfn.control.plane import Operations, Params, Plane, Result

KIND: Final = "url"
GONE: Final = "The resource you requested does not exist."
_SETTINGS: Final = ("AuthType", "Cors", "InvokeMode")
_HOST: Final = re.compile(r"[0-9a-f]{32}\.lambda-url\.", re.IGNORECASE)
_NOT_SERVED: Final = (
    "Of function URLs streamfn keeps the configuration and serves none: call Invoke of Lambda's API."
)


class FunctionUrls:
    """Keeps what URLs of functions are to be like, one for each function and alias."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._catalog = Catalog(plane)

    def operations(self) -> Operations:
        return {
            "CreateFunctionUrlConfig": self.create,
            "DeleteFunctionUrlConfig": self.delete,
            "GetFunctionUrlConfig": self.get,
            "ListFunctionUrlConfigs": self.list_configs,
            "UpdateFunctionUrlConfig": self.update,
        }

    async def create(self, params: Params) -> Result:
        function = function_of(params, self._plane.identity)
        arn = function.arn(self._plane.identity)
        async with self._plane.changing(f"function/{function.name}"):
            self._check(function)
            if self._plane.resources.get(KIND, key_of(function)) is not None:
                raise conflict(
                    f"Failed to create function url config for [functionArn = {arn}]."
                    " Error message:  FunctionUrlConfig exists for this Lambda function"
                )
            now = self._plane.iso()
            document = {
                "Id": secrets.token_hex(16),
                "FunctionArn": arn,
                "CreationTime": now,
                "LastModifiedTime": now,
                "InvokeMode": "BUFFERED",
                **_given(params),
            }
            await self._plane.resources.put(KIND, key_of(function), document)
        return self._shown(document)

    async def get(self, params: Params) -> Result:
        return self._shown(self._known(function_of(params, self._plane.identity)))

    async def list_configs(self, params: Params) -> Result:
        name = function_of(params, self._plane.identity).name
        self._check(FunctionReference(name, None))
        every = self._plane.resources.all(KIND)
        found, marker = page([(key,) for key in every if key.partition(":")[0] == name], params)
        return {"FunctionUrlConfigs": [self._shown(every[key]) for (key,) in found], "NextMarker": marker}

    async def update(self, params: Params) -> Result:
        function = function_of(params, self._plane.identity)
        async with self._plane.changing(f"function/{function.name}"):
            self._check(function)
            document = {**self._known(function), **_given(params), "LastModifiedTime": self._plane.iso()}
            await self._plane.resources.put(KIND, key_of(function), document)
        return self._shown(document)

    async def delete(self, params: Params) -> Result:
        function = function_of(params, self._plane.identity)
        async with self._plane.changing(f"function/{function.name}"):
            self._known(function)
            await self._plane.resources.remove(KIND, key_of(function))
        return {}

    def _check(self, function: FunctionReference) -> None:
        """Raises ApiError where there is no such function, or no such alias of it."""
        try:
            self._catalog.check(function.name)
        except ApiError:
            raise not_found("Function does not exist") from None
        qualifier = function.qualifier
        if qualifier not in {None, LATEST} and qualifier not in self._catalog.aliases(function.name):
            raise not_found("Function does not exist")

    def _known(self, function: FunctionReference) -> Mapping[str, Any]:
        document = self._plane.resources.get(KIND, key_of(function))
        if document is None:
            raise not_found(GONE)
        return document

    def _shown(self, document: Mapping[str, Any]) -> Result:
        shown = {name: value for name, value in document.items() if name != "Id"}
        # Names below `localhost` lead to this machine everywhere.
        here = urlsplit(self._plane.url)
        scheme = "https" if here.scheme == "https" else "http"
        port = f":{here.port}" if here.port else ""
        region = self._plane.identity.region
        return {**shown, "FunctionUrl": f"{scheme}://{document['Id']}.lambda-url.{region}.localhost{port}/"}


def url_response(request: HttpRequest) -> HttpResponse | None:
    """What is answered to a request that was sent to a function's URL; None for any other."""
    if not _HOST.match(request.headers.get("host", "")):
        return None
    return refusal(404, "ResourceNotFoundException", _NOT_SERVED)


def _given(params: Params) -> dict[str, Any]:
    return {name: params[name] for name in _SETTINGS if params.get(name) is not None}
