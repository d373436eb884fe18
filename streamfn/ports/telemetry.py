"""Where typed events go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from streamfn.telemetry import TelemetryEvent


class Telemetry(Protocol):
    """Where typed events go: logs, metrics, traces, tests."""

    def emit(self, event: TelemetryEvent) -> None:
        """Takes an event. Must not block or raise."""
