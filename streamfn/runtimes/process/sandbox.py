"""What an execution environment may see and use, and what of that this machine can enforce."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The limits and the folders of one environment. All paths are absolute, and seen from outside."""

    task_root: str
    """The folder with the code: read-only, `/var/task` where there are namespaces."""
    scratch: str
    """An empty folder for `/tmp`. Who made it removes it; one process after the other may use it."""
    layers: str = ""
    """A folder for `/opt`; empty for none."""
    runtime: str = ""
    """A folder for `/var/runtime`, with what the language's runtime needs; empty for none."""
    readable: tuple[str, ...] = ()
    """More that is needed and stays where it is: the prefix of an interpreter, what links point at."""
    memory_size: int = 128
    """MB."""
    ephemeral_storage: int = 512
    """MB of `/tmp`."""
    network: str = ""
    """`none`, or the name of a network namespace; empty: the machine's own."""

    def resolved(self) -> dict[str, Any]:
        """For the launcher, who sees the machine's links from a root of its own: none is left in it."""
        folders = {name: _real(getattr(self, name)) for name in ("task_root", "scratch", "layers", "runtime")}
        readable = [(_real(path), path) for path in self.readable]
        # What links point at has to be where they say.
        readable += [(real, real) for real, path in readable if real != path]
        return asdict(self) | folders | {"readable": readable}


def _real(path: str) -> str:
    return path and os.path.realpath(path)


class Layout(NamedTuple):
    """Where the environment itself finds its folders; empty where it has none."""

    task_root: str
    opt: str
    runtime: str
    tmp: str


class Module(NamedTuple):
    """A Python module to run as `python -m`, in a fork of the launcher where nothing speaks against it."""

    name: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which means a launcher may use, where they are there. All of them, unless one is to be kept out."""

    namespaces: bool = True
    users: bool = True
    cgroups: bool = True


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a launcher can do on this machine, as it found out when it started."""

    python: str = ""
    """The version of its interpreter: `3.11.7`."""
    namespaces: bool = False
    """PID, mount and IPC namespaces: nobody sees another's processes and files, nothing can escape."""
    users: bool = False
    """A user of its own for each environment."""
    memory: str = ""
    """The cgroup folder of the memory controller; empty: resident memory is watched from time to time."""
    cpu: bool = False
    pids: bool = False
    networks: bool = False
    """Network namespaces."""

    @classmethod
    def read(cls, said: dict[str, Any]) -> Capabilities:
        """Out of what the launcher said."""
        return cls(**{field.name: said[field.name] for field in fields(cls) if field.name in said})

    @property
    def missing(self) -> tuple[str, ...]:
        """What functions have to do without, each a sentence; empty where all is enforced."""
        lacks = (
            (self.namespaces, "no namespaces: functions see the machine's files and processes"),
            (self.users, "no users of their own: functions run as the user of streamfn"),
            (
                self.memory,
                "no memory cgroup: a function may hold more than its memory for a moment",
            ),
            (self.cpu, "no cpu cgroup: the CPU share does not follow the memory size"),
            (self.pids, "no pids cgroup: the number of processes is not limited"),
            (self.networks, "no network namespaces: `network` cannot be used"),
        )
        return tuple(sentence for there, sentence in lacks if not there)


def layout(sandbox: Sandbox, *, namespaces: bool) -> Layout:
    """Where an environment finds its folders: at Lambda's places if it has a mount namespace."""
    if not namespaces:
        return Layout(sandbox.task_root, sandbox.layers, sandbox.runtime, sandbox.scratch)
    opt, runtime = sandbox.layers and "/opt", sandbox.runtime and "/var/runtime"
    return Layout("/var/task", opt, runtime, "/tmp")  # noqa: S108 - the environment's own
