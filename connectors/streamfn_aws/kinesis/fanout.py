"""A shard by enhanced fan-out: SubscribeToShard, which pushes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import anyio

from streamfn.errors import ShardClosed
from streamfn_aws.errors import ServiceError, reading, source_error
from streamfn_aws.kinesis.pace import BETWEEN, pace_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.core.events import EventShape
    from streamfn.core.records import Record
    from streamfn_aws.eventstream import EventStream
    from streamfn_aws.kinesis.intake import Intake
    from streamfn_aws.kinesis.stream import Stream

_AT_LEAST: Final = 0.25
"""Seconds that a subscription may take to begin where less is left to wait."""
_MISSED: Final = 5
"""Times in a row that a consumer may be missing: one that is new is not known everywhere at once."""
_GOODBYE: Final = 2.0


class FanOutReader:
    """Reads a shard's records as they are pushed. What is not read stays in the connection, and the service
    waits.

    A subscription lasts five minutes; the next goes on where it ended. So does one after an error, or after
    `silence` seconds without an event: Kinesis sends one every five, with records or without.
    """

    def __init__(
        self, stream: Stream, shape: EventShape, intake: Intake, consumer: str, *, silence: float = 30.0
    ) -> None:
        self.shape = shape
        self.iterator_age: float | None = None
        """Seconds that the last event was behind the shard's end; None before the first."""
        self._stream = stream
        self._intake = intake
        self._consumer = consumer
        self._silence = silence
        self._waited = 0.0
        """Seconds for which the next event was waited for, in this read and those before."""
        self._events: EventStream | None = None
        self._subscription = AsyncExitStack()
        self._pace = pace_of(intake.place)
        self._missed = 0
        self._ended = False

    @property
    def lag(self) -> int | None:
        # Of what is still there Kinesis tells how old it is, and not how much.
        return 0 if self.iterator_age == 0 and self._intake.is_empty else None

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        until = anyio.current_time() + wait
        while True:
            records = self._intake.take(limit)
            if records:
                return records
            if self._ended:
                raise ShardClosed(f"{self._intake.place} has ended")
            if self._events is None and self._pace.due_at > until:
                await anyio.sleep_until(until)
                return ()
            await (self._subscribe(until) if self._events is None else self._receive(self._events, until))
            if anyio.current_time() >= until and self._intake.is_empty and not self._ended:
                return ()

    async def close(self) -> None:
        with anyio.move_on_after(_GOODBYE, shield=True):
            await self._unsubscribe()

    async def _subscribe(self, until: float) -> None:
        await anyio.sleep_until(self._pace.due_at)
        self._pace.called()
        intake = self._intake
        try:
            with anyio.CancelScope(deadline=max(until, anyio.current_time() + _AT_LEAST)):
                self._events = await self._subscription.enter_async_context(
                    self._stream.subscribed(self._consumer, intake.shard.id, intake.start)
                )
                self._waited = 0.0
        except ServiceError as error:
            await self._refused(error)
        except OSError as error:
            self._pace.failed(error)

    async def _receive(self, events: EventStream, until: float) -> None:
        began = anyio.current_time()
        try:
            with anyio.CancelScope(deadline=min(until, began + self._silence - self._waited)) as waiting:
                event = await events.next()
        except (ServiceError, OSError) as error:
            await self._unsubscribe()
            self._pace.failed(error)
            return
        finally:
            self._waited += anyio.current_time() - began
        if not waiting.cancelled_caught:
            self._waited = 0.0
            await self._take_in(event)
        elif self._waited >= self._silence:
            await self._unsubscribe()
            self._pace.failed(TimeoutError(f"no event for {self._silence:g} s"))

    async def _take_in(self, event: tuple[str, Any] | None) -> None:
        # Nothing may be awaited before the records are ours.
        if event is None:
            await self._unsubscribe()
        elif event[0] == "SubscribeToShardEvent":
            self._missed = 0
            self._pace.answered(BETWEEN)
            self._add(event[1])
            if self._ended:
                await self._unsubscribe()

    def _add(self, content: Mapping[str, Any]) -> None:
        intake, number = self._intake, content.get("ContinuationSequenceNumber")
        intake.add(content["Records"])
        behind = content.get("MillisBehindLatest")
        self.iterator_age = None if behind is None else behind / 1000
        if number is None or content.get("ChildShards"):
            self._ended = True
        else:
            intake.start = intake.start.after(number)

    async def _unsubscribe(self) -> None:
        self._events = None
        with anyio.CancelScope(shield=True):
            await self._subscription.aclose()

    async def _refused(self, error: ServiceError) -> None:
        intake = self._intake
        if error.code == "InvalidArgumentException":
            intake.refused(error)
            self._pace.failed(error)
        elif error.transient or error.code == "ResourceInUseException":
            self._pace.failed(error)
        elif not error.missing:
            raise source_error(intake.place, error) from error
        elif not await self._is_there():
            intake.lost("the shard is gone, and with it what was not read")
            self._ended = True
        elif self._missed < _MISSED:
            self._missed += 1
            self._pace.failed(error)
        else:
            raise source_error(intake.place, error) from error

    async def _is_there(self) -> bool:
        with reading(self._intake.place):
            return await self._stream.has(self._intake.shard.id)
