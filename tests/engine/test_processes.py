"""Real processes that really die, over the embedded broker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("deadly_worker.py")

pytestmark = pytest.mark.timeout(120)


def put(state: Path, records: int) -> None:
    lines = "".join(json.dumps({"n": number}) + "\n" for number in range(records))
    command = [sys.executable, "-m", "streamfn", "put", "local:deadly?shards=1", "--state-dir", str(state)]
    subprocess.run(command, input=lines.encode(), check=True, capture_output=True)


def run_until_done(
    tmp_path: Path, poison: list[str], records: int, most: int, **options: Any
) -> tuple[int, list[str]]:
    """Starts the worker anew each time it dies. Gives the deaths and the log."""
    state, log = tmp_path / "state", tmp_path / "log"
    put(state, records)
    arguments = [str(state), str(log), json.dumps(poison), str(records), json.dumps(options)]
    for deaths in range(most):
        worker = subprocess.run(
            [sys.executable, str(WORKER), *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        if worker.returncode == 0:
            return deaths, log.read_text().split()
        assert worker.returncode == 9, worker.stdout + worker.stderr
    raise AssertionError(f"not done after {most} deaths:\n{log.read_text()}")


@pytest.mark.parametrize("ordering", ["shard", "key"])
def test_a_record_that_kills_the_process_ends_in_its_destination(tmp_path: Path, ordering: str) -> None:
    deaths, log = run_until_done(
        tmp_path,
        ["11"],
        40,
        30,
        batch_size=8,
        ordering=ordering,
        maximum_retry_attempts=1,
        bisect_batch_on_function_error=True,
        on_failure="local:deadly-dead",
    )
    assert 3 <= deaths <= 12
    assert {name for name in log if name.isdigit()} >= {str(n) for n in range(40)} - {"11"}


def test_one_death_is_not_charged_to_the_records_in_flight(tmp_path: Path) -> None:
    """With no retries allowed, a single kill must not send anything to the destination."""
    state, log = tmp_path / "state", tmp_path / "log"
    put(state, 20)
    options = {"batch_size": 5, "maximum_retry_attempts": 0, "on_failure": "local:deadly-dead"}
    killed = [str(state), str(log), json.dumps(["7"]), "20", json.dumps(options)]
    assert (
        subprocess.run([sys.executable, str(WORKER), *killed], capture_output=True, check=False).returncode
        == 9
    )
    healthy = [str(state), str(log), json.dumps([]), "20", json.dumps(options)]
    after = subprocess.run(
        [sys.executable, str(WORKER), *healthy], capture_output=True, text=True, check=False
    )
    assert after.returncode == 0, after.stdout + after.stderr
    assert "dead" not in log.read_text()
    assert sorted(set(log.read_text().split()), key=int) == [str(n) for n in range(20)]
