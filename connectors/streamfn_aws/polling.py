"""A shard that is asked for its records, one call at a time; and when it may be asked again."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

import anyio
import structlog

from streamfn.errors import ShardClosed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.policies import Backoff
    from streamfn.core.records import Record
    from streamfn_aws.errors import ServiceError

_log = structlog.get_logger("streamfn.aws")

_AT_LEAST: Final = 0.25
"""Seconds that a call may take where less is left to wait."""


class Pace:
    """Of the calls for one shard. Times are the event loop's."""

    def __init__(self, place: str, between: float, backoff: Backoff) -> None:
        """`between`: seconds between the starts of two calls where nothing else is said."""
        self.due_at = 0.0
        self.failures = 0
        """In a row."""
        self._place = place
        self._between = between
        self._backoff = backoff
        self._began = 0.0

    def called(self) -> None:
        """A call begins."""
        self._began = anyio.current_time()
        self.due_at = self._began + self._between

    def answered(self, rest: float) -> None:
        """It was answered; the next may begin so many seconds after this one did."""
        self.failures = 0
        self.due_at = self._began + rest

    def failed(self, error: ServiceError | OSError) -> None:
        """It was not, as happens: it is made again after a while, a longer one each time."""
        self.failures += 1
        _log.warning("shard_not_read", shard=self._place, failures=self.failures, reason=str(error))
        delay = self._backoff.delay(self.failures) * random.uniform(0.5, 1.0)
        self.due_at = max(self.due_at, anyio.current_time() + delay)


class PolledReader(ABC):
    """A `ShardReader` that holds one answer at most. A read that is cancelled loses nothing."""

    def __init__(self, place: str, pace: Pace) -> None:
        self._place = place
        """The shard's name, in messages."""
        self._pace = pace
        self._ended = False

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        until = anyio.current_time() + wait
        while True:
            records = self._take(limit)
            if records:
                return records
            if self._ended:
                raise ShardClosed(f"{self._place} has ended")
            if self._pace.due_at > until:
                await anyio.sleep_until(until)
                return ()
            await anyio.sleep_until(self._pace.due_at)
            self._pace.called()
            # One that is cut off is made again: the iterator stays.
            with anyio.CancelScope(deadline=max(until, anyio.current_time() + _AT_LEAST)) as waiting:
                await self._poll()
            if waiting.cancelled_caught:
                return ()

    async def close(self) -> None:  # noqa: B027 - all of them hold nothing
        """Holds nothing."""

    @abstractmethod
    def _take(self, limit: int) -> Sequence[Record]:
        """Of the last answer what was not handed out yet."""

    @abstractmethod
    async def _poll(self) -> None:
        """Makes one call and keeps what it brings; the end of the shard in `_ended`. Raises SourceError."""
