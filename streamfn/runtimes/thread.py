"""Blocking functions on worker threads."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_limiter: RunVar[CapacityLimiter] = RunVar("streamfn.functions.limiter")


def limiter() -> CapacityLimiter:
    """The limiter of the loop's function threads: it counts them and never refuses one, for pools do the
    limiting.
    """
    try:
        return _limiter.get()
    except LookupError:
        counting = CapacityLimiter(math.inf)
        _limiter.set(counting)
        return counting


def in_thread(function: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
    """Starts a function on a thread; the future is done when the thread is.

    Giving up on the future does not stop the thread, which nothing can do.
    """
    # The one task that outlives its caller: a thread cannot be cancelled, so somebody has to see its end.
    running = to_thread.run_sync(function, *args, limiter=limiter())
    task = asyncio.ensure_future(running)  # noqa: TID251
    task.add_done_callback(_seen)
    return task


def _seen(task: asyncio.Future[T]) -> None:
    if not task.cancelled():
        task.exception()
