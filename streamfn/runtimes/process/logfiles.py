"""Logs of functions as files, in folders named as CloudWatch names its groups and streams."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from streamfn.core.rendering import iso_millis

if TYPE_CHECKING:
    from streamfn.ports import Clock

MAX_BYTES: Final = 10_485_760
"""Of one file, unless said otherwise."""

_OPEN: Final = 64
_LOG: Final = logging.getLogger("streamfn.runtimes.process")


class FolderSink:
    """`FOLDER/aws/lambda/NAME/YYYY/MM/DD/[VERSION]ID.log`: a line each, its instant before it.

    A file that has reached its size becomes `.log.1`, and what was that is gone. A disk that takes no more
    costs lines, which is said once; functions run on.
    """

    enabled = True

    def __init__(self, folder: str | Path, clock: Clock, *, max_bytes: int = MAX_BYTES) -> None:
        self._folder = Path(folder)
        self._clock = clock
        self._max_bytes = max_bytes
        self._files: OrderedDict[tuple[str, str], IO[bytes]] = OrderedDict()
        self._failed = False

    def line(self, function: str, version: str, stream: str, request_id: str, text: str) -> None:
        data = f"{iso_millis(self._clock())}\t{text}\n".encode("utf-8", "replace")
        try:
            file = self._file(function, stream)
            if file.tell() and file.tell() + len(data) > self._max_bytes:
                file = self._rotate(function, stream)
            file.write(data)
        except OSError as error:
            self._fail(error)
        else:
            self._failed = False

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def path(self, function: str, stream: str) -> Path:
        """Where the log of an environment is."""
        return self._folder / "aws" / "lambda" / function / f"{stream}.log"

    def _file(self, function: str, stream: str) -> IO[bytes]:
        file = self._files.get((function, stream))
        if file is None:
            path = self.path(function, stream)
            path.parent.mkdir(parents=True, exist_ok=True)
            file = self._files[function, stream] = path.open("ab", buffering=0)
            if len(self._files) > _OPEN:
                _, oldest = self._files.popitem(last=False)
                oldest.close()
        else:
            self._files.move_to_end((function, stream))
        return file

    def _rotate(self, function: str, stream: str) -> IO[bytes]:
        self._files.pop((function, stream)).close()
        path = self.path(function, stream)
        os.replace(path, f"{path}.1")
        return self._file(function, stream)

    def _fail(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            _LOG.warning("lines of functions are lost: %s", error)
