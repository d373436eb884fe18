"""What stands between a test and AWS, or beside it: a relay, with TLS or as a proxy, and a giver of roles."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import anyio
from aiohttp import web
from anyio.abc import ByteReceiveStream, ByteSendStream, ByteStream, Listener
from anyio.streams.tls import TLSListener

from tests.servers.aws import KEY, SECRET


class Relay:
    """Passes bytes on to an endpoint, and counts requests."""

    def __init__(self, endpoint: str) -> None:
        place = urlsplit(endpoint)
        self.host, self.port = place.hostname or "", place.port or 80
        self.asked: list[bytes] = []
        self.endpoint = ""

    async def serve(self, here: ByteStream) -> None:
        there = await anyio.connect_tcp(self.host, self.port)
        async with here, there, anyio.create_task_group() as both:
            both.start_soon(self._pass_on, here, there, True)
            await self._pass_on(there, here, False)
            both.cancel_scope.cancel()

    async def _pass_on(self, source: ByteReceiveStream, target: ByteSendStream, requests: bool) -> None:
        try:
            async for data in source:
                if requests:
                    self.asked += re.findall(rb"X-Amz-Target: (\S+)", data, re.IGNORECASE)
                    # As a proxy gets it, and a server does not.
                    data = re.sub(rb"POST http://[^/ ]+/ HTTP", b"POST / HTTP", data)
                await target.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return


@asynccontextmanager
async def relay(endpoint: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """A place from which all goes to the endpoint."""
    passing = Relay(endpoint)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as tcp:
        port = tcp.extra(anyio.abc.SocketAttribute.local_port)
        passing.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        listener: Listener[Any] = TLSListener(tcp, tls, standard_compatible=False) if tls else tcp
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, passing.serve)
            yield passing
            tasks.cancel_scope.cancel()


class Sts:
    """A service that gives roles away, or refuses. What it gives is soon to be renewed."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.asked: list[dict[str, str]] = []
        self.endpoint = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append({name: str(value) for name, value in (await request.post()).items()})
        if self.refuses:
            error = "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>"
            return web.Response(status=403, text=f"<ErrorResponse>{error}</ErrorResponse>")
        end = datetime.now(UTC) + timedelta(minutes=5)  # noqa: TID251 - a service's own clock
        given = (
            f"<AccessKeyId>{KEY}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>"
            f"<SessionToken>t{len(self.asked)}</SessionToken><Expiration>{end:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
        )
        answer = f"<AssumeRoleResult><Credentials>{given}</Credentials></AssumeRoleResult>"
        return web.Response(text=f"<AssumeRoleResponse>{answer}</AssumeRoleResponse>")


@asynccontextmanager
async def sts(*, refuses: bool = False) -> AsyncIterator[Sts]:
    service = Sts(refuses=refuses)
    app = web.Application()
    app.router.add_post("/", service.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield service
    finally:
        await runner.cleanup()
