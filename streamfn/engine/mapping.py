"""One event source mapping at work: its source's shards, each with a worker."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio

from streamfn.engine.breaking import Breaker
from streamfn.engine.individual import Asynchronous, Individual
from streamfn.engine.polling import Polling
from streamfn.engine.routing import Router
from streamfn.engine.sequencing import Reopened
from streamfn.engine.settling import Cumulative
from streamfn.engine.worker import Worker
from streamfn.ports import (
    Assigned,
    Clock,
    EventSource,
    QueueShard,
    QueueSource,
    Reason,
    Revoked,
    StreamShard,
    StreamSource,
    Telemetry,
    is_queue,
)
from streamfn.telemetry import ShardAssigned, ShardReleased

if TYPE_CHECKING:
    from random import Random

    from anyio.abc import TaskGroup

    from streamfn.core.breaking import BreakerState
    from streamfn.engine.adapting import Adapting
    from streamfn.engine.plan import MappingPlan
    from streamfn.engine.polling import Poller
    from streamfn.engine.pool import Pool
    from streamfn.functions import MakeCall


class Mapping:
    """Reads one source for one function until it is drained or cancelled."""

    def __init__(
        self,
        plan: MappingPlan,
        *,
        make_call: MakeCall,
        pool: Pool,
        telemetry: Telemetry,
        clock: Clock,
        random: Random,
        adapting: Adapting | None = None,
    ) -> None:
        self.plan = plan
        call = make_call(plan.function, plan.delivery.ordering)
        self._call = call if adapting is None else adapting.watching(call)
        self._adapting = adapting
        self._pool = pool
        self._telemetry = telemetry
        self._clock = clock
        self._random = random
        self._router = Router(plan, telemetry, clock)
        policy = plan.circuit_breaker
        self._breaker = None if policy is None else Breaker(policy, plan.name, telemetry)
        self._workers: dict[str, Worker] = {}
        self._streams: dict[str, StreamShard] = {}
        self._queues: dict[str, QueueShard] = {}
        self._draining = False
        self._pollers = 0
        self._polling: Polling | None = None
        self._tasks: TaskGroup
        self._intake = anyio.CancelScope()

    @property
    def in_flight(self) -> int:
        """Records being delivered now."""
        return sum(worker.in_flight for worker in self._workers.values())

    @property
    def shards(self) -> int:
        """Shards held now; for a queue, its pollers."""
        return len(self._workers)

    @property
    def lag(self) -> int | None:
        """Records that wait in the source, as far as known."""
        if self._pollers or self._queues:
            return next((shard.depth for shard in self._queues.values()), None)
        lags = [shard.lag for shard in self._streams.values()]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if known and len(known) == len(lags) else None

    @property
    def iterator_age(self) -> float | None:
        """Seconds by which the shard that is furthest behind is behind, as far as known."""
        ages = [shard.iterator_age for shard in self._streams.values()]
        return max((age for age in ages if age is not None), default=None)

    @property
    def circuit_breaker(self) -> BreakerState | None:
        """Where its circuit breaker stands, if it has one."""
        return None if self._breaker is None else self._breaker.state

    @property
    def adaptive_limit(self) -> int | None:
        """Invocations of the function at a time, where that adapts."""
        return None if self._adapting is None else self._adapting.limit

    async def run(self) -> None:
        """Until drained. Raises what the source or a worker raises; cancelling it cuts off what is in
        flight.
        """
        source = self.plan.source
        async with anyio.create_task_group() as self._tasks:
            if self.plan.delivery.asynchronous:
                await self._serve(cast("EventSource", source))
            elif is_queue(source):
                self._polling = Polling(self.plan, self._pool, partial(self._add_poller, source))
                self._polling.fill()
            else:
                await self._follow(source)

    def drain(self) -> None:
        """Every worker reads no more and ends what it has in flight; then `run` returns."""
        self._draining = True
        if self._polling is not None:
            self._polling.close()
        for worker in self._workers.values():
            worker.drain()
        self._intake.cancel()

    # --------------------------------------------------------------------------------------- streams

    async def _follow(self, source: StreamSource) -> None:
        """Shards come and go by the source's word. Its connection stays open until the last worker has
        ended.
        """
        sequences = self.plan.sequences.open() if self.plan.sequences is not None else nullcontext()
        async with (
            sequences,
            source.shards(self.plan.subscription) as changes,
            anyio.create_task_group() as workers,
        ):
            with self._intake:
                async for change in changes:
                    match change:
                        case Assigned(shard):
                            workers.start_soon(self._work_on, shard)
                        case Revoked(shard_id, reason):
                            self._revoke(workers, shard_id, reason)

    async def _work_on(self, shard: StreamShard) -> None:
        settler = Cumulative(shard, self.plan, self._telemetry)
        self._telemetry.emit(
            ShardAssigned(self.plan.name, shard.id, shard.checkpoint.position, settler.crashes)
        )
        worker = self._worker(shard, settler)
        self._workers[shard.id], self._streams[shard.id] = worker, shard
        reason: Reason | None = None
        try:
            if self.plan.sequences is not None:
                await self.plan.sequences.refresh()
            if self._draining:
                worker.drain()
            reason = await worker.run()
        finally:
            if self._workers.get(shard.id) is worker:
                del self._workers[shard.id], self._streams[shard.id]
            with anyio.move_on_after(10, shield=True):
                await shard.close()
            self._telemetry.emit(
                ShardReleased(self.plan.name, shard.id, reason.name.lower() if reason else "cut off")
            )

    def _revoke(self, workers: TaskGroup, shard_id: str, reason: Reason) -> None:
        worker = self._workers.get(shard_id)
        if worker is None:
            return
        if reason is Reason.LOST:
            worker.lose()
        else:
            worker.drain()
            workers.start_soon(self._cut_after_grace, worker)

    async def _cut_after_grace(self, worker: Worker) -> None:
        """The group waits for us: what is not done within the grace goes to the next owner."""
        with anyio.move_on_after(self.plan.revoke_grace):
            await worker.ended.wait()
        worker.cut()

    # ---------------------------------------------------------------------------------------- events

    async def _serve(self, source: EventSource) -> None:
        """One worker reads the event queue, and delivers as many events at a time as the function may run."""
        async with source.open() as shard:
            if self.plan.sequences is None:
                settler = Asynchronous(shard, self.plan, self._telemetry)
            else:
                settler = Reopened(shard, self.plan, self._telemetry, clock=self._clock)
            worker = self._worker(shard, settler)
            self._workers[shard.id], self._queues[shard.id] = worker, shard
            try:
                if self._draining:
                    worker.drain()
                await worker.run()
            finally:
                del self._workers[shard.id], self._queues[shard.id]

    # ---------------------------------------------------------------------------------------- queues

    def _add_poller(self, source: QueueSource, poller: Poller) -> None:
        self._pollers += 1
        self._tasks.start_soon(self._poll, source, poller, f"poller-{self._pollers}")

    async def _poll(self, source: QueueSource, poller: Poller, name: str) -> None:
        try:
            async with source.open() as shard:
                worker = self._worker(shard, Individual(shard, self.plan, self._telemetry), poller)
                self._workers[name], self._queues[name] = worker, shard
                try:
                    if self._draining:
                        worker.drain()
                    await worker.run()
                finally:
                    del self._workers[name], self._queues[name]
        finally:
            poller.ends()

    def _worker(
        self,
        shard: StreamShard | QueueShard,
        settler: Cumulative | Individual,
        poller: Poller | None = None,
    ) -> Worker:
        return Worker(
            shard,
            settler,
            self.plan,
            call=self._call,
            pool=self._pool,
            router=self._router,
            telemetry=self._telemetry,
            clock=self._clock,
            random=self._random,
            poller=poller,
            breaker=self._breaker,
        )
