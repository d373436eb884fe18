"""`streamfn dlq redrive` watched, stopped and killed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Start, Streamfn, command, environment
from tests.cli.dlq.conftest import DEAD, All, Put
from tests.letters.made import of_queue


def test_a_terminal_shows_a_bar(project: Path, put: Put, all_of: All) -> None:
    put(*(of_queue(str(number)) for number in range(3)))
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("dlq", "redrive", "--rate", "2"),
        cwd=project,
        env=environment() | {"TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
    )
    os.close(follower)
    drawn = b""
    # The other end of a terminal that nobody holds any more is an error on Linux, and an end elsewhere.
    with suppress(OSError):
        while part := os.read(leader, 4096):
            drawn += part
    os.close(leader)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "2 letters" in drawn.decode()
    assert "        3 redriven\n" in out


# -------------------------------------------------------------------------------------------- interrupting


def test_a_stop_says_what_was_done_and_the_next_run_does_the_rest(
    put: Put, start: Start, streamfn: Streamfn, all_of: All
) -> None:
    put(*(of_queue(str(number)) for number in range(20)))
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start("dlq", "redrive", "--rate", "1", "--limit", "9")
        watched = threading.Event()
        while len(all_of("local:queue/dead-letters")) % 10 == 0 and not watched.wait(0.02):
            assert process.poll() is None
        process.send_signal(number)
        out, _ = process.communicate(timeout=10)
        assert process.returncode == 1
        assert "stopped: run it again for the rest\n" in out
        assert streamfn("dlq", "redrive", "--limit", str(len(all_of(DEAD)) % 10)).returncode == 0
    assert streamfn("dlq", "redrive").returncode == 0 if all_of(DEAD) else True
    assert Counter(stored.body for stored in all_of("local:queue/parcels")) == Counter(
        str(number).encode() for number in range(20)
    )


def test_two_at_once_are_refused(put: Put, start: Start, streamfn: Streamfn, all_of: All) -> None:
    put(*(of_queue(str(number)) for number in range(3)))
    process = start("dlq", "redrive", "--rate", "0.1")
    watched = threading.Event()
    while len(all_of(DEAD)) == 3 and not watched.wait(0.02):
        assert process.poll() is None
    done = streamfn("dlq", "redrive")
    assert (done.returncode, "another redrive, purge or import is at work" in done.stderr) == (1, True)
    assert streamfn("dlq", "ls").returncode == 0
    process.kill()
    process.wait()
    assert streamfn("dlq", "redrive").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_killed_again_and_again_every_letter_arrives_and_none_is_left(
    project: Path, put: Put, streamfn: Streamfn, all_of: All
) -> None:
    total = 6000
    for first in range(0, total, 2000):
        put(*(of_queue(str(number)) for number in range(first, first + 2000)))
    kills = 0
    watched = threading.Event()
    for _ in range(8):
        before = len(all_of("local:queue/parcels")) if kills else 0
        process = subprocess.Popen(
            command("dlq", "redrive"), cwd=project, env=environment(), stdout=subprocess.DEVNULL
        )
        # At no certain place: somewhere between sending, writing down and taking out.
        while process.poll() is None and _size(project) <= before and not watched.wait(0.001):
            pass
        watched.wait(0.003 * kills)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        if not all_of(DEAD):
            break
    assert kills
    done = streamfn("dlq", "redrive")
    assert done.returncode == 0, done.stderr
    assert all_of(DEAD) == []
    arrived = Counter(stored.body for stored in all_of("local:queue/parcels"))
    assert arrived.keys() == {str(number).encode() for number in range(total)}
    # A batch at most goes twice for each kill.
    assert arrived.total() - total <= 500 * kills


def _size(project: Path) -> int:
    import sqlite3

    connection = sqlite3.connect(project / ".streamfn/local.sqlite3")
    try:
        row: Any = connection.execute("SELECT messages FROM queues WHERE name = 'parcels'").fetchone()
        return 0 if row is None else int(row[0])
    finally:
        connection.close()
