"""A Kafka topic as a destination."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, Unpack

from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from anyio import to_thread

from streamfn.errors import ConfigurationError
from streamfn.options import one_of, within
from streamfn.ports import FailureFormat, Message, SendFailure
from streamfn_kafka.contact import ration_client_logs
from streamfn_kafka.options import Connection, ConnectionOptions, parsed_uri, topic_name
from streamfn_kafka.producer import Producer
from streamfn_kafka.reaching import check_topic, explain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")
_ENVELOPE = 128
"""Bytes of a batch and a record around key, value and headers, generously counted."""

_TYPES: Mapping[str, type] = {"compression_type": str, "max_request_size": int, "timeout": float}


class KafkaDestination:
    """Writes messages to one topic; they are on all in-sync replicas when `send` returns.

    Keys and headers are kept. Messages of one key keep their order, in one partition, chosen as Java's client
    does; those without a key go round the partitions. A send whose answer is lost is made again, so a message
    can be there twice. Connects with the first send, and again after `close`.

    `timeout`: seconds that a send may take. `max_request_size`: bytes of one message; keep it at or below the
    topic's `max.message.bytes`. `compression_type`: none, gzip, snappy, lz4 or zstd.
    """

    failure_format = FailureFormat.RECORD

    def __init__(
        self,
        topic: str,
        bootstrap_servers: str | Sequence[str],
        *,
        compression_type: str = "none",
        max_request_size: int = 2**20,
        timeout: float = 15.0,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        self.topic = topic_name(topic, "Destination")
        self._connection = Connection.of(bootstrap_servers, connection)
        self._compression = one_of("compression_type", compression_type, _COMPRESSIONS)
        self._largest = int(within("max_request_size", max_request_size, 1024, 2**30))
        self._timeout = within("timeout", timeout, 0.1, 3600)
        self._producer: Producer | None = None
        self._connecting = asyncio.Lock()

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`kafka://host:9092,other:9092/topic?option=value`, with the options of the class."""
        topic, servers, given = parsed_uri(uri, "Destination", _TYPES)
        return cls(topic, servers, **given)

    @property
    def name(self) -> str:
        return f"kafka://{','.join(self.bootstrap_servers)}/{self.topic}"

    @property
    def bootstrap_servers(self) -> tuple[str, ...]:
        """The brokers that are asked first."""
        return self._connection.bootstrap_servers

    def __repr__(self) -> str:
        return f"<KafkaDestination {self.name}>"

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        """Those that were not taken; the others are durable on return. Raises OSError when out of reach.

        A message that is too large, or that the topic refuses, fails alone and for good.
        """
        fitting: list[int] = []
        failures: list[SendFailure] = []
        for index, message in enumerate(messages):
            size = _size(message)
            if size > self._largest:
                reason = f"MessageSizeTooLarge: {size} bytes, above max_request_size {self._largest}"
                failures.append(SendFailure(index, reason, retryable=False))
            else:
                fitting.append(index)
        if fitting:
            try:
                async with asyncio.timeout(self._timeout):
                    producer = await self._connected()
                    failures += await producer.send(messages, fitting)
            except TimeoutError:
                await self.close()
                raise TimeoutError(f"{self.name}: not taken within {self._timeout:g} s") from None
        return sorted(failures, key=lambda failure: failure.index)

    async def check(self) -> None:
        """Proves that the topic can be reached. Raises SourceError or ConfigurationError naming the fix."""
        await check_topic(self._connection, self.topic, self.name, "Destination")

    async def close(self) -> None:
        """Lets the connections go, within a few seconds. What was sent is durable already."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _connected(self) -> Producer:
        """The producer, started. Raises OSError."""
        async with self._connecting:
            if self._producer is None:
                ration_client_logs()
                options = await to_thread.run_sync(self._connection.client_options)
                if self._compression != "none":
                    options["compression_type"] = self._compression
                try:
                    producer = Producer(self.topic, self._timeout, options)
                except RuntimeError as error:
                    raise ConfigurationError(
                        f"{self._compression} needs a package: {error}",
                        field="compression_type",
                        fix="pip install 'aiokafka[all]'",
                    ) from error
                try:
                    await producer.start()
                except BaseException as error:
                    await producer.stop()
                    if isinstance(error, KafkaError):
                        raise ConnectionError(
                            f"{self.name}: {await explain(self._connection, error)}"
                        ) from error
                    raise
                self._producer = producer
            return self._producer


def _size(message: Message) -> int:
    size = _ENVELOPE + len(message.body) + 3 * len(message.key or "")
    for name, value in message.headers:
        size += 3 * len(name) + len(value or b"") + 10
    return size
