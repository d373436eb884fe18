"""Zips and folders as tests need them, the wicked ones included."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

UNIX = 3
DOS = 0


def member(name: str, mode: int = 0o644, *, system: int = UNIX, **more: Any) -> zipfile.ZipInfo:
    """The header of one entry. `mode` may have the bits of a kind: a link, a device."""
    made = zipfile.ZipInfo(name)
    made.filename = made.orig_filename = name
    made.create_system = system
    made.external_attr = mode << 16 if system == UNIX else 0
    made.compress_type = zipfile.ZIP_DEFLATED
    for field, value in more.items():
        setattr(made, field, value)
    return made


def link(name: str) -> zipfile.ZipInfo:
    return member(name, stat.S_IFLNK | 0o777)


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes | str]) -> bytes:
    """A zip with these entries, in this order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries:
            archive.writestr(member(name) if isinstance(name, str) else name, content)
    return out.getvalue()


def folder(place: Path, files: dict[str, str]) -> Path:
    """A folder with these files; a value of `-> x` makes a link to x, one that begins with `#!` a program."""
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
            path.chmod(0o755 if content.startswith("#!") else 0o644)
    place.mkdir(parents=True, exist_ok=True)
    return place


def contents(place: Path) -> dict[str, str]:
    """What is in a folder, in the words of `folder`; folders that hold nothing as `/`."""
    found: dict[str, str] = {}
    for above, folders, files in os.walk(place):
        for name in [*files, *folders]:
            path = Path(above, name)
            key = str(path.relative_to(place))
            if path.is_symlink():
                found[key] = f"-> {os.readlink(path)}"
            elif path.is_file():
                found[key] = path.read_text()
            elif not any(path.iterdir()):
                found[key] = "/"
    return found
