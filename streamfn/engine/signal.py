"""A light event for a single waiter."""

from __future__ import annotations

import asyncio


class Signal:
    """As `asyncio.Event`, for one task that waits.

    An event's queue alone takes 600 bytes, and there may be thousands of idle shards: this holds nothing
    while nobody waits.
    """

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        self._rung = False

    async def wait(self) -> None:
        """Returns at once if it was set and not cleared since."""
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
