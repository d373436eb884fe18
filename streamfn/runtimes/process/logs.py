"""A function's log: what it prints and what the platform says of it, line by line.

Nothing is held but the last 4 KB of each invocation and the line at hand, however much is printed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TAIL: Final = 4096
"""Bytes that a caller gets with `LogType=Tail` (Lambda API reference: Invoke)."""
MAX_LINE: Final = 262_144
"""Bytes; a longer line is given as several (CloudWatch's limit of an event)."""

_READ: Final = 65_536
_DRAIN: Final = 32


class LogSink(Protocol):
    """Where lines of functions go. Must not raise."""

    @property
    def enabled(self) -> bool:
        """Whether anybody wants them now."""

    def line(self, function: str, version: str, stream: str, request_id: str, text: str) -> None:
        """Takes a line, without its end. `stream` is the name of the environment's log stream; `request_id`
        is empty where the line belongs to no invocation, or nobody knows to which.
        """

    def close(self) -> None:
        """Lets go of what is open."""


class LoggerSink:
    """The logger `streamfn.function`, at level INFO."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("streamfn.function")

    @property
    def enabled(self) -> bool:
        return self._logger.isEnabledFor(logging.INFO)

    def line(self, function: str, version: str, stream: str, request_id: str, text: str) -> None:
        fields = {"function": function, "version": version, "stream": stream, "request_id": request_id}
        self._logger.info("%s: %s", function, text, extra=fields)

    def close(self) -> None:
        """Nothing is open."""


class LogStream:
    """The log of one environment, with what belongs to which invocation."""

    def __init__(self, sink: LogSink, function: str, version: str, name: str) -> None:
        self.name = name
        self._sink = sink
        self._function = function
        self._version = version
        self._tails: dict[str, bytearray] = {}
        self._line = bytearray()

    def begin(self, request_id: str, text: str) -> None:
        """An invocation begins, with a line of the platform."""
        self._end_line()
        self._tails[request_id] = bytearray()
        self.say(text, request_id)

    def say(self, text: str, request_id: str = "") -> None:
        """A line of the platform, or several; none if the text is empty."""
        if not text:
            return
        self._end_line()
        tail = self._tails.get(request_id)
        if tail is not None:
            _extend(tail, f"{text}\n".encode())
        if self._sink.enabled:
            for line in text.split("\n"):
                self._sink.line(self._function, self._version, self.name, request_id, line)

    def end(self, request_id: str) -> bytes:
        """Ends what belongs to an invocation, and gives the last 4 KB of it."""
        self._end_line()
        return bytes(self._tails.pop(request_id, b"")[-MAX_TAIL:])

    def write(self, data: bytes) -> None:
        """What the function printed."""
        if not data:
            return
        if len(self._tails) == 1:
            for tail in self._tails.values():
                _extend(tail, data)
        if not self._sink.enabled:
            # Only whether a line is open still counts.
            self._line[:] = data[-1:] if data[-1:] != b"\n" else b""
            return
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._line += line
            self._give()
        self._line += rest
        while len(self._line) >= MAX_LINE:
            self._give()

    def flush(self) -> None:
        """Gives the line at hand, which will get no end."""
        if self._line:
            self._give()

    def _end_line(self) -> None:
        if self._line:
            if len(self._tails) == 1:
                for tail in self._tails.values():
                    tail += b"\n"
            self._give()

    def _give(self) -> None:
        request_id = next(iter(self._tails)) if len(self._tails) == 1 else ""
        text = self._line[:MAX_LINE].decode("utf-8", "replace")
        del self._line[:MAX_LINE]
        if self._sink.enabled:
            self._sink.line(self._function, self._version, self.name, request_id, text)


class Output:
    """Reads what an environment prints, as it comes."""

    def __init__(self, descriptor: int, write: Callable[[bytes], None]) -> None:
        """Owns the descriptor, which does not block."""
        self._descriptor = descriptor
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def drain(self) -> None:
        """Reads what is there by now: all that was printed before anything else that we learned."""
        # Bounded, for somebody may print faster than we read.
        for _ in range(_DRAIN):
            if not self._read():
                break

    def close(self) -> None:
        """Reads what is there and lets go."""
        self.drain()
        self._end()

    def _read(self) -> bool:
        if self._descriptor < 0:
            return False
        try:
            data = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return False
        if not data:
            self._end()
            return False
        self._write(data)
        return len(data) == _READ

    def _end(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


def _extend(tail: bytearray, data: bytes) -> None:
    tail += data[-MAX_TAIL:]
    if len(tail) > 2 * MAX_TAIL:
        del tail[:-MAX_TAIL]
