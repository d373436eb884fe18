"""One poller of a queue: a long poll at a time, and what becomes of the messages it brings."""

from __future__ import annotations

import asyncio
import math
import random
import uuid
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import structlog

from streamfn.core.events.sqs import SqsShape
from streamfn_aws.errors import ServiceError, source_error
from streamfn_aws.sqs.records import ReceivedMessage
from streamfn_aws.sqs.settling import ENTRIES, Settling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.events import EventShape
    from streamfn.core.records import Record
    from streamfn_aws.api import Api
    from streamfn_aws.sqs.queues import Queue

_log = structlog.get_logger("streamfn.sqs")

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 20.0
"""Seconds between two tries of a poll that failed."""

_ANSWER: Final = 10.0
"""Seconds that an answer may take beyond what was asked to be waited for."""

_ALL: Final = {"MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]}


class SqsPoller:
    """A `QueueShard`.

    A poll is never cancelled, for SQS would hand its messages to nobody: a read that is cancelled leaves it
    going, and the next read, or the end, finds what it brought.
    """

    def __init__(self, api: Api, queue: Queue, poller: str, wait_time: int, window: float) -> None:
        self.id = poller
        self.shape: EventShape = SqsShape(queue.arn, queue.region, window)
        self.visibility_timeout = queue.visibility_timeout
        self.depth: int | None = None
        self._api = api
        self._queue = queue
        self._wait_time = wait_time
        self._deletes = Settling(api, "DeleteMessageBatch", queue.url, poller)
        self._releases = Settling(api, "ChangeMessageVisibilityBatch", queue.url, poller)
        self._asked: tuple[int, int] | None = None
        """Messages and seconds of the poll that is under way."""
        self._wanted = asyncio.Event()
        self._ended = asyncio.Event()
        self._leaving = asyncio.Event()
        self._brought: list[ReceivedMessage] = []
        self._error: ServiceError | None = None

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        if not self._brought:
            if self._asked is not None:
                with anyio.move_on_after(wait):
                    await self._ended.wait()
            else:
                self._asked = min(limit, ENTRIES), min(self._wait_time, int(wait))
                self._ended.clear()
                self._wanted.set()
                await self._ended.wait()
            if self._error is not None:
                error, self._error = self._error, None
                raise source_error(self.id, error) from error
        records, self._brought = self._brought[:limit], self._brought[limit:]
        return records

    async def ack(self, records: Sequence[Record]) -> None:
        await self._deletes.do([{"ReceiptHandle": record.receipt} for record in _ours(records)])

    async def release(self, records: Sequence[Record], delay: float | None) -> None:
        if delay is not None:
            # SQS knows whole seconds only.
            await self._hide(records, math.floor(delay + 0.5))

    async def extend(self, records: Sequence[Record], seconds: float) -> None:
        await self._hide(records, math.ceil(seconds))

    async def leave(self) -> None:
        """Lets the poll end, and gives back what it brought and nobody read."""
        self._leaving.set()
        if self._asked is not None:
            await self._ended.wait()
        brought, self._brought = self._brought, []
        await self.release(brought, 0.0)

    async def _hide(self, records: Sequence[Record], seconds: int) -> None:
        await self._releases.do(
            [
                {"ReceiptHandle": record.receipt, "VisibilityTimeout": min(seconds, 43_200)}
                for record in _ours(records)
            ]
        )

    # ----------------------------------------------------------------------------------------- polling

    async def keep_polling(self) -> None:
        """Polls when a read asks for it. In a task of its own, that reads may be cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._asked is not None:
                await self._receive(*self._asked)

    async def _receive(self, limit: int, wait: int) -> None:
        asked: dict[str, Any] = {
            "QueueUrl": self._queue.url,
            "MaxNumberOfMessages": limit,
            "WaitTimeSeconds": wait,
            **_ALL,
        }
        if self._queue.fifo:
            # An answer that got lost is given again, and its groups are not blocked meanwhile.
            asked["ReceiveRequestAttemptId"] = str(uuid.uuid4())
        try:
            messages = await self._messages(asked, wait + _ANSWER)
        except ServiceError as error:
            self._error = error
        else:
            self._brought += map(ReceivedMessage, messages)
            self.depth = None if messages or not wait else 0
        finally:
            self._asked = None
            self._ended.set()

    async def _messages(self, asked: dict[str, Any], patience: float) -> Sequence[dict[str, Any]]:
        """What comes, however long SQS is away or has too much to do. Raises what only a person can mend."""
        pause, failing = _FIRST_PAUSE, False
        while True:
            try:
                answer = await self._api.call("ReceiveMessage", asked, patience=patience)
            except (ServiceError, OSError) as error:
                if isinstance(error, ServiceError) and not error.transient:
                    raise
                if not failing:
                    _log.warning("sqs_poll_failed", queue=self.id, reason=str(error), then="trying again")
                failing = True
                with anyio.move_on_after(pause * random.uniform(0.5, 1.0)):
                    await self._leaving.wait()
                    return ()
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if failing:
                    _log.warning("sqs_poll_works_again", queue=self.id)
                return answer.get("Messages") or ()


def _ours(records: Sequence[Record]) -> Sequence[ReceivedMessage]:
    return cast("Sequence[ReceivedMessage]", records)
