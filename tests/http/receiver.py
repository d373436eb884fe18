"""A receiver of webhooks: it answers in every way that one may, and in some that none should."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias
from urllib.parse import unquote, unquote_to_bytes

from streamfn.ports import Message

Says: TypeAlias = "bytes | Callable[[Got, asyncio.StreamWriter], Awaitable[None]]"
"""What is written as it is, or whoever writes it."""

Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Got:
    """A request as it came."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int = 0
    reader: asyncio.StreamReader | None = None
    """Where the next comes from, or its end."""

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given.lower() == name]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def message(self) -> Message:
        """What the headers and the body were made of."""
        key = self.all("streamfn-key")
        prefix = "streamfn-header-"
        return Message(
            self.body,
            unquote(key[0]) if key else None,
            tuple(
                (unquote(name[len(prefix) :]), unquote_to_bytes(value))
                for name, value in self.headers
                if name.startswith(prefix)
            ),
        )


class Receiver:
    """Keeps what it gets. `says`: the answers to the first requests; then each is `usual`."""

    def __init__(self, *says: Says) -> None:
        self.says = list(says)
        self.usual: Says = answer(204)
        self.got: list[Got] = []
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def bodies(self) -> list[bytes]:
        return [got.body for got in self.got]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                got = await _request(reader, number)
                self.got.append(got)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    await self._answer(got, writer)
                finally:
                    self.at_once -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # hung up
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, got: Got, writer: asyncio.StreamWriter) -> None:
        says = self.says.pop(0) if self.says else self.usual
        if isinstance(says, bytes):
            writer.write(says)
            await writer.drain()
        else:
            await says(got, writer)

    def hang_up(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()


async def _request(reader: asyncio.StreamReader, connection: int) -> Got:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in head[1:-2])]
    sizes = [int(value) for name, value in headers if name.lower() == "content-length"]
    assert len(sizes) == 1, "a message has a length"
    return Got(head[0], headers, await reader.readexactly(sizes[0]), connection, reader)


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port of this machine; in the end its connections are cut."""
    writers: list[asyncio.StreamWriter] = []

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await serve(reader, writer)

    server = await asyncio.start_server(noted, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


@asynccontextmanager
async def receiving(*says: Says, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver at the path /hook."""
    receiver = Receiver(*says)
    async with listening(receiver.serve, tls) as port:
        receiver.url = f"http{'s' if tls else ''}://127.0.0.1:{port}/hook"
        yield receiver


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """An answer with a length and a body, but for 204 and 304, which have none."""
    lines = [f"HTTP/1.1 {status} Said", *headers]
    if status in (204, 304):
        body = b""
    else:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/hook"


def verified(got: Got, secret: str, now: float) -> bool:
    """Whether a request is what it says, as the Standard Webhooks specification tells receivers to see:
    within five minutes, by any signature of version 1. HMAC is written out here as in RFC 2104.
    """
    if abs(now - int(got.one("webhook-timestamp"))) > 300:
        return False
    key = b64decode(secret.split("_", 1)[1]).ljust(64, b"\0")
    signed = ".".join([got.one("webhook-id"), got.one("webhook-timestamp"), ""]).encode() + got.body
    inner = sha256(bytes(byte ^ 0x36 for byte in key) + signed).digest()
    outer = sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()
    return f"v1,{b64encode(outer).decode()}" in got.one("webhook-signature").split(" ")
