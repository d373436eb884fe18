"""Sequenced mode: order by key even across failure.

Once a record of a key was given up, later records of the key are parked behind it; after the redrive they are
delivered in order, each when the one before is done. Where one is given up once more, the rest waits again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

import orjson

from streamfn.core.delivery import Discard
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

    from streamfn.core.delivery import Decision
    from streamfn.core.events import EventRecord
    from streamfn.core.records import Batch, Record
    from streamfn.engine.messages import Messages
    from streamfn.engine.plan import MappingPlan
    from streamfn.ports import Clock, Sequences, Shard, Telemetry

T = TypeVar("T")

_AGAIN = Backoff(first=0.5, factor=2.0, cap=30.0)


class Sequencer:
    """Parks and buries the records of one mapping. Both are tried until they are done: the shard waits."""

    def __init__(
        self, plan: MappingPlan, sequences: Sequences, messages: Messages, telemetry: Telemetry, clock: Clock
    ) -> None:
        self._plan = plan
        self._sequences = sequences
        self._messages = messages
        self._telemetry = telemetry
        self._clock = clock

    async def part(self, shard: Shard, batch: Batch) -> tuple[Batch | None, Sequence[Record]]:
        """What is to be delivered of a batch, and what was parked, durably."""
        held = [record for record in batch if self._sequences.holds(record.key)]
        if not held:
            return batch, ()
        context = Context(self._plan.function, 0.0)
        waiting = Discard(replace(batch, records=held), Condition.PARKED, 0)
        letters = self._letters(shard, waiting, context)
        free = await self._insist(lambda: self._sequences.park(shard.id, letters))
        open_keys = {letter.key for letter in free}
        parked = [record for record in held if record.key not in open_keys]
        if not parked:
            return batch, ()
        self._telemetry.emit(RecordsParked(self._plan.name, shard.id, len(parked)))
        gone = set(map(id, parked))
        rest = [record for record in batch if id(record) not in gone]
        return replace(batch, records=rest) if rest else None, parked

    async def bury(self, shard: Shard, discard: Discard, context: Context) -> Discard | None:
        """Closes the keys of what was given up. Gives what has no key, if anything."""
        keyed = [record for record in discard.batch if record.key is not None]
        if keyed:
            of_keys = replace(discard, batch=replace(discard.batch, records=keyed))
            letters = self._letters(shard, of_keys, context)
            await self._insist(lambda: self._sequences.bury(shard.id, letters))
        rest = [record for record in discard.batch if record.key is None]
        return replace(discard, batch=replace(discard.batch, records=rest)) if rest else None

    def _letters(self, shard: Shard, discard: Discard, context: Context) -> list[Parked]:
        messages = self._messages.letters(shard.id, discard, context, self._clock())
        return [
            Parked(record.key or "", record.position, message.body)
            for record, message in zip(discard.batch, messages, strict=True)
        ]

    async def _insist(self, do: Callable[[], Awaitable[T]]) -> T:
        tries = 0
        while True:
            try:
                return await do()
            except (OSError, SequenceFull) as error:
                tries += 1
                reason = f"{type(error).__name__}: {error}"
                self._telemetry.emit(
                    DestinationDeliveryFailed(
                        self._plan.name, self._sequences.name, 1, reason, dropped=False, role="DeadLetters"
                    )
                )
                await asyncio.sleep(_AGAIN.delay(tries))


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
        self._let_go([event])
        async with self._hiding:
            try:
                await self._events.bury(event, orjson.dumps(letter))
            except (OSError, SourceError) as error:
                # It comes again when its visibility timeout is over, and keeps its place.
                self._report("bury", error)
