"""Task queues of others, durable as `enqueue` is, with a task that does nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import asynchronous, peers
from benchmarks.measuring import PATIENCE, figures
from benchmarks.scenario import Scenario, Settings, Side

_PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True, slots=True)
class Peer:
    """A task queue, and where its tasks are kept."""

    name: str
    where: str
    place: Callable[[], AbstractContextManager[str]]
    """What its program is told: a folder, or how to connect to a server. Raises NotHere."""
    callers: int
    """As many as served it best."""
    tasks: int


class TaskQueue:
    """streamfn beside a peer: enqueued only, and enqueued and processed by one process."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        beside = f"beside {peer.name} on {peer.where}"
        self.scenarios: Sequence[Scenario] = (
            Scenario(f"{peer.name}-enqueue", f"durable enqueues, {beside}", "events/s", "enqueue", "peer"),
            Scenario(
                f"{peer.name}-end-to-end",
                f"enqueued and processed at once by one process, {beside}",
                "events/s",
                "end-to-end",
                "peer-end-to-end",
            ),
        )

    def repeats(self, settings: Settings) -> int:
        return min(3, settings.repeat)

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        python = peers.peers_python()
        tasks = settings.size(self._peer.tasks, self._peer.tasks // 20)
        events = settings.size(asynchronous.EVENTS, asynchronous.EVENTS // 100)
        yield {
            **figures("peer", lambda: self._measured(python, tasks), "peer-end-to-end"),
            "enqueue": lambda: asynchronous.enqueue_rate(settings, asynchronous.CALLERS, events),
            "end-to-end": lambda: asynchronous.end_to_end_rate(settings, events),
        }

    def _measured(self, python: Path, tasks: int) -> Mapping[str, float]:
        program = _PROGRAMS / f"peer_{self._peer.name}.py"
        with self._peer.place() as place:
            # Isolated: nothing of the project is to be imported there.
            command = [str(python), "-I", str(program), place, str(self._peer.callers), str(tasks)]
            said = subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=PATIENCE
            ).stdout
        rates: dict[str, float] = json.loads(said)
        return {"peer": rates["enqueue"], "peer-end-to-end": rates["end-to-end"]}


GROUPS = (
    TaskQueue(Peer("huey", "SQLite with fsync", peers.no_server, 16, 5_000)),
    TaskQueue(Peer("dramatiq", "Redis with appendfsync always", peers.redis, 8, 5_000)),
    TaskQueue(Peer("procrastinate", "Postgres", peers.postgres, asynchronous.CALLERS, 2_000)),
)
