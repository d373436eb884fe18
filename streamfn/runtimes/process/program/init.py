"""The first process of an environment: starts the runtime, reaps orphans, obeys, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress

from . import cgroups, filesystem, kernel, networks, runtime, signals, users, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PACKET = 1 << 20


class Means:
    """What the launcher found that it can use on this machine."""

    def __init__(self, namespaces: bool, own_users: bool, folders: dict[str, cgroups.Folder]) -> None:
        self.namespaces = namespaces
        self.users = own_users
        self.folders = folders


def refuse(control: socket.socket, error: OSError) -> None:
    """Tells streamfn that there will be no process, if it is still there."""
    said = {"event": "failed", "errno": error.errno or 0, "text": error.strerror or str(error)}
    with suppress(OSError):
        control.send(json.dumps(said).encode())


def run(name: str, turn: int, means: Means, control: socket.socket, passed: list[int]) -> Callable[[], None]:
    """The whole life of an init; returns only in its child, if that is to be a Python function.

    `passed`: the output, and the network to be in, if it is one that has a name.
    """
    try:
        data = control.recv(_PACKET)
        if not data:
            os._exit(0)
        return _run(Place(name, turn, means, json.loads(data), passed[1:]), control, passed[0])
    except OSError as error:
        refuse(control, error)
        os._exit(1)


def _run(place: Place, control: socket.socket, output: int) -> Callable[[], None]:
    reading = signals.children()
    try:
        passed = place.prepare()
        said = {"event": "init", "user": place.user.number if place.user else -1, "group": place.group_name}
        socket.send_fds(control, [json.dumps(said).encode()], [some.fileno() for some in passed])
        problem, trouble = os.pipe()
        child = os.fork()
    except OSError:
        place.leave()
        raise
    if child == 0:
        port = passed[0].getsockname()[1]
        return runtime.become(place, port, control, output, trouble, [reading, *passed])
    os.close(output)
    os.close(trouble)
    for some in passed:
        some.close()
    watcher = watch.Watch(place, child, control, reading)
    watcher.until_end()
    place.leave()
    watcher.report(problem)
    os._exit(0)


class Place:
    """All that is made for one environment before its process, and unmade after it."""

    def __init__(self, name: str, turn: int, means: Means, order: dict[str, Any], network: list[int]) -> None:
        self.order = order
        self.sandbox: dict[str, Any] = order["sandbox"]
        self.means = means
        self.turn = turn
        self._named_network = network
        self.user: users.User | None = None
        self.group = cgroups.Group(name, means.folders)
        self.group_name = self.group.name if "memory" in means.folders else ""
        self.scratch = "/tmp" if means.namespaces else self.sandbox["scratch"]  # noqa: S108

    def prepare(self) -> list[socket.socket]:
        """The listener for the Runtime API, and in a network of its own one that tells whose a connection
        is. Raises OSError.
        """
        host = filesystem.HOST if self.means.namespaces else ""
        self.group.make(self.sandbox["memory_size"])
        if self.means.users:
            scratch = host + self.sandbox["scratch"]
            self.user = users.claim(self.turn, os.stat(scratch).st_uid)
            self.user.own(scratch)
        passed = self._network()
        if self.means.namespaces:
            kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC)
            filesystem.furnish(self.sandbox, self.sandbox["memory_size"])
        else:
            kernel.become_subreaper()
        return passed

    def _network(self) -> list[socket.socket]:
        if not self.sandbox["network"]:
            return [networks.listener()]
        if not self.means.namespaces:
            raise OSError("network namespaces cannot be used here")
        networks.enter(self._named_network[0] if self._named_network else -1)
        return [networks.listener(), networks.diagnostics()]

    def kill_all(self) -> None:
        """Kills every process of the environment but the caller, its init."""
        if self.means.namespaces:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            return
        if self.user is not None:
            self.user.kill_all()
        for pid in watch.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def leave(self) -> None:
        """Leaves nothing: no process, no group."""
        while True:
            self.kill_all()
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        self.group.remove()
