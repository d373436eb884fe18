"""A destination that is a file: one JSON document a line."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

import orjson
from anyio import to_thread

from streamfn.errors import ConfigurationError
from streamfn.ports import FailureFormat, Message, SendFailure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class FileDestination:
    """Appends messages to a file of JSON lines, made with its folders when the first one comes.

    What was sent is on the disk when `send` returns. Lines are whole: several processes may write the same
    file, and a send that fails, on a full disk say, leaves nothing behind. Keys and headers are not kept. The
    file may be moved away at any time; a new one is begun.
    """

    failure_format = FailureFormat.RECORD

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`file:relative/path.jsonl` or `file:///absolute/path.jsonl`."""
        parts = urlsplit(uri)
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost"):
            raise ConfigurationError(
                f"{uri!r} names another machine: {parts.netloc}",
                field="Destination",
                fix=f"write file:{parts.netloc}{path}, or file:///absolute/path",
            )
        if not path or path.endswith("/") or parts.query:
            raise ConfigurationError(
                f"{uri!r} names no file", field="Destination", fix="write file:dead-letters.jsonl"
            )
        return cls(path)

    @property
    def name(self) -> str:
        return f"file:{self._path}"

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        lines: list[bytes] = []
        failures: list[SendFailure] = []
        for index, message in enumerate(messages):
            try:
                lines.append(_line(message.body))
            except ValueError:
                reason = "has several lines and is not JSON, so it cannot be one line of a file"
                failures.append(SendFailure(index, reason, retryable=False))
        if lines:
            await to_thread.run_sync(self._append, b"\n".join(lines) + b"\n")
        return failures

    async def check(self) -> None:
        folder = next(parent for parent in self._path.absolute().parents if parent.exists())
        problem = ""
        if self._path.is_dir():
            problem = "is a folder"
        elif not folder.is_dir():
            problem = f"{folder} is not a folder"
        elif not os.access(self._path if self._path.exists() else folder, os.W_OK):
            problem = "may not be written"
        if problem:
            raise ConfigurationError(
                f"{self.name}: {problem}", field="Destination", fix="name a file that this user may write"
            )

    async def close(self) -> None:
        """Nothing is kept open."""

    def _append(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = not self._path.exists()
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                # Somebody was cut off within a line: ours begins on its own.
                data = b"\n" + data
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(file, rest) :]
                os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)
        if new:
            _sync_folder(self._path.parent)


def _sync_folder(path: Path) -> None:
    """Makes the name of a new file durable, as fsync did its content."""
    folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _line(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body)) if b"\n" in body or b"\r" in body else body
