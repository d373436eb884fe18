"""`local:` as a destination: streams, and queues for dead letters."""

from __future__ import annotations

import errno
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import anyio

from streamfn.errors import SourceError
from streamfn.local.broker import Broker
from streamfn.local.messages import QueueMessage
from streamfn.local.naming import Place, parse
from streamfn.local.streams import Stream
from streamfn.ports import FailureFormat, Message, SendFailure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.local.queues import Queue

_DEDUPLICATION = "MessageDeduplicationId"


class LocalDestination:
    """A stream or a queue of the embedded broker, to send to. Made with the first use, if it is not there.

    A message's key is its partition key, and in a FIFO queue its MessageGroupId; there a header
    `MessageDeduplicationId` is its deduplication id.
    """

    failure_format = FailureFormat.RECORD

    def __init__(self, uri: str, **options: object) -> None:
        self._place = parse(uri, options)
        self._opening = anyio.Lock()
        self._resources = AsyncExitStack()
        self._target: tuple[Broker, Stream | Queue] | None = None

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`local:NAME`, or `local:queue/NAME`. Raises ConfigurationError naming the option and the fix."""
        return cls(uri, **options)

    @property
    def name(self) -> str:
        return f"local:queue/{self._place.name}" if self._place.is_queue else f"local:{self._place.name}"

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        try:
            await self._send(messages)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            # It was deleted since we opened it, and what is sent to is made.
            async with self._opening:
                if self._target is not None:
                    broker = self._target[0]
                    self._target = broker, await _target(broker, self._place)
            await self._send(messages)
        return ()

    async def _send(self, messages: Sequence[Message]) -> None:
        broker, target = await self._open()
        if isinstance(target, Stream):
            await broker.put(target, messages)
        else:
            await broker.send(target, [_queue_message(message, target) for message in messages])

    async def check(self) -> None:
        try:
            await self._open()
        except OSError as error:
            raise SourceError(str(error)) from error

    async def close(self) -> None:
        async with self._opening:
            self._target = None
            await self._resources.aclose()

    async def _open(self) -> tuple[Broker, Stream | Queue]:
        async with self._opening:
            if self._target is None:
                place = self._place
                async with AsyncExitStack() as resources:
                    broker = await resources.enter_async_context(Broker.shared(place.path, clock=place.clock))
                    self._target = broker, await _target(broker, place)
                    self._resources = resources.pop_all()
            return self._target


async def _target(broker: Broker, place: Place) -> Stream | Queue:
    if place.is_queue:
        return await broker.queue(place.name, place.queue)
    return await broker.stream(place.name, place.stream)


def _queue_message(message: Message, queue: Queue) -> QueueMessage:
    if not queue.fifo:
        return QueueMessage(message.body, message.key, message.headers)
    named = dict(message.headers).get(_DEDUPLICATION)
    return QueueMessage(
        message.body,
        message.key,
        tuple(header for header in message.headers if header[0] != _DEDUPLICATION),
        None if named is None else named.decode(errors="replace"),
    )
