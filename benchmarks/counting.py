"""A proxy that counts what AWS is asked, whichever client asks."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

from anyio.from_thread import start_blocking_portal

_TARGET = re.compile(rb"x-amz-target: *([\w.]+)\r\n", re.IGNORECASE)
_LONGEST = 200
"""Bytes that a header of that name has at most: it may come in two pieces."""


class Counted:
    """An address in front of a server, and the requests that came there so far."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.endpoint = ""
        self.requests: Counter[str] = Counter()
        """By service and operation, as `X-Amz-Target` has them."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_on(reader, there_writer, counts=True))
                tasks.create_task(self._pass_on(there_reader, writer, counts=False))
        except* OSError:
            writer.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool
    ) -> None:
        seen = b""
        while chunk := await reader.read(65_536):
            if counts:
                seen += chunk
                end = 0
                for found in _TARGET.finditer(seen):
                    self.requests[found[1].decode()] += 1
                    end = found.end()
                seen = seen[max(end, len(seen) - _LONGEST) :]
            writer.write(chunk)
            await writer.drain()
        writer.close()


@contextmanager
def counted(endpoint: str) -> Iterator[Counted]:
    """The proxy at work, in a thread of its own."""
    place = urlsplit(endpoint)
    assert place.hostname is not None
    assert place.port is not None
    proxy = Counted(place.hostname, place.port)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(proxy.listening()):
        yield proxy
