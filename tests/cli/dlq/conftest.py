"""The command line over real files, and what they hold."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from streamfn import cli
from streamfn.cli import logs
from streamfn.core.letters import Stored
from streamfn.local import LocalLetters
from streamfn.ports import Message
from tests.cli.conftest import Streamfn
from tests.letters.made import put as put_async

DEAD = "local:queue/dead-letters"
Put = Callable[..., None]
All = Callable[[str], list[Stored]]


@pytest.fixture
def put(project: Path) -> Put:
    """Puts messages into a stream or queue of the project."""

    def run(*bodies: bytes | Message, uri: str = DEAD) -> None:
        anyio.run(put_async, project / ".streamfn", uri, bodies)

    return run


@pytest.fixture
def all_of(project: Path) -> All:
    """What a stream or queue of the project holds."""

    async def scan(uri: str) -> list[Stored]:
        store = LocalLetters(uri, state_dir=project / ".streamfn")
        found = [stored async for stored in store.scan()]
        await store.close()
        return found

    return lambda uri: anyio.run(scan, uri)


@pytest.fixture
def dlq(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Streamfn:
    """Runs an action as the program does, but in this process, which is quicker."""
    monkeypatch.chdir(project)
    monkeypatch.delenv("STREAMFN_STATE_DIR", raising=False)
    # Loggers that were configured once stay so for all tests that follow.
    monkeypatch.setattr(logs, "configure", lambda level: None)

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            code = cli.main(["dlq", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    return run


def ids(all_of: All, uri: str = DEAD) -> list[str]:
    return [stored.id for stored in all_of(uri)]
