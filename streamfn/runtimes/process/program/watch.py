"""Waiting for the end of an environment: its own, one that streamfn wants, or one that its limits demand."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from contextlib import suppress

from . import signals
from .watching import Memory, Storage, descendants

TYPE_CHECKING = False
if TYPE_CHECKING:
    import resource
    import socket

    from .init import Place

__all__ = ["Watch", "descendants"]

_INIT_PHASE = 10.0  # seconds, as on Lambda
_MB = 1 << 20


class Watch:
    def __init__(self, place: Place, child: int, control: socket.socket, reading: socket.socket) -> None:
        self._place = place
        self._child = child
        self._control = control
        self._reading = reading
        self._over = False
        self._status = 0
        self._usage: resource.struct_rusage | None = None
        self._killed_by = ""
        self._init_phase_ends = time.monotonic() + _INIT_PHASE
        self._storage = Storage(place.scratch, place.sandbox["ephemeral_storage"] * _MB)
        self._memory: Memory | None = None
        if not place.group_name:
            self._memory = Memory(place.sandbox["memory_size"] * _MB)

    def until_end(self) -> None:
        """Returns when the runtime has ended; by its own, or killed."""
        self._control.setblocking(False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._reading, select.POLLIN)
        while self._usage is None and not self._over:
            for descriptor, _ in poll.poll(max(0.0, self._due() - time.monotonic()) * 1000 + 1):
                if descriptor == self._control.fileno():
                    self._obey()
                else:
                    signals.drain(self._reading)
                    self._reap()
            self._check(time.monotonic())
        while self._usage is None:
            self._place.kill_all()
            self._reap(block=True)

    def report(self, problem: int) -> None:
        """Tells how it ended, if streamfn is still there. `problem`: what the runtime wrote there if it
        could not be run.
        """
        exited = os.WIFEXITED(self._status)
        group = self._place.group
        most = [self._usage.ru_maxrss * 1024 if self._usage else 0, group.last_peak]
        if self._memory is not None:
            most.append(self._memory.peak)
        said = {
            "event": "exited",
            "status": os.WEXITSTATUS(self._status) if exited else None,
            "signal": None if exited else os.WTERMSIG(self._status),
            "max_rss": max(most),
            "oom": self._killed_by == "oom" or (not exited and group.last_oom),
            "storage": self._killed_by == "storage",
            "problem": os.read(problem, 4096).decode(),
        }
        with suppress(OSError):
            self._control.send(json.dumps(said).encode())

    def _due(self) -> float:
        due = min(self._storage.due, self._init_phase_ends)
        return due if self._memory is None else min(due, self._memory.due)

    def _check(self, now: float) -> None:
        if now >= self._init_phase_ends:
            self._end_init_phase()
        for limit in (self._storage, self._memory):
            if limit is not None and now >= limit.due and limit.exceeded():
                self._killed_by = limit.name
                self._over = True

    def _end_init_phase(self) -> None:
        self._init_phase_ends = float("inf")
        self._place.group.limit_cpu(self._place.sandbox["memory_size"])

    def _obey(self) -> None:
        try:
            word = self._control.recv(64)
        except OSError:
            word = b""
        if word == b"terminate":
            self._terminate()
        elif word == b"initialised":
            self._end_init_phase()
        else:  # "kill", or streamfn has gone
            self._over = True

    def _terminate(self) -> None:
        try:
            os.killpg(self._child, signal.SIGTERM)
        except ProcessLookupError:  # it has not yet made its group
            os.kill(self._child, signal.SIGTERM)

    def _reap(self, block: bool = False) -> None:
        while self._usage is None:
            pid, status, usage = os.wait4(-1, 0 if block else os.WNOHANG)
            if pid == self._child:
                self._status, self._usage = status, usage
            elif not pid:
                return
