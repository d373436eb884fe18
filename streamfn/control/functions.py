"""Functions: created, shown, listed, changed and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio

from streamfn.control import function_documents as documents
from streamfn.control.aliases import Aliases
from streamfn.control.arns import plain_arn
from streamfn.control.code import Uploads
from streamfn.control.errors import conflict, invalid
from streamfn.control.function_catalog import Catalog
from streamfn.control.function_life import FunctionLife
from streamfn.control.layers import Layers
from streamfn.control.naming import LONGEST_NAME, function_of
from streamfn.control.paging import page
from streamfn.control.tags import check_tags
from streamfn.control.versions import Versions
from streamfn.core.deployments import LATEST
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.control.function_documents import Document
    from streamfn.control.plane import Operations, Params, Plane, Result

_IMAGE: Final = "Image"
_LETTERS: Final = ("sns", "sqs")
"""What may be a dead-letter queue (Lambda API, DeadLetterConfig)."""
_PATIENCE: Final = 5.0
"""Seconds that whoever deletes a function waits until all of it is gone."""


class Functions:
    """The operations on functions, and those on their versions, aliases and layers."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._uploads = Uploads(plane)
        self._catalog = Catalog(plane)
        self._life = FunctionLife(plane, self._uploads)
        self._layers = Layers(plane, self._uploads, self._life)
        self._versions = Versions(plane, self._catalog, self._life)
        self._aliases = Aliases(plane, self._catalog, self._life)

    def operations(self) -> Operations:
        return {
            "CreateFunction": self.create,
            "DeleteFunction": self.delete,
            "GetFunction": self.get,
            "GetFunctionConfiguration": self.get_configuration,
            "ListFunctions": self.list_functions,
            "UpdateFunctionCode": self.update_code,
            "UpdateFunctionConfiguration": self.update_configuration,
            **self._layers.served(),
            **self._versions.served(),
            **self._aliases.served(),
        }

    async def ready(self, name: str) -> None:
        """Returns when a function is no more on its way: made ready, or known to be unable."""
        await self._life.ready(name)

    async def restore(self) -> None:
        """Brings back every function that is stored."""
        await self._life.restore()

    # ------------------------------------------------------------------------------------------- showing

    async def get(self, params: Params) -> Result:
        name, qualifier = function_of(params, self._plane.identity)
        document, variables, version = await self._catalog.document(name, qualifier)
        code, stored = document["Code"], self._catalog.stored(name)
        reserved = self._plane.app.account.reserved.get(name)
        image = code.get("ImageUri")
        place = {"RepositoryType": "ECR", "ImageUri": image, "ResolvedImageUri": image}
        return {
            "Configuration": documents.shown(document, variables, self._plane.identity, version, qualifier),
            "Code": place if image else {"RepositoryType": "S3", "Location": self._uploads.location(code)},
            "Tags": (stored or {}).get("Tags") or None,
            "Concurrency": None if reserved is None else {"ReservedConcurrentExecutions": reserved},
        }

    async def get_configuration(self, params: Params) -> Result:
        name, qualifier = function_of(params, self._plane.identity)
        return await self._catalog.configuration(name, qualifier)

    async def list_functions(self, params: Params) -> Result:
        names = self._catalog.names()
        wanted: list[tuple[str, str | None]] = []
        if params.get("FunctionVersion") == "ALL":
            # 0 stands for `$LATEST`, which comes first.
            every = [(name, int(number)) for name in names for number in ("0", *self._catalog.versions(name))]
            numbered, marker = page(every, params)
            wanted += [(name, str(number) if number else LATEST) for name, number in numbered]
        else:
            plain, marker = page([(name,) for name in names], params)
            wanted += [(name, None) for (name,) in plain]
        shown = [await self._catalog.configuration(*each) for each in wanted]
        return {"Functions": list(map(documents.listed, shown)), "NextMarker": marker}

    # ------------------------------------------------------------------------------------------ changing

    async def create(self, params: Params) -> Result:
        name, qualifier = function_of(params, self._plane.identity)
        if qualifier is not None or len(name) > LONGEST_NAME:
            raise invalid(f"Invalid function name: {params['FunctionName']}")
        self._check_new(name)
        given = documents.merged({"FunctionName": name}, params)
        if params.get("Tags"):
            check_tags(params["Tags"])
            given["Tags"] = dict(params["Tags"])
        async with (
            self._uploads.taking(params["Code"]) as code,
            self._plane.changing(f"function/{name}"),
        ):
            self._check_new(name)
            document = await self._completed({**given, "Code": code}, params, {})
            await self._check(document)
            stored = await self._life.begin(name, documents.creating(document))
        return await self._answer(name, stored, params, qualified=False)

    async def update_code(self, params: Params) -> Result:
        name = self._named(params)
        self._changeable(name, params)
        if params.get("PublishTo"):
            documents.merged({}, params)
        async with (
            self._uploads.taking(params, dry=bool(params.get("DryRun"))) as code,
            self._plane.changing(f"function/{name}"),
        ):
            before = self._changeable(name, params)
            self._check_kind(before, code)
            changed = {**before, "Code": code}
            if params.get("Architectures"):
                changed["Architectures"] = params["Architectures"]
            await self._check(changed)
            if params.get("DryRun"):
                return await self._shown(changed)
            stored = await self._life.begin(name, documents.updating(before, changed))
        return await self._answer(name, stored, params, qualified=True)

    async def update_configuration(self, params: Params) -> Result:
        name = self._named(params)
        async with self._plane.changing(f"function/{name}"):
            before = self._changeable(name, params)
            changed = await self._completed(documents.merged(before, params), params, before)
            await self._check(changed)
            stored = await self._life.begin(name, documents.updating(before, changed))
        return await self._shown(stored)

    async def delete(self, params: Params) -> Result:
        name, qualifier = function_of(params, self._plane.identity)
        if qualifier is not None:
            await self._versions.delete(name, qualifier)
        else:
            async with self._plane.changing(f"function/{name}"):
                self._catalog.changeable(name)
                gone = await self._life.end(name)
            # What is in flight may take its time.
            with anyio.move_on_after(_PATIENCE):
                await gone.wait()
        return {"StatusCode": 204}

    # --------------------------------------------------------------------------------------------- parts

    def _named(self, params: Params) -> str:
        name, qualifier = function_of(params, self._plane.identity)
        if qualifier not in (None, LATEST):
            raise invalid("This operation is permitted on unqualified functions only.")
        return name

    def _check_new(self, name: str) -> None:
        known = self._plane.resources.get("function", name)
        if known is not None and known.get("State") == "Deleting":
            raise conflict(
                "The operation cannot be performed at this time. The function is currently in the following "
                "state: Deleting"
            )
        if known is not None or name in self._plane.app.functions:
            raise conflict(f"Function already exist: {name}")

    def _changeable(self, name: str, params: Params) -> Document:
        """A function that may be changed now. Raises ApiError."""
        document = self._catalog.changeable(name)
        documents.check_revision(document, params)
        documents.check_idle(document, self._plane.identity.arn("function", name))
        return document

    def _check_kind(self, before: Document, code: Document) -> None:
        is_image = before.get("PackageType") == _IMAGE
        if is_image and "ImageUri" not in code:
            raise invalid("Please provide ImageUri when updating a function with packageType Image.")
        if not is_image and "ImageUri" in code:
            raise invalid("Please don't provide ImageUri when updating a function with packageType Zip.")

    async def _completed(self, document: Document, params: Params, before: Document) -> dict[str, Any]:
        """With variables sealed, and layers found, where the request has any."""
        completed = dict(document)
        self._check_letters((params.get("DeadLetterConfig") or {}).get("TargetArn"))
        if params.get("Environment") is not None:
            completed["Environment"] = await self._catalog.sealed(
                params["Environment"].get("Variables") or {}
            )
        if params.get("Layers") is not None:
            completed["Layers"] = self._layers.referred(params["Layers"], before.get("Layers", ()))
        return completed

    def _check_letters(self, target: str | None) -> None:
        arn = plain_arn(target or "")
        if target and (arn is None or arn.service not in _LETTERS):
            raise invalid(
                f"The dead-letter target {target} cannot be used: it is neither a queue nor a topic."
            )
        try:
            self._plane.app.destination_of(target or None)
        except ConfigurationError as error:
            raise invalid(f"The dead-letter target {target} cannot be used: {error}") from error

    async def _check(self, document: Document) -> None:
        documents.check(document, await self._catalog.unsealed(document))

    async def _shown(self, document: Document) -> dict[str, Any]:
        variables = await self._catalog.unsealed(document)
        return documents.shown(document, variables, self._plane.identity)

    async def _answer(
        self, name: str, stored: Document, params: Params, *, qualified: bool
    ) -> Mapping[str, Any]:
        """What was stored; with `Publish`, the version that was made of it once it was ready."""
        if not params.get("Publish"):
            return await self._shown(stored)
        await self._life.ready(name)
        now = self._catalog.stored(name)
        if now is None or now.get("LastUpdateStatus") != "Successful":
            return await self._shown(now or stored)
        published = await self._versions.made(name, None)
        return (
            published
            if qualified
            else {**published, "FunctionArn": self._plane.identity.arn("function", name)}
        )
