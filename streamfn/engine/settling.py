"""Settlement: how streams and queues are told what is done. The one place where the two differ.

Streams settle by position: what is resolved moves the checkpoint, what goes again waits in its lane. Queues
settle record by record: done is acknowledged, the rest is released to come again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from streamfn.core.checkpoints import CheckpointTracker, Held, Progress
from streamfn.core.policies import Ordering
from streamfn.core.records import Batch
from streamfn.errors import ShardLost, SourceError
from streamfn.ports import Checkpoint, StreamShard, Telemetry
from streamfn.telemetry import SettlementFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from streamfn.core.delivery import Decision
    from streamfn.core.records import Record
    from streamfn.engine.plan import MappingPlan


Start: TypeAlias = "Callable[[Callable[[], Coroutine[Any, Any, None]]], object]"
"""Runs something in a task of the worker's group."""


class Settler(Protocol):
    """What the worker tells about records, and what it is told in return."""

    @property
    def unresolved(self) -> int:
        """Records read and not settled."""

    @property
    def congested(self) -> bool:
        """Nothing more should be read until something is settled."""

    async def open(self) -> None:
        """Before the first read."""

    def begin(self, start: Start, settled: Callable[[], None]) -> None:
        """From now on, what goes on beside the worker (commits, hiding records) is started by this. It calls
        `settled` where it settles what the worker has turned away from.
        """

    def track(self, records: Sequence[Record]) -> Sequence[Record]:
        """Notes records as read. Gives those that are to be delivered."""

    async def resolve(self, records: Sequence[Record]) -> None:
        """The records are done with."""

    async def settle(self, taken: Batch, decision: Decision) -> tuple[Batch, ...]:
        """Carries out a decision, its discards sent off already. Gives what goes again in its lane."""

    async def expose(self, batch: Batch) -> None:
        """Writes down that a suspect batch is about to be delivered."""

    @property
    def recalls(self) -> bool:
        """Whether records may come with a past."""

    def recalled(self, record: Record) -> Batch | None:
        """The record as a batch with its past, if it has one: it goes on counting, on its own."""

    def died(self, batch: Batch) -> bool:
        """Whether a process ended while it ran the function on this batch alone."""

    async def forget(self, records: Sequence[Record]) -> None:
        """The records were read and never delivered, or were cut off: not an attempt."""

    async def close(self, *, lost: bool) -> None:
        """After the last settlement. `lost`: the shard is another's already."""


