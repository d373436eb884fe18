"""HTTP/1.1 to one address, for small calls that are made often.

A full client spends most of its time on what AWS's calls never need: cookies, redirects, forms, encodings. A
call here is one write, one future, and an answer that is taken apart by its length. Connections are kept
and used again.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

_CONNECTING: Final = 5.0
"""Seconds within which somebody answers at the address."""

_KEPT: Final = 15.0
"""Seconds that an unused connection is kept: less than the twenty after which AWS closes it."""

_LONGEST_HEAD: Final = 65_536


class BadAnswer(OSError):
    """What came is not HTTP as AWS speaks it."""


class Answer:
    """An answer, whole."""

    __slots__ = ("body", "head", "status")

    def __init__(self, status: int, head: bytes, body: bytes) -> None:
        self.status = status
        self.head = head
        self.body = body

    def headers(self) -> dict[str, str]:
        """By names in small letters."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.strip().lower(): value.strip() for name, _, value in (s.partition(":") for s in lines)}


class _Wire(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.unused_since = 0.0
        self.usable = True
        self.began = False
        """Whether anything of the present answer has come."""
        self._answer: asyncio.Future[Answer] | None = None
        self._reading = _Reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self._fail(BadAnswer("an answer that nobody asked for"))
            return
        self.began = True
        try:
            answer = self._reading.feed(data)
        except ValueError as error:
            self._fail(BadAnswer(f"no HTTP answer: {error}"))
            return
        if answer is not None:
            self.usable = self.usable and self._reading.keeps
            waiting, self._answer = self._answer, None
            if not waiting.done():
                waiting.set_result(answer)

    def eof_received(self) -> None:
        self._fail(ConnectionResetError("the connection was closed"))

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(ConnectionResetError(f"the connection was lost: {error or 'closed'}"))

    def _fail(self, error: OSError) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._answer = None
        self.transport.abort()

    async def ask(self, request: bytes) -> Answer:
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answer = waiting
        self._reading, self.began = _Reading(), False
        self.transport.write(request)
        try:
            return await waiting
        except asyncio.CancelledError:
            # What comes now belongs to nobody.
            self._answer = None
            self.usable = False
            self.transport.abort()
            raise


class _Reading:
    """Takes an answer apart as its pieces come. Raises ValueError for what is none."""

    def __init__(self) -> None:
        self.keeps = True
        self._pieces: list[bytes] = []
        self._size = 0
        self._head: bytes | None = None
        self._status = 0
        self._length: int | None = None

    def feed(self, data: bytes) -> Answer | None:
        if self._head is None:
            data = b"".join((*self._pieces, data))
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > _LONGEST_HEAD:
                    raise ValueError("its headers have no end")
                self._pieces = [data]
                return None
            self._begin(data[:end])
            self._pieces, self._size, data = [], 0, data[end + 4 :]
            if self._status < 200:  # interim answers have no body, and the real one follows
                self._head = None
                return self.feed(data) if data else None
        self._pieces.append(data)
        self._size += len(data)
        if self._length is None:
            # Only where it may have ended is it looked through: a long one comes in hundreds of pieces.
            if not b"".join(self._pieces[-2:])[-5:].endswith(b"0\r\n\r\n"):
                return None
            body = _unchunked(b"".join(self._pieces))
            if body is None:
                return None
        elif self._size < self._length:
            return None
        elif self._size > self._length:
            raise ValueError("it is longer than it says")
        else:
            body = b"".join(self._pieces) if len(self._pieces) != 1 else self._pieces[0]
        return Answer(self._status, cast("bytes", self._head), body)

    def _begin(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1."):
            raise ValueError(f"it begins with {head[:20]!r}")
        self._head, self._status = head, int(head[9:12])
        small = head.lower()
        self.keeps = b"\r\nconnection: close" not in small and head[:8] == b"HTTP/1.1"
        found = small.find(b"\r\ncontent-length:")
        if found >= 0:
            end = small.find(b"\r\n", found + 17)
            self._length = int(small[found + 17 : end if end >= 0 else None])
        elif b"\r\ntransfer-encoding:" in small:
            self._length = None
        elif self._status < 200 or self._status in (204, 304):
            self._length = 0
        else:
            raise ValueError("it has no length")


def _unchunked(data: bytes) -> bytes | None:
    """The body in a chunked one; None where its end has not come yet."""
    pieces: list[bytes] = []
    at = 0
    while True:
        line = data.find(b"\r\n", at)
        if line < 0:
            return None
        size = int(data[at:line].split(b";")[0], 16)
        if size < 0:
            raise ValueError("a chunk is shorter than nothing")
        if size == 0:
            # Trailers, of which AWS sends none, end with an empty line as the chunks do.
            return b"".join(pieces) if data.find(b"\r\n\r\n", line) >= 0 else None
        at = line + 2 + size + 2
        if len(data) < at:
            return None
        pieces.append(data[line + 2 : at - 2])


class Http:
    """Calls to one address. As many connections as there are calls at a time."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._url = url
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = tls
        self._unused: list[_Wire] = []
        self._wires: set[_Wire] = set()

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, tls: ssl.SSLContext | None) -> AsyncIterator[Http]:
        """It, while the block lasts; then its connections are closed."""
        http = cls(url, tls)
        try:
            yield http
        finally:
            for wire in tuple(http._wires):
                wire.transport.abort()

    async def ask(self, request: bytes, patience: float) -> Answer:
        """The answer to a request. Raises OSError where none came within so many seconds.

        A request may be sent twice: when the connection it went out on had been closed by the other side
        meanwhile.
        """
        try:
            async with asyncio.timeout(patience):
                wire = self._kept()
                if wire is not None:
                    try:
                        return await self._asked(wire, request)
                    except ConnectionResetError:
                        if wire.began:
                            raise
                return await self._asked(await self._connected(), request)
        except TimeoutError:
            raise TimeoutError(f"{self._url}: no answer within {patience:g} s") from None
        except OSError as error:
            raise type(error)(f"{self._url}: {error}") from error

    async def _asked(self, wire: _Wire, request: bytes) -> Answer:
        try:
            answer = await wire.ask(request)
        finally:
            if not wire.usable:
                self._wires.discard(wire)
        if wire.usable:
            wire.unused_since = asyncio.get_running_loop().time()
            self._unused.append(wire)
        else:
            wire.transport.close()
        return answer

    def _kept(self) -> _Wire | None:
        """The connection that was used last: the others may grow old and go."""
        oldest = asyncio.get_running_loop().time() - _KEPT
        while self._unused and (self._unused[0].unused_since < oldest or not self._unused[0].usable):
            old = self._unused.pop(0)
            self._wires.discard(old)
            old.transport.abort()
        while self._unused:
            wire = self._unused.pop()
            if wire.usable:
                return wire
            self._wires.discard(wire)
        return None

    async def _connected(self) -> _Wire:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECTING):
                _, wire = await loop.create_connection(_Wire, self._host, self._port, ssl=self._tls)
        except TimeoutError:
            raise ConnectionError(f"nobody answers within {_CONNECTING:g} s") from None
        self._wires.add(wire)
        return wire
