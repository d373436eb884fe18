"""Every operation, by boto3: each program of `programs` asserts what it is about."""

from __future__ import annotations

import pytest

from tests.clients.daemon import Daemon
from tests.clients.environment import run

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

PROGRAMS = (
    "functions",
    "invoking",
    "streaming",
    "versions",
    "layers",
    "mappings",
    "asynchronous",
    "concurrency",
    "resources",
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program(daemon: Daemon, program: str) -> None:
    code, said = run(daemon.clients(), f"{program}.py")
    assert code == 0, f"{said}\n{daemon.log_tail(20)}"
    assert "ok check_" in said
    # What the daemon has no answer for it logs, and answers with 500.
    assert [event for event in daemon.events() if event.get("level") == "error"] == []
