"""An HTTP/1.1 server for the API, over TCP, TLS or a Unix socket."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from streamfn.control.addresses import Address, bound, identity, parse_address, unlink
from streamfn.control.addresses import exposed as exposed
from streamfn.control.connection import Connection
from streamfn.control.origins import asked_by_programs
from streamfn.control.serving import Limits as Limits
from streamfn.control.serving import Service
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streamfn.control.messages import Handler

_BACKLOG = 1024


@asynccontextmanager
async def serving(
    handler: Handler, address: str, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serves a handler: the URL where, such as `http://127.0.0.1:9000` or `unix:/run/streamfn.sock`.

    `address`: `HOST:PORT`, where port 0 takes one that is free, `[IPv6]:PORT` or `unix:PATH`. Leaving lets
    what is being worked on end, within `limits.grace`. Raises ConfigurationError where it cannot listen.
    """
    place = parse_address(address)
    limits = limits or Limits()
    sockets = await bound(place)
    owned = None if place.path is None else identity(place.path)
    try:
        async with anyio.create_task_group() as tasks:
            service = Service(asked_by_programs(handler, place), limits, tasks)
            servers = [await _listen(service, one, tls) for one in sockets]
            tasks.start_soon(service.watch)
            try:
                yield _url(place, sockets[0], tls)
            finally:
                for server in servers:
                    server.close()
                await service.close()
                tasks.cancel_scope.cancel()
    finally:
        for one in sockets:
            one.close()
        if place.path is not None and owned is not None:
            unlink(place.path, owned)


async def _listen(service: Service, one: socket.socket, tls: ssl.SSLContext | None) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: Connection(service),
        sock=one,
        ssl=tls,
        backlog=_BACKLOG,
        ssl_handshake_timeout=service.limits.head_timeout if tls is not None else None,
    )


def _url(place: Address, one: socket.socket, tls: ssl.SSLContext | None) -> str:
    if place.path is not None:
        return str(place)
    return f"{'http' if tls is None else 'https'}://{Address(place.host, one.getsockname()[1])}"


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later with a certificate (its chain behind it) and its key, in PEM.

    Raises ConfigurationError.
    """
    for path, field in ((certificate, "--api-cert"), (key, "--api-cert-key")):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}", field=field) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"{certificate} and {key} are no certificate and its key: {error}",
            field="--api-cert",
            fix="give both in PEM, the key without a password",
        ) from error
    return context


def _no_password() -> str:
    # Without this, a key that has a password would ask for it on the terminal.
    raise ValueError("the key has a password")
