"""A function as a destination: what is sent to it becomes asynchronous invocations."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

import anyio
import orjson

from streamfn.core.invocations import PAYLOAD_LIMIT
from streamfn.errors import ConfigurationError, SourceError
from streamfn.local import eventqueue
from streamfn.local.broker import Broker
from streamfn.local.events import ensure
from streamfn.local.naming import state_of
from streamfn.ports import Event, FailureFormat, Message, SendFailure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.stores.database import Transaction

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]{1,128})?")


class FunctionDestination:
    """Invokes a function asynchronously: `function:NAME` or `function:NAME:QUALIFIER`.

    The event queue is that of the state directory, so the function may run in any process that uses it. A
    body is the payload, JSON of 1 MB at most; headers go with it, keys do not.
    """

    failure_format = FailureFormat.RECORD

    def __init__(self, function: str, **options: object) -> None:
        if not _NAME.fullmatch(function):
            raise ConfigurationError(
                f"{function!r} is no function's name",
                field="Destination",
                fix="write function:NAME or function:NAME:QUALIFIER",
            )
        self.function = function.removesuffix(":$LATEST")
        self._path, self._clock = state_of(options)
        self._opening = anyio.Lock()
        self._resources = AsyncExitStack()
        self._broker: Broker | None = None

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`function:NAME[:QUALIFIER]`. Raises ConfigurationError naming the fix."""
        return cls(uri.partition(":")[2], **options)

    @property
    def name(self) -> str:
        return f"function:{self.function}"

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        failures: list[SendFailure] = []
        events: list[Event] = []
        for index, message in enumerate(messages):
            problem = problem_of(message.body)
            if problem:
                failures.append(SendFailure(index, problem, retryable=False))
            else:
                events.append(Event(str(uuid4()), message.body, message.headers))
        if events:
            broker = await self._open()
            now = self._clock()

            def work(transaction: Transaction) -> None:
                eventqueue.put(transaction, ensure(transaction, self.function, now), events, now)

            await broker.database.write(work)
        return failures

    async def check(self) -> None:
        try:
            await self._open()
        except OSError as error:
            raise SourceError(str(error)) from error

    async def close(self) -> None:
        async with self._opening:
            self._broker = None
            await self._resources.aclose()

    async def _open(self) -> Broker:
        async with self._opening:
            if self._broker is None:
                async with AsyncExitStack() as resources:
                    self._broker = await resources.enter_async_context(
                        Broker.shared(self._path, clock=self._clock)
                    )
                    self._resources = resources.pop_all()
            return self._broker


def problem_of(payload: bytes) -> str:
    """Why a payload is not taken; nothing where it is."""
    if len(payload) > PAYLOAD_LIMIT:
        return f"the payload has {len(payload):,} bytes, above the {PAYLOAD_LIMIT:,} that are taken"
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        return f"Could not parse request body into json: {error}"
    return ""
