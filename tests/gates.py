"""Doors that a function in a process of its own waits at, until a test opens them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Something listens on `port`: whoever connects waits until the gate is opened."""

    def __init__(self) -> None:
        self.port = 0
        self.reached = asyncio.Event()
        """Somebody waits there."""
        self._open = asyncio.Event()

    def open(self) -> None:
        """Lets on who waits, and all who come."""
        self._open.set()

    async def _serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.set()
        await self._open.wait()
        writer.close()


@asynccontextmanager
async def gate() -> AsyncIterator[Gate]:
    """A gate that is closed."""
    made = Gate()
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.open()
        server.close()
