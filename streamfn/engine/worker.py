"""The worker: one shard's records, from being read to being settled.

    read -> filter -> lanes -> invoke -> decide -> route -> settle

One task reads (intake), up to N deliver (runners), one settles in the background. All of them belong to the
worker's task group; nothing else touches its state, so nothing needs a lock. A queue's worker is a poller,
one task that reads on when what it read is delivered.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import anyio

from streamfn.core.breaking import verdict
from streamfn.core.delivery import Decision, Discard, decide, screen
from streamfn.core.lanes import Lanes, ShardLanes, lanes_for
from streamfn.core.outcomes import Cause, Failed, Outcome
from streamfn.core.policies import Ordering
from streamfn.core.records import Batch, Record
from streamfn.engine.breaking import Breaker, Passage
from streamfn.engine.chains import chain_of, looping, placed, stopped
from streamfn.engine.settling import Cumulative
from streamfn.engine.signal import Signal
from streamfn.errors import ShardClosed, ShardLost
from streamfn.functions import Call, Context
from streamfn.ports import Clock, QueueShard, Reason, Shard, Telemetry
from streamfn.telemetry import BatchDelivered, BatchRetried, FunctionStuck, RecordsPolled

if TYPE_CHECKING:
    from asyncio import Future, TimerHandle
    from collections.abc import Sequence
    from random import Random

    from anyio.abc import TaskGroup

    from streamfn.engine.individual import Individual
    from streamfn.engine.plan import MappingPlan
    from streamfn.engine.polling import Poller
    from streamfn.engine.pool import Pool
    from streamfn.engine.routing import Router
    from streamfn.engine.sequencing import Admitted, Sequencer

READ_WAIT = 60.0
"""Seconds that one read of a stream waits for records. A drain ends it where reads can be cancelled."""

POLL_WAIT = 20.0
"""The same for a queue: the longest long poll of SQS, for an idle queue is to cost few requests."""

_RECEIVE = 10
"""Messages that one receive of SQS brings at most. A read that brings as many left others behind."""

_PEEK_WAIT = 10.0
"""Seconds that the first record of a shard is waited for at a time, where it is delivered alone."""

_READ_AHEAD = 1000
"""Records that a shard holds in memory at least, if batches are small: hides the source's latency."""

_MOST_UNRESOLVED = 20_000

_TURN = 0.01
"""Seconds that a runner may go on before it lets the other tasks of the loop have a turn."""

_DIED = Failed("Runtime.ExitError", "the process ended while it ran the function", cause=Cause.CRASH)


