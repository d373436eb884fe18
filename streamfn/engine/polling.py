"""The pollers of a queue at work: each asks for its turn to read, and tells what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from streamfn.core.outcomes import Failed, Outcome, Throttled
from streamfn.core.polling import Pollers

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfn.engine.breaking import Passage
    from streamfn.engine.plan import MappingPlan
    from streamfn.engine.pool import Pool


class Polling:
    """What the pollers of one mapping share: their counts, and the places of its function."""

    def __init__(self, plan: MappingPlan, pool: Pool, add: Callable[[Poller], object]) -> None:
        self.pollers = Pollers(plan.minimum_pollers, plan.concurrency)
        self._reports = plan.delivery.report_batch_item_failures
        self._pool = pool
        self._name = plan.name
        self._add = add
        self._closed = False
        self._claims = 0
        """Places that are free and that pollers read for."""
        self._unclaimed = anyio.Event()

    def fill(self) -> None:
        """Starts the pollers that are missing."""
        for _ in range(0 if self._closed else self.pollers.missing):
            self.pollers.started()
            self._add(Poller(self))

    def close(self) -> None:
        """No more are added."""
        self._closed = True

    def answered(self, outcome: Outcome) -> None:
        """An invocation ended: failures slow polling down, unless the function may report them."""
        if isinstance(outcome, Throttled) or (isinstance(outcome, Failed) and not self._reports):
            self.pollers.failed()
        else:
            self.pollers.succeeded()
        self.fill()

    async def claim(self) -> None:
        """Claims a place of the function, waiting for one that is free and nobody else reads for; or, where
        others of the function never leave one free, for the mapping's turn.

        Not the place itself, which others may use while a read finds nothing.
        """
        while not self._may_claim():
            if self._pool.free > 0 or self._pool.contended(self._name):
                await self._unclaimed.wait()
            else:
                await self._pool.wait_free(self._name)
        self._claims += 1

    def _may_claim(self) -> bool:
        return self._pool.free > self._claims or (not self._claims and self._pool.contended(self._name))

    def unclaim(self) -> None:
        """The place is taken, or no longer wanted."""
        self._claims -= 1
        self._unclaimed.set()
        self._unclaimed = anyio.Event()


class Poller:
    """One of them. It begins by waiting."""

    def __init__(self, polling: Polling) -> None:
        self._polling = polling
        self._works = False
        self._claims = False
        self._ended = False

    async def may_read(self, passage: Passage | None, *, found_nothing: bool) -> bool:
        """Waits until what is read can be delivered at once. False: the poller is one too many and ends."""
        pollers = self._polling.pollers
        if passage is not None:
            # First, for the one that the breaker lets through may be waiting for this place.
            self._unclaim()
            await passage.enter()
        if self._works:
            self._works = False
            pollers.finished()
        self._unclaim()
        if pollers.spares(found_nothing=found_nothing):
            # Counted at once: were all of them to end together, the next must see that it is the last.
            self.ends()
            return False
        await self._polling.claim()
        self._claims = True
        return True

    def takes_up(self) -> None:
        """It has work: another is to wait in its place."""
        if not self._works:
            self._works = True
            self._polling.pollers.took_up()
            self._polling.fill()

    def begins(self) -> None:
        """It has the place of the function that it read for."""
        self._unclaim()

    def answered(self, outcome: Outcome) -> None:
        """Its function came to an end."""
        self._polling.answered(outcome)

    def ends(self) -> None:
        """It reads no more."""
        if not self._ended:
            self._ended = True
            self._unclaim()
            self._polling.pollers.ended(working=self._works)

    def _unclaim(self) -> None:
        if self._claims:
            self._claims = False
            self._polling.unclaim()
