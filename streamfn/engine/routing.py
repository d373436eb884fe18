"""Where records go that were given up: the on-failure destination, before they count as resolved."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import orjson

from streamfn.core.envelopes import FailedCall, FailureFormat, failure_documents, s3_key
from streamfn.core.policies import Backoff, WhenDestinationFails
from streamfn.errors import PayloadTooLarge, SourceError
from streamfn.functions import Context
from streamfn.ports import Clock, Destination, Message, Shard, Telemetry
from streamfn.telemetry import DestinationDeliveryFailed, RecordsDiscarded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.delivery import Discard
    from streamfn.engine.plan import MappingPlan

_AGAIN = Backoff(first=0.5, factor=2.0, cap=30.0)

_DROP_AFTER = 4
"""Tries before a mapping that drops gives up: about four seconds."""


class Router:
    """Sends failure records of one mapping, and says when they are safe.

    With `block` it returns only when the destination has taken them: the shard waits, and nothing is lost.
    With `drop` it gives up after a few tries, as AWS does, and says so in a counted, logged event.
    """

    def __init__(self, plan: MappingPlan, telemetry: Telemetry, clock: Clock) -> None:
        self._plan = plan
        self._telemetry = telemetry
        self._clock = clock

    async def discard(self, shard: Shard, discard: Discard, context: Context | None) -> None:
        """The records may count as resolved when it returns."""
        destination = self._plan.on_failure
        taken = destination is not None and await self._send(destination, shard, discard, context)
        records = discard.batch.records
        self._telemetry.emit(
            RecordsDiscarded(
                self._plan.name,
                shard.id,
                len(records),
                records[0].id,
                records[-1].id,
                discard.condition.value,
                discard.attempts,
                destination.name if taken and destination is not None else None,
            )
        )

    async def _send(
        self, destination: Destination, shard: Shard, discard: Discard, context: Context | None
    ) -> bool:
        messages = self._messages(destination.failure_format, shard, discard, context)
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
            drop = self._plan.when_destination_fails is WhenDestinationFails.DROP
            dropped = drop and (hopeless or tries >= _DROP_AFTER)
            self._telemetry.emit(
                DestinationDeliveryFailed(
                    self._plan.name, destination.name, len(discard.batch), reason, dropped
                )
            )
            if dropped:
                return False
            await asyncio.sleep(_AGAIN.delay(tries))
        return True

    def _messages(
        self, style: FailureFormat, shard: Shard, discard: Discard, context: Context | None
    ) -> Sequence[Message]:
        context = context or Context(self._plan.function, 0.0)
        at = self._clock()
        call = FailedCall(self._plan.function.arn, context.aws_request_id, at)
        keys: Sequence[str | None] = [None]
        if style is FailureFormat.RECORD:
            keys = [record.key for record in discard.batch.records]
        documents = failure_documents(discard, style, call, _dumps)
        # Named once: a document that is sent again takes its own place again.
        return [
            Message(
                orjson.dumps(document, default=str),
                key=key,
                name=s3_key(self._plan.id, shard.id, at, str(uuid4())),
            )
            for key, document in zip(keys, documents, strict=True)
        ]


def _dumps(value: object) -> str:
    return orjson.dumps(value, default=str).decode()