class Worker:
    """Delivers one shard until it ends, is taken away, or the worker is told to drain."""

    def __init__(
        self,
        shard: Shard,
        settler: Cumulative | Individual,
        plan: MappingPlan,
        *,
        call: Call,
        pool: Pool,
        router: Router,
        telemetry: Telemetry,
        clock: Clock,
        random: Random,
        poller: Poller | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._shard = shard
        self._settler = settler
        self._plan = plan
        self._call = call
        self._pool = pool
        self._router = router
        self._telemetry = telemetry
        self._clock = clock
        self._random = random
        self._now = asyncio.get_running_loop().time
        """The clock of delays and deadlines, bound once: it is read a dozen times a batch."""
        self._wanted = plan.filter(shard.shape) if plan.filter else None
        self._poller = poller
        """Queues: how this worker takes its turn among the others of its mapping."""
        self._breaker = breaker
        self._passage = None if breaker is None else Passage(breaker)
        """Of what is delivered alone; each runner has its own."""
        self._chained = poller is not None or plan.delivery.asynchronous
        """Records may carry the chain of requests that they belong to."""
        self._runners_allowed = 1 if poller else plan.runners
        factor = 1 if poller else plan.parallelization_factor
        ordering = Ordering.SHARD if poller else plan.delivery.ordering
        self._lanes: Lanes = lanes_for(ordering, factor, plan.batching, shard.shape)
        room = 2 * plan.batching.batch_size * self._runners_allowed
        if not plan.delivery.asynchronous:  # Of events, others may take what this worker is not about to.
            room = max(_READ_AHEAD, room)
        self._most_unresolved = min(room, max(_MOST_UNRESOLVED, 2 * plan.batching.batch_size))
        self._runners = 0
        self._idle: list[Future[None]] = []
        self._timer: TimerHandle | None = None
        self._room_made = Signal()
        self._resting = Signal()
        self._tasks: TaskGroup
        self._scope = anyio.CancelScope()
        self._reading = anyio.CancelScope()
        """What a drain ends at once: waiting for records, for room, or for a retry."""
        self._reason: Reason | None = None
        self.ended = Signal()
        """Set when the last commit is made."""
        self.in_flight = 0
        """Records being delivered."""

    # ------------------------------------------------------------------------------------------ life

    async def run(self) -> Reason:
        """Works until the shard's end, its loss, or `drain`; then commits for the last time.

        Cancelling it cuts off what is in flight: those records come again, and no attempt is counted. Raises
        what the source raises.
        """
        try:
            with self._scope:
                await self._settler.open()
                async with anyio.create_task_group() as self._tasks:
                    self._settler.begin(self._tasks.start_soon, self._room_made.set)
                    await (self._intake() if self._poller is None else self._poll(self._poller))
                    if self._reason is Reason.ENDED:
                        while self.in_flight or len(self._lanes):
                            await self._rest()
                    await self._settler.forget(self._lanes.clear())
                    while self.in_flight:
                        await self._rest()
                    self._tasks.cancel_scope.cancel()
        except* ShardLost:
            self._reason = Reason.LOST
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._passage is not None:
                self._passage.leave()
            with anyio.move_on_after(5, shield=True):
                await self._settler.close(lost=self._reason is Reason.LOST)
            self.ended.set()
        return self._reason or Reason.REQUESTED

    def drain(self) -> None:
        """Reads no more and lets what is in flight end. What waits for a retry ends at once."""
        self._end(Reason.REQUESTED)

    def cut(self) -> None:
        """Ends now: what is in flight is cut off and comes again. The checkpoint is committed."""
        self._end(Reason.REQUESTED)
        self._scope.cancel()

    def lose(self) -> None:
        """The shard is another's: cuts off what is in flight and commits nothing."""
        self._end(Reason.LOST)
        self._scope.cancel()

    def _end(self, reason: Reason) -> None:
        self._reason = max(self._reason or reason, reason)
        self._reading.cancel()

    # ---------------------------------------------------------------------------------------- intake

    async def _intake(self) -> None:
        try:
            if isinstance(self._settler, Cumulative):
                await self._resume(self._settler)
            with self._until_drain():
                while True:
                    await self._read(await self._room())
        except ShardClosed:
            self._reason = self._reason or Reason.ENDED

    def _until_drain(self) -> anyio.CancelScope:
        """A scope that a drain cancels, for what need not be waited for."""
        self._reading = anyio.CancelScope()
        if self._reason is not None:
            self._reading.cancel()
        return self._reading

    async def _room(self) -> int:
        """Waits until records may be read, and says how many."""
        while True:
            room = self._most_unresolved - self._settler.unresolved
            heavy = self._lanes.bytes >= 4 * self._plan.batching.payload_limit
            if room * 2 >= self._most_unresolved and not heavy and not self._settler.congested:
                return room
            self._room_made.clear()
            await self._room_made.wait()

    async def _read(self, limit: int) -> None:
        records = await self._shard.read(limit, READ_WAIT)
        if records:
            self._take_in(await self._filter(records))

    async def _filter(self, records: Sequence[Record]) -> Sequence[Record]:
        fresh = self._settler.track(records)
        wanted, matches = fresh, self._wanted
        if matches is not None:
            wanted = [record for record in fresh if matches(record)]
            if len(wanted) < len(fresh):
                chosen = set(map(id, wanted))
                await self._settler.resolve([record for record in fresh if id(record) not in chosen])
        filtered = len(fresh) - len(wanted)
        self._telemetry.emit(RecordsPolled(self._plan.name, self._shard.id, len(records), filtered))
        return wanted

    def _take_in(self, records: Sequence[Record]) -> None:
        now = self._now()
        if self._settler.recalls and (self._runners_allowed > 1 or self._plan.delivery.asynchronous):
            fresh: list[Record] = []
            for record in records:
                batch = self._settler.recalled(record)
                if batch is None:
                    fresh.append(record)
                else:
                    self._lanes.hold(batch, now)
            records = fresh
        if records:
            self._lanes.add(records, now)
        self._wake()

    async def _resume(self, settler: Cumulative) -> None:
        """Settles what an earlier owner left half done, one batch at a time, before anything else is read.

        An owner that ended without a word may have been ended by a record. The first time it is only
        remembered where many batches were in flight, for most ends have other causes. Then batches are
        delivered alone, each written down ahead; if that ends the process too, the batch is to blame and it
        counts as a failed attempt.
        """
        many = self._runners_allowed > 1
        inherited = settler.inherited
        died_delivering = inherited.running and inherited.delivering
        probing = died_delivering or settler.crashes >= (2 if many else 1)
        if not probing and (many or not inherited.held):
            return
        records = await self._first_records(self._most_unresolved if many else self._plan.batching.batch_size)
        if not records:
            return
        held = settler.held_at(records[0].position)
        size, attempt = (held.size, held.attempt) if held else (self._plan.batching.batch_size, 0)
        lanes = ShardLanes(1, self._plan.batching, self._shard.shape)
        lanes.hold(Batch(records[:size], self._shard.shape, attempt, suspect=probing), self._now())
        lanes.add(records[size:], self._now())
        if died_delivering and held is not None and (taken := lanes.take(self._now())) is not None:
            await self._carry_out(lanes, taken, self._decide(taken, _DIED), self._context(taken))
        await self._deliver_alone(lanes, suspect=probing)

    async def _first_records(self, limit: int) -> list[Record]:
        """What comes first in the shard, as far as it is there at once."""
        records: list[Record] = []
        with self._until_drain() as reading:
            while not records:
                records += await self._filter(await self._shard.read(limit, _PEEK_WAIT))
            with suppress(ShardClosed):
                while len(records) < limit and (more := await self._shard.read(limit - len(records), 0.0)):
                    records += await self._filter(more)
        return [] if reading.cancel_called else records

    async def _deliver_alone(self, lanes: Lanes, *, suspect: bool) -> None:
        while len(lanes) and self._reason is None:
            passage = self._passage
            batch = lanes.take(self._now()) if passage is None else await self._pass(passage, lanes)
            if batch is not None:
                await self._deliver(lanes, batch, passage, suspect=suspect)
                continue
            with self._until_drain():
                await asyncio.sleep((lanes.due_at or 0.0) - self._now())

    async def _pass(self, passage: Passage, lanes: Lanes) -> Batch | None:
        """A batch, once the breaker lets it through. Messages wait for one visibility timeout and go back."""
        patience = cast("QueueShard", self._shard).visibility_timeout if self._poller else None
        with self._until_drain(), anyio.move_on_after(patience) as waiting:
            return await passage.take(lanes, self._now())
        if waiting.cancelled_caught:
            await self._settler.forget(lanes.clear())
        return None

    # --------------------------------------------------------------------------------------- polling

    async def _poll(self, poller: Poller) -> None:
        """A queue's intake: gathers one batch, delivers it until it is settled, and reads on."""
        while self._reason is None:
            with self._until_drain():
                if not await self._gather(poller):
                    self.drain()
            await self._deliver_alone(self._lanes, suspect=False)

    async def _gather(self, poller: Poller) -> bool:
        """Reads until a batch is due. False: this poller is to end."""
        lanes, policy = self._lanes, self._plan.batching
        found_nothing = False
        while (due_at := lanes.due_at) is None or due_at > self._now():
            if due_at is None and not await poller.may_read(self._passage, found_nothing=found_nothing):
                return False
            limit = policy.batch_size - len(lanes)
            records = await self._shard.read(limit, POLL_WAIT if due_at is None else due_at - self._now())
            found_nothing = not records
            if not found_nothing:
                if not policy.window or len(records) >= min(limit, _RECEIVE):
                    poller.takes_up()
                lanes.add(await self._filter(records), self._now())
            elif due_at is not None and (left := due_at - self._now()) < 1:
                # SQS waits for whole seconds: it is not asked again and again in the last one of a window.
                await asyncio.sleep(left)
        poller.takes_up()
        return True

    # --------------------------------------------------------------------------------------- runners

    async def _run(self) -> None:
        passage = None if self._breaker is None else Passage(self._breaker)
        turn_ends = self._now() + _TURN
        while True:
            now = self._now()
            if now > turn_ends:
                await asyncio.sleep(0)
                turn_ends = self._now() + _TURN
            batch = self._lanes.take(now) if passage is None else await passage.take(self._lanes, now)
            if batch is None:
                await self._idle_until_due()
                turn_ends = self._now() + _TURN
                continue
            if self._runners_allowed > 1:
                self._wake()
            await self._deliver(self._lanes, batch, passage)

    def _wake(self) -> None:
        """Gets one more runner going if something is due, or sets the timer for when it will be."""
        due_at = self._lanes.due_at
        if due_at is None:
            return
        now = self._now()
        if due_at > now:
            if self._timer is None or self._timer.cancelled() or self._timer.when() > due_at:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = asyncio.get_running_loop().call_at(due_at, self._on_timer)
            return
        while self._idle:
            runner = self._idle.pop()
            if not runner.done():
                runner.set_result(None)
                return
        if self._runners < self._runners_allowed:
            self._runners += 1
            self._tasks.start_soon(self._run)

    def _on_timer(self) -> None:
        self._timer = None
        self._wake()

    async def _idle_until_due(self) -> None:
        waiting: Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(waiting)
        self._wake()
        await waiting

    async def _rest(self) -> None:
        self._resting.clear()
        await self._resting.wait()

    # -------------------------------------------------------------------------------------- delivery

    async def _deliver(
        self, lanes: Lanes, taken: Batch, passage: Passage | None, *, suspect: bool = False
    ) -> None:
        self.in_flight += len(taken)
        try:
            refused = await placed(self._plan, self._pool, taken)
            if refused is not None:
                await self._carry_out(lanes, taken, self._decide(taken, refused), self._context(taken))
                return
            if passage is not None and not passage.is_open:  # It opened while a place was waited for.
                self._pool.release()
                lanes.retry(taken, (taken,), self._now(), 0.0)
                return
            if self._poller is not None:
                self._poller.begins()
            context = self._context(taken)
            try:
                batch = replace(taken, suspect=True) if suspect else taken
                decision, outcome = await self._invoke(batch, context, passage)
            finally:
                if passage is not None:  # Before what follows: destinations may be waited for.
                    passage.leave()
                if context.stuck is None:
                    self._pool.release()
                else:
                    self._pool.release_after(context.stuck)
                    self._telemetry.emit(FunctionStuck(self._plan.function.name, self._plan.function.timeout))
            if outcome is not None and decision.done and self._router.tells_of_success:
                await self._router.succeeded(taken, outcome, context)
            await self._carry_out(lanes, taken, decision, context)
        finally:
            if passage is not None:
                passage.leave()
            self.in_flight -= len(taken)
            self._room_made.set()
            self._resting.set()

    def _context(self, batch: Batch) -> Context:
        """What the function is told. An event's invocations have its request id, and go on in its chain."""
        function, deadline = self._plan.function, self._now() + self._plan.function.timeout
        if not self._chained:
            return Context(function, deadline)
        request_id = batch[0].id if self._plan.delivery.asynchronous else ""
        return Context(function, deadline, request_id, chain_of(batch, function.arn))

    async def _invoke(
        self, batch: Batch, context: Context, passage: Passage | None
    ) -> tuple[Decision, Outcome | None]:
        gone: tuple[Discard, ...] = ()
        if self._router.sequencer is None:
            live, gone = self._screen(batch)
        else:
            live, waits = await self._admit(self._router.sequencer, batch, context)
            if waits is not None:
                return waits, None
        if live is None:
            return Decision(discard=gone), None
        if self._poller is not None and (loops := looping(live, self._plan.function.arn)):
            return stopped(self._plan, self._shard.id, live, loops, gone, self._telemetry), None
        begun = self._now()
        if self._settler.died(live):
            outcome: Outcome = _DIED
        else:
            if live.suspect:
                await self._settler.expose(live)
            outcome = await self._call(live, context)
        if self._poller is not None:
            self._poller.answered(outcome)
        decision = self._decide(live, outcome)
        if passage is not None:
            passage.answered(well=verdict(outcome, live, decision.done, self._plan.delivery))
        name, count, seconds = self._plan.name, len(live), self._now() - begun
        failed = count - len(decision.done)
        self._telemetry.emit(
            BatchDelivered(name, self._shard.id, count, failed, live.attempt, seconds, outcome)
        )
        return replace(decision, discard=(*gone, *decision.discard)) if gone else decision, outcome

    def _screen(self, batch: Batch) -> tuple[Batch | None, tuple[Discard, ...]]:
        return screen(batch, self._plan.delivery, self._plan.batching.payload_limit, self._clock())

    async def _admit(self, sequencer: Sequencer, batch: Batch, context: Context) -> Admitted:
        async def give_up(discard: Discard) -> None:
            await self._router.discard(self._shard, discard, context)
            await self._settler.resolve(discard.batch.records)

        return await sequencer.admit(self._shard, batch, self._screen, self._settler.resolve, give_up)

    def _decide(self, batch: Batch, outcome: Outcome) -> Decision:
        jitter = self._random.uniform(0.5, 1.0)
        return decide(batch, outcome, self._plan.delivery, self._clock(), jitter)

    async def _carry_out(self, lanes: Lanes, taken: Batch, decision: Decision, context: Context) -> None:
        """Sends off what is given up, settles, and lets the lanes go on or wait."""
        if decision.discard:
            await self._settler.resolve(decision.done)
            for discard in decision.discard:
                await self._router.discard(self._shard, discard, context)
            decision = replace(decision, done=())
        again = await self._settler.settle(taken, decision)
        now = self._now()
        if again:
            lanes.retry(taken, again, now, decision.delay)
            count, attempt = sum(map(len, again)), again[0].attempt
            self._telemetry.emit(
                BatchRetried(self._plan.name, self._shard.id, count, len(again), attempt, decision.delay)
            )
        else:
            lanes.finish(taken, now)
        if self._poller is None and (self._runners_allowed > 1 or again):
            self._wake()
