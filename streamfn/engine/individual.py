"""Settlement of queues: record by record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import anyio

from streamfn.core.events import FRESH, EventRecord, History
from streamfn.core.outcomes import Cause
from streamfn.core.policies import Ordering
from streamfn.core.records import Batch
from streamfn.engine.signal import Signal
from streamfn.errors import SourceError
from streamfn.telemetry import BatchRetried, SettlementFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamfn.core.delivery import Decision
    from streamfn.core.records import Record
    from streamfn.engine.plan import MappingPlan
    from streamfn.engine.settling import Start
    from streamfn.ports import EventShard, QueueShard, Telemetry


class Individual:
    """Queues: each record is acknowledged or released, and kept hidden for as long as it is here.

    Records are acknowledged beside the next read, one such request at a time. Not in FIFO queues, which give
    no more of a group until it is done.
    """

    def __init__(self, shard: QueueShard, plan: MappingPlan, telemetry: Telemetry) -> None:
        self._shard = shard
        self._plan = plan
        self._telemetry = telemetry
        self._beside = plan.delivery.ordering is not Ordering.KEY
        self._here: dict[int, Record] = {}
        self._done: Sequence[Record] = ()
        """Being acknowledged."""
        self._acked = Signal()
        self._start: Start
        self._tell: Callable[[], None]
        self._hiding = asyncio.Lock()
        """No record is hidden after it was released."""
        self.congested = False

    @property
    def unresolved(self) -> int:
        return len(self._here)

    async def open(self) -> None:
        """Nothing to do: the queue knows all."""

    def begin(self, start: Start, settled: Callable[[], None]) -> None:
        self._start = start
        self._tell = settled
        start(self._keep_hidden)

    async def _keep_hidden(self) -> None:
        # A third of the timeout leaves time for two failed tries before anything comes back.
        pause = max(self._shard.visibility_timeout / 3, 0.5)
        while True:
            await asyncio.sleep(pause)
            async with self._hiding:
                if self._here:
                    try:
                        await self._shard.extend(list(self._here.values()), self._shard.visibility_timeout)
                    except (OSError, SourceError) as error:
                        self._report("extend", error)

    def track(self, records: Sequence[Record]) -> Sequence[Record]:
        self._here.update((id(record), record) for record in records)
        return records

    async def resolve(self, records: Sequence[Record]) -> None:
        if records:
            await self._settled()
            self._done = records
            if self._beside:
                self._start(self._ack)
            else:
                await self._ack()

    async def _ack(self) -> None:
        try:
            await self._shard.ack(self._done)
        except (OSError, SourceError) as error:
            self._report("ack", error)
        # Kept hidden until then: an acknowledgement may have to be tried again and again.
        self._let_go(self._done)
        self._done = ()
        self._acked.set()

    async def _settled(self) -> None:
        """What is done is acknowledged."""
        if self._done:
            self._acked.clear()
            await self._acked.wait()

    async def settle(self, taken: Batch, decision: Decision) -> tuple[Batch, ...]:
        done = list(decision.done)
        for discard in decision.discard:
            done.extend(discard.batch.records)
        await self.resolve(done)
        return tuple([part for part in decision.retry if not await self._gives_back(part, decision.delay)])

    async def _gives_back(self, part: Batch, delay: float) -> bool:
        """Whether what goes again waits in the queue. What was throttled stays here, hidden."""
        if part.throttles:
            return False
        wanted = self._plan.retry_delay
        # Released with 0 it would count as never received, and its dead-letter queue never get it.
        await self._release(part.records, wanted if wanted is None else max(wanted, 0.001))
        return True

    async def expose(self, batch: Batch) -> None:
        """Nothing to do: the queue counts receives itself."""

    @property
    def recalls(self) -> bool:
        return False

    def recalled(self, record: Record) -> Batch | None:
        """Nothing: the queue decides how often a record is tried."""
        return None

    def died(self, batch: Batch) -> bool:
        return False

    async def forget(self, records: Sequence[Record]) -> None:
        await self._settled()
        await self._release(records, 0.0)

    async def close(self, *, lost: bool) -> None:
        if self._done:  # It was cut off.
            await self._ack()
        await self._release(list(self._here.values()), 0.0)

    async def _release(self, records: Sequence[Record], delay: float | None) -> None:
        if not records:
            return
        async with self._hiding:
            try:
                await self._shard.release(records, delay)
            except (OSError, SourceError) as error:
                self._report("release", error)
            # Not before: what is cut off here is released when this closes.
            self._let_go(records)

    def _let_go(self, records: Sequence[Record]) -> None:
        for record in records:
            self._here.pop(id(record), None)

    def _report(self, action: str, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {error}"
        self._telemetry.emit(SettlementFailed(self._plan.name, self._shard.id, action, reason))


class Asynchronous(Individual):
    """Event queues: what goes again waits in the queue with what is remembered of it, for minutes or hours.

    Events are acknowledged beside their deliveries, as many at once as have gathered: nothing waits for it.
    """

    def __init__(self, shard: EventShard, plan: MappingPlan, telemetry: Telemetry) -> None:
        super().__init__(shard, plan, telemetry)
        self._events = shard
        self._gathered: list[Record] = []
        self._acking = False

    @property
    def recalls(self) -> bool:
        return True

    def recalled(self, record: Record) -> Batch | None:
        history = cast("EventRecord", record).history
        if history is FRESH:
            return None
        return Batch(
            (record,),
            self._shard.shape,
            history.attempts,
            history.throttles,
            history.suspect,
            history.failure,
        )

    def died(self, batch: Batch) -> bool:
        return any(cast("EventRecord", record).history.died for record in batch)

    async def resolve(self, records: Sequence[Record]) -> None:
        if records:
            self._gathered.extend(records)
            self.congested = len(self._gathered) >= _MOST_GATHERED
            if not self._acking:
                self._acking = True
                self._start(self._ack_gathered)

    async def _ack_gathered(self) -> None:
        while self._gathered:
            self._done, self._gathered = self._gathered, []
            await self._ack()
            self.congested = False
            self._tell()
        self._acking = False
        self._acked.set()

    async def _settled(self) -> None:
        while self._acking:
            self._acked.clear()
            await self._acked.wait()

    async def _gives_back(self, part: Batch, delay: float) -> bool:
        # What ended its process is delivered alone from now on: it shall not end others' deliveries again.
        suspect = part.suspect and part.failure is not None and part.failure.cause is Cause.CRASH
        history = History(part.attempt, part.throttles, part.failure, suspect)
        events = [cast("EventRecord", record) for record in part]
        for event in events:
            event.history = history
        async with self._hiding:
            # It was an attempt, also where this is cut off just now. Later than that they come anyway.
            with anyio.move_on_after(self._shard.visibility_timeout, shield=True):
                try:
                    await self._events.remember(events, delay)
                except (OSError, SourceError) as error:
                    self._report("release", error)
            self._let_go(events)
        self._telemetry.emit(
            BatchRetried(self._plan.name, self._shard.id, len(events), 1, part.attempt, delay)
        )
        return True

    async def expose(self, batch: Batch) -> None:
        (event,) = batch
        await self._events.expose(cast("EventRecord", event))

    async def close(self, *, lost: bool) -> None:
        self._done = [*self._done, *self._gathered]
        self._gathered = []
        await super().close(lost=lost)


_MOST_GATHERED = 10_000
"""Events that wait to be acknowledged before no more are read."""
