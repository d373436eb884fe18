"""Writing a package into a folder: once, within a limit, and readable by all when it is done."""

from __future__ import annotations

import errno
import os
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from streamfn.packages.tree import UNZIPPED_LIMIT, Entry, Kind, too_large

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CHUNK: Final = 256 * 1024
_FOLDER_MODE: Final = 0o555
_FILE_MODE: Final = 0o444
_PROGRAM_MODE: Final = 0o555
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS})
"""Of file systems without hard links, or with enough of them."""


class Writer:
    """Fills an empty folder that nobody else sees yet.

    Counts what it really writes, whatever archives say of themselves. Raises OSError as the disk does.
    """

    def __init__(self, folder: Path, limit: int = UNZIPPED_LIMIT) -> None:
        self._folder = folder
        self._limit = limit
        self._folders = {""}
        self.size = 0
        """Bytes of all files so far."""

    def folder(self, path: str) -> None:
        """Makes a folder, and those above it."""
        if path not in self._folders:
            self.folder(path.rpartition("/")[0])
            os.mkdir(self._folder / path, 0o700)
            self._folders.add(path)

    def file(self, path: str, entry: Entry, chunks: Iterable[bytes]) -> bytes:
        """Makes a file; the SHA-256 of what is in it. Raises ConfigurationError when all is too much."""
        self.folder(path.rpartition("/")[0])
        content = sha256()
        # Never through a link, and never over what is there.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(self._folder / path, flags, 0o600), "wb", buffering=0) as file:
            for chunk in chunks:
                self.size += len(chunk)
                if self.size >= self._limit:
                    raise too_large(self._limit)
                content.update(chunk)
                _write_all(file.fileno(), chunk)
            os.fchmod(file.fileno(), _PROGRAM_MODE if entry.executable else _FILE_MODE)
        return content.digest()

    def links(self, tree: Mapping[str, Entry]) -> None:
        """Makes the links of a tree that was checked: last, so that nothing is written through one."""
        for path, entry in tree.items():
            if entry.kind is Kind.LINK:
                self.folder(path.rpartition("/")[0])
                os.symlink(entry.target, self._folder / path)

    def share(self, source: Path, path: str, entry: Entry) -> None:
        """Takes a file out of another folder that never changes either: without a copy, where it can be."""
        self.folder(path.rpartition("/")[0])
        try:
            os.link(source, self._folder / path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with source.open("rb") as file:
                self.file(path, entry, iter(partial(file.read, CHUNK), b""))

    def close(self) -> None:
        """From now on all may read it, and nobody writes to it."""
        for path in sorted(self._folders, key=len, reverse=True):
            os.chmod(self._folder / path, _FOLDER_MODE)


def _write_all(file: int, chunk: bytes) -> None:
    # A raw write may take a part only, as when the disk is nearly full.
    view = memoryview(chunk)
    while view:
        view = view[os.write(file, view) :]
