"""Processes of one app on one topic, and what they have written down."""

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

from streamfn.ports import Message
from streamfn_kafka import KafkaDestination
from tests.kafka.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0


class Workers:
    """Processes of one app on one topic, and what they have written down."""

    def __init__(self, folder: Path, cluster: Cluster, topic: str, options: dict[str, Any], uri: str) -> None:
        self.folder = folder
        self.cluster = cluster
        self.topic = topic
        self.options = options
        self.uri = uri
        self.out = folder / "done"
        self.out.touch()
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, **settings: Any) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'connectors'}",
            "APP": self.topic,
            "OUT": str(self.out),
            "SOURCE": f"kafka://{self.cluster.bootstrap}/{self.topic}?session_timeout=3&{self.uri}",
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
        await self.cluster.until(lambda: "worker_started" in log.read_text(), PATIENCE)
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
            await self.cluster.until(all_done, PATIENCE)
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
async def workers(
    folder: Path, cluster: Cluster, topic: str, uri: str = "", **options: Any
) -> AsyncIterator[Workers]:
    running = Workers(folder, cluster, topic, options, uri)
    try:
        yield running
        await running.end()
    finally:
        for worker in running.running:
            if worker.poll() is None:
                running.kill(worker)


async def fill(cluster: Cluster, topic: str, count: int, keys: int = 100, size: int = 0) -> None:
    """Records with the keys in turn, each with its number among those of its key."""
    destination = KafkaDestination(topic, cluster.bootstrap)
    for first in range(0, count, 5000):
        numbers = range(first, min(first + 5000, count))
        sent = [Message(b"%d" % (number // keys), f"k{number % keys}") for number in numbers]
        assert not await destination.send(sent)
    await destination.close()
