"""How one event source mapping batches, orders, retries and gives up: frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PAYLOAD_LIMIT = 6 * 1024 * 1024
"""Bytes of one synchronous invocation payload (Lambda quota: 6 MB)."""


class Ordering(Enum):
    """Which records wait for which."""

    SHARD = "shard"
    """Each for all before it in its shard, or in its share of the shard with a parallelization factor."""
    KEY = "key"
    """Each for those before it with its key. Records without a key wait for nobody."""
    NONE = "none"


class StartingPosition(Enum):
    TRIM_HORIZON = "TRIM_HORIZON"
    LATEST = "LATEST"
    AT_TIMESTAMP = "AT_TIMESTAMP"


class WhenDestinationFails(Enum):
    """What happens to records whose on-failure destination cannot be reached."""

    BLOCK = "block"
    """Sent again until it takes them; the shard waits."""
    DROP = "drop"
    """Given up after a few tries, counted and logged: what AWS does."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that grow by a factor up to a cap, in seconds. Jitter is added by whoever sleeps."""

    first: float = 1.0
    factor: float = 2.0
    cap: float = 60.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after the given number of failures in a row (1 or more)."""
        if self.first <= 0:
            return 0.0
        try:
            return min(self.first * float(self.factor) ** (failures - 1), self.cap)
        except OverflowError:
            return self.cap


@dataclass(frozen=True, slots=True)
class Delays:
    """Delays one by one, in seconds, without jitter; the last one holds for all that follow."""

    seconds: tuple[float, ...]

    def delay(self, failures: int) -> float:
        """Seconds to wait after the given number of failures in a row (1 or more)."""
        return self.seconds[min(failures, len(self.seconds)) - 1] if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """When a batch is closed: by count, by bytes, or by time."""

    batch_size: int = 100
    window: float = 0.0
    """MaximumBatchingWindowInSeconds; 0 sends whatever there is."""
    payload_limit: int = PAYLOAD_LIMIT


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How one mapping answers failure. One type for streams, queues and asynchronous invocation."""

    ordering: Ordering = Ordering.SHARD
    report_batch_item_failures: bool = False
    bisect_batch_on_function_error: bool = False
    maximum_retry_attempts: int | None = None
    """Retries after the first attempt; None: until the source expires the records."""
    maximum_record_age: float | None = None
    """Seconds since arrival after which a record is given up; None: never."""
    maximum_receives: int | None = None
    """Queues: receives after which a message that fails is given up; None: the queue itself decides."""
    backoff: Backoff | Delays = Backoff()
    throttle_backoff: Backoff = Backoff(cap=300.0)
    asynchronous: bool = False
    """The rules of Lambda's event queue: batches of one event, whose age is judged ahead and whose conditions
    have names of their own.
    """


ASYNCHRONOUS = DeliveryPolicy(
    ordering=Ordering.NONE,
    maximum_retry_attempts=2,
    maximum_record_age=21_600.0,
    backoff=Delays((60.0, 120.0)),
    asynchronous=True,
)
"""What holds for asynchronous invocations where nothing is configured (Developer Guide:
invocation-async-error-handling).
"""
