"""A sequenced mapping of a `local:` stream, and a function that fails when it is told to."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streamfn import App, Batch
from streamfn.core.letters import Stored
from streamfn.errors import ConfigurationError
from streamfn.local import LocalDestination, SequenceLetters
from streamfn.ports import Message
from streamfn.testing.clock import clock
from tests.engine.conftest import Seen
from tests.waiting import until

STYLES = ["event", "batch", "each", "each on a thread"]
OPTIONS: dict[str, Any] = {
    "name": "m",
    "ordering": "key",
    "sequenced": True,
    "batch_size": 1,
    "maximum_retry_attempts": 1,
    "retry_backoff": {"first": 0.1},
}

Item = tuple[str | None, int]


class Line:
    """An app whose function fails for what is bad, and notes what it did in which order."""

    def __init__(self, folder: Path, style: str = "each", **function: Any) -> None:
        self.folder = folder
        self.style = style
        self.function = function
        self.bad: set[Item] = set()
        self.done: list[Item] = []
        self.tried: list[Item] = []
        self.events: list[Any] = []
        self.before: Callable[[Item], Any] = lambda item: None
        """What a delivery waits for."""
        self.seen = Seen()
        self.app: App
        self._target = LocalDestination("local:s?shards=1", state_dir=folder, clock=clock)
        self.store = SequenceLetters("app.m", state_dir=folder, clock=clock)

    def declare(self, **options: Any) -> App:
        app = App(name="app", state_dir=self.folder, clock=clock, telemetry=[self.seen], seed=7)
        match self.style:
            case "event":
                app.function(name="f", **self.function)(self._on_event)
            case "batch":
                app.function(name="f", batch=True, **self.function)(self._on_batch)
            case "each":
                app.function(name="f", each=dict, **self.function)(self._on_each)
            case _:
                app.function(name="f", each=dict, **self.function)(self._on_thread)
        app.event_source_mapping("f", options.pop("source", "local:s?shards=1"), **{**OPTIONS, **options})
        return app

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[App]:
        self.app = self.declare(**options)
        try:
            async with self.app:
                yield self.app
        finally:
            await self.store.close()
            await self._target.close()

    async def put(self, *items: Item) -> None:
        messages = [Message(json.dumps({"k": k, "v": v}).encode(), k) for k, v in items]
        assert not await self._target.send(messages)

    async def letters(self) -> dict[str | None, Stored]:
        try:
            return {stored.key: stored async for stored in self.store.scan()}
        except ConfigurationError:  # the mapping has not begun
            return {}

    async def reopen(self, *keys: str) -> None:
        found = await self.letters()
        assert await self.store.reopen([found[key] for key in keys]) == len(keys)

    async def closed(self, **behind: int) -> None:
        """Returns when just these keys are closed, with so many records behind each."""

        async def holds() -> bool:
            return {key: stored.behind for key, stored in (await self.letters()).items()} == behind

        try:
            await until(holds)
        except AssertionError:
            found = {key: stored.behind for key, stored in (await self.letters()).items()}
            raise AssertionError(f"{found}, not {behind}; done: {self.done}") from None

    async def until_done(self, *items: Item) -> None:
        try:
            await until(lambda: len(self.done) >= len(items))
        except AssertionError:
            raise AssertionError(f"done: {self.done}, not {items}") from None

    def of(self, key: str | None) -> list[int]:
        return [number for name, number in self.done if name == key]

    def _note(self, item: Item) -> None:
        self.tried.append(item)
        if item in self.bad:
            raise ValueError(f"bad {item}")
        self.done.append(item)

    async def _wait(self, item: Item) -> None:
        waits = self.before(item)
        if waits is not None:
            await waits

    async def _on_each(self, value: dict[str, Any]) -> None:
        await self._wait(item_of(value))
        self._note(item_of(value))

    def _on_thread(self, value: dict[str, Any]) -> None:
        self._note(item_of(value))

    async def _on_batch(self, batch: Batch) -> None:
        self.events.append([(r.id, r.position, r.key, r.value, r.headers, r.arrived_at) for r in batch])
        for record in batch:
            await self._wait(item_of(record.json()))
        for record in batch:
            assert record.key == record.json()["k"]
            self._note(item_of(record.json()))

    async def _on_event(self, event: Any, context: Any) -> None:
        self.events.append(event)
        for record in event["Records"]:
            self._note(item_of(json.loads(b64decode(record["kinesis"]["data"]))))


def item_of(value: dict[str, Any]) -> Item:
    return value["k"], value["v"]


def items(key: str | None, numbers: Iterable[int]) -> list[Item]:
    return [(key, number) for number in numbers]


def dead_of(stored: Stored) -> dict[str, Any]:
    found = json.loads(stored.body)["deadLetter"]
    assert isinstance(found, dict)
    return found
