"""A Kafka topic as a store of dead letters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, Unpack

from aiokafka import TopicPartition  # type: ignore[import-untyped]
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete  # type: ignore[import-untyped]
from aiokafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)
from anyio import to_thread

from streamfn.core.letters import Stored
from streamfn.errors import ConfigurationError, SourceError
from streamfn_kafka.contact import started
from streamfn_kafka.options import Connection, ConnectionOptions, parsed_uri, topic_name
from streamfn_kafka.reader import TopicReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from streamfn_kafka.records import FetchedRecord

_ROLE: Final = "Store"
_PURGE: Final = 30.0
"""Seconds that the removal of all records may take."""


class KafkaLetters:
    """The records of a topic as dead letters: `kafka://host:9092,other:9092/topic`.

    A scan reads from the oldest record to the end there was when it began, in no consumer group, and commits
    nothing: whoever reads the topic besides is not disturbed. Letters of one partition come in order. The id
    of one is `PARTITION-OFFSET`. Kafka cannot take single records out of a topic.
    """

    removes = False

    def __init__(
        self,
        topic: str,
        bootstrap_servers: str | Sequence[str],
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        self.topic = topic_name(topic, _ROLE)
        self._connection = Connection.of(bootstrap_servers, connection)
        self._readers: set[TopicReader] = set()

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`kafka://host:9092,other:9092/topic?option=value`, with the options of the class."""
        topic, servers, given = parsed_uri(uri, _ROLE, {})
        return cls(topic, servers, **given)

    @property
    def name(self) -> str:
        return f"kafka://{','.join(self._connection.bootstrap_servers)}/{self.topic}"

    def __repr__(self) -> str:
        return f"<KafkaLetters {self.name}>"

    async def scan(self) -> AsyncIterator[Stored]:
        """All letters that were there when it began. Raises SourceError."""
        reader = TopicReader(self._connection, self.topic, self.name)
        self._readers.add(reader)
        try:
            await reader.start()
            async for record in reader.read(await reader.bounds()):
                yield _stored(record)
        finally:
            self._readers.discard(reader)
            await reader.stop()

    async def remove(self, letters: Sequence[Stored]) -> NoReturn:
        """Not from a topic: raises ConfigurationError."""
        raise ConfigurationError(
            f"{self.name}: Kafka cannot take single records out of a topic",
            field=_ROLE,
            fix="keep a list of those that are done, and purge the topic when all are",
        )

    async def purge(self) -> None:
        """Removes all records that are there now; Kafka does not tell how many that are.

        Raises SourceError naming the fix.
        """
        reader = TopicReader(self._connection, self.topic, self.name)
        try:
            await reader.start()
            bounds = await reader.bounds()
        finally:
            await reader.stop()
        try:
            await self._delete({number: end for number, (first, end) in bounds.items() if first < end})
        except TopicAuthorizationFailedError as error:
            fix = "grant the user DELETE on the topic"
            raise SourceError(f"{self.name}: access is denied. Fix: {fix}", retryable=False) from error
        except PolicyViolationError as error:
            fix = "add delete to the topic's cleanup.policy"
            raise SourceError(f"{self.name}: the topic is compacted. Fix: {fix}", retryable=False) from error
        except KafkaError as error:
            raise SourceError(f"{self.name}: {type(error).__name__}: {error}") from error
        except TimeoutError as error:
            raise SourceError(f"{self.name}: not purged within {_PURGE:g} s") from error

    async def close(self) -> None:
        """Lets connections go. A scan that is under way ends."""
        readers, self._readers = self._readers, set()
        for reader in readers:
            await reader.stop()

    async def _delete(self, ends: Mapping[int, int]) -> None:
        """Records before these offsets. Raises KafkaError, TimeoutError."""
        if not ends:
            return
        options: dict[str, Any] = await to_thread.run_sync(self._connection.client_options)
        admin = AIOKafkaAdminClient(request_timeout_ms=int(_PURGE * 1000), **options)
        wanted = {TopicPartition(self.topic, number): RecordsToDelete(end) for number, end in ends.items()}
        try:
            async with asyncio.timeout(_PURGE):
                await started(admin.start())
                await admin.delete_records(wanted)
        finally:
            await admin.close()


def _stored(record: FetchedRecord) -> Stored:
    return Stored(
        id=f"{record.partition}-{record.offset}",
        body=record.value or b"",
        key=record.key,
        headers=tuple((name, value or b"") for name, value in record.headers),
        stored_at=None if record.timestamp < 0 else record.arrived_at,
    )
