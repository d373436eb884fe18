"""The engine under virtual time, through the public App, over the in-memory broker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from streamfn import App, Batch
from streamfn.core.envelopes import FailureFormat
from streamfn.ports import Message, SendFailure
from streamfn.telemetry import TelemetryEvent
from streamfn.testing.clock import clock, virtual_backend


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


class Seen:
    """Telemetry, kept."""

    def __init__(self) -> None:
        self.events: list[TelemetryEvent] = []
        self._awaited: list[tuple[type, anyio.Event]] = []

    def emit(self, event: TelemetryEvent) -> None:
        self.events.append(event)
        for kind, came in self._awaited:
            if isinstance(event, kind):
                came.set()

    async def until(self, kind: type) -> None:
        """Returns when an event of a kind has come."""
        came = anyio.Event()
        self._awaited.append((kind, came))
        if not self.of(kind):
            await came.wait()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class DeadLetters:
    """A destination that keeps what it is sent, as parsed JSON, and can be told to be down."""

    name = "memory:dead"

    def __init__(self, style: FailureFormat = FailureFormat.METADATA) -> None:
        self.failure_format = style
        self.sent: list[dict[str, Any]] = []
        self.down = False
        self.refused = 0

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        if self.down:
            self.refused += 1
            raise ConnectionError("the destination is down")
        self.sent.extend(json.loads(message.body) for message in messages)
        return ()

    async def check(self) -> None: ...

    async def close(self) -> None: ...


class Calls:
    """A batch function that notes what it was called with, and when, and then does as it is told."""

    def __init__(self, then: Callable[[Batch], Any] = lambda batch: None) -> None:
        self.then = then
        self.ids: list[list[str]] = []
        self.at: list[float] = []

    async def __call__(self, batch: Batch) -> Any:
        self.ids.append([record.id for record in batch])
        self.at.append(clock())
        answer = self.then(batch)
        return await answer if hasattr(answer, "__await__") else answer

    @property
    def flat(self) -> list[str]:
        return [name for batch in self.ids for name in batch]


def raising(*ids: str) -> Callable[[Batch], None]:
    """Raises where one of these records is in the batch; without ids always."""

    def then(batch: Batch) -> None:
        bad = [record.id for record in batch if not ids or record.id in ids]
        if bad:
            raise ValueError(f"bad record {bad[0]}")

    return then


class Bench:
    """An app with one function and one mapping."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.app = self.new_app()

    def new_app(self) -> App:
        return App(name="bench", clock=clock, telemetry=[self.seen], seed=7)

    def declare(
        self, calls: Callable[..., Any], source: Any, *, app: App | None = None, **options: Any
    ) -> App:
        app = app or self.app
        limits = {name: options.pop(name) for name in ("timeout", "reserved_concurrency") if name in options}
        app.function(name="f", batch=True, **limits)(calls)
        app.event_source_mapping("f", source, name="m", **options)
        return app

    @asynccontextmanager
    async def running(self, calls: Callable[..., Any], source: Any, **options: Any) -> AsyncIterator[App]:
        app = self.declare(calls, source, app=self.new_app(), **options)
        async with app:
            yield app


@pytest.fixture
def bench() -> Bench:
    return Bench()
