"""Where records go that are done with or given up: their destinations have them before they are resolved."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from streamfn.core.policies import Backoff, WhenDestinationFails
from streamfn.engine.messages import Messages
from streamfn.engine.sequencing import Sequencer
from streamfn.errors import PayloadTooLarge, SourceError
from streamfn.telemetry import DestinationDeliveryFailed, RecordsDiscarded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.delivery import Discard
    from streamfn.core.outcomes import Outcome
    from streamfn.core.records import Batch
    from streamfn.engine.plan import MappingPlan
    from streamfn.functions import Context
    from streamfn.ports import Clock, Destination, Message, Shard, Telemetry

_AGAIN = Backoff(first=0.5, factor=2.0, cap=30.0)

_DROP_AFTER = 4
"""Tries before a mapping that drops gives up: about four seconds."""

ON_SUCCESS: Final = "OnSuccess"
ON_FAILURE: Final = "OnFailure"
DEAD_LETTER_QUEUE: Final = "DeadLetterQueue"
DEAD_LETTERS: Final = "DeadLetters"


class Router:
    """Sends the records for destinations of one mapping, and says when they are safe.

    With `block` it returns only when a destination has taken them: the shard waits, and nothing is lost. With
    `drop` it gives up after a few tries, as AWS does, and says so in a counted, logged event; what the
    destinations of a function did not take is then kept as a dead letter, unless that is switched off.
    """

    def __init__(self, plan: MappingPlan, telemetry: Telemetry, clock: Clock) -> None:
        self._plan = plan
        self._messages = Messages(plan)
        self.sequencer: Sequencer | None = None
        if plan.sequences is not None and not plan.delivery.asynchronous:
            self.sequencer = Sequencer(plan, plan.sequences, self._messages, telemetry, clock)
        self._telemetry = telemetry
        self._clock = clock
        self._drops = plan.when_destination_fails is WhenDestinationFails.DROP
        self.tells_of_success = plan.on_success is not None

    async def succeeded(self, batch: Batch, outcome: Outcome, context: Context) -> None:
        """Tells of a success. One that no destination took is counted, and is no failure of the event."""
        destination = self._plan.on_success
        if destination is not None:
            messages = self._messages.of_success(batch, outcome, context, self._clock())
            await self._send(destination, ON_SUCCESS, messages, drops=self._drops)

    async def discard(self, shard: Shard, discard: Discard, context: Context) -> None:
        """The records may count as resolved when it returns."""
        plan, at = self._plan, self._clock()
        asked, taken = 0, list[str]()
        if (destination := plan.on_failure) is not None:
            style = destination.failure_format
            messages = self._messages.of_failure(style, shard.id, discard, context, at)
            asked += 1
            if await self._send(destination, ON_FAILURE, messages, drops=self._drops):
                taken.append(destination.name)
        if (destination := plan.dead_letter_queue) is not None:
            messages = self._messages.for_dead_letter_queue(discard, context, at)
            asked += 1
            if await self._send(destination, DEAD_LETTER_QUEUE, messages, drops=self._drops):
                taken.append(destination.name)
        keep: Discard | None = discard
        if plan.sequences is not None:
            # Of a sequence that was opened again, what is given up stays in its place.
            keep = await self.sequencer.bury(shard, discard, context) if self.sequencer else None
            if keep is None or len(keep.batch) < len(discard.batch):
                taken.append(plan.sequences.name)
        if (
            keep is not None
            and (destination := plan.dead_letters) is not None
            and (plan.dead_letters_always or len(taken) < max(asked, 1))
        ):
            messages = self._messages.letters(shard.id, keep, context, at)
            drops = self._drops and plan.dead_letters_always
            if await self._send(destination, DEAD_LETTERS, messages, drops=drops):
                taken.append(destination.name)
        records = discard.batch.records
        self._telemetry.emit(
            RecordsDiscarded(
                plan.name,
                shard.id,
                len(records),
                records[0].id,
                records[-1].id,
                discard.condition.value,
                discard.attempts,
                ", ".join(taken) or None,
                asynchronous=plan.delivery.asynchronous,
            )
        )

    async def _send(
        self, destination: Destination, role: str, messages: Sequence[Message], *, drops: bool
    ) -> bool:
        tries = 0
        while messages:
            try:
                failures = await destination.send(messages)
            except (OSError, SourceError, PayloadTooLarge) as error:
                reason, hopeless = f"{type(error).__name__}: {error}", isinstance(error, PayloadTooLarge)
            else:
                if not failures:
                    return True
                messages = [messages[failure.index] for failure in failures]
                reason, hopeless = failures[0].reason, not any(failure.retryable for failure in failures)
            tries += 1
            dropped = drops and (hopeless or tries >= _DROP_AFTER)
            self._telemetry.emit(
                DestinationDeliveryFailed(
                    self._plan.name,
                    destination.name,
                    len(messages),
                    reason,
                    dropped,
                    role,
                    asynchronous=self._plan.delivery.asynchronous,
                )
            )
            if dropped:
                return False
            await asyncio.sleep(_AGAIN.delay(tries))
        return True
