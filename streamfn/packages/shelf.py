"""Folders that never change, by the hash of what is in them: there as a whole or not at all.

A folder is filled as a draft, which its maker holds a lock on, and gets its name when it is complete. What a
maker that was killed left behind has no lock any more, and goes when the next one comes. Whoever uses a
folder holds a lock on it too, so that no other process removes it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_DRAFT: Final = ".draft-"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Shelf:
    """One place for such folders. Blocks, so use it from a thread; one at a time."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._held: dict[str, int] = {}
        self._swept = False

    def hold(self, name: str) -> Path | None:
        """The folder of that name, held from now on; None if it is not there."""
        path = self.place / name
        if name in self._held:
            return path
        # Its maker holds it for an instant more, and who removes it until it is gone: both are waited for.
        lock = _locked(path, fcntl.LOCK_SH)
        if lock is None:
            return None
        self._held[name] = lock
        return path

    def fill(self, work: Callable[[Path], str]) -> str:
        """Has `work` fill a folder and say its name; the name. Durable, for all to see, when it returns.

        If `work` raises, nothing stays. Where the name is there already, that folder stays.
        """
        self._open()
        draft, lock = self._draft()
        try:
            name = work(draft)
            # Once it has a name, it has to outlive the power.
            _write_back(lock)
            with suppress(FileExistsError):
                _rename(draft, self.place / name)
            _sync(self.place)
            return name
        finally:
            if draft.exists():
                _remove(draft)
            os.close(lock)

    def prune(self, keep: Collection[str]) -> list[str]:
        """Removes the folders that are neither to be kept nor held by anybody; their names."""
        self._open()
        others = [path for path in sorted(self.place.iterdir()) if not path.name.startswith(_DRAFT)]
        return [path.name for path in others if path.name not in keep and self._removed(path)]

    def release(self, name: str) -> None:
        """It need not stay for our sake."""
        lock = self._held.pop(name, None)
        if lock is not None:
            os.close(lock)

    def close(self) -> None:
        """Lets go of all that is held."""
        while self._held:
            os.close(self._held.popitem()[1])

    def _open(self) -> None:
        if self._swept:
            return
        self.place.mkdir(parents=True, exist_ok=True)
        # Environments run as other users, and have to get there.
        self.place.chmod(0o755)
        for path in self.place.glob(f"{_DRAFT}*"):
            self._removed(path)
        self._swept = True

    def _removed(self, path: Path) -> bool:
        """Removes a folder unless somebody holds it; whether it did."""
        lock = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None:
            return False
        try:
            # Under the name of a draft it goes with the next sweep, should this process be killed now.
            aside = path
            if not path.name.startswith(_DRAFT):
                aside = Path(mkdtemp(prefix=_DRAFT, dir=self.place))
                os.rename(path, aside)
            _remove(aside)
        finally:
            os.close(lock)
        return True

    def _draft(self) -> tuple[Path, int]:
        while True:
            path = Path(mkdtemp(prefix=_DRAFT, dir=self.place))
            # Another process may have seen it before it was locked, and have taken it for an orphan.
            lock = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock is not None:
                return path, lock


def _locked(path: Path, kind: int) -> int | None:
    """A lock on a folder, until it is closed; None where the folder is not there, or is another's."""
    try:
        lock = os.open(path, _FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(lock, kind)
        if os.path.samestat(os.fstat(lock), path.stat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _rename(draft: Path, path: Path) -> None:
    try:
        os.rename(draft, path)
    except OSError:
        # ENOTEMPTY or EEXIST, as the file system likes.
        if path.exists():
            raise FileExistsError(path) from None
        raise


def _write_back(folder: int) -> None:
    """All that was written there is on the disk: at once, for syncing every file alone takes its time."""
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except AttributeError:
        # Not Linux. This one waits for other disks too.
        os.sync()
        return
    if syncfs(folder) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Removes a folder, read-only or not."""
    for above, _, _ in os.walk(folder):
        os.chmod(above, 0o700)
    shutil.rmtree(folder)
