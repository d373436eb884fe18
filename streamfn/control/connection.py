"""One HTTP/1.1 connection of the API: reads requests, and answers them in turn."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import anyio

from streamfn.control.answers import NO_BODY, head_of, refusal
from streamfn.control.messages import HttpRequest, HttpResponse
from streamfn.errors import MissingExtra

try:
    import httptools
except ModuleNotFoundError as error:
    raise MissingExtra("the API needs httptools", fix="pip install 'streamfn[api]'") from error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamfn.control.serving import Service

_MAX_PIPELINED: Final = 16
"""Requests that may wait before no more is read."""
_MOST_WAITING: Final = 1024
"""Requests that may wait at all: what has been read at once may hold very many."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_JOINED: Final = 65_536
"""Bytes up to which a body is sent in one piece with its head."""
_CLOSING: Final = 5.0
"""Seconds that an iterator may take to end when nobody reads it any more."""


class _Incoming:
    """A request, as far as it has come."""

    __slots__ = (
        "begun",
        "body",
        "fields",
        "headers",
        "http11",
        "keep_alive",
        "method",
        "reading",
        "size",
        "url",
    )

    def __init__(self, now: float) -> None:
        self.begun = now
        """When its head began to come, and then its body."""
        self.reading = False
        """Whether its head is there, and its body comes."""
        self.method = ""
        self.url = b""
        self.http11 = True
        self.keep_alive = True
        self.headers: dict[str, str] = {}
        self.fields = 0
        """Lines of headers."""
        self.body: bytes | bytearray = b""
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Takes a piece of its body."""
        self.size += len(chunk)
        if not self.body:
            self.body = chunk
            return
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += chunk

    def request(self) -> HttpRequest:
        """As the handler takes it. What is no ASCII in its first line stands as Latin-1."""
        path, _, query = _target(self.url.decode("latin-1")).partition("?")
        return HttpRequest(self.method, path, query, self.headers, bytes(self.body))

    def head(self) -> bytes:
        """What a parser reads it from once more, without the wish for another protocol."""
        first = b"%b %b HTTP/1.%d" % (self.method.encode(), self.url, self.http11)
        fields = [f"{name}: {value}" for name, value in self.headers.items() if name != "upgrade"]
        return b"\r\n".join([first, *(each.encode("latin-1") for each in fields), b"", b""])


_Item: TypeAlias = _Incoming | HttpResponse


class Connection(asyncio.Protocol):
    """A client's connection: requests are queued as they are read, and one task answers them in turn.

    What is wrong with a request is queued as its answer, and nothing behind it is read. A handler is never
    broken off because its client has gone; a streamed answer is.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._limits = service.limits
        self._now = asyncio.get_running_loop().time
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._pending: deque[_Item] = deque()
        self._incoming: _Incoming | None = None
        self._loose = 0
        """Bytes since the last that belonged to a body: those of a head."""
        self._refused = False
        self._continues = False
        """Whether the client waits to be told to send its body."""
        self._ended = asyncio.Event()
        """That nothing more comes."""
        self._gone = asyncio.Event()
        self._waiting: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._working = False
        self._since = self._now()
        """When it last had anything to do, or could not write any more."""
        self._streaming: anyio.CancelScope | None = None

    # asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._service.connected(self):
            self._refused = True
            self._write(refusal(503, "ServiceUnavailableException", "There are too many connections."), None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self._ended.set()
        self.resume_writing()
        self._wake()
        self._drop()
        if self._streaming is not None:
            self._streaming.cancel()

    def eof_received(self) -> bool:
        # Who has said all may still wait for an answer, but TLS knows no half of a connection.
        self._ended.set()
        self._drop()
        self._wake()
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._since = self._now()
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._loose += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(400, "MalformedRequestException", f"This is no HTTP/1.1: {error}")
            return
        if self._loose > self._limits.head_bytes:
            self._refuse(431, "RequestHeaderSectionTooLarge", "The headers are too large.")

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # There is nothing to change to; the request counts, and the connection stays what it is.
                self._parser = httptools.HttpRequestParser(self)
                data = data[upgrade.args[0] :]
                if self._incoming is not None:  # its body is still to come
                    self._parser.feed_data(self._incoming.head())
            else:
                return

    # httptools' callbacks

    def on_message_begin(self) -> None:
        if not self._refused:
            self._incoming = _Incoming(self._now())

    def on_url(self, url: bytes) -> None:
        if self._incoming is not None:
            self._incoming.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        incoming = self._incoming
        if incoming is None:
            return
        incoming.fields += 1
        if incoming.fields > self._limits.headers:
            self._refuse(431, "RequestHeaderSectionTooLarge", "There are too many headers.")
        elif not incoming.reading:  # trailers come here too, and say nothing
            key, text = _name(name), value.decode("latin-1")
            known = incoming.headers.get(key)
            incoming.headers[key] = text if known is None else f"{known},{text}"

    def on_headers_complete(self) -> None:
        incoming = self._incoming
        if incoming is None:
            return
        incoming.method = self._parser.get_method().decode()
        incoming.http11 = self._parser.get_http_version() == "1.1"
        if self._upgrades(incoming):
            return
        incoming.begun, incoming.reading = self._now(), True
        headers = incoming.headers
        if int(headers.get("content-length") or 0) > self._limits.body_bytes:
            self._refuse_body()
        elif "expect" in headers and headers["expect"].lower() == "100-continue":
            self._continues = True
            if not (self._working or self._pending):
                self._invite()

    def on_body(self, chunk: bytes) -> None:
        self._loose = 0
        incoming = self._incoming
        if incoming is None:
            return
        self._continues = False
        incoming.add(chunk)
        self._service.held += len(chunk)
        if incoming.size > self._limits.body_bytes:
            self._refuse_body()
        elif self._service.held > self._limits.held_bytes:
            self._refuse(503, "ServiceUnavailableException", "There are too many requests at a time.")

    def on_message_complete(self) -> None:
        self._loose = 0
        incoming = self._incoming
        if incoming is None or self._upgrades(incoming):
            return
        self._continues = False
        incoming.keep_alive = self._parser.should_keep_alive()
        self._incoming = None
        self._push(incoming)
        if len(self._pending) == _MAX_PIPELINED:
            self._transport.pause_reading()
        elif len(self._pending) == _MOST_WAITING:
            self._refuse(503, "ServiceUnavailableException", "There are too many requests at a time.")

    def _upgrades(self, incoming: _Incoming) -> bool:
        """Whether the parser ends here, for the client wishes for another protocol (RFC 9110, 7.8)."""
        return self._parser.should_upgrade() and incoming.method != "CONNECT"

    # What the service says to it

    def check(self, now: float) -> None:
        """Ends what takes too long: requests that do not come, answers that are not read, and idleness."""
        limits, incoming = self._limits, self._incoming
        if self._writable is not None:
            if now - self._since > limits.write_timeout:
                self._transport.abort()
        elif self._working or self._pending or self._refused:
            pass
        elif incoming is None:
            if now - self._since > limits.idle_timeout:
                self._transport.close()
        elif incoming.reading:
            if now - incoming.begun > limits.body_timeout + incoming.size / limits.body_rate:
                self._refuse(408, "RequestTimeoutException", "The body came too slowly.")
        elif now - incoming.begun > limits.head_timeout:
            self._refuse(408, "RequestTimeoutException", "The headers came too slowly.")

    def close(self) -> None:
        """Ends it once what it has been asked is answered."""
        self._ended.set()
        self._drop()
        self._wake()

    async def run(self) -> None:
        """Answers what it is asked, until it ends."""
        try:
            await self._converse()
            self._transport.close()
            # What it has not read yet is sent first; who does not read it holds no place for ever.
            with anyio.move_on_after(self._limits.write_timeout):
                await self._gone.wait()
        except Exception:
            # One connection never takes the others with it.
            self._service.log.exception("api_connection_failed")
        finally:
            self._transport.abort()
            while self._pending:
                self._forget(self._pending.popleft())
            self._service.disconnected(self)

    async def _converse(self) -> None:
        while (item := await self._next()) is not None:
            if isinstance(item, HttpResponse):
                await self._turn_away(item)
                return
            await self._answer(item)
            if not item.keep_alive:
                return

    async def _next(self) -> _Item | None:
        while not self._pending:
            if self._ended.is_set():
                return None
            if self._continues:
                self._invite()
            self._working = False
            self._since = self._now()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        self._working = True
        if len(self._pending) == _MAX_PIPELINED:
            self._transport.resume_reading()
        return self._pending.popleft()

    async def _answer(self, incoming: _Incoming) -> None:
        try:
            response = await self._service.answer(incoming.request())
        finally:
            self._forget(incoming)
        # Its last request before it ends: all that came behind it is not.
        if self._service.closing or (self._ended.is_set() and not self._pending):
            incoming.keep_alive = False
        if isinstance(response.body, bytes):
            self._write(response, incoming)
        else:
            await self._stream(response, incoming)
        if self._writable is not None:
            await self._writable

    async def _turn_away(self, response: HttpResponse) -> None:
        """Answers, and lets come what the client sends meanwhile: else it may never read the answer."""
        self._write(response, None)
        if self._transport.can_write_eof() and not self._transport.is_closing():
            with suppress(OSError):  # it has gone just now
                self._transport.write_eof()
        with anyio.move_on_after(self._limits.linger):
            await self._ended.wait()

    def _write(self, response: HttpResponse, incoming: _Incoming | None) -> None:
        if self._transport.is_closing():
            return
        body = cast("bytes", response.body)
        head = head_of(response, self._service.date, len(body), keep_alive=_kept(incoming))
        if response.status in NO_BODY or (incoming is not None and incoming.method == "HEAD"):
            body = b""
        if len(body) <= _JOINED:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    async def _stream(self, response: HttpResponse, incoming: _Incoming) -> None:
        incoming.keep_alive = incoming.keep_alive and incoming.http11
        size = -1 if incoming.http11 else None
        body = cast("AsyncIterator[bytes]", response.body)
        try:
            with anyio.CancelScope() as self._streaming:
                if self._gone.is_set():
                    self._streaming.cancel()
                else:
                    self._transport.write(
                        head_of(response, self._service.date, size, keep_alive=_kept(incoming))
                    )
                if incoming.method != "HEAD":
                    await self._pump(body, chunked=incoming.http11)
        except Exception:
            # The head has gone: that it ends without its end is all that can be said.
            self._service.log.exception("api_stream_failed", path=incoming.url.decode("latin-1"))
            self._transport.abort()
        finally:
            self._streaming = None
            if (close := getattr(body, "aclose", None)) is not None:
                with anyio.move_on_after(_CLOSING, shield=True):
                    await close()

    async def _pump(self, chunks: AsyncIterator[bytes], *, chunked: bool) -> None:
        async for chunk in chunks:
            if chunk:
                self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
            if self._writable is not None:
                await self._writable
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    # Its queue

    def _push(self, item: _Item) -> None:
        self._pending.append(item)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._refused = True
        self._drop()
        self._push(refusal(status, code, message))

    def _refuse_body(self) -> None:
        limit = self._limits.body_bytes
        self._refuse(413, "RequestEntityTooLargeException", f"Request must be smaller than {limit} bytes")

    def _invite(self) -> None:
        self._continues = False
        self._transport.write(_CONTINUE)

    def _drop(self) -> None:
        """Forgets what has come of a request that will not be answered."""
        if self._incoming is not None:
            self._forget(self._incoming)
            self._incoming = None

    def _forget(self, item: _Item) -> None:
        if isinstance(item, _Incoming):
            self._service.held -= item.size
            item.body, item.size = b"", 0


def _kept(incoming: _Incoming | None) -> bool | None:
    """What a client has to be told of its connection: it closes, or is kept, or nothing."""
    if incoming is None or not incoming.keep_alive:
        return False
    return None if incoming.http11 else True


def _target(url: str) -> str:
    """A path and a query, without the server that proxies are told."""
    if not url.startswith("/") and "://" in url:
        return "/" + url.partition("://")[2].partition("/")[2]
    return url


@lru_cache(maxsize=512)
def _name(name: bytes) -> str:
    return name.decode("latin-1").lower()
