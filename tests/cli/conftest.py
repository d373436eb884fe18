"""A folder with an app in it, and the command line as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parents[2]

SOURCE = '''
"""A stream of five records, in this process only."""
import asyncio
from contextlib import asynccontextmanager
from streamfn.core.events import KinesisShape
from streamfn.core.records import StreamRecord
from streamfn.ports import Assigned, Checkpoint

class Shard:
    id, note_limit, commit_interval, lag, iterator_age = "shard-0", 4096, 0.0, 0, 0.0
    shape = KinesisShape("arn:aws:kinesis:local:0:stream/five", "shard-0", "local")
    checkpoint = Checkpoint(-1)
    def __init__(self):
        self.records = [StreamRecord(i, b"%d" % i, "k") for i in range(5)]
    async def read(self, limit, wait):
        if not self.records:
            await asyncio.sleep(wait)
        taken, self.records = self.records[:limit], self.records[limit:]
        return taken
    async def commit(self, checkpoint):
        self.checkpoint = checkpoint
    async def close(self):
        print("committed", self.checkpoint.position, flush=True)

class Five:
    name = "five:records"
    def __init__(self, problem=None):
        self.problem = problem
    @asynccontextmanager
    async def shards(self, subscription):
        async def changes():
            yield Assigned(Shard())
            await asyncio.Event().wait()
        yield changes()
    async def check(self):
        if self.problem is not None:
            raise self.problem
'''

APP = """
import asyncio, sys
import streamfn
from five import Five

app = streamfn.App(name="test")
mode = sys.argv[-1]

@app.function(batch=True)
async def work(batch):
    print("got", len(batch), flush=True)

@app.function(batch=True)
async def waits_for_a_line(batch):
    print("got", len(batch), flush=True)
    await asyncio.to_thread(sys.stdin.readline)

@app.function(batch=True)
async def never_ends(batch):
    print("got", len(batch), flush=True)
    await asyncio.Event().wait()

@app.function(batch=True)
async def fails(batch):
    raise ValueError("no")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A working folder with `five.py`, a source, and `app.py`, whose functions have no mapping yet."""
    (tmp_path / "five.py").write_text(SOURCE)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def add(project: Path, code: str) -> None:
    """Writes more lines into the app."""
    with (project / "app.py").open("a") as file:
        file.write(code + "\n")


def environment() -> dict[str, str]:
    """As ours, so that the program imports the code under test wherever it is installed from."""
    path = [str(ROOT), str(ROOT / "connectors"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "NO_COLOR": "1"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from streamfn.cli import main; sys.exit(main())", *arguments]


Streamfn = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def streamfn(project: Path) -> Streamfn:
    """Runs a command to its end, in the project's folder."""

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            cwd=project,
            env=environment(),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )

    return run


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Starts a command as a session of its own, which is ended with the test; a Ctrl-C of ours is not its."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(*arguments),
            cwd=project,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        # Where there is none, it has ended, and so have its children.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(stream: IO[str] | None, word: str) -> str:
    """The first line with a word in it, waiting for it."""
    assert stream is not None
    seen = []
    for line in stream:
        seen.append(line)
        if word in line:
            return line
    raise AssertionError(f"{word!r} never came: {''.join(seen)}")
