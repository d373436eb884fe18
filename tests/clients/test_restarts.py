"""The daemon is killed while it is driven, and started again: what was answered holds, mappings go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.daemon import Daemon
from tests.clients.environment import run, start
from tests.servers.aws import Ministack
from tests.servers.aws_process import ServerStartError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.mark.parametrize("lines", [3, 14, 31, 55])
def test_what_was_answered_outlives_a_kill(lines: int, tmp_path: Path) -> None:
    """It is killed after so many lines, between any two steps of what comes next."""
    changes = tmp_path / "changes"
    with Daemon() as daemon:
        making = start(daemon.clients(), "changing.py", "make")
        assert making.stdout is not None
        said = [making.stdout.readline() for _ in range(lines)]
        daemon.kill()
        rest, _ = making.communicate(timeout=40)
        assert making.returncode == 0, "".join(said) + rest + daemon.log_tail()
        changes.write_text("".join(said) + rest)
        daemon.start()
        code, compared = run(daemon.clients(CHANGES=str(changes)), "changing.py", "compare")
        assert code == 0, compared + daemon.log_tail(20)
        # And it is not only what it was: it goes on.
        assert daemon.drain() == 0
        daemon.start()
        code, compared = run(daemon.clients(CHANGES=str(changes)), "changing.py", "compare")
        assert code == 0, compared + daemon.log_tail(20)


def test_mappings_go_on_after_a_kill(aws: Ministack) -> None:
    with Daemon(aws=aws.endpoint) as daemon:
        feeding = start(daemon.clients(), "feeding.py")
        assert feeding.stdout is not None
        first = feeding.stdout.readline()
        daemon.kill()
        daemon.start()
        rest, _ = feeding.communicate(timeout=60)
        assert (first, feeding.returncode) == ("some\n", 0), first + rest + daemon.log_tail()


def test_a_state_directory_has_one_daemon() -> None:
    with Daemon() as daemon:
        with pytest.raises(ServerStartError) as caught, Daemon("--state-dir", str(daemon.state_dir)):
            pass
        assert "Traceback" not in str(caught.value)
        assert daemon.running
