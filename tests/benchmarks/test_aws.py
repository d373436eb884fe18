"""The scenarios on AWS run where there are servers for them, and say so where there are none."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.servers.aws import find_ministack
from tests.servers.aws_process import found
from tests.servers.elasticmq import find_elasticmq

ROOT = Path(__file__).parents[2]

if (ROOT / "benchmarks").is_dir():
    from benchmarks import aws, kinesis, report, sqs
    from benchmarks.counting import counted
    from benchmarks.measuring import figures, measure
    from benchmarks.scenario import Group, Result, Scenario, Settings, Target
else:
    pytest.skip("benchmarks are part of a checkout, not of what is distributed", allow_module_level=True)


def run(file: Path, *names: str) -> dict[str, dict[str, Any]]:
    """The scenarios whose names begin so, as they were measured."""
    command = [sys.executable, "-m", "benchmarks", *names, "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return {scenario["name"]: scenario for scenario in json.loads(file.read_text())["scenarios"]}


@pytest.mark.integration
@pytest.mark.timeout(120)
def test_sqs_is_measured(tmp_path: Path) -> None:
    found(find_elasticmq())
    scenarios = run(tmp_path / "figures.json", "sqs-1", "sqs-idle")
    assert {scenario["skipped"] for scenario in scenarios.values()} == {None}
    for transport in ("lean", "botocore"):
        assert scenarios[f"sqs-1-{transport}"]["ratio"] > 0
        # CPU that was used is part of the time that went by.
        assert scenarios[f"sqs-1-{transport}-cpu"]["figure"] > scenarios[f"sqs-1-{transport}"]["figure"] / 2
    # In the second that a quick run takes, long polls go on; on a busy machine some of them begin in it.
    assert scenarios["sqs-idle-requests"]["figure"] <= 100
    assert len(scenarios["sqs-idle-cpu"]["values"]) == 1


@pytest.mark.integration
@pytest.mark.timeout(120)
def test_kinesis_is_measured(tmp_path: Path) -> None:
    found(find_ministack())
    scenarios = run(tmp_path / "figures.json", "kinesis")
    assert {scenario["skipped"] for scenario in scenarios.values()} == {None}
    assert scenarios["kinesis"]["ratio"] > 0
    assert scenarios["kinesis-fan-out"]["figure"] >= scenarios["kinesis-fan-out-median"]["figure"] > 0
    assert len(scenarios["kinesis-idle-leases"]["values"]) == 1


@pytest.mark.parametrize(
    ("group", "find"),
    [
        *((group, "find_elasticmq") for group in sqs.GROUPS),
        *((group, "find_ministack") for group in kinesis.GROUPS),
    ],
)
def test_without_a_server_the_reason_is_told(
    group: Group, find: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, find, lambda: "no server here")
    results = measure(group, Settings(quick=True, repeat=1), lambda text: None)
    assert [result.skipped for result in results] == ["no server here"] * len(group.scenarios)
    assert {result.holds for result in results} == {None}


def test_one_measurement_gives_several_figures() -> None:
    measured = iter([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}])
    sides = figures("a", lambda: next(measured), "b")
    assert [side() for side in sides.values()] == [1.0, 2.0]
    assert [side() for side in sides.values()] == [3.0, 4.0]


class Echo(socketserver.BaseRequestHandler):
    """Answers with what was sent."""

    def handle(self) -> None:
        while chunk := self.request.recv(1000):
            self.request.sendall(chunk)


@pytest.fixture
def echo() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_requests_are_counted_and_passed_on(echo: str) -> None:
    pieces = [
        b"POST / HTTP/1.1\r\nX-Amz-Ta",
        b"rget: AmazonSQS.ReceiveMessage\r\n\r\n{}POST / HTTP/1.1\r\nx-amz-target:DynamoDB_2012.Scan\r",
        b"\n\r\n{}POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\n\r\n",
    ]
    with counted(echo) as proxy:
        place = urlsplit(proxy.endpoint)
        with socket.create_connection((place.hostname, place.port), timeout=10) as client:
            for piece in pieces:
                client.sendall(piece)
                answer = b""
                while len(answer) < len(piece):
                    answer += client.recv(1000)
                assert answer == piece
    assert proxy.requests == {"AmazonSQS.ReceiveMessage": 2, "DynamoDB_2012.Scan": 1}


def test_the_table_of_the_documentation() -> None:
    slow = Scenario("slow", "s", "ms", "a", "b", Target("difference", at_most=5))
    known = Scenario("known", "k", "%", "a")
    results = [Result(slow, [1234.5], [1000.0]), Result(known, [0.125]), Result(slow, skipped="no server")]
    assert report.as_markdown(results).splitlines() == [
        "| scenario | figure | bare | ratio | target | holds |",
        "| --- | --: | --: | --: | --- | --- |",
        "| slow | 1,234 ms | 1,000 | 1.23 | difference ≤ 5 | **no** |",
        "| known | 0.12 % |  |  |  |  |",
        "| slow | not measured |  |  | difference ≤ 5 |  |",
    ]
