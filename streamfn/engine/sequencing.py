"""Sequenced mode: order by key even across failure.

Once a record of a key was given up, later records of the key are parked behind it; after the redrive they are
delivered in order, each when the one before is done. Where one is given up once more, the rest waits again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio
import orjson

from streamfn.core.delivery import Decision, Discard
from streamfn.core.letters import given_up_again
from streamfn.core.outcomes import Condition
from streamfn.core.policies import Backoff
from streamfn.engine.individual import Asynchronous
from streamfn.errors import SequenceFull, SourceError
from streamfn.functions import Context
from streamfn.ports import Parked
from streamfn.telemetry import DestinationDeliveryFailed, RecordsParked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streamfn.core.events import EventRecord
    from streamfn.core.records import Batch, Record
    from streamfn.engine.messages import Messages
    from streamfn.engine.plan import MappingPlan
    from streamfn.ports import Clock, Sequences, Shard, Telemetry

Screened: TypeAlias = "tuple[Batch | None, tuple[Discard, ...]]"
"""What is left to be delivered, and what is given up before."""
Admitted: TypeAlias = "tuple[Batch | None, Decision | None]"

_AGAIN = Backoff(first=0.5, factor=2.0, cap=30.0)


class Sequencer:
    """Parks and buries the records of one mapping."""

    def __init__(
        self, plan: MappingPlan, sequences: Sequences, messages: Messages, telemetry: Telemetry, clock: Clock
    ) -> None:
        self._plan = plan
        self._sequences = sequences
        self._messages = messages
        self._telemetry = telemetry
        self._clock = clock

    async def admit(
        self,
        shard: Shard,
        batch: Batch,
        screen: Callable[[Batch], Screened],
        resolve: Callable[[Sequence[Record]], Awaitable[None]],
        give_up: Callable[[Discard], Awaitable[None]],
    ) -> Admitted:
        """What may be delivered of a batch, or how all that is left of it is to wait.

        What has to wait for its key is parked before; and what `screen` gives up closes its key for what
        follows.
        """
        left: Batch | None = batch
        while left is not None:
            batch = left
            try:
                left, parked = await self._part(shard, batch)
            except (OSError, SequenceFull) as error:
                self._report(error)
                again = replace(batch, throttles=batch.throttles + 1)
                return None, Decision(retry=(again,), delay=_AGAIN.delay(again.throttles))
            await resolve(parked)
            if left is None:
                break
            left, gone = in_order(left, *screen(left))
            if not gone:
                break
            for discard in gone:
                await give_up(discard)
        return left, None

    async def _part(self, shard: Shard, batch: Batch) -> tuple[Batch | None, Sequence[Record]]:
        """What may be delivered of a batch, and what was parked, durably."""
        held = [record for record in batch if self._sequences.holds(record.key)]
        if not held:
            return batch, ()
        context = Context(self._plan.function, 0.0)
        waiting = Discard(replace(batch, records=held), Condition.PARKED, 0)
        free = await self._sequences.park(shard.id, self._letters(shard, waiting, context))
        open_keys = {letter.key for letter in free}
        parked = [record for record in held if record.key not in open_keys]
        if not parked:
            return batch, ()
        self._telemetry.emit(RecordsParked(self._plan.name, shard.id, len(parked)))
        return without(batch, parked), parked

    async def bury(self, shard: Shard, discard: Discard, context: Context) -> Discard | None:
        """Closes the keys of what was given up; tried until it is done. Gives what has no key, if any."""
        keyed = [record for record in discard.batch if record.key is not None]
        rest = without(discard.batch, keyed)
        if keyed:
            of_keys = replace(discard, batch=replace(discard.batch, records=keyed))
            letters = self._letters(shard, of_keys, context)
            tries = 0
            while True:
                try:
                    await self._sequences.bury(shard.id, letters)
                    break
                except OSError as error:
                    tries += 1
                    self._report(error)
                    await asyncio.sleep(_AGAIN.delay(tries))
        return replace(discard, batch=rest) if rest is not None else None

    def _letters(self, shard: Shard, discard: Discard, context: Context) -> list[Parked]:
        messages = self._messages.letters(shard.id, discard, context, self._clock())
        return [
            Parked(record.key or "", record.position, record.arrived_at, message.body)
            for record, message in zip(discard.batch, messages, strict=True)
        ]

    def _report(self, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {error}"
        self._telemetry.emit(
            DestinationDeliveryFailed(
                self._plan.name, self._sequences.name, 1, reason, dropped=False, role="DeadLetters"
            )
        )


def without(batch: Batch, records: Sequence[Record]) -> Batch | None:
    """The rest of a batch, if there is one."""
    gone = set(map(id, records))
    rest = [record for record in batch if id(record) not in gone]
    return replace(batch, records=rest) if rest else None


def in_order(batch: Batch, live: Batch | None, gone: tuple[Discard, ...]) -> Screened:
    """What was screened, but for records that are too old while a younger one of their key is before them:
    these are delivered with it, for what is given up must not be passed, nor pass.
    """
    old = {id(record) for discard in gone for record in discard.batch}
    younger: set[str] = set()
    spared: list[Record] = []
    for record in batch:
        if record.key is not None and id(record) not in old:
            younger.add(record.key)
        elif record.key in younger:
            spared.append(record)
    if not spared:
        return live, gone
    left = [(discard, without(discard.batch, spared)) for discard in gone]
    gone = tuple(replace(discard, batch=rest) for discard, rest in left if rest is not None)
    return without(batch, [record for discard in gone for record in discard.batch]), gone


class Reopened(Asynchronous):
    """Sequences that were opened again: what is given up once more closes its key again."""

    def __init__(self, *args: object, clock: Clock) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._clock = clock

    async def settle(self, taken: Batch, decision: Decision) -> tuple[Batch, ...]:
        for discard in decision.discard:
            await self._bury(discard)
        return await super().settle(taken, replace(decision, discard=()))

    async def _bury(self, discard: Discard) -> None:
        (record,) = discard.batch
        event = cast("EventRecord", record)
        letter = given_up_again(orjson.loads(event.value), discard, self._clock())
        async with self._hiding:
            # It was given up, also where this is cut off just now.
            with anyio.move_on_after(5, shield=True):
                try:
                    await self._events.bury(event, orjson.dumps(letter))
                except (OSError, SourceError) as error:
                    # It comes again when its visibility timeout is over, and keeps its place.
                    self._report("bury", error)
            self._let_go([event])
