"""Adaptive concurrency at work: what calls of a function come to, decides how many places its pool has."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from streamfn.core.limiting import AdaptiveLimit, LimitPolicy
from streamfn.core.outcomes import Failed, Outcome, Throttled
from streamfn.telemetry import ConcurrencyAdapted

if TYPE_CHECKING:
    from streamfn.core.records import Batch
    from streamfn.engine.pool import Pool
    from streamfn.functions import Call, Context
    from streamfn.ports import Telemetry


class Adapting:
    """Resizes the pool of one function, up to the places that it has at first.

    The pool is the function's alone. One without places stays so: the function is switched off.
    """

    def __init__(self, policy: LimitPolicy, function: str, pool: Pool, telemetry: Telemetry) -> None:
        self._function = function
        self._pool = pool
        self._telemetry = telemetry
        self._now = asyncio.get_running_loop().time
        top = min(policy.maximum, pool.limit)
        within = replace(
            policy, minimum=min(policy.minimum, top), maximum=top, initial=min(policy.initial, top)
        )
        self._limit = AdaptiveLimit(within, self._now())
        pool.resize(self._limit.limit)

    @property
    def limit(self) -> int:
        """Calls that may be made at a time now."""
        return self._limit.limit

    def watching(self, call: Call) -> Call:
        """The same call, looked at."""

        async def watched(batch: Batch, context: Context) -> Outcome:
            begun = self._now()
            outcome = await call(batch, context)
            self.observe(begun, outcome)
            return outcome

        return watched

    def observe(self, begun: float, outcome: Outcome) -> None:
        """A call that began at `begun`, by the loop's clock, has just ended, and has its place still."""
        was, dropped = self._limit.limit, isinstance(outcome, Failed | Throttled)
        if not self._limit.observe(begun, self._now(), self._pool.in_use, dropped=dropped):
            return
        limit, last = self._limit.limit, self._limit.last
        self._pool.resize(limit)
        self._telemetry.emit(ConcurrencyAdapted(self._function, limit, was, last.latency, last.drop_rate))
