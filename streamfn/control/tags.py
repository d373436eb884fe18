"""Tags of functions and of event source mappings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streamfn.control.errors import ApiError, invalid, not_found
from streamfn.control.function_catalog import KIND as FUNCTION
from streamfn.control.function_catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamfn.control.plane import Operations, Params, Plane, Result

MOST: Final = 50
"""Tags of one resource (Developer Guide: configuration-tags)."""
_MAPPING: Final = "mapping"
_GONE: Final = "The resource you requested does not exist."
_ARN: Final = re.compile(
    r"arn:aws[a-zA-Z-]*:lambda:(?P<region>[^:]+):(?P<account>\d{12}):(?P<kind>[a-z-]+):(?P<name>[^:]+)(?P<more>:.+)?"
)


class _Tagged(NamedTuple):
    """What is tagged: the kind and the key of its document."""

    kind: str
    key: str


class Tags:
    """Tags stand in the document of what they belong to, and go with it."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._catalog = Catalog(plane)

    def operations(self) -> Operations:
        return {"ListTags": self.list_tags, "TagResource": self.tag, "UntagResource": self.untag}

    async def list_tags(self, params: Params) -> Result:
        tagged = self._tagged(params)
        if tagged.kind == FUNCTION:
            self._catalog.check(tagged.key)
            document = self._catalog.stored(tagged.key) or {}
        else:
            document = self._document(tagged)
        return {"Tags": dict(document.get("Tags") or {})}

    async def tag(self, params: Params) -> Result:
        tags = dict(params["Tags"])
        if not tags:
            raise invalid("An error occurred and the request cannot be processed.")
        check_tags(tags)
        await self._change(params, lambda before: {**before, **tags})
        return {}

    async def untag(self, params: Params) -> Result:
        gone = set(params["TagKeys"])
        await self._change(
            params, lambda before: {key: value for key, value in before.items() if key not in gone}
        )
        return {}

    async def _change(self, params: Params, change: Callable[[Mapping[str, str]], dict[str, str]]) -> None:
        tagged = self._tagged(params)
        async with self._plane.changing(f"{tagged.kind}/{tagged.key}"):
            document = self._document(tagged)
            tags = change(document.get("Tags") or {})
            if len(tags) > MOST:
                raise invalid("Number of tags exceeds resource tag limit.")
            rest = {name: value for name, value in document.items() if name != "Tags"}
            await self._plane.resources.put(*tagged, {**rest, **({"Tags": tags} if tags else {})})

    def _tagged(self, params: Params) -> _Tagged:
        """Raises ApiError where the ARN is none of ours."""
        arn = params["Resource"]
        found = _ARN.fullmatch(arn)
        if found is None:
            raise ApiError("ValidationException", f"{arn} is not a taggable ARN.")
        identity = self._plane.identity
        ours = (found["region"], found["account"]) == (identity.region, identity.account)
        if found["kind"] == "function":
            if found["more"]:
                raise invalid(
                    "Tags on function aliases and versions are not supported. Please specify a function ARN."
                )
            if not ours:
                raise not_found(f"Function not found: {arn}")
            return _Tagged(FUNCTION, found["name"])
        if found["kind"] != "event-source-mapping" or found["more"] or not ours:
            raise not_found(_GONE)
        return _Tagged(_MAPPING, found["name"].lower())

    def _document(self, tagged: _Tagged) -> Mapping[str, Any]:
        """The document that has the tags. Raises ApiError where there is none that can be changed."""
        if tagged.kind == FUNCTION:
            return self._catalog.changeable(tagged.key)
        document = self._plane.resources.get(_MAPPING, tagged.key)
        if document is None or document.get("Deleting"):
            raise not_found(_GONE)
        return document


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises ApiError for more tags than a resource may have, and for those that only AWS itself may set
    (Developer Guide: configuration-tags).
    """
    if len(tags) > MOST:
        raise invalid("Number of tags exceeds resource tag limit.")
    for key in tags:
        if key.lower().startswith("aws:"):
            raise invalid(f"The tag {key} is one of AWS's own, which begin with aws:.")
