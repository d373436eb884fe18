"""Fetches records back from a Kafka topic."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from streamfn.core.events.kafka import KafkaShape
from streamfn.errors import ConfigurationError, SourceError
from streamfn_kafka.options import Connection, ConnectionOptions, parsed_uri, topic_name
from streamfn_kafka.reader import TopicReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn_kafka.records import FetchedRecord

_ROLE: Final = "Source"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Records of one partition, from the first offset to the last, and when those two were written."""

    partition: int
    first: int
    last: int
    first_at: int | None
    """Milliseconds since the epoch."""
    last_at: int | None

    def of(self, records: list[FetchedRecord]) -> list[FetchedRecord]:
        """The records, if they are those that were meant: a topic that is made anew has others there."""
        for record in records[:1] + records[-1:]:
            for offset, at in ((self.first, self.first_at), (self.last, self.last_at)):
                if record.offset == offset and at is not None and record.timestamp != at:
                    return []
        return records


class KafkaFetcher:
    """Fetches the records of a `KafkaBatchInfo` from their topic: `kafka://host:9092,other:9092/topic`.

    Reads in no consumer group. What was removed from the topic is not fetched, and what comes is the rest;
    a record at the same offset that was written at another time is another record. Of a batch that was
    filtered, all records come that lie between its first and its last. An on-failure record that names an
    offset without its partition, as those in topics do, is looked for in all of them by its time.
    """

    def __init__(
        self,
        topic: str,
        bootstrap_servers: str | Sequence[str],
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        self.topic = topic_name(topic, _ROLE)
        self._connection = Connection.of(bootstrap_servers, connection)
        self._reader: TopicReader | None = None
        self._fetching = asyncio.Lock()

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`kafka://host:9092,other:9092/topic?option=value`, with the options of the class."""
        if uri.startswith("arn:"):
            raise ConfigurationError(
                "the ARN of a cluster does not say how to reach its brokers",
                field=_ROLE,
                fix="write kafka://host:9092/topic?sasl_username=NAME&sasl_password=env:VARIABLE",
            )
        topic, servers, given = parsed_uri(uri, _ROLE, {})
        return cls(topic, servers, **given)

    @property
    def name(self) -> str:
        """What people call it."""
        return f"kafka://{','.join(self._connection.bootstrap_servers)}/{self.topic}"

    def __repr__(self) -> str:
        return f"<KafkaFetcher {self.name}>"

    async def fetch(self, info: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The event of the records that are still there, as the function is given them; None where none is.

        Raises SourceError where the topic cannot be read, or is not the one the records were in.
        """
        # A reader reads one part of the topic at a time.
        async with self._fetching:
            reader = await self._connected()
            try:
                return await self._fetch(reader, info)
            except SourceError:
                # The next fetch connects anew.
                await self.close()
                raise

    async def close(self) -> None:
        """Lets connections go."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.stop()

    async def _connected(self) -> TopicReader:
        if self._reader is None:
            reader = TopicReader(self._connection, self.topic, self.name)
            try:
                await reader.start()
            except BaseException:
                await reader.stop()
                raise
            self._reader = reader
        return self._reader

    async def _fetch(self, reader: TopicReader, info: Mapping[str, Any]) -> Mapping[str, Any] | None:
        bounds = await reader.bounds()
        wanted = self._wanted(info, bounds)
        ranges = {
            one.partition: (
                max(one.first, bounds[one.partition][0]),
                min(one.last + 1, bounds[one.partition][1]),
            )
            for one in wanted
            if one.partition in bounds
        }
        found: dict[int, list[FetchedRecord]] = {one.partition: [] for one in wanted}
        async for record in reader.read(ranges):
            found[record.partition].append(record)
        kept = {one.partition: records for one in wanted if (records := one.of(found[one.partition]))}
        if "recordInfo" in info and len(kept) > 1:
            raise SourceError(
                f"{self.name}: which of the partitions {sorted(kept)} it is in, its on-failure record "
                "does not say. Fix: take the payload that is in it",
                retryable=False,
            )
        return self._event(info, kept) if kept else None

    def _event(
        self, info: Mapping[str, Any], kept: Mapping[int, Sequence[FetchedRecord]]
    ) -> Mapping[str, Any]:
        servers = info.get("bootstrapServers") or ",".join(self._connection.bootstrap_servers)
        event: dict[str, Any] = {}
        for partition, records in kept.items():
            shape = KafkaShape(self.topic, partition, servers, info.get("eventSourceArn"))
            more = shape.to_event(records)
            event = more | {"records": event.get("records", {}) | more["records"]}
        return event

    def _wanted(self, info: Mapping[str, Any], partitions: Mapping[int, Any]) -> list[_Wanted]:
        """What an on-failure record tells of. Raises SourceError."""
        try:
            if "recordInfo" in info:
                said = info["recordInfo"]
                offset, at = int(said["offset"]), _millis(said.get("timestamp"))
                return [_Wanted(number, offset, offset, at, at) for number in partitions]
            return [self._range(lane, said) for lane, said in info["recordsInfo"].items()]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceError(
                f"{self.name}: the on-failure record does not say where its records were: {error!r}",
                retryable=False,
            ) from error

    def _range(self, lane: str, said: Mapping[str, Any]) -> _Wanted:
        topic, _, partition = lane.rpartition("-")
        if topic != self.topic:
            raise SourceError(
                f"{self.name}: the records were in the topic {topic}. Fix: name that topic", retryable=False
            )
        return _Wanted(
            int(partition),
            int(said["firstRecordOffset"]),
            int(said["lastRecordOffset"]),
            _millis(said.get("firstRecordTimestamp")),
            _millis(said.get("lastRecordTimestamp")),
        )


def _millis(text: Any) -> int | None:
    return round(datetime.fromisoformat(text).timestamp() * 1000) if isinstance(text, str) else None
