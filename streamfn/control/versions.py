"""Published versions of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamfn.control import function_documents as documents
from streamfn.control.errors import conflict, invalid
from streamfn.control.naming import function_of
from streamfn.control.paging import page
from streamfn.core.deployments import LATEST
from streamfn.core.versions import check_code
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from streamfn.control.function_catalog import Catalog
    from streamfn.control.function_life import FunctionLife
    from streamfn.control.plane import Operations, Params, Plane, Result


class Versions:
    """PublishVersion, ListVersionsByFunction, and DeleteFunction of a version."""

    def __init__(self, plane: Plane, catalog: Catalog, life: FunctionLife) -> None:
        self._plane = plane
        self._catalog = catalog
        self._life = life

    def served(self) -> Operations:
        return {"ListVersionsByFunction": self.list_versions, "PublishVersion": self.publish}

    async def publish(self, params: Params) -> Result:
        name, _ = function_of(params, self._plane.identity)
        if params.get("PublishTo"):
            documents.merged({}, params)
        async with self._plane.changing(f"function/{name}"):
            document, _, _ = await self._catalog.document(name)
            documents.check_idle(document, self._plane.identity.arn("function", name))
            self._catalog.releasable(name)
            documents.check_revision(document, params)
            if params.get("CodeSha256"):
                check_code(params["CodeSha256"], document["Code"].get("CodeSha256", ""))
            return await self.made(name, params.get("Description"))

    async def made(self, name: str, description: str | None) -> dict[str, Any]:
        """A version of what `$LATEST` is: its configuration. Without a description it has the function's."""
        if description is None:
            document, _, _ = await self._catalog.document(name)
            description = document.get("Description", "")
        published = await self._plane.app.deployed.publish(name, description)
        return await self._catalog.configuration(name, published.version)

    async def list_versions(self, params: Params) -> Result:
        name, _ = function_of(params, self._plane.identity)
        self._catalog.check(name)
        # 0 stands for `$LATEST`, which comes first.
        numbers, marker = page([(0,), *((int(each),) for each in self._catalog.versions(name))], params)
        shown = [
            await self._catalog.configuration(name, str(number) if number else LATEST)
            for (number,) in numbers
        ]
        return {"Versions": list(map(documents.listed, shown)), "NextMarker": marker}

    async def delete(self, name: str, qualifier: str) -> None:
        """Deletes a version, if it is there. Raises ApiError while an alias points to it."""
        self._catalog.check(name)
        if qualifier.startswith("$"):
            raise invalid(f"{LATEST} version cannot be deleted without deleting the function.")
        async with self._plane.changing(f"function/{name}"):
            self._catalog.check(name)
            if qualifier in self._catalog.aliases(name):
                raise invalid("Deletion of aliases is not currently supported.")
            if qualifier not in self._catalog.versions(name):
                return
            try:
                await self._plane.app.deployed.delete_version(name, qualifier)
            except ConfigurationError as error:
                raise conflict(error.problem) from error
            await self._life.detach(name, qualifier)
        await self._life.prune()
