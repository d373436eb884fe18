"""A client of raw bytes, which sends and sees exactly what a test says, and handlers for it to call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
import orjson

from streamfn.control.messages import HttpRequest, HttpResponse

PATIENCE = 10.0
ANY = "127.0.0.1:0"


class Seen(NamedTuple):
    """An answer, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Sends them, as far as the server still listens."""
        self.writer.write(data)
        with anyio.fail_after(PATIENCE):
            await self.writer.drain()

    async def answer(self, *, method: str = "POST") -> Seen:
        """The next answer, whole. EOFError if the server closes before its end."""
        with anyio.fail_after(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = b"" if method == "HEAD" else await self._body(headers)
        return Seen(int(first.split()[1]), headers, body)

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body

    async def ended(self) -> bytes:
        """What comes until the server closes."""
        with anyio.fail_after(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """A connection to a server by its URL."""
    if url.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(url.removeprefix("unix:"))
    else:
        host, _, port = url.partition("://")[2].rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


def post(body: bytes = b"", path: str = "/a", *more: str) -> bytes:
    """A request."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def echo(request: HttpRequest) -> HttpResponse:
    """Answers with what it was asked."""
    said = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": dict(request.headers),
        "body": request.body.decode("latin-1"),
    }
    return HttpResponse(200, [("Content-Type", "application/json")], orjson.dumps(said))


class Doors:
    """A handler that answers when it is let."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.open = anyio.Event()
        self.done = anyio.Event()

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.begun.set()
        await self.open.wait()
        self.done.set()
        return HttpResponse(200, (), b"done")


class Chunks:
    """A handler that streams what it is given, and says when it was ended."""

    def __init__(self, *chunks: bytes, forever: bool = False) -> None:
        self.chunks, self.forever = chunks, forever
        self.sent = 0
        self.ended = anyio.Event()
        self.error: Exception | None = None

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [("Content-Type", "text/plain")], self._stream())

    async def _stream(self) -> AsyncIterator[bytes]:
        try:
            while True:
                for chunk in self.chunks:
                    yield chunk
                    self.sent += len(chunk)
                    await asyncio.sleep(0)
                if self.error is not None:
                    raise self.error
                if not self.forever:
                    return
        finally:
            self.ended.set()


def said(body: bytes) -> dict[str, object]:
    found = orjson.loads(body)
    assert isinstance(found, dict)
    return found
