"""Concurrency: how many invocations of a function may run at a time, and who is next."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from streamfn.core.admission import CONCURRENCY_EXCEEDED, RESERVED_EXCEEDED


class Room:
    """Places for invocations, of one function or of several. 0 places: nothing ever runs.

    Those who wait are served in turn: one of each owner, and of one owner whoever waits longest. A place is
    given on before it counts as free, so nobody is overtaken.
    """

    def __init__(self, limit: int, reason: str = CONCURRENCY_EXCEEDED) -> None:
        self.limit = limit
        self.reason = reason
        """Why there is no place, in AWS's words, for callers that do not wait."""
        self.in_use = 0
        self._waiting: dict[str, deque[asyncio.Future[bool]]] = {}
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
        """Whether others wait for places that come free."""
        return self.limit > 0 and any(other != owner for other in self._waiting)

    def wait(self, owner: str) -> asyncio.Future[bool]:
        """Gets a place in the owner's turn: then it is True. False: look again, here or elsewhere."""
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(place)
        self._notify()
        return place

    def forget(self, owner: str, place: asyncio.Future[bool]) -> None:
        """Nobody waits for it any more."""
        places = self._waiting.get(owner, deque())
        if place in places:
            places.remove(place)
            if not places:
                del self._waiting[owner]

    def release(self) -> None:
        """Gives a place back."""
        if self.in_use <= self.limit and self._serve():
            return
        self.in_use -= 1
        self._notify()

    def resize(self, limit: int) -> None:
        """Changes the number of places; those in use beyond it are given back as they end. With 0, whoever
        waits is told that there are none, and asks again.
        """
        self.limit = limit
        if not limit:
            self._refuse()
        while self.in_use < self.limit and self._serve():
            self.in_use += 1
        self._notify()

    def watch(self) -> asyncio.Future[None]:
        """Done when a place may be free, or others wait for one."""
        watch: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watching.append(watch)
        return watch

    def wake(self) -> None:
        """Has all that watch look again."""
        for watch in self._watching:
            if not watch.done():
                watch.set_result(None)
        self._watching.clear()

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
                place.set_result(True)
                return True
        return False

    def _refuse(self) -> None:
        for places in self._waiting.values():
            for place in places:
                if not place.done():
                    place.set_result(False)
        self._waiting.clear()

    def _last_turn(self, owner: str) -> int:
        return self._turns.get(owner, 0)

    def _notify(self) -> None:
        if self._watching and (self.free > 0 or self._waiting):
            self.wake()


class Pool:
    """The places of one function: in a room of its own, or in one that it shares with others.

    It can move from one to another while invocations run and others wait.
    """

    def __init__(
        self, limit: int = 0, reason: str = CONCURRENCY_EXCEEDED, *, room: Room | None = None
    ) -> None:
        self.room = room or Room(limit, reason)
        self.in_use = 0
        """Invocations of this function."""
        self._waiting: dict[asyncio.Future[bool], str] = {}
        """Those who wait, and those who have a place and do not know it yet, by owner."""

    @property
    def limit(self) -> int:
        """The places of the room."""
        return self.room.limit

    @property
    def reason(self) -> str:
        """Why there is no place, in AWS's words, for callers that do not wait."""
        return self.room.reason

    @property
    def switched_off(self) -> bool:
        """Whether none are reserved for the function. Others may have taken all that it shares, too."""
        return not self.room.limit and self.room.reason == RESERVED_EXCEEDED

    @property
    def free(self) -> int:
        """Places that nobody has and nobody waits for."""
        return self.room.free

    def contended(self, owner: str) -> bool:
        """Whether others wait for places that come free. Then none will ever be seen free, and who reads
        before it takes a place may go by its turn.
        """
        return self.room.contended(owner)

    def try_acquire(self) -> bool:
        """Takes a place if one is free now. The fast way: no await."""
        room = self.room
        if room.in_use >= room.limit:
            return False
        room.in_use += 1
        self.in_use += 1
        return True

    async def acquire(self, owner: str = "") -> bool:
        """Takes a place, waiting for the owner's turn. False: the last ones were taken away meanwhile, and
        whoever waits for others asks again.
        """
        while not self.try_acquire():
            place = self.room.wait(owner)
            self._waiting[place] = owner
            try:
                if await place:
                    self.in_use += 1
                    return True
                if not self.limit:
                    return False
            except asyncio.CancelledError:
                if _given(place):
                    self.room.release()
                else:
                    self.room.forget(owner, place)
                raise
            finally:
                del self._waiting[place]
        return True

    def release(self) -> None:
        """Gives a place back."""
        self.in_use -= 1
        self.room.release()

    def release_after(self, end: asyncio.Future[Any]) -> None:
        """Gives a place back when what keeps it ends: a thread that nothing can stop."""
        end.add_done_callback(lambda _: self.release())

    def resize(self, limit: int) -> None:
        """Changes the number of places; those in use beyond it are given back as they end."""
        self.room.resize(limit)

    def move(self, room: Room) -> None:
        """Has its places elsewhere from now on. Invocations that run take theirs along, even where the room
        is full; those who wait do so there.
        """
        old, self.room = self.room, room
        given = sum(map(_given, self._waiting))
        room.in_use += self.in_use + given
        for place, owner in self._waiting.items():
            if not place.done():
                old.forget(owner, place)
                place.set_result(False)
        for _ in range(self.in_use + given):
            old.release()
        old.wake()

    async def wait_free(self, owner: str = "") -> None:
        """Returns when a place is free, or others wait for one, without taking it: the demand that comes
        before supply.
        """
        while self.free <= 0 and not self.contended(owner):
            await self.room.watch()


def _given(place: asyncio.Future[bool]) -> bool:
    return place.done() and not place.cancelled() and place.result()
