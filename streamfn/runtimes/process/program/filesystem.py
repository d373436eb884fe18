"""What an environment sees of the files: a root of its own, read-only but for /tmp and /dev/shm."""

from __future__ import annotations

import os
import stat
import sys
import tempfile

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOST = "/host"
"""Where the launcher finds the machine's files; environments do not have it."""

_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "sys", "nix")
_FOLDERS = ("proc", "tmp", "opt", "run", "dev/shm", "var/task", "var/runtime", "host")
_DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
_LINKS = (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"))


def enter_root() -> None:
    """Makes a root with the system's folders and this interpreter, and moves the caller there.

    What is closed to others on the machine (a home, say) is not in it, but for the interpreter if it lives
    there. Raises OSError where this is not possible; the caller can then go on where it was.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", "none", kernel.MS_REC | kernel.MS_SLAVE)
    place = tempfile.mkdtemp(prefix="streamfn-")
    mounted = False
    try:
        kernel.mount("streamfn", place, "tmpfs", kernel.MS_NOSUID, "mode=755,size=16m")
        mounted = True
        _furnish(place)
        kernel.pivot_root(place, place + HOST)
    except OSError:
        if mounted:
            kernel.unmount(place)
        os.rmdir(place)
        raise
    os.chdir("/")
    os.rmdir(HOST + place)


def _furnish(root: str) -> None:
    for folder in _FOLDERS:
        os.makedirs(os.path.join(root, folder))
    for name in _SYSTEM:
        if os.path.islink("/" + name):
            os.symlink(os.readlink("/" + name), os.path.join(root, name))
        elif os.path.isdir("/" + name):
            show("/" + name, "/" + name, root, name != "sys")
    for name, major, minor in _DEVICES:
        _device(os.path.join(root, "dev", name), name, os.makedev(major, minor))
    for name, target in _LINKS:
        os.symlink(target, os.path.join(root, "dev", name))
    names = os.path.dirname(os.path.realpath("/etc/resolv.conf"))
    for source, target in [*_interpreter(), (names, names)]:
        if not _is_system(target):
            show(source, target, root)


def _interpreter() -> list[tuple[str, str]]:
    """The folders of the interpreter that runs this, where they are and where they are looked for."""
    return [(os.path.realpath(path), path) for path in sorted({sys.prefix, sys.base_prefix})]


def _is_system(path: str) -> bool:
    return path.split("/")[1] in _SYSTEM


def _device(path: str, name: str, number: int) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, number)
        os.chmod(path, 0o666)  # noqa: S103 - as it is everywhere
    except PermissionError:
        with open(path, "wb"):
            pass
        kernel.mount("/dev/" + name, path, "none", kernel.MS_BIND)


def show(source: str, target: str, root: str = "", recursive: bool = True) -> None:
    """Mounts a folder or file read-only."""
    place = root + target
    if os.path.isdir(source):
        os.makedirs(place, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "ab"):
            pass
    kernel.mount(source, place, "none", kernel.MS_BIND | (kernel.MS_REC if recursive else 0))
    kernel.make_readonly(place)


def furnish(folders: dict[str, Any], memory_size: int) -> None:
    """Puts an environment's folders where Lambda has them, and takes the machine's away.

    Called in a mount namespace and a PID namespace of its own. Raises OSError.
    """
    kernel.mount(HOST + folders["scratch"], "/tmp", "none", kernel.MS_BIND)  # noqa: S108
    flags = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("none", "/tmp", "none", flags)  # noqa: S108
    kept = [*_interpreter(), *folders["readable"]]
    show(HOST + folders["task_root"], "/var/task")
    if folders["runtime"]:
        show(HOST + folders["runtime"], "/var/runtime")
    if folders["layers"]:
        _show_layers(HOST + folders["layers"], any(target.startswith("/opt/") for _, target in kept))
    for source, target in kept:
        if not _is_system(target) and not _is_shown(HOST + source, target):
            show(HOST + source, target)
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    shared = f"mode=1777,size={memory_size}m"
    kernel.mount("shm", "/dev/shm", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, shared)  # noqa: S108
    kernel.unmount(HOST)
    kernel.mount(
        "none", "/", "none", kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID
    )


def _is_shown(source: str, target: str) -> bool:
    return os.path.exists(target) and os.path.samefile(source, target)


def _show_layers(layers: str, shared: bool) -> None:
    """At /opt; entry by entry where others live there as well."""
    if not shared:
        show(layers, "/opt")
        return
    kernel.mount("opt", "/opt", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")
    for name in os.listdir(layers):
        show(os.path.join(layers, name), "/opt/" + name)
