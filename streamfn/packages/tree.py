"""What a package holds, before anything of it is written: paths, kinds, and what is refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Final, TypeAlias

from streamfn.errors import ConfigurationError

ZIPPED_LIMIT: Final = 52_428_800
"""Bytes that a zip has to stay below where it is sent with a request (AWS Lambda quotas)."""
UNZIPPED_LIMIT: Final = 262_144_000
"""Bytes that code has to stay below, unpacked; code and layers together may reach it."""
MOST_ENTRIES: Final = 250_000
"""Files, folders and links of one package. Ours: AWS tells of no limit."""

_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 3000
"""Bytes; what Linux takes is 4096, with the path of the folder before it."""
_DEEPEST: Final = 200
"""Folders in folders."""
_MOST_LINKS: Final = 40
"""Links on the way to one file, as in Linux."""
_MOST_STEPS: Final = 5_000_000
"""Names on the ways of all links together: some seconds of work."""


class Kind(Enum):
    """What stands at a path."""

    FILE = "f"
    FOLDER = "d"
    LINK = "l"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, a folder or a link. Of a file's mode only whether it can be executed is kept."""

    kind: Kind
    executable: bool = False
    target: str = ""
    """Of a link: where it points, from the folder it is in."""


Tree: TypeAlias = Mapping[str, Entry]
"""Entries by their paths, with slashes between names. A folder that holds something may go unsaid."""


def refused(problem: str, fix: str = "pack it again", *, field: str = "CodeUri") -> ConfigurationError:
    """What a package is refused with."""
    return ConfigurationError(problem, field=field, fix=fix)


def too_large(limit: int = UNZIPPED_LIMIT) -> ConfigurationError:
    """AWS's words for code that is too large."""
    fix = "leave out what the function does not need"
    return refused(f"Unzipped size must be smaller than {limit} bytes", fix)


def clean(name: str, *, windows: bool = False) -> str:
    """A path out of an archive, without `.` and doubled slashes; empty for the root itself.

    Raises ConfigurationError for one that leads out of the package, or that no file can have.
    `windows`: backslashes are separators and drives are known, as in archives that were made there.
    """
    if windows:
        name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    outside = name.startswith("/") or ".." in parts or (windows and re.match(r"[A-Za-z]:", name))
    if outside:
        raise refused(f"the package holds {name!r}, which leads out of it")
    sizes = [len(part.encode(errors="surrogateescape")) for part in parts]
    if "\0" in name or sum(sizes) > _LONGEST_PATH or max(sizes, default=0) > _LONGEST_NAME:
        raise refused(f"the package holds {name[:100]!r}, which is no name of a file")
    return "/".join(parts)


def check(tree: Tree) -> None:
    """Raises ConfigurationError where a file stands where a folder has to be, a link leads out, or there is
    too much of it, the folders that go unsaid included.
    """
    steps, unsaid = 0, set[str]()
    for path, entry in tree.items():
        if path.count("/") >= _DEEPEST:
            raise refused(f"{path[:100]}... is more than {_DEEPEST} folders deep", "put it less deep")
        for folder in _parents(path):
            if folder in tree and tree[folder].kind is not Kind.FOLDER:
                raise refused(f"the package holds {path!r}, and {folder!r} is no folder")
            if folder in tree or folder in unsaid:
                # Those above it are looked at for its sake.
                break
            unsaid.add(folder)
        if len(tree) + len(unsaid) > MOST_ENTRIES:
            raise too_many()
        if entry.kind is Kind.LINK:
            steps += _follow(tree, path)
            if steps > _MOST_STEPS:
                raise refused("its links lead too far, all together", "leave links out")


def too_many() -> ConfigurationError:
    """For a package with more than `MOST_ENTRIES`."""
    fix = "leave out what the function does not need"
    return refused(f"a package may hold {MOST_ENTRIES} files, folders and links at most", fix)


def _parents(path: str) -> list[str]:
    """The innermost first."""
    places = [place for place, letter in enumerate(path) if letter == "/"]
    return [path[:place] for place in reversed(places)]


def _follow(tree: Tree, link: str) -> int:
    """Walks where a link leads, through other links as a system would: `..` behind a link to a folder is
    that folder's parent, which looking at the text alone does not tell. How many steps that took.
    """
    here: list[str] = []
    waiting = link.split("/")[::-1]
    left, steps = _MOST_LINKS, 0
    while waiting:
        name = waiting.pop()
        steps += 1
        if name in ("", "."):
            continue
        if name == "..":
            if not here:
                raise refused(f"the link {link!r} leads out of the package")
            here.pop()
            continue
        here.append(name)
        found = tree.get("/".join(here))
        if found is not None and found.kind is Kind.LINK:
            left -= 1
            if left < 0:
                raise refused(f"the link {link!r} leads in a circle")
            if found.target.startswith("/") or not found.target or "\0" in found.target:
                raise refused(f"the link {link!r} leads out of the package", "make it relative")
            here.pop()
            waiting += found.target.split("/")[::-1]
    return steps


def hash_of(tree: Tree, contents: Mapping[str, bytes]) -> bytes:
    """The SHA-256 over names, kinds, modes and contents; `contents` has that of each file."""
    whole = sha256()
    for path in sorted(tree):
        entry = tree[path]
        name, target = path.encode(errors="surrogateescape"), entry.target.encode(errors="surrogateescape")
        whole.update(f"{entry.kind.value}{entry.executable:d} {len(name)} {len(target)} ".encode())
        whole.update(name + target + contents.get(path, b""))
    return whole.digest()
