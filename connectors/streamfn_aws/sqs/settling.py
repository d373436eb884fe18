"""Deletes and releases, in batches of ten whoever asks for them."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from streamfn.errors import SourceError
from streamfn_aws.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import TaskGroup

    from streamfn_aws.api import Api

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


class Entry:
    """What is asked for one message, and what came of it."""

    __slots__ = ("outcome", "values")

    def __init__(self, values: dict[str, Any], outcome: asyncio.Future[Exception | None]) -> None:
        self.values = values
        self.outcome = outcome
        """An error; it is nobody's duty to look at it."""


class Settling:
    """One batch operation on one queue.

    What is asked for is done, whether or not who asked for it waits. An entry that SQS does not carry out is
    tried again a few times; that a delivery is over is no failure.
    """

    def __init__(self, api: Api, operation: str, queue_url: str, name: str, tasks: TaskGroup) -> None:
        self._api = api
        self._operation = operation
        self._queue_url = queue_url
        self._name = name
        self._tasks = tasks
        self._waiting: deque[Entry] = deque()
        self._at_work = 0

    async def do(self, entries: Sequence[dict[str, Any]]) -> None:
        """Returns when all are done. Raises SourceError when some could not be."""
        if not entries:
            return
        loop = asyncio.get_running_loop()
        asked = [Entry(values, loop.create_future()) for values in entries]
        self._waiting.extend(asked)
        while self._at_work < _AT_ONCE and self._at_work * ENTRIES < len(self._waiting):
            self._at_work += 1
            self._tasks.start_soon(self._work)
        outcomes = [entry.outcome for entry in asked]
        await asyncio.wait(outcomes)
        errors = [error for outcome in outcomes if (error := outcome.result()) is not None]
        if errors:
            raise SourceError(f"{self._name}: {len(errors)} of {len(asked)} messages: {errors[0]}")

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(ENTRIES, len(self._waiting)))]
                try:
                    await self._carry_out(batch)
                finally:
                    for entry in batch:
                        # Cut off: nobody knows what came of it.
                        if not entry.outcome.done():
                            entry.outcome.set_result(SourceError(f"{self._name}: cut off"))
        finally:
            self._at_work -= 1

    async def _carry_out(self, batch: Sequence[Entry]) -> None:
        left = batch
        for tried in range(1, _TRIES + 1):
            failures = await self._call(left)
            for entry in left:
                if (error := failures.get(entry)) is None:
                    entry.outcome.set_result(None)
                elif tried == _TRIES or not error.transient:
                    entry.outcome.set_result(error)
            left = [entry for entry in left if not entry.outcome.done()]
            if not left:
                return
            await asyncio.sleep(_PAUSE * 2 ** (tried - 1) * random.uniform(0.5, 1.0))

    async def _call(self, batch: Sequence[Entry]) -> dict[Entry, ServiceError]:
        """Which of them failed, and why."""
        entries = [{"Id": str(index), **entry.values} for index, entry in enumerate(batch)]
        try:
            answer = await self._api.call(
                self._operation, {"QueueUrl": self._queue_url, "Entries": entries}, patience=10.0
            )
        except ServiceError as error:
            return dict.fromkeys(batch, error)
        except OSError as error:
            return dict.fromkeys(batch, ServiceError(self._operation, "OutOfReach", str(error), 503))
        failed: dict[Entry, ServiceError] = {}
        for failure in answer.get("Failed") or ():
            code, status = failure.get("Code", ""), 400 if failure.get("SenderFault") else 500
            found = ServiceError(self._operation, code, failure.get("Message", ""), status)
            if found.code not in _OVER:
                failed[batch[int(failure["Id"])]] = found
        return failed
