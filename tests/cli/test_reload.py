"""`streamfn run --reload`: a change drains the app and starts it again; what is broken waits for the next."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import psutil
import pytest

from .conftest import Start, Streamfn, add, command, environment, until

pytest.importorskip("watchfiles")
pytestmark = pytest.mark.slow

MAPPING = "app.event_source_mapping({}, Five(), name='m')"
RUN = ("run", "app:app", "--reload", "--log-format", "json")


def running(stream: IO[str] | None) -> int:
    """The process that runs the app, once it does."""
    pid: int = json.loads(until(stream, "worker_started"))["pid"]
    return pid


def touch(path: Path) -> None:
    """A change that changes nothing."""
    path.write_text(path.read_text() + "\n")


def test_a_change_drains_the_app_and_starts_it_again(project: Path, start: Start) -> None:
    add(project, MAPPING.format("work"))
    process = start(*RUN)
    first = running(process.stderr)
    until(process.stdout, "got 5")
    source = project / "five.py"
    source.write_text(source.read_text().replace("range(5)", "range(4)"))
    changed = json.loads(until(process.stderr, "reload_changed"))
    assert changed["files"] == [str(source)]
    until(process.stderr, '"clean":true')
    second = running(process.stderr)
    assert second != first
    assert not psutil.pid_exists(first)
    until(process.stdout, "committed 4")
    until(process.stdout, "got 4")
    process.terminate()
    assert process.wait() == 0
    assert not psutil.pid_exists(second)


def test_a_broken_app_is_told_of_and_the_next_change_starts_it(project: Path, start: Start) -> None:
    right = (project / "app.py").read_text()
    (project / "app.py").write_text("app = = 1\n")
    process = start(*RUN)
    assert "app.py:1: cannot be imported: SyntaxError" in until(process.stderr, "streamfn: ")
    waiting = json.loads(until(process.stderr, "reload_waiting"))
    assert (waiting["level"], waiting["code"]) == ("warning", 2)
    (project / "app.py").write_text(right)
    running(process.stderr)
    (project / "app.py").write_text(right + "app.event_source_mapping(work, 'nowhere:x')\n")
    until(process.stderr, "Source: there is no source of kind 'nowhere'")
    until(process.stderr, "reload_waiting")
    process.terminate()
    # As the last run ended.
    assert process.wait() == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_child_and_a_second_cuts_it_off(
    project: Path, start: Start, number: signal.Signals
) -> None:
    add(project, MAPPING.format("never_ends"))
    process = start(*RUN, "--grace", "3600")
    pid = running(process.stderr)
    until(process.stdout, "got 5")
    process.send_signal(number)
    until(process.stderr, "drain_begun")
    process.send_signal(number)
    assert process.wait() == 1
    assert not psutil.pid_exists(pid)


def test_ctrl_c_in_a_terminal_is_one_signal(project: Path) -> None:
    """The terminal sends it to parent and child: handed on as well, it would cut off what is to drain."""
    add(project, MAPPING.format("waits_for_a_line"))
    ours, theirs = pty.openpty()
    taking = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    taking += "; os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", taking, *command(*RUN)],
        cwd=project,
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    with process, open(ours, "rb+", buffering=0) as keyboard, io.TextIOWrapper(keyboard) as screen:
        until(screen, "got 5")
        keyboard.write(b"\x03")
        until(screen, "drain_begun")
        keyboard.write(b"\n")
        until(screen, "committed 4")
        until(screen, '"clean":true')
        assert process.wait() == 0


def test_there_are_never_two_children(project: Path, start: Start) -> None:
    add(project, MAPPING.format("waits_for_a_line"))
    process = start(*RUN)
    first = running(process.stderr)
    until(process.stdout, "got 5")
    touch(project / "app.py")
    until(process.stderr, "drain_begun")
    # More changes while a batch is in flight change nothing about that.
    touch(project / "five.py")
    until(process.stderr, "reload_changed")
    assert [child.pid for child in psutil.Process(process.pid).children()] == [first]
    # Nor does a first signal cut short what drains already: it only says that nothing is to follow.
    process.terminate()
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "committed 4\n")
    assert "worker_started" not in err


def test_what_belongs_to_no_source_starts_nothing(project: Path, start: Start) -> None:
    process = start(*RUN)
    running(process.stderr)
    for name in ("__pycache__/x.py", ".git/x.py", ".venv/x.py", ".streamfn/x.py", "out.jsonl", "x.py~"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("")
    # These came before; of them nothing is said.
    (project / "new.json").write_text("{}")
    changed = json.loads(until(process.stderr, "reload_changed"))
    assert changed["files"] == [str(project / "new.json")]
    running(process.stderr)
    process.terminate()
    assert process.wait() == 0


def test_a_folder_that_is_named_counts_whole(
    project: Path, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    process = start(*RUN, "--reload-dir", str(other))
    watching = json.loads(until(process.stderr, "reload_watching"))
    assert watching["folders"] == sorted([str(project), str(other)])
    running(process.stderr)
    (other / "table.csv").write_text("a,b\n")
    until(process.stderr, "table.csv")
    running(process.stderr)
    process.terminate()
    assert process.wait() == 0


def test_the_code_of_deployed_functions_counts_whole(
    project: Path, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    code = tmp_path_factory.mktemp("code")
    code.chmod(0o755)
    (code / "index.py").write_text("def handler(event, context):\n    return event\n")
    runtime = f"python3.{sys.version_info.minor}"
    (project / "streamfn.yaml").write_text(
        "functions:\n"
        f"  f: {{code_uri: {code}, runtime: {runtime}, handler: index.handler}}\n"
        "  here: app:work\n"
    )
    process = start("run", "streamfn.yaml", "--reload", "--log-format", "json")
    watching = json.loads(until(process.stderr, "reload_watching"))
    assert watching["folders"] == sorted([str(project), str(code)])
    running(process.stderr)
    (code / "words.txt").write_text("new")
    changed = json.loads(until(process.stderr, "reload_changed"))
    assert changed["files"] == [str(code / "words.txt")]
    running(process.stderr)
    # What a change makes part of the app is watched as well.
    other = tmp_path_factory.mktemp("other")
    other.chmod(0o755)
    (other / "index.py").write_text("def handler(event, context):\n    return event\n")
    with (project / "streamfn.yaml").open("a") as file:
        file.write(f"  g: {{code_uri: {other}, runtime: {runtime}, handler: index.handler}}\n")
    watching = json.loads(until(process.stderr, "reload_watching"))
    assert watching["folders"] == sorted([str(project), str(code), str(other)])
    running(process.stderr)
    process.terminate()
    assert process.wait() == 0


def test_an_app_that_stops_itself_ends_it(project: Path, start: Start) -> None:
    add(
        project,
        "@app.function(batch=True)\n"
        "async def last(batch):\n"
        "    global end\n"
        "    end = asyncio.ensure_future(app.stop())\n" + MAPPING.format("last"),
    )
    process = start(*RUN)
    out, _ = process.communicate()
    assert (process.returncode, out) == (0, "committed 4\n")


def test_without_watchfiles_the_extra_is_named(project: Path, streamfn: Streamfn) -> None:
    (project / "watchfiles.py").write_text("raise ModuleNotFoundError(name='watchfiles')\n")
    done = subprocess.run(
        [sys.executable, "-m", "streamfn", *RUN],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 2
    assert done.stderr == "streamfn: --reload needs watchfiles: pip install 'streamfn[reload]'\n"
