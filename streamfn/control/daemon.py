"""The API at work beside a running app: what was made through it comes back, then it is served."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from streamfn.control.api import LambdaApi
from streamfn.control.code import code_response
from streamfn.control.keys import AccessKeys
from streamfn.control.operations import Operating
from streamfn.control.plane import Identity, Plane
from streamfn.control.resources import Resources
from streamfn.control.server import exposed, serving, tls_context
from streamfn.control.signing import signed
from streamfn.control.urls import url_response
from streamfn.errors import ConfigurationError
from streamfn.objects import Objects
from streamfn.stores.resources import SqliteResourceStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamfn.app import App
    from streamfn.control.messages import Handler, HttpRequest, HttpResponse
    from streamfn.ports import Clock


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Where and how the API is served."""

    address: str
    """`HOST:PORT`, or `unix:PATH`."""
    keys: Path | None = None
    """A file of access keys. Without, requests need no signature."""
    open_to_all: bool = False
    """Whether an address that others can reach may be served without keys."""
    certificate: Path | None = None
    private_key: Path | None = None
    code_dirs: tuple[Path, ...] = ()
    identity: Identity = field(default_factory=Identity)

    def check(self) -> None:
        """Raises ConfigurationError naming the option and the fix."""
        if exposed(self.address) and self.keys is None and not self.open_to_all:
            raise ConfigurationError(
                f"{self.address} can be reached by others, and no keys are asked for",
                field="--api",
                fix="give --api-keys FILE, or --api-open if that is what you want",
            )
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigurationError(
                "a certificate goes with its private key", field="--api-cert", fix="give --api-cert-key too"
            )
        for folder in self.code_dirs:
            if not folder.is_dir():
                raise ConfigurationError(f"{folder} is no folder", field="--code-dir")
        if not re.fullmatch(r"\d{12}", self.identity.account):
            raise ConfigurationError(
                f"{self.identity.account!r} is no account", field="--account", fix="write 12 digits"
            )
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", self.identity.region):
            raise ConfigurationError(
                f"{self.identity.region!r} is no region", field="--region", fix="write one such as us-east-1"
            )


@asynccontextmanager
async def stored(state_dir: Path) -> AsyncIterator[Resources]:
    """What was made through the API, for one daemon alone.

    Raises ConfigurationError where another has it, OSError where it cannot be read.
    """
    async with SqliteResourceStore.at(state_dir) as store:
        resources = Resources(store)
        await resources.load()
        yield resources


@asynccontextmanager
async def serve_api(app: App, resources: Resources, options: ApiOptions, clock: Clock) -> AsyncIterator[str]:
    """Brings back what is stored, and serves the API of a running app: its URL.

    What cannot be brought back is logged and shown in its state. Raises ConfigurationError.
    """
    async with anyio.create_task_group() as tasks:
        plane = Plane(
            app,
            resources,
            tasks,
            clock,
            app.state_dir.absolute(),
            options.identity,
            code_dirs=tuple(folder.resolve() for folder in options.code_dirs),
            objects=Objects(app.endpoints),
        )
        operating = Operating(plane)
        await operating.restore()
        handler = _handler(plane, LambdaApi(operating.operations(), plane.identity), options, clock)
        tls = None
        if options.certificate is not None and options.private_key is not None:
            tls = tls_context(options.certificate, options.private_key)
        async with serving(handler, options.address, tls=tls) as url:
            plane.url = url
            yield url
        tasks.cancel_scope.cancel()


def _handler(plane: Plane, api: Handler, options: ApiOptions, clock: Clock) -> Handler:
    checked = api if options.keys is None else signed(api, AccessKeys.read(options.keys), clock)

    async def handle(request: HttpRequest) -> HttpResponse:
        # The address of a package holds a secret of its own, as on AWS.
        if request.path.startswith("/_code/"):
            found = await code_response(plane, request.path)
            if found is not None:
                return found
        return url_response(request) or await checked(request)

    return handle
