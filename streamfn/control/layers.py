"""Layers: packages that functions share, in versions that never change."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from streamfn.control.errors import ApiError, invalid, not_found
from streamfn.control.paging import page
from streamfn.ports.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from streamfn.control.code import Uploads
    from streamfn.control.function_documents import Document
    from streamfn.control.function_life import FunctionLife
    from streamfn.control.plane import Operations, Params, Plane, Result

KIND: Final = "layer-version"
_NUMBERS: Final = "layer"
"""Kind of what knows the last number of a layer: it outlives the versions, for a number is given once."""
_POLICIES: Final = "layer-policy"
_MOST_LAYERS: Final = 5
_GONE: Final = "The resource you requested does not exist."
_ARN: Final = re.compile(
    r"arn:(?:aws[a-zA-Z-]*)?:lambda:(?P<region>[^:]*):(?P<account>\d{12}):layer:(?P<name>[a-zA-Z0-9-_]+)"
    r"(?::(?P<number>[0-9]{1,18}))?"
)
_NAME: Final = re.compile(r"[a-zA-Z0-9-_]+")
_GIVEN: Final = ("Description", "CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo")


class Layers:
    """The operations on layers. A version that is deleted stays with the functions that use it."""

    def __init__(self, plane: Plane, uploads: Uploads, life: FunctionLife) -> None:
        self._plane = plane
        self._uploads = uploads
        self._life = life

    def served(self) -> Operations:
        return {
            "DeleteLayerVersion": self.delete,
            "GetLayerVersion": self.get,
            "GetLayerVersionByArn": self.get_by_arn,
            "ListLayerVersions": self.list_versions,
            "ListLayers": self.list_layers,
            "PublishLayerVersion": self.publish,
        }

    async def publish(self, params: Params) -> Result:
        name = self._named(params)
        async with (
            self._uploads.taking(params["Content"]) as content,
            self._plane.changing(f"layer/{name}"),
        ):
            number = (self._plane.resources.get(_NUMBERS, name) or {}).get("Last", 0) + 1
            document = {
                "LayerName": name,
                "Version": number,
                "CreatedDate": self._plane.iso(),
                "Content": content,
                **{part: params[part] for part in _GIVEN if params.get(part) is not None},
            }
            await self._plane.resources.write(
                [
                    Resource(_NUMBERS, name, {"Last": number}),
                    Resource(KIND, f"{name}:{number}", document),
                ]
            )
        return self._shown(document)

    async def get(self, params: Params) -> Result:
        return self._shown(self._known(self._named(params), params["VersionNumber"]))

    async def get_by_arn(self, params: Params) -> Result:
        found = self._apart(params["Arn"])
        self._check_ours(found)
        return self._shown(self._known(found["name"], int(found["number"])))

    async def list_layers(self, params: Params) -> Result:
        latest: dict[str, Document] = {}
        for document in self._matching(self._plane.resources.all(KIND).values(), params):
            known = latest.get(document["LayerName"])
            if known is None or known["Version"] < document["Version"]:
                latest[document["LayerName"]] = document
        names, marker = page([(name,) for name in latest], params)
        shown = [
            {
                "LayerName": name,
                "LayerArn": self._plane.identity.arn("layer", name),
                "LatestMatchingVersion": self._item(latest[name]),
            }
            for (name,) in names
        ]
        return {"Layers": shown, "NextMarker": marker}

    async def list_versions(self, params: Params) -> Result:
        name = self._named(params)
        found = self._matching(self._plane.resources.all(KIND).values(), params)
        versions = {-each["Version"]: each for each in found if each["LayerName"] == name}
        # The newest one first.
        numbers, marker = page([(number,) for number in versions], params)
        return {"LayerVersions": [self._item(versions[each]) for (each,) in numbers], "NextMarker": marker}

    async def delete(self, params: Params) -> Result:
        _check_number(params["VersionNumber"])
        key = f"{self._named(params)}:{params['VersionNumber']}"
        await self._plane.resources.write([Resource(kind, key, None) for kind in (KIND, _POLICIES)])
        await self._life.prune()
        return {}

    def referred(self, arns: Collection[str], before: Collection[Document]) -> list[dict[str, Any]]:
        """The layers that a function is to have, as its document has them. `before`: those it has, which may
        have been deleted since.

        Raises ApiError, in Lambda's words, for what cannot be.
        """
        if len(arns) > _MOST_LAYERS:
            raise invalid(f"Cannot reference more than {_MOST_LAYERS} layers.")
        had = {layer["Arn"]: dict(layer) for layer in before}
        seen: dict[str, str] = {}
        layers = []
        for arn in arns:
            layer = arn.rpartition(":")[0]
            if layer in seen:
                raise invalid(
                    "Two different versions of the same layer are not allowed to be referenced in the same "
                    f"function. {seen[layer]} and {arn} are versions of the same layer."
                )
            seen[layer] = arn
            layers.append(had.get(arn) or self._found(arn))
        return layers

    # --------------------------------------------------------------------------------------------- parts

    def _found(self, arn: str) -> dict[str, Any]:
        found = self._apart(arn)
        document = self._plane.resources.get(KIND, f"{found['name']}:{int(found['number'])}")
        identity = self._plane.identity
        if found["region"] != identity.region:
            raise invalid(
                "Layers are not in the same region as the function. Layers are expected to be in region "
                f"{identity.region}."
            )
        if document is None or found["account"] != identity.account:
            raise invalid(f"Layer version {arn} does not exist.")
        content = {part: value for part, value in document["Content"].items() if part != "CodeSha256"}
        return {"Arn": arn, **content}

    def _apart(self, arn: str) -> re.Match[str]:
        found = _ARN.fullmatch(arn)
        if found is None or not found["number"]:
            raise ApiError(
                "ValidationException",
                f"1 validation error detected: Value '{arn}' at 'arn' failed to satisfy constraint: Member "
                "must satisfy regular expression pattern: "
                r"arn:[a-zA-Z0-9-]+:lambda:[a-zA-Z0-9-]+:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+",
            )
        return found

    def _named(self, params: Params) -> str:
        """The bare name of a layer, which may be given by its ARN. Raises ApiError for those of others."""
        given: str = params["LayerName"]
        found = _ARN.fullmatch(given)
        if found is not None:
            self._check_ours(found)
            return found["name"]
        if not _NAME.fullmatch(given):
            raise invalid(f"Invalid layer name: {given}")
        return given

    def _check_ours(self, found: re.Match[str]) -> None:
        identity = self._plane.identity
        if (found["region"], found["account"]) != (identity.region, identity.account):
            raise not_found(_GONE)

    def _known(self, name: str, number: int) -> Document:
        _check_number(number)
        document = self._plane.resources.get(KIND, f"{name}:{number}")
        if document is None:
            raise not_found(_GONE)
        return document

    def _matching(self, versions: Iterable[Document], params: Params) -> Iterable[Document]:
        """Those that say they work with what is asked for."""
        runtime, architecture = params.get("CompatibleRuntime"), params.get("CompatibleArchitecture")
        for each in versions:
            if runtime is not None and runtime not in each.get("CompatibleRuntimes", ()):
                continue
            if architecture is None or architecture in each.get("CompatibleArchitectures", ()):
                yield each

    def _shown(self, document: Document) -> dict[str, Any]:
        content: Mapping[str, Any] = document["Content"]
        return {
            **self._item(document),
            "LayerArn": self._plane.identity.arn("layer", document["LayerName"]),
            "Content": {
                "Location": self._uploads.location(content),
                "CodeSha256": content["CodeSha256"],
                "CodeSize": content["CodeSize"],
            },
        }

    def _item(self, document: Document) -> dict[str, Any]:
        arn = self._plane.identity.arn("layer", f"{document['LayerName']}:{document['Version']}")
        return {
            "LayerVersionArn": arn,
            "Version": document["Version"],
            "CreatedDate": document["CreatedDate"],
            "Description": document.get("Description", ""),
            **{part: document[part] for part in _GIVEN[1:] if part in document},
        }


def _check_number(number: int) -> None:
    if number < 1:
        raise invalid("Layer Version Cannot be less than 1")
