"""A folder of code as a zip, for those who ask for what was deployed as one."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_UNIX: Final = 3
_FIRST_DAY: Final = (1980, 1, 1, 0, 0, 0)
"""The same folder is always the same zip."""


def zipped(folder: Path) -> bytes:
    """All files and links of a folder, with their modes. Raises OSError."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_entries(folder)):
            mode = path.lstat().st_mode
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _FIRST_DAY)
            member.create_system = _UNIX
            member.external_attr = mode << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            content = os.readlink(path).encode() if stat.S_ISLNK(mode) else path.read_bytes()
            archive.writestr(member, content)
    return data.getvalue()


def _entries(folder: Path) -> list[Path]:
    found = []
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            found += _entries(path)
        else:
            found.append(path)
    return found
