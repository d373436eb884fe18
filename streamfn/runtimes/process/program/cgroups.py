"""Control groups, of either version: limits of memory, CPU and processes for all of an environment."""

from __future__ import annotations

import errno
import os
import re
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PREFIX = "streamfn-"
_CONTROLLERS = ("memory", "cpu", "pids")
_CPU_MEMORY = 1769  # MB that come with one vCPU
_PERIOD = 100_000  # microseconds
_PIDS = 1024

# What to write where, by version: (controller, file, value). Files that a kernel lacks are left out.
_LIMITS = {
    1: (
        ("memory", "memory.limit_in_bytes", "memory"),
        ("memory", "memory.memsw.limit_in_bytes", "memory"),
        ("pids", "pids.max", "pids"),
    ),
    2: (
        ("memory", "memory.max", "memory"),
        ("memory", "memory.swap.max", "nothing"),
        ("pids", "pids.max", "pids"),
    ),
}
_CPU = {1: ("cpu.cfs_quota_us", "%d"), 2: ("cpu.max", "%d " + str(_PERIOD))}
_PEAK = {1: "memory.max_usage_in_bytes", 2: "memory.peak"}
_OOM = {1: "memory.oom_control", 2: "memory.events"}
# A thread that moves itself needs not wait for the whole machine's forks, as whole processes do.
_ENTER = {1: "tasks", 2: "cgroup.procs"}


class Folder:
    """The folder of one controller that groups can be made in, held open whatever becomes of the mounts."""

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


class Group:
    """One environment's group: a folder in each controller's."""

    def __init__(self, name: str, folders: dict[str, Folder]) -> None:
        self.name = _PREFIX + name
        self._folders = folders
        self.last_peak = 0
        """Bytes, as it was when the group was removed."""
        self.last_oom = False

    def make(self, memory_size: int) -> None:
        """Makes it with its limits, but for the CPU's. Raises OSError."""
        for folder in self._places():
            os.mkdir(self.name, dir_fd=folder.descriptor)
        values = {"memory": str(memory_size << 20), "pids": str(_PIDS), "nothing": "0"}
        for controller, folder in self._folders.items():
            for wanted, file, value in _LIMITS[folder.version]:
                if wanted == controller:
                    self._set(folder, file, values[value])

    def enter(self) -> None:
        """Puts the calling process in."""
        for folder in self._places():
            self._write(folder, _ENTER[folder.version], "0")

    def limit_cpu(self, memory_size: int) -> None:
        folder = self._folders.get("cpu")
        if folder is not None:
            file, text = _CPU[folder.version]
            self._set(folder, file, text % max(1000, memory_size * _PERIOD // _CPU_MEMORY))

    def _peak(self) -> int:
        """Bytes; 0 where it is not known."""
        folder = self._folders.get("memory")
        text = self._read(folder, _PEAK[folder.version]) if folder else ""
        return int(text or 0)

    def _oom(self) -> bool:
        """Whether a process was killed for the group's memory."""
        folder = self._folders.get("memory")
        text = self._read(folder, _OOM[folder.version]) if folder else ""
        return re.search(r"^oom_kill [1-9]", text, re.MULTILINE) is not None

    def remove(self, patience: float = 1.0) -> bool:
        """Whether it has gone. All processes have ended; for so many seconds the kernel may not see that."""
        self.last_peak, self.last_oom = self._peak(), self._oom()
        until = time.monotonic() + patience
        gone = [self._remove(folder, until) for folder in self._places()]
        return all(gone)

    def _remove(self, folder: Folder, until: float) -> bool:
        while True:
            try:
                os.rmdir(self.name, dir_fd=folder.descriptor)
                return True
            except FileNotFoundError:
                return True
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
            if time.monotonic() >= until:
                return False
            time.sleep(0.005)  # noqa: TID251 - this is no event loop

    def _places(self) -> list[Folder]:
        """Each folder once: in version 2 it is the same for all controllers."""
        return list({folder.path: folder for folder in self._folders.values()}.values())

    def _set(self, folder: Folder, file: str, value: str) -> None:
        with suppress(FileNotFoundError):
            self._write(folder, file, value)

    def _write(self, folder: Folder, file: str, value: str) -> None:
        descriptor = os.open(self.name + "/" + file, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder.descriptor)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)

    def _read(self, folder: Folder, file: str) -> str:
        try:
            descriptor = os.open(self.name + "/" + file, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder.descriptor)
        except FileNotFoundError:
            return ""
        with open(descriptor, encoding="ascii") as opened:
            return opened.read()


def find() -> dict[str, Folder]:
    """The folders that groups can be made in, by controller; of those that this process may use."""
    found: dict[str, Folder] = {}
    for controller, (path, version) in _own().items():
        name = f"{_PREFIX}{os.getpid()}-probe"
        try:
            if version == 2:
                _delegate(path, controller)
            folder = Folder(path, version)
            Group(name[len(_PREFIX) :], {controller: folder}).make(128)
            os.rmdir(name, dir_fd=folder.descriptor)
        except OSError:
            continue
        found[controller] = folder
    for folder in found.values():
        _sweep(folder)
    return found


def _own() -> dict[str, Any]:
    """The group that this process is in, as a folder, by controller."""
    groups: dict[str, str] = {}
    with open("/proc/self/cgroup", encoding="utf-8") as lines:
        for line in lines:
            _, names, path = line.rstrip("\n").split(":", 2)
            groups.update(dict.fromkeys(names.split(","), path))
    found: dict[str, Any] = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            root, point = before.split()[3:5]
            kind, _, options = after.split()[:3]
            if kind == "cgroup":
                for name in set(options.split(",")) & set(_CONTROLLERS) & set(groups):
                    found[name] = _inside(point, root, groups[name]), 1
            elif kind == "cgroup2" and "" in groups:
                path = _inside(point, root, groups[""])
                for name in _offered(path):
                    found.setdefault(name, (path, 2))
    return found


def _inside(point: str, root: str, group: str) -> str:
    """A group's folder, where only the part below `root` is mounted at `point`."""
    relative = os.path.relpath(group, root)
    return os.path.normpath(os.path.join(point, "." if relative.startswith("..") else relative))


def _offered(path: str) -> list[str]:
    try:
        with open(path + "/cgroup.controllers", encoding="ascii") as words:
            return [name for name in words.read().split() if name in _CONTROLLERS]
    except OSError:
        return []


def _delegate(path: str, controller: str) -> None:
    """Lets groups below this one use the controller. Version 2 wants no processes beside such groups: those
    of streamfn alone are put into one of their own. Raises OSError.
    """
    try:
        _append(path + "/cgroup.subtree_control", "+" + controller)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        with open(path + "/cgroup.procs", encoding="ascii") as lines:
            members = {int(line) for line in lines}
        if not members <= {os.getpid(), os.getppid()}:
            raise
        own = path + "/streamfn"
        os.makedirs(own, exist_ok=True)
        for pid in members:
            _append(own + "/cgroup.procs", str(pid))
        _append(path + "/cgroup.subtree_control", "+" + controller)


def _append(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as opened:
        opened.write(text)


def _sweep(folder: Folder) -> None:
    """Removes groups of launchers that were killed; a group with processes cannot be removed."""
    for name in os.listdir(folder.descriptor):
        found = re.fullmatch(_PREFIX + r"(\d+)-\w+", name)
        if found and not os.path.exists("/proc/" + found.group(1)):
            try:
                os.rmdir(name, dir_fd=folder.descriptor)
            except OSError:
                continue
