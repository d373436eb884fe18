"""Files that come piece by piece: counted and hashed on the way, kept whole or not at all."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Draft:
    """A new file, which only its maker may read. Blocks, so use it from a thread. Raises OSError."""

    def __init__(self, path: Path) -> None:
        """Makes the folder too, if need be, for its owner alone."""
        folder = path.parent
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            _sync(folder.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = open(os.open(path, flags, 0o600), "wb", buffering=0)  # noqa: SIM115 - see discard
        self._hash = sha256()
        self.path = path
        self.size = 0
        """Bytes so far."""

    @property
    def sha256(self) -> str:
        """Of what has come, in hexadecimal digits."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Adds a piece."""
        self._hash.update(data)
        self.size += len(data)
        # A raw write may take a part only, as when the disk is nearly full.
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def keep(self, path: Path) -> None:
        """Gives it its name, in the same folder: all of it is there or nothing, whenever the machine stops.

        What has the name already stays.
        """
        if path.exists():
            return
        os.fsync(self._file.fileno())
        self.path.rename(path)
        _sync(path.parent)

    def discard(self) -> None:
        """Closes it, and removes it unless it was kept."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
