"""What came of an invocation, as a value; and what a partial batch response says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.core.records import Batch


class Condition(Enum):
    """What became of records in the end, in the words of Lambda's records for destinations."""

    SUCCESS = "Success"
    RETRY_ATTEMPTS_EXHAUSTED = "RetryAttemptsExhausted"
    RECORD_AGE_EXCEEDED = "RecordAgeExceeded"
    MAXIMUM_PAYLOAD_SIZE_EXCEEDED = "MaximumPayloadSizeExceeded"
    PARKED = "Parked"
    """Given up by nobody: it waits behind a dead letter of its key (streamfn's own)."""
    RETRIES_EXHAUSTED = "RetriesExhausted"
    """Of asynchronous invocations, as the three below."""
    EVENT_AGE_EXCEEDED = "EventAgeExceeded"
    ZERO_RESERVED_CONCURRENCY = "ZeroReservedConcurrency"
    RECURSIVE_INVOCATION = "RecursiveInvocationException"
    """A chain of functions that would go on for ever. AWS does not publish its word for it; this is the name
    of the error that callers get.
    """


class Cause(Enum):
    """Where a failure came from."""

    FUNCTION = "function"
    """The function raised, or answered that records failed."""
    TIMEOUT = "timeout"
    CRASH = "crash"
    """The process that ran the function ended."""
    RUNTIME = "runtime"
    """The function returned what cannot be an answer."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The function returned. Its answer may still report failed records."""

    payload: object = None
    failed: frozenset[str] | None = None
    """Ids of the records that failed, where the runtime knows them; then the answer is not looked at."""
    error: Failed | None = None
    """What made the first of them fail, where known."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The function ran and did not return: it raised, timed out or died."""

    type: str
    message: str
    stack: Sequence[str] = ()
    cause: Cause = Cause.FUNCTION
    document: Mapping[str, object] | None = None
    """The error JSON as a runtime outside this process wrote it, if it did."""

    def payload(self, request_id: str) -> dict[str, object]:
        """The error JSON that Lambda answers (Lambda API reference: Invoke)."""
        if self.document is not None:
            return dict(self.document)
        error: dict[str, object] = {"errorMessage": _whole(self.message), "errorType": _whole(self.type)}
        if self.cause is Cause.FUNCTION:
            error |= {"requestId": request_id, "stackTrace": [_whole(line) for line in self.stack]}
        return error


@dataclass(frozen=True, slots=True)
class Throttled:
    """The function never began: no concurrency was to be had. Spends no attempt."""

    retry_after: float = 0.0
    """Seconds asked for by whoever throttled; the policy's own backoff still applies when it is longer."""
    reason: str = "ConcurrentInvocationLimitExceeded"


@dataclass(frozen=True, slots=True)
class Refused:
    """The function never begins, however often it is tried: it is switched off, or its chain is a loop."""

    condition: Condition


Outcome: TypeAlias = Succeeded | Failed | Throttled | Refused


class InvalidResponse(ValueError):
    """A partial batch response that names no record of its batch: the whole batch failed."""


def failed_ids(response: object, batch: Batch) -> frozenset[str]:
    """Ids of the records that a partial batch response reports as failed; empty when all went well.

    The table of answers is AWS's (recorded for Kinesis, DynamoDB and SQS): `""`, `[]`, `None`, `{}` and an
    empty or null `batchItemFailures` are success. Raises InvalidResponse where AWS fails the whole batch: an
    identifier that is empty, null, missing or not in the batch, and an answer of any other form.
    """
    if response is None or _empty(response):
        return frozenset()
    if not isinstance(response, dict):
        raise InvalidResponse(
            f"the function answered {_kind(response)}, not an object with batchItemFailures"
        )
    items = response.get("batchItemFailures")
    if items is None:
        return frozenset()
    if not isinstance(items, list | tuple):
        raise InvalidResponse(f"batchItemFailures is {_kind(items)}, not a list")
    if not items:
        return frozenset()
    known = {record.id for record in batch.records}
    failed = set()
    for item in items:
        identifier = item.get("itemIdentifier") if isinstance(item, dict) else None
        name = batch.shape.record_id(identifier)
        if name is None or name not in known:
            raise InvalidResponse(f"an itemIdentifier, {_kind(identifier)}, names no record of the batch")
        failed.add(name)
    return frozenset(failed)


def _whole(text: str) -> str:
    # Half a surrogate pair (of a file name that is not UTF-8) is what JSON encoders refuse.
    return text.encode("utf-8", "replace").decode()


def _empty(response: object) -> bool:
    # By type first: what a function answers may define == (an array does), and must not be asked.
    return isinstance(response, str | list | tuple | dict) and not response


def _kind(value: object) -> str:
    # The value itself may be nested too deep or be too long to be shown, unless it is text.
    return repr(value[:80]) if isinstance(value, str) else f"a {type(value).__name__}"
