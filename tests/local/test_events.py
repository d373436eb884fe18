"""Real processes on the event queue, and many of them are killed: what was accepted is processed, or is in its
destination.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamfn.local import Broker, LocalEvents, admin
from streamfn.local.schema import FILE
from streamfn.ports import Event
from tests.waiting import until

PROGRAM = Path(__file__).with_name("events_program.py")

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Bench:
    """A state directory, and what the processes on it have written down."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.log = folder / "log"
        self.log.touch()
        self.errors = folder / "stderr"

    @contextmanager
    def process(self, role: str) -> Iterator[subprocess.Popen[bytes]]:
        """Killed at the end, unless it has ended."""
        command = [sys.executable, str(PROGRAM), str(self.state), str(self.log), role]
        with self.errors.open("ab") as errors:
            process = subprocess.Popen(command, stdout=errors, stderr=errors)
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    def lines(self, word: str) -> list[list[str]]:
        found = (line.split() for line in self.log.read_text().splitlines())
        return [words[1:] for words in found if words[:1] == [word]]

    def took(self, *kinds: str) -> set[str]:
        return {name for kind, name in self.lines("took") if kind in kinds}

    def done(self) -> set[str]:
        return {name for _, name in self.lines("done")}

    async def sent(self, queue: str) -> dict[str, dict[str, Any]]:
        """The records of a destination, by request id; of several about one event the last."""
        async with Broker(self.state / FILE) as broker:
            if not any(status.name == queue for status in await admin.list_queues(broker)):
                return {}
            found = [json.loads(m.value) for m in await admin.peek(broker, queue, limit=1_000_000)]
        return {record["requestContext"]["requestId"]: record for record in found}

    async def waiting(self) -> int:
        """Events that are not done."""
        async with Broker(self.state / FILE) as broker:
            statuses = await admin.list_queues(broker)
        return sum(s.visible + s.in_flight + s.delayed for s in statuses if s.name.startswith("invoke/"))

    async def put(self, payloads: list[dict[str, Any]]) -> list[str]:
        queue = LocalEvents(self.state, clock=time.time)
        names = [f"event-{number}" for number in range(len(payloads))]
        async with queue.open():
            for name, payload in zip(names, payloads, strict=True):
                queue.put("work", Event(name, json.dumps(payload).encode()))
        return names


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_whatever_is_accepted_is_processed_or_in_its_destination(bench: Bench) -> None:
    """Fifteen processes that enqueue and process are killed, each at a random time."""
    chance = random.Random(5)
    for number in range(15):
        before = len(bench.log.read_bytes())
        with bench.process("enqueue"):
            # Some are killed before they have said a word.
            if number % 5:
                await until(lambda: len(bench.log.read_bytes()) > before + 2000)
            time.sleep(chance.uniform(0.0, 0.35))
    with bench.process("work") as last:

        async def empty() -> bool:
            assert last.poll() is None, bench.errors.read_text()[-3000:]
            return await bench.waiting() == 0

        await until(empty, 40)
        last.send_signal(signal.SIGTERM)
        assert last.wait(20) == 0, bench.errors.read_text()[-3000:]
    failures, successes, done = await bench.sent("failures"), await bench.sent("successes"), bench.done()
    accepted = bench.took("good", "flaky", "bad", "told")
    assert len(accepted) > 2000
    assert bench.took("good", "flaky") <= done | set(failures)
    assert bench.took("bad") <= set(failures)
    assert bench.took("told") <= set(successes) | set(failures)
    # Nobody is given up for a crash or two of others.
    for record in failures.values():
        assert record["requestContext"]["condition"] == "RetriesExhausted"
        assert record["requestContext"]["approximateInvokeCount"] == 2
    for kind in ("good", "told"):
        assert len(bench.took(kind) & set(failures)) <= 2


@pytest.mark.parametrize("kind", ["deadly", "exits"])
async def test_an_event_that_kills_its_process_ends_in_its_destination(bench: Bench, kind: str) -> None:
    names = await bench.put([{"kind": kind if number == 30 else "good"} for number in range(200)])
    deaths = 0
    while True:
        with bench.process("work") as process:

            async def over() -> bool:
                return process.poll() is not None or await bench.waiting() == 0

            await until(over, 20)
            if process.poll() is None:
                break
            assert process.returncode == (-9 if kind == "deadly" else 3), bench.errors.read_text()[-3000:]
        deaths += 1
        assert deaths <= 6
    assert deaths >= 4
    failures = await bench.sent("failures")
    assert set(failures) == {names[30]}
    record = failures[names[30]]
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["responsePayload"]["errorType"] == "Runtime.ExitError"
    assert bench.done() == set(names) - {names[30]}


async def test_two_processes_share_a_queue(bench: Bench) -> None:
    with bench.process("work") as one, bench.process("work") as two:
        await until(lambda: len(bench.lines("up")) == 2)
        names = await bench.put([{"kind": "good", "seconds": 0.02} for _ in range(1000)])
        await until(lambda: bench.done() == set(names))
        for process in (one, two):
            process.send_signal(signal.SIGTERM)
        for process in (one, two):
            assert process.wait(20) == 0
    shares = Counter(pid for pid, _ in bench.lines("done"))
    assert sum(shares.values()) == 1000
    assert len(shares) == 2
    assert min(shares.values()) > 100


async def test_the_living_go_on_with_what_the_dead_had_in_hand(bench: Bench) -> None:
    with bench.process("work") as living:
        await until(lambda: len(bench.lines("up")) == 1)
        with bench.process("work") as dying:
            await until(lambda: len(bench.lines("up")) == 2)
            names = await bench.put([{"kind": "good", "seconds": 0.5} for _ in range(100)])
            await until(lambda: bench.lines("done"))
            dying.kill()
        await until(lambda: bench.done() == set(names), 25)
        assert living.poll() is None
