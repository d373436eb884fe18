"""The benchmarks run and write what they promise. No figure is judged: a test machine is too noisy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks").is_dir(), reason="benchmarks are part of a checkout, not of what is distributed"
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.timeout(70)
def test_a_run_prints_a_table_and_writes_every_value(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("engine-batch-1", "local-stream", "--quick", "--repeat", "2", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "engine-batch-1 " in done.stdout
    assert "local-stream " in done.stdout

    document: dict[str, Any] = json.loads(file.read_text())
    assert document["settings"] == {"quick": True, "repeat": 2}
    machine = document["machine"]
    assert machine["cores"] >= 1
    assert machine["python"]
    assert machine["versions"]["anyio"]
    # A name stands for all that begin with it.
    found = {scenario["name"]: scenario for scenario in document["scenarios"]}
    assert set(found) == {"engine-batch-1", "engine-batch-100", "local-stream"}
    for scenario in found.values():
        assert scenario["measures"]
        assert scenario["unit"] == scenario["unit"].strip() != ""
        assert len(scenario["values"]) == len(scenario["bare_values"]) == 2
        assert min(scenario["values"]) <= scenario["figure"] <= max(scenario["values"])
        assert scenario["ratio"] == pytest.approx(scenario["figure"] / scenario["bare"], abs=0.01)
        assert scenario["target"]["on"] == "figure"
        assert scenario["holds"] is (scenario["figure"] >= scenario["target"]["at_least"])
        assert scenario["skipped"] is None


def test_an_unknown_scenario_is_refused_with_those_there_are() -> None:
    done = run("no-such-scenario")
    assert done.returncode != 0
    assert "there is no scenario no-such-scenario" in done.stderr
    assert "kafka-latency" in done.stderr
