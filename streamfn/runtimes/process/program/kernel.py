"""System calls of Linux that the standard library lacks, or had not yet in Python 3.9."""

from __future__ import annotations

import ctypes
import errno
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 4096, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2

_MOUNT_SETATTR = 442  # on every machine
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID = 1, 2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, name + ": " + os.strerror(number))


def unshare(flags: int) -> None:
    _call("unshare", flags)


def setns(descriptor: int, kind: int) -> None:
    _call("setns", descriptor, kind)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    text = [os.fsencode(part) for part in (source, target, kind, data)]
    try:
        _call("mount", text[0], text[1], text[2], ctypes.c_ulong(flags), text[3])
    except OSError as error:
        raise OSError(error.errno, "mount " + target + ": " + os.strerror(error.errno or 0)) from None


def unmount(target: str, flags: int = MNT_DETACH) -> None:
    _call("umount2", os.fsencode(target), flags)


def pivot_root(new: str, old: str) -> None:
    """The C library has no function of this name; the numbers are those of the two common machines."""
    numbers = {"x86_64": 155, "aarch64": 41}
    machine = os.uname().machine
    if machine not in numbers:
        raise OSError("pivot_root: unknown machine " + machine)
    _call("syscall", ctypes.c_long(numbers[machine]), os.fsencode(new), os.fsencode(old))


def make_readonly(target: str) -> None:
    """A mount and all below it; only the mount itself where the kernel is older than 5.12."""
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    name, number = os.fsencode(target), ctypes.c_long(_MOUNT_SETATTR)
    try:
        _call("syscall", number, _AT_FDCWD, name, _AT_RECURSIVE, ctypes.byref(attributes), size)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        mount("none", target, "none", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID)


def become_subreaper() -> None:
    """Orphans among the descendants become children of the caller."""
    _call("prctl", _PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def forbid_new_privileges() -> None:
    """No setuid program gives the caller, or what it starts, more than it has."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def die_with_parent(signal_number: int) -> None:
    _call("prctl", _PR_SET_PDEATHSIG, *map(ctypes.c_ulong, (signal_number, 0, 0, 0)))


def own_proc_files() -> None:
    """Gives /proc/self back to a process that changed its user."""
    _call("prctl", _PR_SET_DUMPABLE, *map(ctypes.c_ulong, (1, 0, 0, 0)))
