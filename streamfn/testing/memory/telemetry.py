"""Telemetry that a test can look at, and wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from streamfn.testing.memory.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamfn.telemetry import TelemetryEvent

T = TypeVar("T")


class MemoryTelemetry:
    """A `Telemetry` that keeps all events, in order."""

    def __init__(self) -> None:
        self.events: list[TelemetryEvent] = []
        self._changed = Bell()

    def emit(self, event: TelemetryEvent) -> None:
        self.events.append(event)
        self._changed.ring()

    def of(self, kind: type[T], where: Callable[[T], object] = bool) -> list[T]:
        """The events of a type, those that satisfy a condition."""
        everything: Sequence[Any] = self.events
        return [event for event in everything if isinstance(event, kind) and (where is bool or where(event))]

    async def wait_for(self, kind: type[T], count: int = 1, where: Callable[[T], object] = bool) -> list[T]:
        """Returns when there are so many such events, earlier ones included, with all of them."""
        await self._changed.until(lambda: len(self.of(kind, where)) >= count)
        return self.of(kind, where)
