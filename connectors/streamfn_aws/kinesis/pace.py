"""When a shard may be asked again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import anyio
import structlog

from streamfn.core.policies import Backoff

if TYPE_CHECKING:
    from streamfn_aws.errors import ServiceError

_log = structlog.get_logger("streamfn.aws")

_BETWEEN: Final = 0.2
"""Seconds between the starts of two calls: a shard takes five a second, reads from all its readers, and
subscriptions from one consumer.
"""
_BACKOFF: Final = Backoff(first=0.5, factor=2.0, cap=5.0)
"""After what failed. An answer of 10 MB is paid for with five seconds, and a subscription that broke off is
in the way of the next for as long.
"""


class Pace:
    """Of the calls for one shard. Times are the event loop's."""

    def __init__(self, place: str) -> None:
        self.due_at = 0.0
        self.failures = 0
        """In a row."""
        self._place = place

    def called(self) -> None:
        """A call begins."""
        self.due_at = anyio.current_time() + _BETWEEN

    def answered(self, *, rest: float = 0.0) -> None:
        """It was answered; for so many seconds nothing more is expected."""
        self.failures = 0
        self.due_at += max(0.0, rest - _BETWEEN)

    def failed(self, error: ServiceError | OSError) -> None:
        """It was not, as happens: it is made again after a while, a longer one each time."""
        self.failures += 1
        _log.warning("shard_not_read", shard=self._place, failures=self.failures, reason=str(error))
        delay = _BACKOFF.delay(self.failures) * random.uniform(0.5, 1.0)
        self.due_at = max(self.due_at, anyio.current_time() + delay)
