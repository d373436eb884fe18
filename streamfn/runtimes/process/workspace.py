"""The folder in which environments have their `/tmp`, and what a process that was killed left there."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from pathlib import Path

_LOCK = "lock"


class Workspace:
    """A folder of this process alone, below one that processes share. All methods block."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = -1
        self.folder = root / uuid4().hex

    def open(self) -> None:
        """Makes it, and removes those of processes that live no more. Raises OSError."""
        self.folder.mkdir(parents=True)
        self._lock = _locked(self.folder)
        for other in self._root.iterdir():
            if other != self.folder:
                _remove_dead(other)

    def close(self) -> None:
        """Removes it."""
        remove(self.folder)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def scratch(self) -> Path:
        """A new and empty folder in it."""
        folder = self.folder / uuid4().hex
        folder.mkdir(mode=0o700)
        return folder


def remove(folder: Path) -> None:
    """Removes a folder, whatever a function did to it. All that could still change it has ended."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # What its owner closed can be emptied once it is opened again.
        folder.chmod(0o700)
        for place, names, _ in os.walk(folder):
            for path in (os.path.join(place, name) for name in names):
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
        shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> int:
    """A descriptor that holds the lock of a folder. Raises BlockingIOError where another has it."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_dead(folder: Path) -> None:
    with suppress(OSError):
        if folder.is_dir() and (folder / _LOCK).exists():
            descriptor = _locked(folder)
            remove(folder)
            os.close(descriptor)
