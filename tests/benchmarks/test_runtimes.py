"""The scenarios of execution environments run, and say what they measured or why they did not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

if (ROOT / "benchmarks").is_dir():
    from benchmarks import runtimes
    from benchmarks.measuring import measure
    from benchmarks.scenario import Settings
else:
    pytest.skip("benchmarks are part of a checkout, not of what is distributed", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_environments_are_measured(tmp_path: Path) -> None:
    names = ("runtime-warm", "runtime-cold", "runtime-provisioned", "runtime-idle")
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", *names, "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    scenarios = {scenario["name"]: scenario for scenario in json.loads(file.read_text())["scenarios"]}
    assert {scenario["skipped"] for scenario in scenarios.values()} == {None}
    assert scenarios["runtime-warm"]["figure"] > 0
    assert scenarios["runtime-warm-p99"]["figure"] >= scenarios["runtime-warm-p50"]["figure"] > 0
    assert scenarios["runtime-cold"]["ratio"] > 0
    assert scenarios["runtime-provisioned"]["figure"] == 0
    assert scenarios["runtime-provisioned"]["holds"]
    # An interpreter takes more than a megabyte, and each of these has some.
    assert scenarios["runtime-idle-inits"]["figure"] > 1
    assert scenarios["runtime-idle-functions"]["figure"] > 1


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_the_emulator_is_measured(tmp_path: Path) -> None:
    found = runtimes.find_rie()
    if isinstance(found, str):
        pytest.skip(found)
    (result,) = measure(runtimes.Emulator(), Settings(quick=True, repeat=1), lambda text: None)
    assert result.skipped is None
    assert result.ratio is not None
    assert result.ratio > 0


def test_without_an_emulator_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_rie", lambda: "no go to build it with")
    (result,) = measure(runtimes.Emulator(), Settings(quick=True, repeat=1), lambda text: None)
    assert result.skipped == "no go to build it with"
