"""Virtual time: an event loop whose clock jumps when there is nothing left to do but wait.

Days of sleeps and timeouts pass in milliseconds, and always in the same order.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

EPOCH = 1_735_689_600.0
"""What `clock` says when a loop of virtual time begins: 2025-01-01, midnight UTC."""

_TICKS = 1_000_000
"""The clock goes in microseconds."""
_SLICE = 0.02
"""Seconds between two looks at `busy` while time is real: it may change without waking the loop."""
_PATIENCE = 0.5
"""Seconds to listen before a deadlock is declared: a thread nobody told us of may still call."""


def clock() -> float:
    """Epoch seconds that go with the running loop's clock: `EPOCH` plus its time. Without a loop, `EPOCH`.

    The clock of all that `streamfn.testing` gives, and the one to inject into what is tested with it.
    """
    try:
        return round(EPOCH + asyncio.get_running_loop().time(), 6)
    except RuntimeError:
        return EPOCH


class Deadlock(RuntimeError):
    """Every task waits, and there is nothing that could wake one: no timer, no thread, no connection."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock begins at 0 and jumps to the next timer whenever nothing else can happen.

    Two runs of the same program see the same times, as long as they stay within the loop. Where the world
    outside is at work, which does not hurry, time passes as on the wall until it is done:

    - a worker thread runs (anyio's with any limiter, or the loop's own executor), or a child process;
    - a socket or pipe is registered whose other end is not. Listening sockets do not count, and neither do
      loopback connections with both ends in this loop: what one end wrote, the other has;
    - `busy` says so, or somebody is inside `real_time()`.

    If every task waits and nothing could wake one, `Deadlock` is raised out of the loop and says where each
    waits.

    What it cannot do: see threads started in other ways, and clients with a loop of their own (name them by
    `busy` or `real_time`, or timeouts pass at once); make `time.sleep` short; go on where a task spins on
    `sleep(0)` until some time has come, for while there is work no time passes.
    """

    def __init__(self, busy: Callable[[], bool] | None = None) -> None:
        self._ticks = 0
        self._busy = busy
        self._outside = 0
        """How many are inside `real_time`."""
        self._jumping = _JumpingSelector(self)
        super().__init__(self._jumping)
        self._jumping.own = frozenset(self._jumping.descriptors())
        # A timer is due when it lies before now + resolution: with half a tick, exactly when its tick has
        # come.
        self._clock_resolution = 0.5 / _TICKS

    def time(self) -> float:
        """Seconds since the loop was made, most of which never passed."""
        return self._ticks / _TICKS

    def call_at(self, when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        if when == math.inf:
            # Who sleeps for ever waits for something else, and no timer that never comes could wake anybody.
            callback, *rest = args
            return asyncio.TimerHandle(when, callback, rest, self, **kwargs)
        # Whole ticks keep sums of floats from drifting apart; at least one keeps a short sleep from taking
        # none, with which a task that polls the clock would never see it move.
        ticks = round(when * _TICKS)
        if ticks == self._ticks and when > self.time():
            ticks += 1
        return super().call_at(ticks / _TICKS, *args, **kwargs)

    def advance(self, seconds: float) -> None:
        """Moves the clock, as if the loop had slept: timers that lie between are late."""
        self._ticks += round(seconds * _TICKS)

    @contextmanager
    def real_time(self) -> Iterator[None]:
        """Within it time passes as on the wall."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    def is_busy(self) -> bool:
        """Whether something outside the loop is at work that will end on its own."""
        return (
            self._outside > 0
            or (self._busy is not None and self._busy())
            or (threading.active_count() > 1 and any(map(self._works_for_us, threading.enumerate())))
        )

    def _works_for_us(self, thread: threading.Thread) -> bool:
        if "waitpid-" in thread.name:  # how asyncio waits for a child process where it does not use a pidfd
            return True
        # anyio has no public list of its threads, and asking its limiters would mean to know them all. Where
        # its backend was never imported, there are none.
        backend = sys.modules.get("anyio._backends._asyncio")
        return (
            backend is not None
            and isinstance(thread, backend.WorkerThread)
            and thread.loop is self
            and thread not in thread.idle_workers
        )

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _: asyncio.Future[Any]) -> None:
        self._outside -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        with self.real_time():  # it waits in a thread of its own
            await super().shutdown_default_executor(*args)


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing unless it has to."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self.own: frozenset[int] = frozenset()
        """The descriptors by which the loop wakes itself."""
        self._loop = loop
        self._connected: bool | None = False
        """Whether something outside may answer; None when that has to be found out again."""

    def register(self, *args: Any) -> selectors.SelectorKey:
        self._connected = None
        return super().register(*args)

    def unregister(self, *args: Any) -> selectors.SelectorKey:
        self._connected = None
        return super().unregister(*args)

    def descriptors(self) -> set[int]:
        return {key.fd for key in self.get_map().values()}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if events or timeout == 0:
            return events
        if self._is_connected() or self._loop.is_busy():
            began = time.monotonic()
            events = super().select(_SLICE if timeout is None else min(timeout, _SLICE))
            passed = time.monotonic() - began
            self._loop.advance(passed if timeout is None else min(passed, timeout))
        elif timeout is not None:
            self._loop.advance(timeout)
        else:
            events = super().select(_PATIENCE)
            if not events and not self._loop._ready:  # type: ignore[attr-defined]
                raise Deadlock(_who_waits(self._loop))
        return events

    def _is_connected(self) -> bool:
        if self._connected is None:
            self._connected = _has_outside(self.descriptors() - self.own)
        return self._connected


def _has_outside(descriptors: Iterable[int]) -> bool:
    """Whether one of them is a pipe, or a connection whose other end is not among them."""
    ends: set[tuple[Any, Any]] = set()
    for fd in descriptors:
        try:
            # Makes a socket object around the descriptor and lets go of it again: nothing is copied or
            # closed.
            connection = socket.socket(fileno=fd)
        except OSError:
            return True
        try:
            peer = None
            with suppress(OSError):
                peer = connection.getpeername()
            if peer is None:
                continue
            ends.add((connection.getsockname(), peer))
        finally:
            connection.detach()
    return any((there, here) not in ends or not here for here, there in ends)


def _who_waits(loop: asyncio.AbstractEventLoop) -> str:
    lines = sorted(f"  {task.get_name()} at {_place(task)}" for task in asyncio.all_tasks(loop))
    return "\n".join(["every task waits, and nothing can wake one:", *lines])


def _place(task: asyncio.Task[Any]) -> str:
    """Where a task stands: the innermost line that is not the library's."""
    place = "?"
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None and (place == "?" or not _is_library(frame.f_code.co_filename)):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return place


def _is_library(filename: str) -> bool:
    return any(part in filename for part in ("/asyncio/", "/anyio/", "\\asyncio\\", "\\anyio\\"))


virtual_backend: tuple[str, dict[str, Any]] = ("asyncio", {"loop_factory": VirtualTimeLoop})
"""What an `anyio_backend` fixture returns to run its tests in virtual time."""
