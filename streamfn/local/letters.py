"""Dead letters in streams and queues of the embedded broker, and records fetched back from its streams."""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from streamfn.core.events import KinesisShape
from streamfn.core.letters import Stored
from streamfn.errors import ConfigurationError, SourceError
from streamfn.local import admin
from streamfn.local.broker import Broker
from streamfn.local.naming import Place, parse
from streamfn.local.streams import shard_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from streamfn.core.records import QueueRecord, StreamRecord

DEFAULT: Final = "dead-letters"
"""The queue that dead letters go to where nobody says another. Before the first one came, it is empty."""
_PAGE: Final = 500
_SOURCE: Final = "DeadLetterQueueSourceArn"


class _Reader:
    """A broker that is opened with the first use, if its file is there: looking makes nothing."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._opening = anyio.Lock()
        self._resources = AsyncExitStack()
        self._broker: Broker | None = None

    async def broker(self) -> Broker | None:
        async with self._opening:
            if self._broker is None and await anyio.Path(self.place.path).exists():
                shared = Broker.shared(self.place.path, clock=self.place.clock)
                self._broker = await self._resources.enter_async_context(shared)
            return self._broker

    async def close(self) -> None:
        async with self._opening:
            self._broker = None
            await self._resources.aclose()


class LocalLetters:
    """A LetterStore over `local:queue/NAME`, or over the stream `local:NAME`, which removes no single letter.

    A scan shows what was there when it began, messages in flight too. An id is the message's; in a stream the
    number of the shard and the position, `0-42`.
    """

    def __init__(self, uri: str, **options: object) -> None:
        self._place = parse(uri, options)
        self._reader = _Reader(self._place)

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`local:queue/NAME` or `local:NAME`. Raises ConfigurationError naming the option and the fix."""
        return cls(uri, **options)

    @property
    def name(self) -> str:
        return f"local:queue/{self._place.name}" if self.removes else f"local:{self._place.name}"

    @property
    def removes(self) -> bool:
        return self._place.is_queue

    async def count(self) -> int:
        """How many letters there are now."""
        broker = await self._reader.broker()
        if broker is None or not await self._is_there(broker):
            return 0
        return await (admin.count if self.removes else admin.count_stream)(broker, self._place.name)

    async def scan(self) -> AsyncIterator[Stored]:
        """Raises ConfigurationError where there is no such stream or queue; the default one is empty then."""
        broker = await self._reader.broker()
        if broker is not None and await self._is_there(broker):
            letters = self._of_queue(broker) if self.removes else self._of_stream(broker)
            async for stored in letters:
                yield stored
        elif not self.removes or self._place.name != DEFAULT:
            raise ConfigurationError(
                f"there is no {self.name}", fix="`streamfn dlq stores` lists what there is"
            )

    async def remove(self, letters: Sequence[Stored]) -> None:
        broker = await self._reader.broker()
        if broker is not None and letters and await self._is_there(broker):
            await admin.delete_numbers(broker, self._place.name, [stored.receipt for stored in letters])

    async def purge(self) -> int:
        broker = await self._reader.broker()
        if broker is None or not await self._is_there(broker):
            return 0
        return await (admin.purge if self.removes else admin.purge_stream)(broker, self._place.name)

    async def close(self) -> None:
        await self._reader.close()

    async def _is_there(self, broker: Broker) -> bool:
        return await (admin.has_queue if self.removes else admin.has_stream)(broker, self._place.name)

    async def _of_queue(self, broker: Broker) -> AsyncIterator[Stored]:
        name, after = self._place.name, 0
        last = await admin.last(broker, name)
        while records := await admin.peek(broker, name, limit=_PAGE, after=after):
            for record in records:
                after = record.receipt.id
                if after > last:
                    return
                yield _of_message(record)

    async def _of_stream(self, broker: Broker) -> AsyncIterator[Stored]:
        """The shards side by side, by the time of arrival."""
        ends = await admin.ends(broker, self._place.name)
        heads: list[tuple[int, deque[StreamRecord]]] = [(number, deque()) for number in range(len(ends))]
        after = [-1] * len(ends)
        while heads:
            for head in tuple(heads):
                number, records = head
                if not records and after[number] < ends[number]:
                    records.extend(
                        await admin.peek_stream(
                            broker, self._place.name, shard=number, after=after[number], limit=_PAGE
                        )
                    )
                if not records or records[0].position > ends[number]:
                    heads.remove(head)
            if heads:
                number, records = min(heads, key=lambda head: (head[1][0].arrived_at, head[0]))
                record = records.popleft()
                after[number] = record.position
                yield _of_record(record, number)


class LocalFetcher:
    """Fetches records of a local stream back, by the sequence numbers of a `KinesisBatchInfo`.

    Messages of a queue are gone once they were given up, so of those there is none.
    """

    def __init__(self, uri: str, **options: object) -> None:
        self._place = parse(uri, options)
        self._reader = _Reader(self._place)

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`local:NAME`. Raises ConfigurationError naming the option and the fix."""
        return cls(uri, **options)

    async def fetch(self, info: Mapping[str, Any]) -> Mapping[str, Any] | None:
        broker = await self._reader.broker()
        name = self._place.name
        if self._place.is_queue or broker is None or not await admin.has_stream(broker, name):
            return None
        shard, first, last = _range(info)
        if not 0 <= shard < len(await admin.ends(broker, name)):
            return None
        records = await _between(broker, name, shard, first, last)
        if not records:
            return None
        arn = f"arn:aws:kinesis:local:000000000000:stream/{name}"
        return KinesisShape(arn, shard_name(shard), "local").to_event(records)

    async def close(self) -> None:
        await self._reader.close()


async def _between(broker: Broker, name: str, shard: int, first: int, last: int) -> list[StreamRecord]:
    found: list[StreamRecord] = []
    after = first - 1
    while after < last:
        limit = min(_PAGE, last - after)
        records = await admin.peek_stream(broker, name, shard=shard, after=after, limit=limit)
        found += (record for record in records if record.position <= last)
        if not records:
            break
        after = records[-1].position
    return found


def _range(info: Mapping[str, Any]) -> tuple[int, int, int]:
    """The shard, and the first and the last position."""
    try:
        shard = int(str(info["shardId"]).removeprefix("shardId-"))
        return shard, int(info["startSequenceNumber"]), int(info["endSequenceNumber"])
    except (KeyError, ValueError, TypeError) as error:
        raise SourceError(
            f"the letter does not say which records it is about: {error}", retryable=False
        ) from (error)


def _of_message(record: QueueRecord) -> Stored:
    return Stored(
        id=record.id,
        body=record.value,
        key=record.key,
        headers=tuple(record.headers),
        stored_at=record.sent_at,
        came_from=(record.attributes or {}).get(_SOURCE),
        receipt=record.receipt.id,
    )


def _of_record(record: StreamRecord, shard: int) -> Stored:
    return Stored(
        id=f"{shard}-{record.position}",
        body=record.value or b"",
        key=record.key,
        headers=tuple(record.headers),
        stored_at=record.arrived_at,
    )
