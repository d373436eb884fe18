"""What has to be looked at from time to time, because nothing of the kernel's limits it: /tmp, and memory
where there is no cgroup.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False

_STORAGE_SECONDS = 2.0
_MEMORY_SECONDS = 1.0
_MEMORY_SECONDS_NEAR = 0.1  # above half of the limit
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Storage:
    """Kills an environment that fills more than its /tmp. Single files are limited by the kernel."""

    name = "storage"

    def __init__(self, folder: str, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self.due = time.monotonic() + _STORAGE_SECONDS

    def exceeded(self) -> bool:
        before = time.monotonic()
        above = used(self._folder) > self._limit
        now = time.monotonic()
        # A folder that takes long to look through is looked at less often.
        self.due = now + max(_STORAGE_SECONDS, 20 * (now - before))
        return above


class Memory:
    """Kills an environment whose processes together hold more than its memory."""

    name = "oom"

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.peak = 0
        self.due = time.monotonic() + _MEMORY_SECONDS_NEAR

    def exceeded(self) -> bool:
        pids = descendants()
        total = sum(map(resident, pids))
        if total > self._limit:
            # Pages that processes share were counted for each; the exact sum costs more.
            total = sum(map(proportional, pids))
        self.peak = max(self.peak, total)
        near = total > self._limit // 2
        self.due = time.monotonic() + (_MEMORY_SECONDS_NEAR if near else _MEMORY_SECONDS)
        return total > self._limit


def used(folder: str) -> int:
    """Bytes of all files below a folder. What vanishes meanwhile is not counted."""
    total = 0
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total


def descendants() -> list[int]:
    """All that came from this process and lives."""
    parents = [os.getpid()]
    for parent in parents:
        parents += children(parent)
    return parents[1:]


def children(parent: int = 0) -> list[int]:
    """The children of a process; of this one, if none is named."""
    parent = parent or os.getpid()
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{parent}/task")
    except OSError:
        return found
    for thread in threads:  # a child is listed with the thread that made it
        found += map(int, _read(f"/proc/{parent}/task/{thread}/children").split())
    return found


def resident(pid: int) -> int:
    """Bytes that a process holds in memory; 0 if it has gone."""
    words = _read(f"/proc/{pid}/statm").split()
    return int(words[1]) * _PAGE if words else 0


def proportional(pid: int) -> int:
    """As `resident`, with the fair part of what it shares."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return resident(pid)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as opened:
            return opened.read()
    except OSError:
        return b""
