"""Processes of one app on one source, and what they have written down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import to_thread

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 90.0


class Workers:
    """Processes of one app on one source, and what they have written down."""

    def __init__(self, folder: Path, app: str, source: str, options: dict[str, Any]) -> None:
        self.folder = folder
        self.app = app
        self.source = source
        self.options = options
        self.out = folder / "done"
        self.out.touch()
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, **settings: Any) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'connectors'}",
            "APP": self.app,
            "OUT": str(self.out),
            "SOURCE": self.source,
            "SETTINGS": json.dumps({"options": {"name": "m", **self.options}, **settings}),
        }
        log = (self.folder / f"worker-{len(self.running)}.log").open("wb")
        app = Path(__file__).with_name("worker_app.py")
        command = [
            sys.executable,
            "-m",
            "streamfn",
            "run",
            str(app),
            "--state-dir",
            str(self.folder / f"{len(self.running)}"),
        ]
        worker = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        log.close()
        self.running.append(worker)
        return worker

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait(10)

    async def stop(self, worker: subprocess.Popen[bytes]) -> None:
        """Asks for a drain, and it is one. Before it is up a signal would just end it."""
        log = self.folder / f"worker-{self.running.index(worker)}.log"
        await until(lambda: "worker_started" in log.read_text(), PATIENCE)
        worker.send_signal(signal.SIGTERM)
        assert await to_thread.run_sync(worker.wait, 40) == 0, self.logs()

    async def end(self) -> None:
        for worker in self.running:
            if worker.poll() is None:
                await self.stop(worker)

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("worker-*.log")))

    def count(self) -> int:
        return self.out.read_bytes().count(b"\n")

    def done(self) -> list[tuple[str, int]]:
        """Key and number of each record, in the order they were done."""
        lines = (line.split() for line in self.out.read_text().splitlines())
        return [(key, int(value)) for key, _, value in lines]

    async def until_done(self, count: int) -> None:
        """So many records are done, whatever came twice."""

        async def all_done() -> bool:
            died = [worker for worker in self.running if worker.poll() not in (None, 0, -signal.SIGKILL)]
            assert not died, self.logs()
            return self.count() >= count and len(set(self.done())) >= count

        try:
            await until(all_done, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{len(set(self.done()))} of {count}: {error}\n{self.logs()}") from None

    def assert_order_held(self) -> None:
        """What is new of a key is the next of that key: nothing was passed over, nothing overtook."""
        next_of: defaultdict[str, int] = defaultdict(int)
        for key, number in self.done():
            assert number <= next_of[key], f"{key}: {number} came before {next_of[key]}"
            next_of[key] = max(next_of[key], number + 1)

    def twice(self) -> int:
        return sum(count - 1 for count in Counter(self.done()).values())


@asynccontextmanager
async def working(folder: Path, app: str, source: str, **options: Any) -> AsyncIterator[Workers]:
    """None is started yet. At the end all drain; what is left of them is killed."""
    running = Workers(folder, app, source, options)
    try:
        yield running
        await running.end()
    finally:
        for worker in running.running:
            if worker.poll() is None:
                running.kill(worker)
