"""A shop that gives records up until it is mended, and `streamfn dlq` as the program that people run."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio
from anyio.abc import Process

from streamfn import App, Batch
from streamfn.local import LocalDestination, LocalLetters
from streamfn.ports import Message
from tests.cli.conftest import environment
from tests.waiting import until

WORKER = """
import json, os
from streamfn import App

app = App(name="shop")
out = os.open("done", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@app.function(name="ship")
def ship(event, context):
    os.write(out, json.dumps(event).encode() + b"\\n")


app.event_source_mapping("ship", "local:queue/idle")
"""


class Shop:
    """One folder: its state, its function `ship`, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / ".streamfn"
        self.broken = True
        """Whether `ship` fails."""
        self.shipped: list[Message] = []
        """The records that it took, by `batch=True`."""
        self.events: list[Any] = []
        """What it was given each time, without."""

    def app(self, *, batch: bool = True) -> App:
        """The app of the folder, of which the mappings are still to be declared."""
        app = App(name="shop", state_dir=self.state_dir)

        async def ship_batch(records: Batch) -> None:
            if self.broken:
                raise ValueError("no such city")
            self.shipped += [Message(one.value or b"", one.key, tuple(one.headers)) for one in records]

        async def ship_event(event: Any, context: Any) -> None:
            # A copy: a function may do with its event what it likes.
            self.events.append(json.loads(json.dumps(event)))
            if self.broken:
                raise ValueError("no such city")

        app.function(name="ship", batch=batch)(ship_batch if batch else ship_event)
        return app

    async def open(
        self,
        source: str,
        holds: Callable[[], object | Awaitable[object]],
        *,
        batch: bool = True,
        **options: Any,
    ) -> None:
        """Serves a source, a record at a time, until it holds."""
        app = self.app(batch=batch)
        # A queue has its own count of tries.
        tries = {} if "queue/" in source or source.startswith("sqs:") else {"maximum_retry_attempts": 0}
        given = {"name": "orders", "batch_size": 1, **tries, **options}
        app.event_source_mapping("ship", source, **given)
        async with app:
            await until(holds)

    async def put(self, place: str, *messages: Message) -> None:
        """Puts records into a local stream or queue."""
        destination = LocalDestination(place, state_dir=self.state_dir)
        assert not await destination.send(messages)
        await destination.close()

    async def kept(self, place: str) -> list[Message]:
        """What a local stream or queue holds."""
        store = LocalLetters(place, state_dir=self.state_dir)
        found = [Message(one.body, one.key, tuple(one.headers)) async for one in store.scan()]
        await store.close()
        return found

    def program(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "streamfn", *arguments]

    async def dlq(self, *arguments: str, code: int = 0) -> str:
        """Runs `streamfn dlq` to its end, which has to be that exit code: what it said."""
        done = await anyio.run_process(
            self.program("dlq", *arguments), cwd=self.folder, env=environment(), check=False
        )
        said = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == code, f"{arguments} ended with {done.returncode}: {said}"
        return said

    async def asked(self, *arguments: str) -> Any:
        """What `streamfn dlq ... --json` says, whether or not all was done."""
        done = await anyio.run_process(
            self.program("dlq", *arguments, "--json"), cwd=self.folder, env=environment(), check=False
        )
        assert done.returncode in (0, 1), done.stderr.decode()
        return json.loads(done.stdout)

    async def redriven(self, *arguments: str) -> dict[str, int]:
        """Runs `streamfn dlq redrive`: how many letters came to which end."""
        report = await self.asked("redrive", *arguments)
        ends = ("sent", "finished", "refused", "failed", "left")
        return {end: report[end] for end in ends if report[end]}

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Callable[[], list[Any]]]:
        """`streamfn run` beside it, whose function does not fail: gives the events that it has processed."""
        (self.folder / "worker.py").write_text(WORKER)
        log = self.folder / "worker.log"
        with log.open("wb") as out:
            process = await anyio.open_process(
                self.program("run", "worker.py"), cwd=self.folder, env=environment(), stdout=out, stderr=out
            )
        try:
            await until(lambda: "worker_started" in log.read_text())
            yield lambda: list(map(json.loads, (self.folder / "done").read_bytes().splitlines()))
            process.terminate()
            with anyio.fail_after(20):
                assert await process.wait() == 0, log.read_text()
        finally:
            await ended(process)

    async def kill(self, *arguments: str, when: Callable[[], Awaitable[bool]]) -> int | None:
        """Starts `streamfn dlq` and kills it when it holds: with which exit code or signal it has ended."""
        process = await anyio.open_process(
            self.program("dlq", *arguments), cwd=self.folder, env=environment(), stdout=DEVNULL
        )

        async def over() -> bool:
            return process.returncode is not None or await when()

        try:
            await until(over)
        finally:
            await ended(process)
        return process.returncode


async def ended(process: Process) -> None:
    """Kills what still runs."""
    if process.returncode is None:
        process.kill()
    await process.aclose()
