"""Functions of the API on their way: made ready, changed, deleted, and brought back after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import anyio

from streamfn.config import FunctionConfig
from streamfn.control import function_documents as documents
from streamfn.control.code import uploads_of
from streamfn.control.errors import ApiError
from streamfn.control.function_catalog import KIND
from streamfn.errors import ConfigurationError, StreamfnError
from streamfn.ports.resources import Resource
from streamfn.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamfn.control.code import Uploads
    from streamfn.control.function_documents import Document
    from streamfn.control.plane import Plane
    from streamfn.ports import Published

_AGAIN: Final = 1.0
"""Seconds until a store that failed is asked again."""
_OTHER_KINDS: Final = (
    "event-invoke-config",
    "policy",
    "recursion",
    "reserved",
    "runtime-management",
    "scaling",
    "url",
)
"""Resources that go with their function, or with the version or alias of it that they are of."""


class FunctionLife:
    """Carries out what is stored. What is under way when the process ends is carried out by the next one."""

    def __init__(self, plane: Plane, uploads: Uploads) -> None:
        self._plane = plane
        self._uploads = uploads
        self._ready: dict[str, anyio.Event] = {}

    async def begin(self, name: str, document: Document) -> dict[str, Any]:
        """Stores a function that is new or changed, and has it made ready: the document as it is stored.

        Whoever calls it has the function to himself (`Plane.changing`).
        """
        stored = {**document, "RevisionId": str(uuid4()), "LastModified": self._plane.iso()}
        await self._plane.resources.put(KIND, name, stored)
        self._ready[name] = ready = anyio.Event()
        self._plane.tasks.start_soon(self._make_ready, name, ready)
        return stored

    async def ready(self, name: str) -> None:
        """Returns when a function is no more on its way."""
        if (ready := self._ready.get(name)) is not None:
            await ready.wait()

    async def end(self, name: str) -> anyio.Event:
        """Has a function deleted, which nobody sees any more: the event is set when all of it is gone.

        Whoever calls it has the function to himself (`Plane.changing`), and lets go of it before he waits.
        """
        document = self._plane.resources.get(KIND, name) or {}
        await self._plane.resources.put(KIND, name, {**document, "State": "Deleting"})
        gone = anyio.Event()
        self._plane.tasks.start_soon(self._delete, name, gone)
        return gone

    async def detach(self, name: str, qualifier: str) -> None:
        """Removes what was put for a version or an alias that is gone: the next one of its name is another.

        Raises OSError; the next start removes it then.
        """
        key = f"{name}:{qualifier}"
        async with self._plane.changing(f"event-invoke-config/{key}"):
            await self._plane.resources.write([Resource(kind, key, None) for kind in _OTHER_KINDS])
            if key in self._plane.app.event_invoke_configs:
                await self._plane.app.remove_event_invoke_config(key)

    async def restore(self) -> None:
        """Brings back every function that is stored. What cannot be is logged, and shown in its state."""
        for name, document in list(self._plane.resources.all(KIND).items()):
            if document.get("State") == "Deleting":
                await self._delete(name, anyio.Event())
                continue
            tried = await self._tried(name, document)
            try:
                await self._settle(name, tried)
            except OSError as error:
                # It runs or does not run; the next start will find it as it was.
                logger()[0].error("function_not_stored", function=name, reason=str(error))
        await self._detach_gone()
        await self._plane.app.deployed.tidy()
        await self.prune()

    async def prune(self) -> None:
        """Removes the code that no function, version or layer has any more."""
        try:
            published = await self._plane.app.deployed.releases.all_published()
            if published is not None:
                await self._uploads.prune(uploads_of(self._referring(published)))
        except OSError as error:
            # It only takes space: the next one who deletes tries again.
            logger()[0].warning("uploads_not_pruned", reason=str(error))

    # --------------------------------------------------------------------------------------------- steps

    async def _detach_gone(self) -> None:
        """What the last process could not remove any more, once it had deleted a version or an alias."""
        resources, releases = self._plane.resources, self._plane.app.deployed.releases
        keys = {key for kind in _OTHER_KINDS for key in resources.all(kind)}
        for name, _, qualifier in sorted(key.partition(":") for key in keys if ":" in key):
            # Of a function that could not be brought back it is not known.
            if name not in self._plane.app.deployments:
                continue
            if qualifier in releases.published(name) or qualifier in releases.aliases(name):
                continue
            try:
                await self.detach(name, qualifier)
            except OSError as error:
                logger()[0].warning("not_detached", function=f"{name}:{qualifier}", reason=str(error))

    async def _make_ready(self, name: str, ready: anyio.Event) -> None:
        try:
            await anyio.sleep(self._plane.settings.function.transition_delay)
            async with self._plane.changing(f"building/{name}"):
                document = self._plane.resources.get(KIND, name)
                if document is not None and document.get("State") != "Deleting":
                    await self._settle_at_last(name, await self._tried(name, document))
        finally:
            ready.set()
            if self._ready.get(name) is ready:
                del self._ready[name]

    async def _tried(self, name: str, document: Document) -> dict[str, Any]:
        """The document as it is once that was tried."""
        problem = await self._problem(name, document)
        if problem is None:
            return documents.succeeded(document)
        failed = documents.failed(document, *problem)
        if failed["State"] == "Active" and name not in self._plane.app.deployments:
            # This process has just begun, and runs nothing else of it yet.
            again = await self._problem(name, failed)
            return failed if again is None else documents.failed(failed, *again)
        return failed

    async def _problem(self, name: str, document: Document) -> tuple[str, str] | None:
        """Has the app run a function: what is wrong with it, if anything, as AWS's code and a sentence."""
        try:
            await self._plane.app.put_function(name, self._config(document))
        except ApiError as error:
            said = ("InvalidConfiguration", error.message)
        except ConfigurationError as error:
            said = (_reason(error), str(error))
        except (OSError, StreamfnError) as error:
            said = ("InternalError", str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is
            # A bug must not end the daemon: it is seen in the log, and in the function's state.
            logger()[0].exception("function_unready", function=name)
            return "InternalError", f"{type(error).__name__}: {error}"
        else:
            return None
        logger()[0].error("function_unready", function=name, code=said[0], reason=said[1])
        return said

    def _config(self, document: Document) -> FunctionConfig:
        code = document["Code"]
        uri = f"docker:{code['ImageUri']}" if "ImageUri" in code else str(self._uploads.path(code))
        layers = [str(self._uploads.path(layer)) for layer in document.get("Layers", ())]
        options = documents.options(document, uri, layers)
        return FunctionConfig.load({**options, "region": self._plane.identity.region})

    async def _settle_at_last(self, name: str, document: Document) -> None:
        """Stores what became of a change, however long the disk is full: else it would never end."""
        while True:
            try:
                await self._settle(name, document)
            except OSError as error:
                logger()[0].error("function_not_stored", function=name, reason=str(error))
                await anyio.sleep(_AGAIN)
            else:
                return

    async def _settle(self, name: str, document: Document) -> None:
        async with self._plane.changing(f"function/{name}"):
            current = self._plane.resources.get(KIND, name)
            if current is None or current.get("State") == "Deleting":
                return
            # Tags may have changed meanwhile.
            tags = {"Tags": current["Tags"]} if "Tags" in current else {}
            settled = {name: value for name, value in document.items() if name != "Tags"} | tags
            if settled != current:
                await self._plane.resources.put(KIND, name, {**settled, "RevisionId": str(uuid4())})

    async def _delete(self, name: str, gone: anyio.Event) -> None:
        try:
            async with self._plane.changing(f"building/{name}"):
                await self._take_away(name)
                await self.prune()
        except (OSError, StreamfnError) as error:
            # It stays as `Deleting`, and is deleted with the next start.
            logger()[0].error("function_not_deleted", function=name, reason=str(error))
        finally:
            gone.set()

    async def _take_away(self, name: str) -> None:
        app, resources = self._plane.app, self._plane.resources
        if name in app.made:
            await app.remove_function(name)
        elif name not in app.functions:
            # It could not be made ready since this process began; what was released of it is still there.
            await app.deployed.releases.know(name, None)
            await app.deployed.releases.forget(name)
            await app.reserve(name, None)
            for key in [key for key in app.event_invoke_configs if _is_of(name, key)]:
                await app.remove_event_invoke_config(key)
        gone = [Resource(KIND, name, None)]
        for kind in _OTHER_KINDS:
            gone += [Resource(kind, key, None) for key in resources.all(kind) if _is_of(name, key)]
        await resources.write(gone)

    def _referring(self, published: Sequence[Published]) -> Iterator[Document]:
        resources = self._plane.resources
        for document in resources.all(KIND).values():
            yield document
            if document.get("Before"):
                yield document["Before"]
        yield from resources.all("layer-version").values()
        for each in published:
            yield each.deployment.settings


def _reason(error: ConfigurationError) -> str:
    """AWS's code for what is wrong."""
    if error.field.endswith("Runtime"):
        return "InvalidRuntime"
    return "InvalidZipFileException" if error.field.endswith("CodeUri") else "InvalidConfiguration"


def _is_of(name: str, key: str) -> bool:
    return key == name or key.startswith(f"{name}:")
