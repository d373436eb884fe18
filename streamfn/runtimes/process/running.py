"""A process that a launcher started, as streamfn holds it: by one socket, whose end is the process's end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streamfn.runtimes.process.peers import Peers

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfn.runtimes.process.sandbox import Capabilities

_PACKET: Final = 65_536
_CREDENTIALS: Final = struct.Struct("3i")
_ANCILLARY: Final = socket.CMSG_SPACE(2 * 4) + socket.CMSG_SPACE(_CREDENTIALS.size)


class Exit(NamedTuple):
    """How a process ended. Nothing of the environment is left by then."""

    status: int | None
    """The exit status; None if a signal ended it."""
    signal: int | None = None
    max_rss: int = 0
    """Bytes, the most there ever was."""
    oom: bool = False
    """It was killed for its memory."""
    storage: bool = False
    """It was killed for what it wrote to `/tmp`."""
    problem: str = ""
    """Why the program could not be run at all, as Lambda says it: `fork/exec NAME: permission denied`."""


class Memory(NamedTuple):
    """Bytes."""

    current: int
    peak: int


_LOST: Final = Exit(None, signal.SIGKILL)
"""Its init was killed from outside, and everything with it."""


class Process:
    """One running environment. Letting go of it (`close`) kills all that runs in it."""

    def __init__(
        self, control: socket.socket, capabilities: Capabilities, diagnostics: socket.socket | None
    ) -> None:
        self.pid = 0
        """Of the process that runs the function's runtime."""
        self._control = control
        self._capabilities = capabilities
        self._group = ""
        self._problem: OSError | None = None
        self._exit = _LOST
        self._diagnostics = diagnostics
        self._own_diagnostics: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._peers: Peers | None = None
        self._started = asyncio.Event()
        self._ended = asyncio.Event()
        self._calls: list[Callable[[Process], None]] = []
        control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        asyncio.get_running_loop().add_reader(control, self._read)

    @property
    def listener(self) -> socket.socket:
        """Listens on 127.0.0.1, where its `AWS_LAMBDA_RUNTIME_API` points. Closed by `close`."""
        assert self._listener is not None  # noqa: S101 - `start` gives nobody a process that has none
        return self._listener

    async def started(self) -> None:
        """Returns when it runs. Raises OSError saying what stood against it."""
        await self._started.wait()
        if self._problem is not None:
            raise self._problem
        if not self.pid:
            raise OSError("the environment was killed before it was started")

    async def wait(self) -> Exit:
        """How it ended, once nothing of it is left."""
        await self._ended.wait()
        return self._exit

    @property
    def exit(self) -> Exit:
        """How it ended, once it has."""
        return self._exit

    def initialised(self) -> None:
        """Ends the init phase, which has all of the CPU as on Lambda: from now on there is the share of the
        memory size. Comes by itself after 10 seconds.
        """
        self._tell(b"initialised")

    def terminate(self) -> None:
        """SIGTERM to the process group of the runtime."""
        self._tell(b"terminate")

    def kill(self) -> None:
        """SIGKILL to everything that runs in the environment."""
        self._tell(b"kill")

    def when_ended(self, call: Callable[[Process], None]) -> None:
        """Calls back at its end; at once if it has ended."""
        if self._ended.is_set():
            call(self)
        else:
            self._calls.append(call)

    async def close(self) -> None:
        """Kills what is left, waits for its end, and lets go of the listener."""
        self.kill()
        try:
            await self._ended.wait()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """As `close`, without waiting."""
        self._end()
        if self._listener is not None:
            self._listener.close()

    def memory(self) -> Memory:
        """What it uses, and the most it ever did; zeros once it has ended. Reads one or two small files."""
        resident, peak = _resident(self.pid)
        if self._group:
            folder = Path(self._capabilities.memory, self._group)
            used, most = (
                _number(folder, "memory.usage_in_bytes", "memory.current"),
                _number(folder, "memory.max_usage_in_bytes", "memory.peak"),
            )
            # A fork shares pages with the launcher, which the cgroup does not count as its own.
            return Memory(max(resident, used), max(peak, most))
        return Memory(resident, peak)

    def owns(self, peer: tuple[str, int]) -> bool:
        """Whether a connection that the listener accepted comes from this environment, by its peer's address.

        Costs some microseconds, or reads some files of /proc where environments have no users of their own.
        """
        return self._peers is not None and self._peers.owns(peer)

    def _tell(self, word: bytes) -> None:
        # An environment that has ended needs no telling.
        with suppress(OSError):
            self._control.send(word)

    def _read(self) -> None:
        try:
            data, ancillary, _, _ = self._control.recvmsg(_PACKET, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        descriptors, pid = _unpack(ancillary)
        if not data:
            self._end()
            return
        self._heard(json.loads(data), descriptors, pid)

    def _heard(self, said: dict[str, Any], descriptors: list[int], pid: int) -> None:
        match said["event"]:
            case "init":
                self._group = said["group"]
                self._listener = socket.socket(fileno=descriptors[0])
                self._listener.setblocking(False)
                if len(descriptors) > 1:  # of a network of its own
                    self._diagnostics = self._own_diagnostics = socket.socket(fileno=descriptors[1])
                address = self._listener.getsockname()
                self._peers = Peers(address, pid, said["user"], self._diagnostics)
            case "started":
                self.pid = pid
                self._started.set()
            case "failed":
                self._problem = OSError(said["errno"], said["text"])
                self._started.set()
            case _:
                self._exit = Exit(
                    said["status"],
                    said["signal"],
                    said["max_rss"],
                    said["oom"],
                    said["storage"],
                    said["problem"],
                )

    def _end(self) -> None:
        if self._control.fileno() < 0:
            return
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        if self._own_diagnostics is not None:
            self._own_diagnostics.close()
        self._peers = None
        self._ended.set()
        self._started.set()
        for call in self._calls:
            call(self)


def _unpack(ancillary: list[tuple[int, int, bytes]]) -> tuple[list[int], int]:
    """The descriptors that came along, and the sender's pid as it is called here."""
    descriptors: list[int] = []
    pid = 0
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors += struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4])
        elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
    return descriptors, pid


def _number(folder: Path, *names: str) -> int:
    for name in names:
        with suppress(OSError, ValueError):
            return int((folder / name).read_bytes())
    return 0


def _resident(pid: int) -> tuple[int, int]:
    """Resident memory of a process and its peak, in bytes; zeros if it has gone."""
    now = most = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"VmRSS:"):
                now = int(line.split()[1]) * 1024
            elif line.startswith(b"VmHWM:"):
                most = int(line.split()[1]) * 1024
    return now, most