class Cumulative:
    """Streams: the checkpoint is the position below which all is resolved.

    Beside it stands what the next owner needs to know (`core.checkpoints.Progress`): that an owner is at
    work, which batches had failed and how often, and what beyond the position is done.
    """

    def __init__(self, shard: StreamShard, plan: MappingPlan, telemetry: Telemetry) -> None:
        self._shard = shard
        self._plan = plan
        self._telemetry = telemetry
        checkpoint = shard.checkpoint
        try:
            self.inherited = Progress.decode(checkpoint.note, checkpoint.position)
        except ValueError as error:
            raise SourceError(f"{plan.name}: shard {shard.id}: {error}", retryable=False) from error
        self.start = checkpoint.position
        self.crashes = self.inherited.crashes + 1 if self.inherited.running else 0
        self._tracker = CheckpointTracker(checkpoint.position)
        self._skip = list(self.inherited.done)
        self._held: dict[int, Held] = {batch.position: batch for batch in self.inherited.held}
        self._many = plan.delivery.ordering is not Ordering.SHARD or plan.parallelization_factor > 1
        self._delivering = False
        self._written: Checkpoint | None = None
        self._written_at = 0.0
        self._wanted = False
        """Whether there is something to commit."""
        self._committing = False
        self._start: Start
        self._lock = asyncio.Lock()
        self._too_long = False
        """The note of the last commit did not fit, so that there was none."""

    @property
    def unresolved(self) -> int:
        return self._tracker.unresolved

    @property
    def congested(self) -> bool:
        # With everything resolved the note is a word: the next commit fits, and nobody would tell of it.
        return self._too_long and self._tracker.unresolved > 0

    @property
    def position(self) -> int:
        """All up to and including it is resolved."""
        return self._tracker.committable

    async def open(self) -> None:
        await self._commit()

    def begin(self, start: Start, settled: Callable[[], None]) -> None:
        self._start = start

    def _want_commit(self) -> None:
        """Has a task commit, if none does: an idle shard has none."""
        self._wanted = True
        if not self._committing:
            self._committing = True
            self._start(self._commit_while_wanted)

    async def _commit_while_wanted(self) -> None:
        # With many lanes a checkpoint carries ranges and costs more to write, so it is written less often.
        pause = 0.1 if self._many else 0.005
        while self._wanted:
            await self._keep_interval()
            self._wanted = False
            try:
                await self._commit()
            except (OSError, SourceError) as error:
                self._report("commit", error)
                self._wanted = True
                await asyncio.sleep(1.0)
            await asyncio.sleep(pause)
        self._committing = False

    async def _keep_interval(self) -> None:
        """Waits until the shard's next commit is due. Not where the last one did not fit: nothing was
        written.
        """
        interval = self._shard.commit_interval
        if interval and not self._too_long:
            wait = self._written_at + interval - asyncio.get_running_loop().time()
            if wait > 0:
                await asyncio.sleep(wait)

    def track(self, records: Sequence[Record]) -> Sequence[Record]:
        self._tracker.track(records)
        if not self._skip or not records:
            return records
        fresh: list[Record] = []
        known: list[Record] = []
        for record in records:
            while self._skip and self._skip[0][1] < record.position:
                self._skip.pop(0)
            done = bool(self._skip) and self._skip[0][0] <= record.position
            (known if done else fresh).append(record)
        self._tracker.resolve(known)
        return fresh

    async def resolve(self, records: Sequence[Record]) -> None:
        if records:
            before = self._tracker.committable
            self._tracker.resolve(records)
            if self._many or self._tracker.committable != before:
                self._want_commit()

    async def settle(self, taken: Batch, decision: Decision) -> tuple[Batch, ...]:
        if self._held and taken.records:
            self._held.pop(taken.records[0].position, None)
        await self.resolve(decision.done)
        for discard in decision.discard:
            await self.resolve(discard.batch.records)
        if decision.retry:
            self._hold(decision.retry)
        return decision.retry

    async def expose(self, batch: Batch) -> None:
        self._held = {batch[0].position: Held(batch[0].position, len(batch), batch.attempt), **self._held}
        self._delivering = True
        try:
            await self._commit()
        finally:
            self._delivering = False

    async def forget(self, records: Sequence[Record]) -> None:
        """Nothing to tell: what was not committed is read again."""

    async def close(self, *, lost: bool) -> None:
        if not lost:
            try:
                await self._commit(running=False)
            except (ShardLost, OSError, SourceError) as error:
                self._report("commit", error)

    @property
    def recalls(self) -> bool:
        return bool(self.inherited.held)

    def recalled(self, record: Record) -> Batch | None:
        held = self.held_at(record.position)
        return None if held is None else Batch((record,), self._shard.shape, held.attempt)

    def died(self, batch: Batch) -> bool:
        """What an earlier owner died of is settled before anything else is read."""
        return False

    def held_at(self, position: int) -> Held | None:
        """A batch of an earlier owner that began here and had failed."""
        return self._held.get(position)

    def _hold(self, parts: Sequence[Batch]) -> None:
        for part in parts:
            if part.attempt:
                first = part.records[0].position
                # With many lanes only the first record keeps its count: the others will find other
                # neighbours.
                self._held[first] = Held(first, 1 if self._many else len(part), part.attempt)
                self._want_commit()

    async def _commit(self, *, running: bool = True) -> None:
        async with self._lock:
            position = self._tracker.committable
            held = tuple(batch for batch in self._held.values() if batch.position > position)
            progress = Progress(
                running=running,
                delivering=self._delivering,
                crashes=self.crashes if position == self.start else 0,
                held=held[:100],
                done=tuple(self._tracker.resolved_ahead()) if self._many else (),
            )
            note = progress.encode(position, self._shard.note_limit)
            self._too_long = note is None
            while note is None and not running:
                # The last word of this owner: what does not fit is delivered again.
                progress = replace(progress, done=progress.done[: len(progress.done) // 2])
                note = progress.encode(position, self._shard.note_limit)
            if note is None:
                return
            checkpoint = Checkpoint(position, note)
            if checkpoint != self._written:
                await self._shard.commit(checkpoint)
                self._written, self._written_at = checkpoint, asyncio.get_running_loop().time()

    def _report(self, action: str, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {error}"
        self._telemetry.emit(SettlementFailed(self._plan.name, self._shard.id, action, reason))
