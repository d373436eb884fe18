"""Deletes and releases, in batches of ten."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

import anyio

from streamfn.errors import SourceError
from streamfn_aws.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn_aws.api import Api

    Entry = dict[str, Any]
    """What is asked for one message."""

ENTRIES: Final = 10
"""Of one batch (SQS quota)."""

_AT_ONCE: Final = 8
"""Calls under way, of one poller and one operation."""

_TRIES: Final = 5
_PAUSE: Final = 0.2
"""Seconds before the second try, doubled with each."""

_OVER: Final = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "MessageNotInflight",
        "InvalidReceiptHandle",
        "InvalidParameterValue",
    }
)
"""The delivery is over: the message came again, was deleted, or has been hidden for twelve hours."""


class Settling:
    """One batch operation on one queue.

    An entry that SQS does not carry out is tried again a few times; that a delivery is over is no failure.
    """

    def __init__(self, api: Api, operation: str, queue_url: str, name: str) -> None:
        self._api = api
        self._operation = operation
        self._queue_url = queue_url
        self._name = name
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def do(self, entries: Sequence[Entry]) -> None:
        """Returns when all are done. Raises SourceError when some could not be."""
        failures: list[ServiceError] = []
        if len(entries) <= ENTRIES:
            if entries:
                failures = await self._carry_out(entries)
        else:
            async with anyio.create_task_group() as tasks:

                async def carry_out(some: Sequence[Entry]) -> None:
                    failures.extend(await self._carry_out(some))

                for first in range(0, len(entries), ENTRIES):
                    tasks.start_soon(carry_out, entries[first : first + ENTRIES])
        if failures:
            raise SourceError(f"{self._name}: {len(failures)} of {len(entries)} messages: {failures[0]}")

    async def _carry_out(self, batch: Sequence[Entry]) -> list[ServiceError]:
        """What could not be done, after some tries."""
        failures: list[ServiceError] = []
        async with self._turns:
            for tried in range(1, _TRIES + 1):
                faults = await self._call(batch)
                again = [index for index, error in faults.items() if error.transient and tried < _TRIES]
                failures += [error for index, error in faults.items() if index not in again]
                if not again:
                    break
                batch = [batch[index] for index in again]
                await asyncio.sleep(_PAUSE * 2 ** (tried - 1) * random.uniform(0.5, 1.0))
        return failures

    async def _call(self, batch: Sequence[Entry]) -> dict[int, ServiceError]:
        """Which of them failed, by their place, and why."""
        entries = [{"Id": str(index), **entry} for index, entry in enumerate(batch)]
        asked = {"QueueUrl": self._queue_url, "Entries": entries}
        try:
            answer = await self._api.call(self._operation, asked)
        except ServiceError as error:
            return dict.fromkeys(range(len(batch)), error)
        except OSError as error:
            away = ServiceError(self._operation, "OutOfReach", str(error), 503)
            return dict.fromkeys(range(len(batch)), away)
        failed: dict[int, ServiceError] = {}
        for failure in answer.get("Failed") or ():
            code, status = failure.get("Code", ""), 400 if failure.get("SenderFault") else 500
            found = ServiceError(self._operation, code, failure.get("Message", ""), status)
            if found.code not in _OVER:
                failed[int(failure["Id"])] = found
        return failed
