"""Functions that are down for a while, and where the breaker of their mapping stands."""

from __future__ import annotations

from collections.abc import Callable

from streamfn import App, Batch
from streamfn.testing.clock import clock
from tests.engine.conftest import Calls

THREE = {"failures": 3, "delay": 10, "maximum_delay": 40}


def down(seconds: float) -> Callable[[Batch], None]:
    """Fails for so long from now on."""
    until = clock() + seconds

    def then(batch: Batch) -> None:
        if clock() < until:
            raise ValueError("the database is down")

    return then


def since(began: float, calls: Calls) -> list[float]:
    return [round(at - began, 3) for at in calls.at]


def breaker_of(app: App) -> str | None:
    return app.statuses()[0].circuit_breaker
