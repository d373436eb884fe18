"""Folders with code: looked at, hashed and copied, never through a link."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from streamfn.packages.tree import (
    MOST_ENTRIES,
    UNZIPPED_LIMIT,
    Entry,
    Kind,
    check,
    hash_of,
    refused,
    too_large,
    too_many,
)
from streamfn.packages.writing import CHUNK, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

LEFT_OUT: Final = frozenset({".git", "__pycache__"})

_CLOSED: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(slots=True)
class Look:
    """A folder as it was at one time."""

    tree: dict[str, Entry] = field(default_factory=dict)
    stamp: str = ""
    """Another one when a file was written, added, removed, renamed, or has another mode."""
    size: int = 0


@contextmanager
def readable() -> Iterator[None]:
    """What may not be read in the block is a ConfigurationError."""
    try:
        yield
    except PermissionError as error:
        raise refused(f"{error.filename} cannot be read", "give the permission") from error


def look(folder: Path, *, left_out: Collection[str] = (), leave: Path | None = None) -> Look:
    """What is in a folder, without reading any file; no part of it is what has a name that is `left_out`,
    and the folder to `leave`, wherever it is.

    Raises ConfigurationError for what cannot be in a package, OSError where something went away meanwhile.
    """
    found, marks = Look(), sha256()
    own = _identity(leave) if leave is not None else None
    waiting = [""]
    while waiting:
        above = waiting.pop()
        with readable(), os.scandir(folder / above) as children:
            for child in sorted(children, key=lambda child: child.name):
                if child.name in left_out:
                    continue
                status = child.stat(follow_symlinks=False)
                if (status.st_dev, status.st_ino) == own:
                    continue
                path = f"{above}/{child.name}" if above else child.name
                entry = found.tree[path] = _entry(folder, path, status)
                if len(found.tree) > MOST_ENTRIES:
                    raise too_many()
                if entry.kind is Kind.FOLDER:
                    waiting.append(path)
                elif entry.kind is Kind.FILE:
                    found.size += status.st_size
                marks.update(repr((path, entry, _mark(status, entry))).encode(errors="surrogatepass"))
    found.stamp = marks.hexdigest()
    return found


def stamp_of_file(path: Path) -> str:
    """Another one when the file was written, or replaced by another."""
    return sha256(repr(_mark(path.stat(), Entry(Kind.FILE))).encode()).hexdigest()


def hashed(folder: Path, found: Look) -> bytes:
    """The hash of what is in the files now."""
    return _hashed(folder, found, lambda _path, _entry, chunks: _digest(chunks))


def copied(folder: Path, found: Look, writer: Writer) -> bytes:
    """Copies it all; the hash of what was copied."""
    for path, entry in found.tree.items():
        if entry.kind is Kind.FOLDER:
            writer.folder(path)
    name = _hashed(folder, found, writer.file)
    writer.links(found.tree)
    return name


def _hashed(folder: Path, found: Look, take: Callable[[str, Entry, Iterator[bytes]], bytes]) -> bytes:
    check(found.tree)
    if found.size >= UNZIPPED_LIMIT:
        raise too_large()
    contents: dict[str, bytes] = {}
    for path, entry in found.tree.items():
        if entry.kind is Kind.FILE:
            contents[path] = take(path, entry, _chunks(folder, path))
    return hash_of(found.tree, contents)


def _digest(chunks: Iterator[bytes]) -> bytes:
    whole = sha256()
    for chunk in chunks:
        whole.update(chunk)
    return whole.digest()


def _entry(folder: Path, path: str, status: os.stat_result) -> Entry:
    if stat.S_ISLNK(status.st_mode):
        return Entry(Kind.LINK, target=os.readlink(folder / path))
    if stat.S_ISDIR(status.st_mode):
        return Entry(Kind.FOLDER)
    if stat.S_ISREG(status.st_mode):
        return Entry(Kind.FILE, executable=bool(status.st_mode & 0o111))
    raise refused(f"{folder / path} is neither a file nor a folder nor a link", "move it elsewhere")


def _mark(status: os.stat_result, entry: Entry) -> tuple[int, ...]:
    if entry.kind is not Kind.FILE:
        return ()
    # The time of change tells of a write that keeps size and time of modification.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _chunks(folder: Path, path: str) -> Iterator[bytes]:
    """The contents of a file, opened from folder to folder: what has become a link meanwhile is not
    followed.
    """
    with open(_opened(folder, path), "rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _opened(folder: Path, path: str) -> int:
    *folders, name = path.split("/")
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            inner = os.open(part, _CLOSED | os.O_DIRECTORY, dir_fd=place)
            os.close(place)
            place = inner
        file = os.open(name, _CLOSED, dir_fd=place)
        if stat.S_ISREG(os.fstat(file).st_mode):
            return file
        os.close(file)
        raise FileNotFoundError(errno.ENOENT, "is no file any more", str(folder / path))
    except PermissionError as error:
        raise refused(f"{folder / path} cannot be read", "give the permission") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(errno.ENOENT, "has become a link", str(folder / path)) from error
        raise
    finally:
        os.close(place)
