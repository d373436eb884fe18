"""The scenarios of Lambda's API run. No figure is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

if (ROOT / "benchmarks").is_dir():
    from benchmarks.api import _whole
else:
    pytest.skip("benchmarks are part of a checkout, not of what is distributed", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_api_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "api-", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    scenarios = {scenario["name"]: scenario for scenario in json.loads(file.read_text())["scenarios"]}
    assert {name: scenario["skipped"] for name, scenario in scenarios.items()} == {
        "api-invoke-16": None,
        "api-event-64": None,
        "api-event-64-ratio": None,
        "api-list-5000": None,
    }
    assert scenarios["api-event-64"]["values"] == scenarios["api-event-64-ratio"]["values"]
    assert scenarios["api-event-64-ratio"]["ratio"] > 0
    assert all(scenario["figure"] > 0 for scenario in scenarios.values())


def test_an_answer_in_pieces_counts_once() -> None:
    answer = b"HTTP/1.1 200 OK\r\nX: y\r\ncontent-length: 4\r\n\r\nbody"
    have = bytearray()
    assert [_whole(have, answer[at : at + 1]) for at in range(len(answer))] == [False] * (len(answer) - 1) + [
        True
    ]
    assert _whole(have, b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"])
def test_what_is_no_answer_ends_the_measurement(said: bytes) -> None:
    with pytest.raises(RuntimeError, match="not an answer"):
        _whole(bytearray(), said)
