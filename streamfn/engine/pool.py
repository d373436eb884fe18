"""Concurrency: how many invocations of a function may run at a time, and who is next."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from streamfn.core.admission import CONCURRENCY_EXCEEDED


class Pool:
    """Places for invocations. 0 places: nothing ever runs.

    Those who wait are served in turn: one of each owner, and of one owner whoever waits longest. A place is
    given on before it counts as free, so nobody is overtaken.
    """

    def __init__(self, limit: int, reason: str = CONCURRENCY_EXCEEDED) -> None:
        self.limit = limit
        self.reason = reason
        """Why there is no place, in AWS's words, for callers that do not wait."""
        self.in_use = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By owner; none without one."""
        self._turns: dict[str, int] = {}
        """The turn that each owner had last. Who had it longest ago is next, wherever it was meanwhile."""
        self._turn = 0
        self._watching: list[asyncio.Future[None]] = []

    @property
    def free(self) -> int:
        """Places that nobody has and nobody waits for."""
        return self.limit - self.in_use

    def contended(self, owner: str) -> bool:
        """Whether others wait for places that come free. Then none will ever be seen free, and who reads
        before it takes a place may go by its turn.
        """
        return self.limit > 0 and any(other != owner for other in self._waiting)

    def try_acquire(self) -> bool:
        """Takes a place if one is free now. The fast way: no await."""
        if self.in_use >= self.limit:
            return False
        self.in_use += 1
        return True

    async def acquire(self, owner: str = "") -> None:
        """Takes a place, waiting for the owner's turn."""
        if self.try_acquire():
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(place)
        self._notify()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()
            else:
                self._forget(owner, place)
            raise

    def release(self) -> None:
        """Gives a place back."""
        if self.in_use <= self.limit and self._serve():
            return
        self.in_use -= 1
        self._notify()

    def release_after(self, end: asyncio.Future[Any]) -> None:
        """Gives a place back when what keeps it ends: a thread that nothing can stop."""
        end.add_done_callback(lambda _: self.release())

    def resize(self, limit: int) -> None:
        """Changes the number of places; those in use beyond it are given back as they end."""
        self.limit = limit
        while self.in_use < self.limit and self._serve():
            self.in_use += 1
        self._notify()

    async def wait_free(self, owner: str = "") -> None:
        """Returns when a place is free, or others wait for one, without taking it: the demand that comes
        before supply.
        """
        while self.free <= 0 and not self.contended(owner):
            watch: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watching.append(watch)
            await watch

    def _serve(self) -> bool:
        """Gives a place to who is next, if anybody waits."""
        while self._waiting:
            owner = min(self._waiting, key=self._last_turn)
            places = self._waiting[owner]
            place = places.popleft()
            if not places:
                del self._waiting[owner]
            if not place.done():
                self._turn += 1
                self._turns[owner] = self._turn
                place.set_result(None)
                return True
        return False

    def _last_turn(self, owner: str) -> int:
        return self._turns.get(owner, 0)

    def _forget(self, owner: str, place: asyncio.Future[None]) -> None:
        places = self._waiting.get(owner, deque())
        if place in places:
            places.remove(place)
            if not places:
                del self._waiting[owner]

    def _notify(self) -> None:
        if self._watching and (self.free > 0 or self._waiting):
            for watch in self._watching:
                if not watch.done():
                    watch.set_result(None)
            self._watching.clear()
