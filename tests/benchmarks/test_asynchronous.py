"""The scenarios of asynchronous invocation run, and say what they measured or why they did not."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamfn import App
from streamfn.local.schema import FILE

ROOT = Path(__file__).parents[2]

if (ROOT / "benchmarks").is_dir():
    from benchmarks import event_rows, peers, task_queues
    from benchmarks.measuring import measure
    from benchmarks.scenario import NotHere, Settings
else:
    pytest.skip("benchmarks are part of a checkout, not of what is distributed", allow_module_level=True)

QUICK = Settings(quick=True, repeat=1)


def run(file: Path, *names: str) -> dict[str, dict[str, Any]]:
    """The scenarios whose names begin so, as they were measured."""
    command = [sys.executable, "-m", "benchmarks", *names, "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return {scenario["name"]: scenario for scenario in json.loads(file.read_text())["scenarios"]}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_asynchronous_invocation_is_measured(tmp_path: Path) -> None:
    scenarios = run(tmp_path / "figures.json", "enqueue", "async")
    assert {scenario["skipped"] for scenario in scenarios.values()} == {None}
    for callers in (1, 64, 256):
        enqueued = scenarios[f"enqueue-{callers}"]
        assert enqueued["ratio"] == pytest.approx(enqueued["figure"] / enqueued["bare"], abs=0.01)
        assert enqueued["target"] == {"on": "ratio", "at_least": 0.8, "at_most": None}
    assert scenarios["async-end-to-end"]["figure"] > 0
    assert scenarios["async-latency"]["figure"] >= scenarios["async-latency-median"]["figure"] > 0
    # In milliseconds and megabytes, an interpreter alone takes more than these.
    assert scenarios["async-backlog-start"]["figure"] > 10
    assert scenarios["async-backlog-memory"]["figure"] > 10


@pytest.mark.integration
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["huey", "dramatiq", "procrastinate"])
def test_a_task_queue_is_measured(name: str, tmp_path: Path) -> None:
    scenarios = run(tmp_path / "figures.json", name)
    assert set(scenarios) == {f"{name}-enqueue", f"{name}-end-to-end"}
    for scenario in scenarios.values():
        if scenario["skipped"] is not None:
            pytest.skip(scenario["skipped"])
        assert scenario["ratio"] > 0


def test_without_the_packages_of_the_peers_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise NotHere("no package index")

    monkeypatch.setattr(peers, "peers_python", none)
    for group in task_queues.GROUPS:
        results = measure(group, QUICK, lambda text: None)
        assert [result.skipped for result in results] == ["no package index"] * 2


def test_a_server_that_does_not_start_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'no memory left'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(NotHere, match="redis-server did not start: no memory left"), peers.redis():
        pass


async def test_the_bare_rows_are_those_of_enqueue(tmp_path: Path) -> None:
    app = App(state_dir=tmp_path)
    read = asyncio.Event()

    @app.function
    async def waits(event: Any, context: Any) -> None:
        await read.wait()

    async with app:
        request_id = await app.enqueue(waits, {"n": 1})
        row = event_rows.newest(tmp_path)
        read.set()
    assert row["message_id"] == request_id
    assert json.loads(row["value"]) == {"n": 1}
    # What is left out is NULL or has a default.
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        columns = connection.execute("PRAGMA table_info(messages)").fetchall()
    assert {name for _, name, _, needed, default, _ in columns if needed and default is None} <= set(row)
    assert event_rows.commit_rate(row, 3, 10) > 0
