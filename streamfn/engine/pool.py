"""Concurrency: how many invocations of a function may run at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any


class Pool:
    """Places for invocations, first come first served. 0 places: nothing ever runs.

    A place is given to whoever waits longest before it counts as free, so nobody is overtaken.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._watching: list[asyncio.Future[None]] = []

    @property
    def free(self) -> int:
        """Places that nobody has and nobody waits for."""
        return self.limit - self.in_use

    def try_acquire(self) -> bool:
        """Takes a place if one is free now. The fast way: no await."""
        if self.in_use >= self.limit:
            return False
        self.in_use += 1
        return True

    async def acquire(self) -> None:
        """Takes a place, waiting for it."""
        if self.try_acquire():
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()
            else:
                place.cancel()
            raise

    def release(self) -> None:
        """Gives a place back."""
        while self._waiting and self.in_use <= self.limit:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.in_use -= 1
        self._notify()

    def release_after(self, end: asyncio.Future[Any]) -> None:
        """Gives a place back when what keeps it ends: a thread that nothing can stop."""
        end.add_done_callback(lambda _: self.release())

    def resize(self, limit: int) -> None:
        """Changes the number of places; those in use beyond it are given back as they end."""
        self.limit = limit
        while self._waiting and self.in_use < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self.in_use += 1
                place.set_result(None)
        self._notify()

    async def wait_free(self) -> None:
        """Returns when a place is free, without taking it: the demand that comes before supply."""
        while self.free <= 0:
            watch: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watching.append(watch)
            await watch

    def _notify(self) -> None:
        if self._watching and self.free > 0:
            for watch in self._watching:
                if not watch.done():
                    watch.set_result(None)
            self._watching.clear()
