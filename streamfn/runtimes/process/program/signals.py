"""Signals: what a process asked to end does, and children that end as something a poll can wait for."""

from __future__ import annotations

import signal
import socket

_REQUESTS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def children() -> socket.socket:
    """A socket that can be read from whenever a child has ended; `drain` it then."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    signal.signal(signal.SIGCHLD, _nothing)
    former = signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)
    if former >= 0:
        socket.socket(fileno=former).close()
    return reading


def leave_to_streamfn() -> None:
    """Ignores requests to end, which a terminal or a service manager sends to all processes at once: streamfn
    says when, as it lets invocations finish.
    """
    for number in _REQUESTS:
        signal.signal(number, signal.SIG_IGN)


def as_at_start(program: bool) -> None:
    """What a new process finds: a program, or an interpreter of Python, which sets some for itself."""
    signal.set_wakeup_fd(-1)
    for number in (*_REQUESTS, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    if program:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
    else:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def drain(reading: socket.socket) -> None:
    try:
        while reading.recv(4096):
            pass
    except BlockingIOError:
        pass


def _nothing(number: int, frame: object) -> None:
    """A handler in Python, without which nothing would be written to the socket."""
