"""Containers by the command line of docker or podman, as a session of the process runtime holds them.

A container is started attached: the end of the command is its end, and what it prints is the command's
output. It shares the network of this machine, where its Runtime API listens on loopback; connections of other
processes are closed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import anyio
from anyio import CancelScope

from streamfn.runtimes.process.peers import Peers
from streamfn.runtimes.process.running import Exit, Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_ENGINE_FAILED: Final = 125
"""The status of `run` where the engine itself could not do it; others are the container's."""
_BY_SIGNAL: Final = 128
"""Above it, a status tells the signal that ended the container."""
_STARTING: Final = 60.0
"""Seconds within which the engine has started a container."""
_LOOK: Final = 0.05
"""Seconds between two questions to the engine."""
_AGAIN: Final = 0.2
"""Seconds between two orders to kill."""
_OF_THE_ENGINE: Final = ("DOCKER_", "CONTAINER", "PODMAN_", "STORAGE_", "XDG_", "SSH_")
"""Beginnings of the names of variables that the command itself reads."""


class Engine:
    """The command `docker` or `podman`."""

    def __init__(self, program: str) -> None:
        self.program = program

    async def ask(self, *arguments: str) -> tuple[int, str]:
        """The status of a command, and what it said. Raises OSError where it cannot be run."""
        done = await anyio.run_process([self.program, *arguments], check=False, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout.decode(errors="replace").strip()

    def run(
        self, name: str, arguments: Sequence[str], variables: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The command that runs a container, and the environment of the command.

        Values go through that environment, where `ps` does not show them, unless the command would heed them.
        """
        own = dict(os.environ)
        given: list[str] = []
        for variable, value in variables.items():
            if variable in own or variable.startswith(_OF_THE_ENGINE):
                given += ["--env", f"{variable}={value}"]
            else:
                own[variable] = value
                given += ["--env", variable]
        return [self.program, "run", "--rm", "--pull", "never", "--name", name, *given, *arguments], own


class ContainerProcess:
    """One container, with what a session asks of a process."""

    def __init__(self, engine: Engine) -> None:
        self.name = f"streamfn-{uuid4().hex}"
        self.pid = 0
        """Of the first process in it, as this machine sees it."""
        self.exit = Exit(None, signal.SIGKILL)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._folder = TemporaryDirectory(prefix="streamfn-", ignore_cleanup_errors=True)
        """Where the command runs: podman leaves a file there where a container had too little memory."""
        self._peers: Peers | None = None
        self._ended = anyio.Event()
        self._calls: list[Callable[[ContainerProcess], None]] = []
        self._killing = False
        self._over = False
        """Whether the command that runs it has ended."""
        self._orders: set[subprocess.Popen[bytes]] = set()
        self._peak = 0

    @property
    def api(self) -> str:
        """`AWS_LAMBDA_RUNTIME_API`."""
        host, port = self.listener.getsockname()
        return f"{host}:{port}"

    async def start(self, arguments: Sequence[str], variables: Mapping[str, str], output: int) -> None:
        """Returns when it runs. Raises OSError saying why it does not."""
        command, environment = self._engine.run(self.name, arguments, variables)
        running = subprocess.Popen(  # noqa: ASYNC220 - a fork, and nothing to wait for
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=self._folder.name,
        )
        self._when_done(running, self._end)
        try:
            with anyio.move_on_after(_STARTING):
                while not self.pid and not self._ended.is_set():
                    await self._find()
                    await anyio.sleep(_LOOK)
            if self.exit.status == _ENGINE_FAILED or not (self.pid or self._ended.is_set()):
                raise OSError(f"{self._engine.program} could not start the container: see the function's log")
        except BaseException:
            self.kill()
            with CancelScope(shield=True):
                await self._ended.wait()
            raise

    def owns(self, peer: tuple[str, int]) -> bool:
        """Whether a connection comes from within the container."""
        return self._peers is not None and self._peers.owns(peer)

    def when_ended(self, call: Callable[[ContainerProcess], None]) -> None:
        """Calls back at its end; at once if it has ended."""
        if self._ended.is_set():
            call(self)
        else:
            self._calls.append(call)

    def initialised(self) -> None:
        """A container has the same share of the CPU all its life."""

    def terminate(self) -> None:
        """SIGTERM to its first process."""
        if not self._ended.is_set():
            self._signal("TERM")

    def kill(self) -> None:
        """Ends all that runs in it."""
        if not self._ended.is_set() and not self._killing:
            self._killing = True
            self._signal("KILL")

    def abandon(self) -> None:
        """Lets go of what it has here, once it has ended."""
        self.listener.close()
        self._folder.cleanup()

    def memory(self) -> Memory:
        """Of its first process."""
        now = 0
        with suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_bytes().splitlines():
                if line.startswith(b"VmRSS:"):
                    now = int(line.split()[1]) * 1024
                elif line.startswith(b"VmHWM:"):
                    self._peak = max(self._peak, int(line.split()[1]) * 1024)
        return Memory(now, self._peak)

    async def _find(self) -> None:
        status, said = await self._engine.ask("inspect", "--format", "{{.State.Pid}}", self.name)
        if status == 0 and said.isdecimal() and int(said):
            # Its connections are looked for among the processes below the one that started it.
            self._peers = Peers(self.listener.getsockname(), _parent(int(said)), -1, None)
            self.pid = int(said)

    def _signal(self, name: str) -> None:
        """Has the engine send it, which takes a while; SIGKILL again and again, until the container ends."""
        if self._over:
            return
        command = [self._engine.program, "kill", "--signal", name, self.name]
        quiet = subprocess.DEVNULL
        asking = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        self._orders.add(asking)

        def asked(_: int) -> None:
            self._orders.discard(asking)
            self._tell()
            if name == "KILL":
                # A container that is still being made cannot be killed yet.
                self._loop.call_later(_AGAIN, self._signal, name)

        self._when_done(asking, asked)

    def _when_done(self, process: subprocess.Popen[bytes], call: Callable[[int], object]) -> None:
        """Calls back with the status of a command at its end."""
        descriptor = os.pidfd_open(process.pid)

        def done() -> None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            call(process.wait())

        self._loop.add_reader(descriptor, done)

    def _end(self, status: int) -> None:
        by_signal = _BY_SIGNAL < status <= _BY_SIGNAL + signal.NSIG
        if by_signal:
            self.exit = Exit(None, status - _BY_SIGNAL, self._peak)
        else:
            self.exit = Exit(status, None, self._peak)
        self._over = True
        for order in self._orders:
            order.kill()
        self._tell()

    def _tell(self) -> None:
        """Calls back, once no command is left either."""
        if self._over and not self._orders and not self._ended.is_set():
            self._ended.set()
            for call in self._calls:
                call(self)


def _parent(pid: int) -> int:
    with suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid
