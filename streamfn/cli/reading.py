"""Records out of files: JSON lines and CSV, plain, gzipped or zipped."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import orjson

from streamfn.errors import ConfigurationError
from streamfn.ports import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

Format = Literal["jsonl", "csv"]
Bytes: TypeAlias = IO[bytes] | gzip.GzipFile


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a file, or why it is none."""

    number: int
    message: Message | None
    problem: str = ""


@dataclass(slots=True)
class Input:
    """An open file: its text as bytes, and how far it has been read."""

    stream: Bytes
    size: int | None
    """Bytes on the disk, compressed as they are; None when unknown."""
    _raw: IO[bytes] | None = None

    @property
    def read(self) -> int:
        """Bytes of `size` that were read."""
        return self._raw.tell() if self._raw is not None else 0


@contextmanager
def opened(file: str) -> Iterator[Input]:
    """A file, or standard input for `-`. Raises ConfigurationError for one that cannot be read."""
    if file == "-":
        yield Input(sys.stdin.buffer, None)
        return
    path = Path(file)
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(path.open("rb"))
            stream = _unpacked(path, raw)
            stack.callback(stream.close)
        except (OSError, zipfile.BadZipFile) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigurationError(f"cannot be read: {reason}", where=file) from None
        yield Input(stream, path.stat().st_size, raw)


def format_of(file: str) -> Format:
    """The format that a file's name tells; JSON lines where it tells nothing."""
    name = file.lower().removesuffix(".gz").removesuffix(".zip")
    return "csv" if name.endswith(".csv") else "jsonl"


def lines(stream: Bytes, form: Format, key: str | None) -> Iterator[Line]:
    """The records of a file, with the numbers of their lines. A line that is none says why."""
    last = 0
    try:
        for line in _rows(stream, key) if form == "csv" else _documents(stream, key):
            last = line.number
            yield line
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, csv.Error) as error:
        yield Line(last + 1, None, f"cannot be read from here on: {error}")


def _unpacked(path: Path, raw: IO[bytes]) -> Bytes:
    match path.suffix.lower():
        case ".gz":
            return gzip.GzipFile(fileobj=raw)
        case ".zip":
            archive = zipfile.ZipFile(raw)
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) != 1:
                raise ConfigurationError(
                    f"holds {len(members)} files, not one",
                    where=str(path),
                    fix="unpack it and name one of them",
                )
            return archive.open(members[0])
        case _:
            return raw


def _documents(stream: Bytes, key: str | None) -> Iterator[Line]:
    for number, raw in enumerate(stream, 1):
        body = raw.strip()
        if not body:
            continue
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            yield Line(number, None, f"not JSON: {error}")
            continue
        yield Line(number, Message(body, _key(document, key)))


def _rows(stream: Bytes, key: str | None) -> Iterator[Line]:
    reader = csv.reader(io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline=""))
    columns = next((row for row in reader if row), [])
    if key is not None and key not in columns:
        known = ", ".join(columns) or "none"
        raise ConfigurationError(f"there is no column {key!r}", field="--key", fix=f"take one of: {known}")
    number = reader.line_num + 1
    for row in reader:
        begun, number = number, reader.line_num + 1
        if not row:
            continue
        if len(row) != len(columns):
            yield Line(begun, None, f"has {len(row)} fields, the first line has {len(columns)}")
            continue
        # A cell says nothing of its type: text stays text, and an empty one is a value that is missing.
        document = {name: value or None for name, value in zip(columns, row, strict=True)}
        try:
            yield Line(begun, Message(orjson.dumps(document), _key(document, key)))
        except orjson.JSONEncodeError:
            yield Line(begun, None, "not UTF-8 text")


def _key(document: Any, field: str | None) -> str | None:
    """The value of a field as a key. A record that lacks it has none, and waits for nobody."""
    if field is None or not isinstance(document, dict):
        return None
    value = document.get(field)
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
