"""An SQS queue as a source."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

import anyio

from streamfn.errors import ConfigurationError
from streamfn.options import within
from streamfn_aws.api import Api
from streamfn_aws.errors import checking, reading
from streamfn_aws.options import (
    Connection,
    ConnectionOptions,
    Resource,
    connection_options,
    other_options,
    parsed_uri,
)
from streamfn_aws.sqs.poller import SqsPoller
from streamfn_aws.sqs.queues import Queue, find_queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_TYPES: Final[Mapping[str, type]] = {"wait_time_seconds": int}

_FRESH: Final = 60.0
"""Seconds after which a new poller asks again what the queue's visibility timeout is."""

_GOODBYE: Final = 5.0
"""Seconds for giving back what a poll brought; for one that is cut off also for the poll itself."""


class SqsQueue:
    """A queue of SQS, standard or FIFO (its name ends in `.fifo`).

    `wait_time_seconds`: how long a poll waits for messages, 0 to 20. A drain lets the present poll end, for
    what SQS hands to a poll that was cancelled would stay hidden; a shorter wait makes drains faster and
    costs more requests. `window`: the mapping's MaximumBatchingWindowInSeconds. Where a message has no
    attributes, AWS leaves their digest out of the event without a window, and makes it null with one.
    """

    def __init__(
        self,
        queue: str | Resource,
        *,
        wait_time_seconds: int = 20,
        window: float = 0.0,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        self._resource = queue if isinstance(queue, Resource) else _named(queue)
        if self._resource.service != "sqs" or not self._resource.name or "/" in self._resource.name:
            raise ConfigurationError(
                f"{self._resource.arn or self._resource.name!r} is no name of a queue",
                field="Source",
                fix="write sqs://NAME, sqs://ACCOUNT/NAME or the ARN",
            )
        self._wait_time = int(within("wait_time_seconds", wait_time_seconds, 0, 20))
        self._window = within("window", window, 0, 300)
        self._connection = Connection.of(connection, self._resource.region)
        self._pollers = count(1)
        self._found: Queue | None = None
        self._found_at = 0.0

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`sqs://NAME`, `sqs://ACCOUNT/NAME` or `arn:aws:sqs:REGION:ACCOUNT:NAME`, with `?option=value`.

        Of `options`, what the app knows: `maximum_batching_window_in_seconds`. Raises ConfigurationError
        naming the option and the fix.
        """
        resource, given = parsed_uri(uri, "Source", _TYPES)
        window: Any = options.get("maximum_batching_window_in_seconds", 0)
        return cls(resource, window=window, **other_options(given), **connection_options(given))

    @property
    def name(self) -> str:
        return f"sqs://{self._resource.name}"

    def __repr__(self) -> str:
        return f"<SqsQueue {self._resource.name}>"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SqsPoller]:
        name = f"{self.name}/{next(self._pollers)}"
        async with Api.shared(self._connection, "sqs") as api:
            with reading(self.name):
                queue = await self._find(api)
            try:
                async with anyio.create_task_group() as tasks:
                    poller = SqsPoller(api, queue, name, self._wait_time, self._window)
                    tasks.start_soon(poller.keep_polling)
                    cut_off = True
                    try:
                        yield poller
                        cut_off = False
                    finally:
                        patience = _GOODBYE if cut_off else _GOODBYE + self._wait_time
                        with anyio.move_on_after(patience, shield=True), reading(self.name):
                            await poller.leave()
                        tasks.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                # Our tasks raise nothing: it is what the caller's block raised, and to be seen as it was.
                if len(group.exceptions) == 1:
                    raise group.exceptions[0] from None
                raise

    async def _find(self, api: Api) -> Queue:
        """The queue as it was not long ago: pollers come and go all the time."""
        now = anyio.current_time()
        if self._found is None or now - self._found_at > _FRESH:
            self._found, self._found_at = await self._look(api), now
        return self._found

    async def check(self) -> None:
        async with Api.shared(self._connection, "sqs") as api:
            with checking(self.name, "Source"):
                await self._look(api)

    async def _look(self, api: Api) -> Queue:
        queue = await find_queue(api, self._resource)
        if not queue.visibility_timeout:
            raise ConfigurationError(
                f"{self.name} does not hide what it hands out: each message would come again and again "
                "while its function runs",
                field="VisibilityTimeout",
                fix="set it on the queue to a few seconds at least; SQS's default is 30",
            )
        return queue


def _named(queue: str) -> Resource:
    if queue.startswith("arn:"):
        return parsed_uri(queue, "Source", {})[0]
    return Resource("sqs", queue)
