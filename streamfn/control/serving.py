"""What the connections of the API share: the handler, the limits, and their tasks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

import anyio

from streamfn.control.answers import refusal
from streamfn.control.messages import HttpRequest, HttpResponse
from streamfn.telemetry import logger

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from streamfn.control.connection import Connection
    from streamfn.control.messages import Handler

_FAILED: Final = "An error occurred. The log says which."


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may send, and how slowly. Sizes are bytes, times seconds."""

    head_bytes: int = 1_048_576
    """Of a request line and its headers (Developer Guide: gettingstarted-limits)."""
    headers: int = 256
    body_bytes: int = 75_497_472
    """72 MiB: a zip of 50 MiB in base64, and what goes with it."""
    held_bytes: int = 1_073_741_824
    """Of all bodies that are read or being worked on."""
    head_timeout: float = 10.0
    body_timeout: float = 60.0
    """For a body, and a second more for each `body_rate` bytes that have come of it."""
    body_rate: int = 16_384
    write_timeout: float = 60.0
    """How long a client may read nothing of its answer."""
    idle_timeout: float = 75.0
    """How long a connection is kept that nothing is asked on."""
    linger: float = 5.0
    """How long what a refused client still sends is read, so that it sees its answer."""
    connections: int = 1024
    grace: float = 10.0
    """How long requests may take that are being worked on when the server ends."""

    @property
    def shortest(self) -> float:
        """The shortest of the times that a connection is held to."""
        return min(self.head_timeout, self.body_timeout, self.write_timeout, self.idle_timeout)


class Service:
    """A server at work."""

    def __init__(self, handler: Handler, limits: Limits, tasks: TaskGroup) -> None:
        self.limits = limits
        self.held = 0
        """Bytes of all bodies that are in memory."""
        self.closing = False
        self.date = formatdate(usegmt=True)
        self.log, _ = logger()
        self._handler = handler
        self._tasks = tasks
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def connected(self, connection: Connection) -> bool:
        """Takes a connection, if there is room for it."""
        if self.closing or len(self._connections) >= self.limits.connections:
            return False
        self._connections.add(connection)
        self._empty.clear()
        self._tasks.start_soon(connection.run)
        return True

    def disconnected(self, connection: Connection) -> None:
        """Forgets one whose task has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """What the handler says. That it has failed is logged, and says so."""
        try:
            return await self._handler(request)
        except Exception:
            self.log.exception("api_request_failed", method=request.method, path=request.path)
            return refusal(500, "ServiceException", _FAILED)

    async def watch(self) -> None:
        """Holds all connections to the limits, for as long as it is let."""
        now = asyncio.get_running_loop().time
        pause = min(1.0, self.limits.shortest / 4)
        while True:
            await anyio.sleep(pause)
            self.date = formatdate(usegmt=True)
            for connection in list(self._connections):
                connection.check(now())

    async def close(self) -> None:
        """Lets what is being worked on end, and ends all connections; takes up to `grace` seconds."""
        self.closing = True
        for connection in list(self._connections):
            connection.close()
        with anyio.move_on_after(self.limits.grace, shield=True):
            await self._empty.wait()
