"""Real processes on the event queue, many of them killed: what was taken is processed, or in its end."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
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

    def has_grown(self, size: int) -> bool:
        return self.log.stat().st_size > size

    def is_over(self, process: subprocess.Popen[bytes]) -> bool:
        return process.poll() is not None or self.waiting() == 0

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

    def waiting(self) -> int:
        """Events that are not done."""
        with closing(sqlite3.connect(self.state / FILE, timeout=10)) as connection:
            (count,) = connection.execute(
                "SELECT sum(messages) FROM queues WHERE name LIKE 'invoke/%'"
            ).fetchone()
        return int(count)

    async def put(self, payloads: list[dict[str, Any]]) -> list[str]:
        names = [f"event-{number}" for number in range(len(payloads))]
        async with Broker(self.state / FILE) as broker:
            queue = LocalEvents(self.state, clock=broker.clock)
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
        before = bench.log.stat().st_size
        with bench.process("enqueue"):
            # Some are killed before they have said a word.
            if number % 5:
                await until(partial(bench.has_grown, before + 2000))
            await anyio.sleep(chance.uniform(0.0, 0.35))
    with bench.process("work") as last:

        def empty() -> bool:
            assert last.poll() is None, bench.errors.read_text()[-3000:]
            return bench.waiting() == 0

        await until(empty, 40)
        last.send_signal(signal.SIGTERM)
        assert last.wait(20) == 0, bench.errors.read_text()[-3000:]
    failures, successes, done = await bench.sent("failures"), await bench.sent("successes"), bench.done()
    accepted = bench.took("good", "flaky", "bad", "told")
    assert len(accepted) > 500
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
            await until(partial(bench.is_over, process), 20)
            if process.poll() is None:
                break
            assert process.returncode == (-9 if kind == "deadly" else 3), bench.errors.read_text()[-3000:]
        deaths += 1
        assert deaths <= 4
    # Three until it stands alone, and one for the retry.
    assert deaths == 4
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
