"""The loop of the launcher: forks an init for each request, and reaps."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress

from . import cgroups, filesystem, init, kernel, preload, signals, users, watching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_ANCILLARY = socket.CMSG_SPACE(3 * 4)
_RETRY = 100  # milliseconds


def main() -> Callable[[], None]:
    """Serves until its socket ends; in a fork that is to be a function it returns what that is to do.

    Arguments: the number of the socket, and what is allowed as JSON.
    """
    del sys.path[0]
    os.umask(0o022)
    signals.leave_to_streamfn()
    preload.everything()
    launcher = Launcher(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
    return launcher.serve()


class Launcher:
    def __init__(self, link: socket.socket, allowed: dict[str, bool]) -> None:
        self._link = link
        self._inits: dict[int, str] = {}
        self._ended: set[str] = set()
        self._count = 0
        folders = cgroups.find() if allowed["cgroups"] else {}
        own_users = allowed["users"] and users.possible()
        # Closed by nobody: it is the way back from the namespaces of others.
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._means = init.Means(allowed["namespaces"] and _confine(self._own_pids), own_users, folders)

    def serve(self) -> Callable[[], None]:
        kernel.become_subreaper()
        wakeup = signals.children()
        try:
            self._link.send(json.dumps(self._capabilities()).encode())
        except BrokenPipeError:
            return _nothing  # streamfn was killed meanwhile
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        gc.collect()
        gc.freeze()
        gc.disable()
        serving = True
        while serving or self._inits or self._ended:
            for descriptor, _ in poll.poll(_RETRY if self._ended else None):
                if descriptor == wakeup.fileno():
                    signals.drain(wakeup)
                    self._reap()
                    continue
                descriptors = self._receive()
                if not descriptors:
                    poll.unregister(self._link)
                    serving = False
                    continue
                then = self._start(descriptors, wakeup)
                if then is not None:
                    return then
            self._remove_groups()
        return _nothing

    def _capabilities(self) -> dict[str, Any]:
        folders = self._means.folders
        return {
            "python": ".".join(map(str, sys.version_info[:3])),
            "namespaces": self._means.namespaces,
            "users": self._means.users,
            "memory": folders["memory"].path if "memory" in folders else "",
            "cpu": "cpu" in folders,
            "pids": "pids" in folders,
            "networks": self._means.namespaces,
        }

    def _receive(self) -> list[int]:
        """A request: its control socket, the output, and perhaps a network; none when no more will come."""
        _, ancillary, _, _ = self._link.recvmsg(64, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        found: list[int] = []
        for _, _, part in ancillary:
            found += memoryview(part).cast("i").tolist()
        return found

    def _start(self, descriptors: list[int], wakeup: socket.socket) -> Callable[[], None] | None:
        """Forks; returns something only in the fork of a fork that is to be a function."""
        self._count += 1
        control = socket.socket(fileno=descriptors[0])
        name = f"{os.getpid()}-{self._count}"
        try:
            pid = self._fork()
        except OSError as error:
            init.refuse(control, error)
            pid = -1
        if pid == 0:
            self._link.close()
            wakeup.close()
            return init.run(name, os.getppid() + self._count, self._means, control, descriptors[1:])
        control.close()
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        if pid > 0:
            self._inits[pid] = name
        return None

    def _fork(self) -> int:
        """A child; the first process of a PID namespace where there are any."""
        if not self._means.namespaces:
            return os.fork()
        kernel.unshare(kernel.CLONE_NEWPID)
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid:
                kernel.setns(self._own_pids, kernel.CLONE_NEWPID)
        return pid

    def _reap(self) -> None:
        pid = 1
        while pid:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if pid in self._inits:
                self._ended.add(self._inits.pop(pid))
        if not self._means.namespaces:
            self._kill_strays()

    def _remove_groups(self) -> None:
        """Inits remove theirs; what one that was killed has left can go when its processes have gone."""
        self._ended = {name for name in self._ended if not self._group(name).remove(patience=0)}

    def _group(self, name: str) -> cgroups.Group:
        return cgroups.Group(name, self._means.folders)

    def _kill_strays(self) -> None:
        """What an init that was killed has left behind has become the launcher's own."""
        for pid in watching.children():
            if pid not in self._inits:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _confine(own_pids: int) -> bool:
    """Moves the launcher to where environments get their own processes and files, if that can be."""
    if os.geteuid() != 0:
        return False
    try:
        kernel.unshare(kernel.CLONE_NEWPID)
        kernel.setns(own_pids, kernel.CLONE_NEWPID)
        filesystem.enter_root()
    except OSError:
        return False
    return True


def _nothing() -> None:
    """What the launcher itself does after its work."""
