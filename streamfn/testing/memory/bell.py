"""Waking whoever waits for a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import Event

if TYPE_CHECKING:
    from collections.abc import Callable


class Bell:
    """Rung at each change; all who listen wake. Without listeners it costs nothing, and needs no loop."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: Event | None = None

    def ring(self) -> None:
        """Wakes all who listen now."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def heard(self) -> None:
        """Returns when the bell is rung next."""
        if self._event is None:
            self._event = Event()
        await self._event.wait()

    async def until(self, condition: Callable[[], object]) -> None:
        """Returns when the condition holds, asked now and at every ring."""
        while not condition():
            await self.heard()
