"""Zips, as they are deployed to Lambda: read without trusting a word that they say of themselves."""

from __future__ import annotations

import stat
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final

from streamfn.packages.tree import (
    MOST_ENTRIES,
    UNZIPPED_LIMIT,
    Entry,
    Kind,
    check,
    clean,
    refused,
    too_large,
    too_many,
)
from streamfn.packages.writing import CHUNK, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER: Final = b"PK\x01\x02"
_DOS: Final = 0
_UNIX: Final = (3, 19)
"""The second one is of macOS."""
_ENCRYPTED: Final = 0x1 | 0x40
_UTF8: Final = 0x800
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What Lambda unpacks. Others may ask for any amount of memory."""
_LONGEST_LINK: Final = 4096
_KINDS: Final = {0: Kind.FILE, stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFLNK: Kind.LINK}


def unpack(file: BinaryIO, writer: Writer) -> None:
    """Writes what a zip holds; nothing before all of its names, kinds and links were found good.

    Of two files with one path the last counts, as with unzip. Raises ConfigurationError for what Lambda
    refuses, or what would be unsafe.
    """
    # Reading the list of a zip costs a kilobyte of memory for each of its entries.
    if _headers(file) > MOST_ENTRIES:
        raise too_many()
    with _understood(), zipfile.ZipFile(file) as archive:
        found = _found(archive)
        tree = {path: entry for path, (entry, _) in found.items()}
        check(tree)
        if sum(member.file_size for _, member in found.values()) >= UNZIPPED_LIMIT:
            # Only to say it sooner: what counts is what comes out.
            raise too_large()
        for path, (entry, member) in found.items():
            if entry.kind is Kind.FOLDER:
                writer.folder(path)
            elif entry.kind is Kind.FILE:
                writer.file(path, entry, _chunks(archive, member))
        writer.links(tree)


def _headers(file: BinaryIO) -> int:
    """How many entries there are at most."""
    count, before = 0, b""
    file.seek(0)
    while chunk := file.read(CHUNK):
        count += (before + chunk).count(_HEADER)
        before = chunk[1 - len(_HEADER) :]
    return count


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, ValueError) as error:
        # AWS's sentence, and what it leaves out.
        said = "Could not unzip uploaded file. Please check your file, then try to upload again."
        raise refused(f"{said} ({str(error) or type(error).__name__})", "make the zip again") from error


def _found(archive: zipfile.ZipFile) -> dict[str, tuple[Entry, zipfile.ZipInfo]]:
    found: dict[str, tuple[Entry, zipfile.ZipInfo]] = {}
    for member in archive.infolist():
        path = clean(_name(member), windows=member.create_system == _DOS)
        entry = _entry(archive, member)
        if path:
            found[path] = (entry, member)
        elif entry.kind is not Kind.FOLDER:
            raise refused("the zip holds a file without a name")
    return found


def _name(member: zipfile.ZipInfo) -> str:
    # The original: of the other all behind a NUL was cut off.
    name = member.orig_filename
    if member.create_system in _UNIX and not member.flag_bits & _UTF8:
        # Unix tools write the bytes of the file system, which were read as those of DOS.
        try:
            return name.encode("cp437").decode()
        except UnicodeError:
            return name
    return name


def _entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Entry:
    name = member.orig_filename
    if member.flag_bits & _ENCRYPTED:
        raise refused(f"{name!r} is encrypted", "make the zip without a password")
    if member.compress_type not in _METHODS:
        raise refused(f"{name!r} is compressed in a way that Lambda does not know", "take deflate")
    mode = member.external_attr >> 16 if member.create_system in _UNIX else 0
    kind = _KINDS.get(stat.S_IFMT(mode))
    if kind is None:
        raise refused(f"{name!r} is neither a file nor a folder nor a link", "leave it out")
    if kind is Kind.FILE and name.endswith(("/", "\\") if member.create_system == _DOS else "/"):
        kind = Kind.FOLDER
    if kind is Kind.LINK:
        return Entry(kind, target=_target(archive, member))
    return Entry(kind, executable=kind is Kind.FILE and bool(mode & 0o111))


def _target(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    target = b""
    for chunk in _chunks(archive, member):
        target += chunk
        if len(target) >= _LONGEST_LINK:
            raise refused(f"the link {member.orig_filename!r} is too long")
    return target.decode()


def _chunks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    size = 0
    with archive.open(member) as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            yield chunk
    if size != member.file_size:
        raise zipfile.BadZipFile(f"{member.orig_filename!r} has {size} bytes and says {member.file_size}")
