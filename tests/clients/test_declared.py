"""The API of a daemon that runs a TARGET."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.daemon import Daemon
from tests.clients.environment import run

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def test_what_the_target_declares() -> None:
    with Daemon(str(Path(__file__).with_name("declared_app.py"))) as daemon:
        code, said = run(daemon.clients(), "declared.py")
        assert code == 0, f"{said}\n{daemon.log_tail(20)}"
        assert daemon.drain() == 0
