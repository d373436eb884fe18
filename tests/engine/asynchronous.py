"""What the tests of asynchronous invocations have in common: an app over an event queue in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio

from streamfn import App
from streamfn.core.records import Record
from streamfn.testing import MemoryDestination, MemoryEvents
from streamfn.testing.clock import clock
from streamfn.testing.memory.events import MemoryEventShard
from tests.engine.conftest import Seen

ARN = "arn:aws:lambda:local:000000000000:function:f"


class Invoked:
    """A function that notes its events, contexts and times, and then does as it is told."""

    def __init__(self, then: Callable[[Any], Any] = lambda event: None) -> None:
        self.then = then
        self.events: list[Any] = []
        self.contexts: list[Any] = []
        self.at: list[float] = []

    async def __call__(self, event: Any, context: Any) -> Any:
        self.events.append(event)
        self.contexts.append(context)
        self.at.append(clock())
        answer = self.then(event)
        return await answer if hasattr(answer, "__await__") else answer

    @property
    def ids(self) -> list[str]:
        return [context.aws_request_id for context in self.contexts]

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in zip(self.at, self.at[1:], strict=False)]


def failing(times: int | None = None) -> Callable[[Any], None]:
    """Raises at its first invocations, so many of them; always, without a number."""
    calls = 0

    def then(event: Any) -> None:
        nonlocal calls
        calls += 1
        if times is None or calls <= times:
            raise ValueError(f"no {calls}")

    return then


class Events:
    """A queue of events, and apps on it, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue = MemoryEvents()
        self.seen = Seen()
        self.failures = MemoryDestination("failures")
        self.successes = MemoryDestination("successes")
        self.dead = MemoryDestination("dead")

    def app(self, **options: Any) -> App:
        return App(
            name="bench",
            state_dir=self.folder,
            clock=clock,
            telemetry=[self.seen],
            seed=7,
            event_queue=self.queue,
            **options,
        )

    def declare(self, function: Any, **options: Any) -> App:
        """An app with a function `f`, whose failures go to `failures` unless something else is said."""
        names = ("timeout", "reserved_concurrency", "batch", "each")
        limits = {name: options.pop(name) for name in names if name in options}
        app = self.app()
        app.function(name="f", **limits)(function)
        app.event_invoke_config("f", **{"OnFailure": self.failures, **options})
        return app

    async def run(self, function: Any, payload: Any = None, **options: Any) -> str:
        """One event from the beginning to its end: its request id."""
        async with self.declare(function, **options) as app:
            request_id = await app.enqueue("f", payload)
            await self.queue.wait_empty()
        return request_id

    @property
    def record(self) -> dict[str, Any]:
        """The only failure."""
        (record,) = self.failures.bodies()
        assert isinstance(record, dict)
        return record


class SlowShard(MemoryEventShard):
    """Acknowledging takes half a second, as where a disk is busy."""

    async def ack(self, records: Sequence[Record]) -> None:
        await anyio.sleep(0.5)
        await super().ack(records)


class SlowEvents(MemoryEvents):
    def reader(self, function: str) -> MemoryEventShard:
        self.readers.append(SlowShard(self, self._lines[function], self.next_number()))
        return self.readers[-1]
