"""The functions there are: made through the API, or declared by the app that runs here."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_URL, uuid5

import anyio.to_thread

from streamfn.control import function_documents as documents
from streamfn.control.errors import conflict, not_found
from streamfn.core.deployments import LATEST
from streamfn.core.versions import route
from streamfn.stores.keys import LocalKey, own_key, seal_variables, unseal_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.control.function_documents import Document
    from streamfn.control.plane import Plane
    from streamfn.functions import FunctionSpec
    from streamfn.ports import Alias, Published

KIND: Final = "function"
_POLICY: Final = "policy"


class Catalog:
    """Finds functions, versions and aliases, and shows them."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._since = plane.iso()
        self._key: LocalKey | None = None

    def stored(self, name: str) -> Document | None:
        """A function that was made through the API, unless it is being deleted."""
        document = self._plane.resources.get(KIND, name)
        return None if document is None or document.get("State") == "Deleting" else document

    def names(self) -> list[str]:
        """All functions there are."""
        every = self._plane.resources.all(KIND)
        return [name for name in {*every, *self._plane.app.functions} if self._is_there(name)]

    def check(self, name: str, qualifier: str | None = None) -> None:
        """Raises ApiError where there is no such function."""
        if not self._is_there(name):
            arn = self._plane.identity.arn("function", name)
            raise not_found(f"Function not found: {arn if qualifier is None else f'{arn}:{qualifier}'}")

    def changeable(self, name: str) -> Document:
        """A function that the API may change. Raises ApiError where there is none, or it is the app's."""
        self.check(name)
        document = self.stored(name)
        if document is None:
            raise conflict(f"The function {name} is declared by the app that runs here: change it there.")
        return document

    def releasable(self, name: str) -> None:
        """Raises ApiError unless the function can have versions and aliases."""
        self.check(name)
        if name not in self._plane.app.deployments:
            raise conflict(f"The function {name} cannot have versions: {self._why_not(self.stored(name))}.")

    def versions(self, name: str) -> Mapping[str, Published]:
        """The published versions of a function, by number."""
        app = self._plane.app
        return app.deployed.releases.published(name) if name in app.deployments else {}

    def aliases(self, name: str) -> Mapping[str, Alias]:
        """The aliases of a function, by name."""
        app = self._plane.app
        return app.deployed.releases.aliases(name) if name in app.deployments else {}

    async def document(self, name: str, qualifier: str | None = None) -> tuple[Document, dict[str, str], str]:
        """A function, or a version or alias of it: its document, its variables, and the version it is.

        Raises ApiError where there is none.
        """
        self.check(name, qualifier)
        if qualifier in (None, LATEST):
            document = self.stored(name)
            if document is None:
                document, variables = self._declared(self._plane.app.functions[name])
                return document, variables, LATEST
            return self._as_it_runs(name, document), await self.unsealed(document), LATEST
        version = str(qualifier)
        if version in (aliases := self.aliases(name)):
            # What most invocations get: as Lambda shows it.
            version = route(aliases[version], 1.0)
            if version == LATEST:
                return await self.document(name)
        published = self.versions(name).get(version)
        if published is None:
            arn = self._plane.identity.arn("function", name)
            raise not_found(f"Function not found: {arn}:{qualifier}")
        document = documents.of_version(published, self._plane.iso(published.published_at))
        document["RevisionId"] = self.revision(f"{name}:{version}", published.revision_id)
        return document, document.get("Environment", {}), version

    def revision(self, key: str, own: str) -> str:
        """The revision of a version or an alias, or of a function of the app: another one whenever `own` or
        the policy is another.
        """
        policy = self._plane.resources.get(_POLICY, key)
        return own if policy is None else str(uuid5(NAMESPACE_URL, f"{own} {policy['RevisionId']}"))

    async def configuration(self, name: str, qualifier: str | None = None) -> dict[str, Any]:
        """A FunctionConfiguration. Raises ApiError where there is no such function, version or alias."""
        document, variables, version = await self.document(name, qualifier)
        return documents.shown(document, variables, self._plane.identity, version, qualifier)

    def _as_it_runs(self, name: str, document: Document) -> Document:
        """Local code may have changed since it was deployed."""
        code = document["Code"]
        if "Path" not in code or document.get("LastUpdateStatus") != "Successful":
            return document
        return {**document, "Code": {**code, "CodeSha256": self._latest_hash(name)}}

    def _latest_hash(self, name: str) -> str:
        hashed: str = self._plane.app.deployed.shown(name)["versions"][0]["code_sha256"]
        return hashed

    # ------------------------------------------------------------------------------------------- variables

    async def sealed(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Variables as they are stored. Their values stand for themselves, whatever they look like."""
        return await seal_variables(variables, await self._sealing()) if variables else {}

    async def unsealed(self, document: Document) -> dict[str, str]:
        """The variables of a stored document. Raises ConfigurationError where the key is another one."""
        given = document.get("Environment")
        return await unseal_variables(given, await self._sealing()) if given else {}

    async def _sealing(self) -> LocalKey:
        if self._key is None:
            self._key = await anyio.to_thread.run_sync(own_key, self._plane.state_dir)
        return self._key

    # ------------------------------------------------------------------------------------------ the app's

    def _is_there(self, name: str) -> bool:
        document = self._plane.resources.get(KIND, name)
        if document is None:
            return name in self._plane.app.functions
        return document.get("State") != "Deleting"

    def _why_not(self, document: Document | None) -> str:
        if document is None:
            return "it runs in the process of the app that declares it"
        return str(document.get("StateReason") or "it has never worked")

    def _declared(self, spec: FunctionSpec) -> tuple[Document, dict[str, str]]:
        """What is known of a function that the app declares."""
        document = self._of_process(spec) if spec.deployment is None else self._of_deployment(spec)
        variables = document.get("Environment", {})
        # Variables may be secrets: nothing that is shown is made of them.
        known = sorted(item for item in document.items() if item[0] != "Environment")
        own = str(uuid5(NAMESPACE_URL, repr(known)))
        document |= {"LastModified": self._since, "RevisionId": self.revision(spec.name, own)}
        return documents.succeeded(document), dict(variables)

    def _of_process(self, spec: FunctionSpec) -> dict[str, Any]:
        handler = spec.handler
        label = getattr(handler, "__qualname__", type(handler).__qualname__)
        return {
            "FunctionName": spec.name,
            "Runtime": f"python{'.'.join(platform.python_version_tuple()[:2])}",
            "Handler": f"{getattr(handler, '__module__', '')}.{label}",
            "Description": "Runs in the process of the app that declares it.",
            "Timeout": max(1, round(spec.timeout)),
            "MemorySize": spec.memory_size,
            "Code": {},
        }

    def _of_deployment(self, spec: FunctionSpec) -> dict[str, Any]:
        config = self._plane.app.deployments[spec.name]
        document = documents.of_deployment(config.deployment(spec.name), config.description)
        hashed = self._latest_hash(spec.name)
        if hashed:
            document["Code"] = {**document["Code"], "CodeSha256": hashed}
        return document
