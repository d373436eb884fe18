"""The Lambda Runtime API (2018-06-01) of one execution environment: what its runtime asks for work.

Each environment has a listener of its own, and only its own processes are answered there. (Developer Guide:
runtimes-api; aws-lambda-runtime-interface-emulator for the error documents.)
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from streamfn.runtimes.process.connection import INIT, Connection, Posted
from streamfn.runtimes.process.running import Exit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from streamfn.ports import Request

_CONNECTIONS: Final = 64
"""Beyond the runtime's own, which are as many as invocations at a time."""


class Mark(Enum):
    READY = "ready"
    """The runtime asked for its first invocation."""
    TIMED_OUT = "timed out"


Ending: TypeAlias = Posted | Exit | Mark
"""How an invocation or an initialisation ended."""


class Invocation:
    """One invocation on its way through a runtime."""

    __slots__ = ("deadline_ms", "done", "given", "name", "receiver", "request", "streamed")

    def __init__(self, request: Request, deadline_ms: int, done: asyncio.Future[Ending]) -> None:
        self.request = request
        self.name = request.request_id.encode()
        self.deadline_ms = deadline_ms
        """Epoch milliseconds."""
        self.done = done
        self.given: Connection | None = None
        """The connection that it was handed out on; None before."""
        self.receiver: Connection | None = None
        """The connection that its result comes in on."""
        self.streamed = False
        """Whether its caller has begun to get its result."""

    def write(self, piece: bytes) -> bool:
        """Passes on a piece of its result; whether more may come. What ended takes no more, and drops it."""
        stream = self.request.stream
        return self.done.done() or stream is None or stream.write(piece)

    def when_read(self, call: Callable[[], None]) -> None:
        """Calls back when the caller takes more."""
        if self.request.stream is not None:
            self.request.stream.when_read(call)

    def render(self) -> bytes:
        """The answer to `next`."""
        request = self.request
        more = ""
        if request.trace:
            more = f"Lambda-Runtime-Trace-Id: {_line(request.trace)}\r\n"
        if request.client_context:
            more += f"Lambda-Runtime-Client-Context: {_line(request.client_context)}\r\n"
        return (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"Lambda-Runtime-Aws-Request-Id: {request.request_id}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {self.deadline_ms}\r\n"
            f"Lambda-Runtime-Invoked-Function-Arn: {request.function_arn}\r\n"
            f"{more}Content-Length: {len(request.payload)}\r\n\r\n"
        ).encode() + request.payload


