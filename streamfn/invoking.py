"""Asynchronous invocations of an app: events are taken, and each function that has some gets a mapping."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamfn.core.invocations import PAYLOAD_LIMIT
from streamfn.core.rendering import uuids
from streamfn.errors import InvalidRequestContent, PayloadTooLarge
from streamfn.ports import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from anyio.abc import TaskGroup, TaskStatus

    from streamfn.core.records import Headers
    from streamfn.ports import EventQueue


_BYTES: Final = (bytes, bytearray, memoryview)
_IDS: Final = 256


def payload_of(value: Any, limit: int = PAYLOAD_LIMIT) -> bytes:
    """A payload as JSON: bytes are JSON already, anything else becomes it.

    Raises InvalidRequestContent where it is none, PayloadTooLarge above the limit, in bytes.
    """
    try:
        if isinstance(value, _BYTES):
            data = bytes(value)
            orjson.loads(data)
        else:
            data = orjson.dumps(value)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        raise InvalidRequestContent(f"Could not parse request body into json: {error}") from None
    if len(data) > limit:
        kind = "an asynchronous" if limit == PAYLOAD_LIMIT else "a synchronous"
        raise PayloadTooLarge(
            f"the payload has {len(data):,} bytes; {kind} invocation takes {limit:,}. "
            "Fix: store it elsewhere and send its address"
        )
    return data


class Invoker:
    """Takes events, and has those of a function delivered from its first one on.

    `add` starts the mapping of a function's events, and gives the functions that its destinations invoke.
    `tasks` outlives it.
    """

    def __init__(
        self, queue: EventQueue, add: Callable[[str], Awaitable[Iterable[str]]], tasks: TaskGroup
    ) -> None:
        self._queue = queue
        self._add = add
        self._tasks = tasks
        self._served: set[str] = set()
        self._serving = asyncio.Lock()
        self._opened = False
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()
        self._ids: list[str] = []
        """Made in stock, for to ask the system for each takes longer than all else here."""
        self.asked: set[str] = set()
        """Functions whose events somebody asked for: options, a destination, an event."""

    def put(self, function: str, payload: bytes, headers: Headers = ()) -> tuple[str, Awaitable[None]]:
        """The request id of a new event, and what is to be awaited until it is durable: that raises OSError
        where it cannot be. Somebody has to have asked for the events of the function.
        """
        if not self._ids:
            self._ids = uuids(os.urandom(16 * _IDS))
        request_id = self._ids.pop()
        return request_id, self._queue.put(function, Event(request_id, payload, headers))

    async def serve(self, functions: Iterable[str], *, asked: bool = True) -> None:
        """Has the events of functions delivered, and of those that they invoke in turn."""
        waiting = list(functions)
        async with self._serving:
            while waiting:
                function = waiting.pop()
                if function not in self._served:
                    if not self._opened:
                        await self._tasks.start(self._keep_open)
                        self._opened = True
                    waiting += await self._add(function)
                    self._served.add(function)
                # Not before: events of a function that there is not are never taken.
                if asked:
                    self.asked.add(function)

    def forget(self, function: str) -> None:
        """Events of a function that is gone are refused, until it is there again and asked for."""
        for known in (self._served, self.asked):
            known -= {key for key in known if key.partition(":")[0] == function}

    async def close(self) -> None:
        """Takes no more events; those that were taken are durable."""
        self._closing.set()
        if self._opened:
            await self._closed.wait()

    async def _keep_open(self, *, task_status: TaskStatus[None]) -> None:
        self._closed.clear()
        try:
            async with self._queue.open():
                task_status.started()
                await self._closing.wait()
        finally:
            self._closed.set()
