"""Starts processes by way of a small program that does nothing else, and survives what they do.

A fork of it is a warm interpreter: a Python function's cold start is no start of Python.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
from anyio import CancelScope, fail_after, move_on_after, to_thread

from streamfn.runtimes.process.peers import diagnostics
from streamfn.runtimes.process.running import Exit as Exit
from streamfn.runtimes.process.running import Memory as Memory
from streamfn.runtimes.process.running import Process as Process
from streamfn.runtimes.process.sandbox import Allowed, Capabilities, Layout, Module, Sandbox, layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_FOLDER: Final = str(Path(__file__).parent)
_PROGRAM: Final = (
    "import sys; sys.path[0] = sys.argv.pop(1); import program; then = program.main(); del program; then()"
)
# What the interpreter of a launcher sees of streamfn's own variables: nothing that a function could read.
_CLEAN: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}

_PATIENCE: Final = 10.0
"""Seconds for what has been killed to be gone."""

_STARTING: Final = 10.0
"""Seconds for a start, which takes some milliseconds."""


class Launcher:
    """Starts processes under one interpreter. An asynchronous context manager: leaving it kills them all.

    What becomes of one process harms neither it nor the others; if it dies itself nevertheless, what runs
    goes on, and the next `start` begins with a new one.
    """

    def __init__(self, interpreter: str = sys.executable, allowed: Allowed | None = None) -> None:
        self.interpreter = interpreter
        self._allowed = allowed or Allowed()
        self._lock = anyio.Lock()
        self._socket: socket.socket | None = None
        self._program: subprocess.Popen[bytes] | None = None
        self._capabilities = Capabilities()
        self._processes: set[Process] = set()
        self._diagnostics: socket.socket | None = None

    async def __aenter__(self) -> Self:
        """Raises OSError where the interpreter cannot be started."""
        async with self._lock:
            await self._open()
        with suppress(OSError):  # a kernel without it has a slower way
            self._diagnostics = diagnostics()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        processes = list(self._processes)
        for process in processes:
            process.kill()
        with move_on_after(_PATIENCE, shield=True):
            for process in processes:
                await process.close()
        for process in processes:
            process.abandon()
        with CancelScope(shield=True):
            await self._close()
        if self._diagnostics is not None:
            self._diagnostics.close()

    @property
    def capabilities(self) -> Capabilities:
        """What it can do here; known once it was entered."""
        return self._capabilities

    def layout(self, sandbox: Sandbox) -> Layout:
        """Where an environment in this sandbox finds its folders."""
        return layout(sandbox, namespaces=self._capabilities.namespaces)

    async def start(
        self, command: Sequence[str] | Module, environment: Mapping[str, str], sandbox: Sandbox, output: int
    ) -> Process:
        """Starts a program, or a Python module, with exactly these variables and `AWS_LAMBDA_RUNTIME_API`.

        `output` is a descriptor for its standard output and error; the caller closes his own. Returns when
        the process is there; that its program could not be run is told by its `Exit`. Raises OSError where
        no environment can be made, or none is there after ten seconds.
        """
        with fail_after(_STARTING):
            return await self._start(command, environment, sandbox, output)

    async def _start(
        self, command: Sequence[str] | Module, environment: Mapping[str, str], sandbox: Sandbox, output: int
    ) -> Process:
        order: dict[str, Any] = {"environment": dict(environment), "sandbox": sandbox.resolved()}
        order["task_root"] = self.layout(sandbox).task_root
        if isinstance(command, Module):
            order |= {"module": command.name, "arguments": list(command.arguments)}
        else:
            order |= {"arguments": list(command)}
        with ExitStack() as opened:
            descriptors = [output]
            if sandbox.network not in ("", "none"):
                descriptors.append(_network(sandbox.network))
                opened.callback(os.close, descriptors[1])
            process = await self._begin(json.dumps(order).encode(), descriptors)
        try:
            await process.started()
        except BaseException:
            process.abandon()
            raise
        self._processes.add(process)
        process.when_ended(self._forget)
        return process

    async def _begin(self, order: bytes, descriptors: list[int]) -> Process:
        """A process that the launcher was told to start."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setblocking(False)
            process = Process(ours, self._capabilities, self._diagnostics)
            try:
                ours.send(order)
                async with self._lock:
                    try:
                        await _send(await self._open(), [theirs.fileno(), *descriptors])
                    except (BrokenPipeError, ConnectionResetError):  # it has just died
                        await _send(await self._open(), [theirs.fileno(), *descriptors])
            except BaseException:
                process.abandon()
                raise
        return process

    def _forget(self, process: Process) -> None:
        self._processes.discard(process)

    async def _open(self) -> socket.socket:
        """The socket of a launcher that lives."""
        if self._socket is not None and self._program is not None and self._program.poll() is None:
            return self._socket
        await self._close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                self._program = await to_thread.run_sync(self._spawn, theirs)
            self._socket = ours
            self._capabilities = Capabilities.read(await self._greeting(ours))
        except BaseException:
            ours.close()
            with CancelScope(shield=True):
                await self._close()
            raise
        return ours

    def _spawn(self, link: socket.socket) -> subprocess.Popen[bytes]:
        settings = json.dumps(asdict(self._allowed))
        return subprocess.Popen(
            [self.interpreter, "-s", "-c", _PROGRAM, _FOLDER, str(link.fileno()), settings],
            env=_CLEAN,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[link.fileno()],
            start_new_session=True,
        )

    async def _greeting(self, link: socket.socket) -> dict[str, object]:
        await anyio.wait_readable(link)
        said = link.recv(65_536)
        if not said:
            raise OSError(f"the launcher under {self.interpreter} ended while it was started")
        greeting: dict[str, object] = json.loads(said)
        return greeting

    async def _close(self) -> None:
        """Waits for its end, which comes when its processes have ended."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._program is not None:
            program, self._program = self._program, None
            await to_thread.run_sync(_reap, program)


def _reap(program: subprocess.Popen[bytes]) -> None:
    try:
        program.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def _network(name: str) -> int:
    """A network namespace as `ip netns` keeps them, opened. Raises OSError."""
    return os.open(f"/run/netns/{Path(name).name}", os.O_RDONLY)


async def _send(link: socket.socket, descriptors: list[int]) -> None:
    while True:
        with suppress(BlockingIOError):
            socket.send_fds(link, [b"start"], descriptors)
            return
        await anyio.wait_writable(link)
