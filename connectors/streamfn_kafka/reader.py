"""Reading a topic as nobody: in no consumer group, and committing nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]
from aiokafka.errors import ConsumerStoppedError, KafkaError  # type: ignore[import-untyped]
from anyio import to_thread

from streamfn.errors import ConfigurationError, SourceError
from streamfn_kafka.contact import ration_client_logs, started
from streamfn_kafka.reaching import check_topic, explain
from streamfn_kafka.records import FetchedRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from streamfn_kafka.options import Connection

T = TypeVar("T")

_LOOK: Final = 200
"""Milliseconds that one look for records may wait."""
_SILENCE: Final = 30.0
"""Seconds without an answer after which the brokers count as away."""
_STOP: Final = 3.0


class TopicReader:
    """Reads parts of one topic. All methods but `stop` raise SourceError."""

    def __init__(self, connection: Connection, topic: str, name: str) -> None:
        self._connection = connection
        self._topic = topic
        self._name = name
        self._consumer: Any = None
        self._partitions: frozenset[int] = frozenset()

    async def start(self) -> None:
        """Connects, where there is such a topic."""
        ration_client_logs()
        try:
            await check_topic(self._connection, self._topic, self._name, "Source")
        except ConfigurationError as error:
            raise SourceError(str(error), retryable=False) from error
        options = await to_thread.run_sync(self._connection.client_options)
        # What is removed while it is read is passed over.
        self._consumer = AIOKafkaConsumer(self._topic, auto_offset_reset="earliest", **options)
        try:
            async with asyncio.timeout(_SILENCE):
                await started(self._consumer.start())
        except TimeoutError as error:
            raise self._silent() from error
        except KafkaError as error:
            raise SourceError(f"{self._name}: {await explain(self._connection, error)}") from error
        assigned = self._consumer.assignment()
        self._partitions = frozenset(partition.partition for partition in assigned)
        # Partitions that are added later are to change nothing.
        self._consumer.unsubscribe()

    async def bounds(self) -> dict[int, tuple[int, int]]:
        """The oldest offset there is and the next one to be written, of each partition."""
        every = [TopicPartition(self._topic, number) for number in sorted(self._partitions)]
        first = await self._answer(self._consumer.beginning_offsets(every))
        # The end after the beginning: the other way round a truncation could turn them about.
        end = await self._answer(self._consumer.end_offsets(every))
        return {place.partition: (first[place], end[place]) for place in every}

    async def read(self, ranges: Mapping[int, tuple[int, int]]) -> AsyncIterator[FetchedRecord]:
        """The records of partitions from an offset to before another, those of one in order.

        One read at a time. The offsets must lie within the bounds.
        """
        ends: dict[Any, int] = {}
        for number, (first, end) in ranges.items():
            if first < end:
                ends[TopicPartition(self._topic, number)] = end
        consumer = self._consumer
        consumer.assign(list(ends))
        for place in ends:
            consumer.seek(place, ranges[place.partition][0])
        while ends:
            for record in await self._answer(_taken(consumer, ends)):
                yield FetchedRecord(record)

    async def stop(self) -> None:
        """Lets connections go, within a few seconds. May be repeated."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(_STOP):
                    await _stopped(consumer)
                with anyio.move_on_after(1):
                    # Where a stop that was cut off would have come to next.
                    await consumer._client.close()  # noqa: SLF001

    async def _answer(self, asked: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(_SILENCE):
                return await asked
        except TimeoutError as error:
            raise self._silent() from error
        except (KafkaError, ConsumerStoppedError) as error:
            raise SourceError(f"{self._name}: {type(error).__name__}: {error}") from error

    def _silent(self) -> SourceError:
        return SourceError(f"{self._name}: no answer within {_SILENCE:g} s")


async def _taken(consumer: Any, ends: dict[Any, int]) -> list[Any]:
    """What comes next; and the partitions that were read to their end are taken out of `ends`."""
    while True:
        taken = await consumer.getmany(*ends, timeout_ms=_LOOK)
        records = [record for place, some in taken.items() for record in some if record.offset < ends[place]]
        # Not by the last record: behind it may be marks of transactions, and gaps.
        over = [place for place, end in ends.items() if await consumer.position(place) >= end]
        for place in over:
            del ends[place]
        if records or over:
            return records


async def _stopped(consumer: Any) -> None:
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        # Where fetches are under way without a broker, it waits for the first that it cancels as for its own.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        fetcher = consumer._fetcher  # noqa: SLF001
        for fetch in tuple(fetcher._pending_tasks if fetcher else ()):  # noqa: SLF001
            fetch.cancel()
