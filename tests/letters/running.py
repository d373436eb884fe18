"""Running over real stores, and ends in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from streamfn.core.letters import Stored
from streamfn.letters import (
    Audit,
    Box,
    Ends,
    Order,
    Redrive,
    Report,
    Selection,
    new_run,
    writable,
)
from streamfn.letters.sending import Delivery, deliver
from streamfn.local import LocalLetters
from streamfn.ports import Message
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryDestination
from tests.letters import made

DEAD = "local:queue/dead-letters"
LOG = "local:dead"


async def put(state_dir: Path, uri: str, bodies: Sequence[bytes | Message]) -> None:
    await made.put(state_dir, uri, bodies, clock=clock)


@asynccontextmanager
async def opened(state_dir: Path, uri: str = DEAD) -> AsyncIterator[Box]:
    store = LocalLetters(uri, state_dir=state_dir, clock=clock)
    async with Audit.at(state_dir, clock) as audit:
        yield Box(store, audit)
    await store.close()


async def redriven(
    state_dir: Path,
    uri: str = DEAD,
    selection: Selection = Selection(),
    order: Order = Order(writable=writable),
    *,
    dry: bool = False,
    stop: anyio.Event | None = None,
    ends: Any = None,
    **options: Any,
) -> Report:
    own = Ends({"state_dir": state_dir, "clock": clock})
    async with opened(state_dir, uri) as box:
        run = None if dry else new_run("redrive", box.store.name, "", ("ann", "box"), clock())
        redrive = Redrive(box, ends or own, selection, order, stop or anyio.Event(), run, **options)
        report = await redrive()
    await own.close()
    return report


async def stored(state_dir: Path, uri: str) -> list[Stored]:
    store = LocalLetters(uri, state_dir=state_dir, clock=clock)
    found = [one async for one in store.scan()]
    await store.close()
    return found


async def bodies(state_dir: Path, uri: str) -> list[bytes]:
    return sorted([one.body for one in await stored(state_dir, uri)])


def fates(report: Report) -> dict[str, int]:
    return {fate.value: number for fate, number in report.fates.items() if number}


class Stops:
    """Ends that are told to stop while a batch is sent."""

    def __init__(self, stop: anyio.Event, ends: Ends | Memory) -> None:
        self.stop, self.ends = stop, ends

    async def send(self, uri: str, messages: Sequence[Message]) -> Delivery:
        self.stop.set()
        return await self.ends.send(uri, messages)

    async def fetch(self, place: str, info: Mapping[str, Any]) -> Mapping[str, Any] | str:
        return await self.ends.fetch(place, info)


class Memory:
    """Ends in memory, by their URI."""

    def __init__(self, **destinations: MemoryDestination) -> None:
        self.destinations = {name.replace("_", ":"): one for name, one in destinations.items()}

    async def send(self, uri: str, messages: Sequence[Message]) -> Delivery:
        return await deliver(self.destinations.setdefault(uri, MemoryDestination(uri)), messages)

    async def fetch(self, place: str, info: Mapping[str, Any]) -> Mapping[str, Any] | str:
        return f"nothing is in {place}"
