"""Launchers in all the ways that a machine lets them work, and what their processes print."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import psutil
from anyio import to_thread

from streamfn.runtimes.process.launcher import Exit, Launcher, Process
from streamfn.runtimes.process.sandbox import Allowed, Module, Sandbox

ROOT = os.geteuid() == 0
WAYS = {
    "all that there is": Allowed(),
    "no cgroups": Allowed(cgroups=False),
    "no namespaces": Allowed(namespaces=False),
    "nothing": Allowed(namespaces=False, users=False, cgroups=False),
}


@dataclass
class Bench:
    """A launcher, with a folder of code and one for /tmp."""

    launcher: Launcher
    folder: Path
    sandbox: Sandbox = field(init=False)

    def __post_init__(self) -> None:
        for name in ("code", "scratch"):
            (self.folder / name).mkdir()
        self.sandbox = Sandbox(str(self.folder / "code"), str(self.folder / "scratch"))

    def beside(self, name: str) -> Bench:
        """Another environment's folders."""
        (self.folder / name).mkdir()
        return Bench(self.launcher, self.folder / name)

    def write(self, name: str, text: str) -> str:
        """A file of the code, and where the environment finds it."""
        path = self.folder / "code" / name
        path.write_text(text)
        path.chmod(0o755)
        return f"{self.launcher.layout(self.sandbox).task_root}/{name}"

    @asynccontextmanager
    async def started(
        self, command: Sequence[str] | Module, environment: Mapping[str, str] | None = None, **changes: object
    ) -> AsyncIterator[tuple[Process, Output]]:
        reading, writing = os.pipe()
        try:
            sandbox = replace(self.sandbox, **changes)  # type: ignore[arg-type]
            process = await self.launcher.start(command, _PATHS | (environment or {}), sandbox, writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        output = Output(reading)
        try:
            with anyio.fail_after(10):
                yield process, output
        finally:
            await process.close()
            os.close(reading)

    async def run(
        self, command: Sequence[str] | Module, environment: Mapping[str, str] | None = None, **changes: object
    ) -> tuple[Exit, str]:
        """How it ended, and all that it printed."""
        async with self.started(command, environment, **changes) as (process, output):
            printed = await output.rest()
            return await process.wait(), printed

    async def python(self, text: str, environment: Mapping[str, str] | None = None, **changes: object) -> str:
        """What a module prints that ends well."""
        self.write("function.py", text)
        ended, printed = await self.run(Module("function"), environment, **changes)
        assert ended.status == 0, (ended, printed)
        return printed


@asynccontextmanager
async def launched(way: str) -> AsyncIterator[Launcher]:
    """A launcher; under an interpreter that everybody can reach, where environments have to reach it."""
    closed = ROOT and way == "no namespaces" and not _open_to_all(Path(sys.base_prefix))
    async with Launcher("/usr/bin/python3" if closed else sys.executable, WAYS[way]) as launcher:
        yield launcher


def _open_to_all(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in [folder, *folder.parents])


_PATHS = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@dataclass
class Output:
    """The end to read of the pipe that a process prints to."""

    descriptor: int
    kept: bytes = b""

    async def line(self) -> str:
        while b"\n" not in self.kept:
            data = await self._read()
            assert data, f"it ended after {self.kept!r}"
            self.kept += data
        line, _, self.kept = self.kept.partition(b"\n")
        return line.decode()

    async def rest(self) -> str:
        while data := await self._read():
            self.kept += data
        return self.kept.decode()

    async def _read(self) -> bytes:
        await anyio.wait_readable(self.descriptor)
        return await to_thread.run_sync(os.read, self.descriptor, 65_536)


def family(pid: int) -> set[int]:
    """A process and all that came from it."""
    try:
        process = psutil.Process(pid)
        return {pid, *(child.pid for child in process.children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()


def alive(pids: set[int]) -> set[int]:
    """Those that are there, be it as zombies."""
    return {pid for pid in pids if psutil.pid_exists(pid)}


def reachable(path: Path) -> bool:
    """Whether any user may go there."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))