class RuntimeApi:
    """Gives invocations to the runtime of one environment, and takes what it posts."""

    def __init__(self, capacity: int, owns: Callable[[tuple[str, int]], bool]) -> None:
        """`owns` says of a connection's other end whether it is within the environment."""
        self.capacity = capacity
        self.initialised: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        """Done at the first `next`, with READY; or with the error of the initialisation."""
        self._owns = owns
        self._lost: Callable[[Invocation], None] | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        self._pending: deque[Invocation] = deque()
        self._running: dict[bytes, Invocation] = {}
        self._failing: Connection | None = None
        self._closing = False
        self._exit: Exit | None = None
        """How the runtime has ended."""

    async def open(self, listener: socket.socket) -> None:
        """Serves on a listener, which it owns from now on."""
        if self._closing:
            return
        loop = asyncio.get_running_loop()
        # Known before it serves: `close` may come meanwhile, and the loop must not go on with its descriptor.
        self._server = await loop.create_server(lambda: Connection(self), sock=listener, start_serving=False)
        await self._server.start_serving()

    def close(self) -> None:
        """Cuts all connections. Invocations that run are left as they are."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()

    def give(self, invocation: Invocation) -> None:
        """Hands an invocation to the runtime, now or when it next asks."""
        if self._idle and invocation.name not in self._running:
            self._hand_out(invocation, self._idle.popleft())
        else:
            self._pending.append(invocation)

    def withdraw(self, invocation: Invocation) -> bool:
        """Forgets an invocation; whether the runtime never had it. What it still posts for it is refused."""
        if invocation.given is None:
            if invocation in self._pending:
                self._pending.remove(invocation)
            return True
        self._running.pop(invocation.name, None)
        self._read_out()
        return False

    def fail(self, ending: Exit) -> None:
        """The runtime has ended, and with it all invocations that it had or was to have. What it had written
        by then is read first: an answer counts, and so do the pieces of a stream.
        """
        self._closing, self._exit = True, ending
        if self._server is not None:
            self._server.close()
        pending, self._pending = self._pending, deque()
        _end_all(pending, ending)
        self._read_out()

    def _read_out(self) -> None:
        """After the end of the runtime: all is over with the last connection, or when nothing is awaited."""
        if self._exit is None:
            return
        if not self._connections:
            _end_all(self._running.values(), self._exit)
            self._running.clear()
            if not self.initialised.done():
                self.initialised.set_result(self._exit)
        elif self.initialised.done() and all(one.done.done() for one in self._running.values()):
            self.close()

    def when_lost(self, call: Callable[[Invocation], None]) -> None:
        """Calls back when a connection ends that an invocation was handed out on: for runtimes whose workers
        keep one each, so that its end is theirs.
        """
        self._lost = call

    @property
    def running(self) -> list[Invocation]:
        """Those that the runtime has now."""
        return list(self._running.values())

    # What connections ask.

    def connected(self, connection: Connection, transport: asyncio.BaseTransport) -> bool:
        """Whether a new connection is to be served."""
        crowded = len(self._connections) >= _CONNECTIONS + 2 * self.capacity
        if self._closing or crowded or not self._owns(transport.get_extra_info("peername")):
            return False
        self._connections.add(connection)
        return True

    def disconnected(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        if connection.waiting:
            self._idle.remove(connection)
        if self._failing is connection:
            self._failing = None
        for invocation in self.running:
            if invocation.receiver is connection:
                invocation.receiver = None
            if invocation.given is connection and self._lost is not None and not self._closing:
                self._lost(invocation)
        self._read_out()

    def next(self, connection: Connection) -> None:
        """`GET /runtime/invocation/next`: answered when there is an invocation."""
        if self._exit is not None:
            connection.abort()
            return
        if not self.initialised.done():
            self.initialised.set_result(Mark.READY)
        if len(self._running) >= self.capacity:
            connection.refuse(403, "InvalidStateTransition", "An invocation has not been answered yet")
            return
        # An event may be delivered again while it runs; the runtime tells invocations apart by their ids.
        waiting = next((one for one in self._pending if one.name not in self._running), None)
        if waiting is not None:
            self._pending.remove(waiting)
            self._hand_out(waiting, connection)
            return
        if len(self._idle) >= self.capacity:
            # Its client gave up waiting, though its connection stands: who asks later, counts.
            self._idle.popleft().refuse(403, "InvalidStateTransition", "Another request for work came")
        connection.waiting = True
        self._idle.append(connection)

    def expects(self, connection: Connection, subject: bytes) -> bool:
        """Whether a connection may post the result of an invocation, or of the initialisation. Then no other
        may meanwhile: so many results at most are held in memory.
        """
        if subject == INIT:
            free = not self.initialised.done() and self._failing in (None, connection)
            if free:
                self._failing = connection
            return free
        invocation = self._running.get(subject)
        if invocation is None or invocation.receiver not in (None, connection):
            return False
        invocation.receiver = connection
        return True

    def begin(self, request_id: bytes, content_type: str) -> Invocation | None:
        """The invocation, if its caller takes its result piece by piece; that begins then, once."""
        invocation = self._running.get(request_id)
        if invocation is None or invocation.request.stream is None or invocation.streamed:
            return None
        invocation.streamed = True
        invocation.request.stream.begin(content_type)
        return invocation

    def end(self, request_id: bytes, posted: Posted) -> bool:
        """The result of an invocation; False where there is none of that id. A stream that broke off cannot
        be sent again, but an error may still come.
        """
        invocation = self._running.get(request_id)
        if invocation is None or (invocation.streamed and not (posted.streamed or posted.failed)):
            return False
        del self._running[request_id]
        if not invocation.done.done():
            invocation.done.set_result(posted)
        return True

    def fail_init(self, posted: Posted) -> bool:
        """The error of the initialisation; False when that is over."""
        if self.initialised.done():
            return False
        self.initialised.set_result(posted)
        return True

    def _hand_out(self, invocation: Invocation, connection: Connection) -> None:
        invocation.given = connection
        self._running[invocation.name] = invocation
        connection.reply(invocation.render())


def _end_all(invocations: Iterable[Invocation], ending: Exit) -> None:
    for invocation in invocations:
        if not invocation.done.done():
            invocation.done.set_result(ending)


def _line(text: str) -> str:
    # Between the tokens of JSON a blank is as good as a line's end, which a header cannot have.
    return text.replace("\r", " ").replace("\n", " ")
