"""The circuit breaker of a mapping at work: who waits for it, and who is let through."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from streamfn.core.breaking import BreakerPolicy, BreakerState, CircuitBreaker
from streamfn.telemetry import BreakerClosed, BreakerOpened

if TYPE_CHECKING:
    from asyncio import Future, TimerHandle

    from streamfn.core.lanes import Lanes
    from streamfn.core.records import Batch
    from streamfn.ports import Telemetry


class Breaker:
    """What the workers of one mapping share. They are let through in the order in which they came, so that
    each shard has its turn at finding out.
    """

    def __init__(self, policy: BreakerPolicy, mapping: str, telemetry: Telemetry) -> None:
        self._circuit = CircuitBreaker(policy)
        self._mapping = mapping
        self._telemetry = telemetry
        self._now = asyncio.get_running_loop().time
        self._waiting: deque[Future[int]] = deque()
        self._timer: TimerHandle | None = None

    @property
    def state(self) -> BreakerState:
        """Where it stands."""
        return self._circuit.state

    def holds(self, permit: int) -> bool:
        """Whether a call with this permit may still begin."""
        return self._circuit.holds(permit)

    async def admit(self) -> int:
        """A permit for one call, waiting for it. Whoever has one says what came of it, or leaves."""
        permit = None if self._waiting else self._circuit.admit(self._now())
        if permit is not None:
            return permit
        turn: Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(turn.result())
            else:
                turn.cancel()
            raise

    def answered(self, permit: int, *, well: bool) -> None:
        """A call came to its end."""
        circuit, now = self._circuit, self._now()
        if well and circuit.succeeded(permit, now):
            self._telemetry.emit(BreakerClosed(self._mapping, now - circuit.opened_at))
        elif not well and circuit.failed(permit, now):
            delay = circuit.due_at - now
            self._telemetry.emit(BreakerOpened(self._mapping, circuit.failures, circuit.openings, delay))
        self._let_in()

    def leave(self, permit: int) -> None:
        """Nothing came of it: the next one is let through instead."""
        self._circuit.forgone(permit)
        self._let_in()

    def _let_in(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
                continue
            permit = self._circuit.admit(self._now())
            if permit is None:
                if self._circuit.state is BreakerState.OPEN:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_at(self._circuit.due_at, self._let_in)
                return
            self._waiting.popleft().set_result(permit)


class Passage:
    """The way of one task through the breaker: it has one permit at most, for one batch at a time."""

    __slots__ = ("_breaker", "_permit")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._permit = 0

    @property
    def is_open(self) -> bool:
        """Whether a batch may be delivered now."""
        return self._breaker.holds(self._permit)

    async def enter(self) -> None:
        """Returns when a batch may be delivered."""
        if not self.is_open:
            self._permit = await self._breaker.admit()

    async def take(self, lanes: Lanes, now: float) -> Batch | None:
        """As `lanes.take`, once that may be delivered. What waits, waits in its lane."""
        due_at = lanes.due_at
        if due_at is None or now < due_at:
            self.leave()
            return None
        await self.enter()
        batch = lanes.take(asyncio.get_running_loop().time())
        if batch is None:
            self.leave()
        return batch

    def answered(self, *, well: bool | None) -> None:
        """The batch was delivered; None: that says nothing of the function."""
        if well is None:
            self.leave()
        else:
            self._breaker.answered(self._permit, well=well)

    def leave(self) -> None:
        """No batch is delivered now."""
        if self._permit:
            self._breaker.leave(self._permit)
            self._permit = 0
