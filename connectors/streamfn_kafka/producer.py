"""Sending in batches that are made here: one future a batch, not one a message."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError  # type: ignore[import-untyped]
from aiokafka.partitioner import DefaultPartitioner  # type: ignore[import-untyped]

from streamfn.ports import Message, SendFailure
from streamfn_kafka.contact import started

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

_BATCH = 256 * 1024
"""Bytes of a batch. Three times as fast as aiokafka's 16 KiB."""

_STOP = 3.0


@dataclass(slots=True)
class _Pack:
    """Messages that travel together to one partition."""

    partition: int
    builder: Any
    indexes: list[int] = field(default_factory=list)


class Producer:
    """A connection to write one topic with. Not idempotent: such a one never gives up, not even to stop."""

    def __init__(self, topic: str, timeout: float, options: Mapping[str, Any]) -> None:
        self._topic = topic
        self._producer = AIOKafkaProducer(
            acks="all",
            max_batch_size=_BATCH,
            # A batch fails before the send that waits for it does, and says why.
            request_timeout_ms=max(50, int(timeout * 800)),
            **options,
        )
        self._partitioner = DefaultPartitioner()
        self._turn = 0

    async def start(self) -> None:
        """Connects. Raises KafkaError, and has then to be stopped too."""
        await started(self._producer.start())

    async def stop(self) -> None:
        """Ends within a few seconds; what was not sent by then is not."""
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(_STOP) as waiting:
                await self._producer.stop()
            if waiting.cancelled_caught:
                with anyio.move_on_after(1):
                    # Where stop() would have come to next.
                    await self._producer._sender.close()  # noqa: SLF001
                with anyio.move_on_after(1):
                    await self._producer.client.close()

    async def send(self, messages: Sequence[Message], indexes: Sequence[int]) -> list[SendFailure]:
        """Sends the messages at these places. Raises ConnectionError when no broker took any."""
        partitions = await self._partitions()
        waiting: dict[int, deque[_Pack]] = {}
        for pack in self._packed(messages, indexes, partitions):
            waiting.setdefault(pack.partition, deque()).append(pack)
        failures: list[SendFailure] = []
        unreachable: KafkaError | None = None
        while waiting:
            # One batch of each partition at a time: a second one would only wait behind the first.
            for pack, error in await self._deliver([packs.popleft() for packs in waiting.values()]):
                if error is None:
                    continue
                if error.retriable:
                    unreachable = error
                    failures += (SendFailure(index, _told(error)) for index in pack.indexes)
                elif len(pack.indexes) == 1:
                    failures.append(SendFailure(pack.indexes[0], _told(error), retryable=False))
                else:
                    # A batch is refused as a whole: each message of it alone, to find those that are to
                    # blame.
                    single = [self._single(pack.partition, messages[index], index) for index in pack.indexes]
                    waiting.setdefault(pack.partition, deque()).extendleft(reversed(single))
            waiting = {partition: packs for partition, packs in waiting.items() if packs}
        if unreachable is not None and len(failures) == len(indexes):
            raise ConnectionError(f"{self._topic}: {_told(unreachable)}")
        return failures

    async def _partitions(self) -> list[int]:
        try:
            return sorted(await self._producer.partitions_for(self._topic))
        except UnknownTopicOrPartitionError as error:
            raise ConnectionError(f"there is no topic {self._topic}") from error
        except KafkaError as error:
            raise ConnectionError(f"{self._topic}: {_told(error)}") from error

    def _packed(
        self, messages: Sequence[Message], indexes: Sequence[int], partitions: list[int]
    ) -> list[_Pack]:
        packs: list[_Pack] = []
        open_packs: dict[int, _Pack] = {}
        chosen: dict[str, int] = {}
        self._turn += 1
        keyless = partitions[self._turn % len(partitions)]
        for index in indexes:
            message = messages[index]
            if message.key is None:
                # Round robin by send, not by message: small batches are what is slow.
                partition = keyless
            else:
                partition = chosen.get(message.key, -1)
                if partition < 0:
                    key = _bytes(message.key)
                    partition = chosen[message.key] = self._partitioner(key, partitions, partitions)
            pack = open_packs.get(partition)
            if pack is None or not self._append(pack, message, index):
                pack = open_packs[partition] = self._single(partition, message, index)
                packs.append(pack)
        return packs

    def _single(self, partition: int, message: Message, index: int) -> _Pack:
        pack = _Pack(partition, self._producer.create_batch())
        self._append(pack, message, index)
        return pack

    def _append(self, pack: _Pack, message: Message, index: int) -> bool:
        key = None if message.key is None else _bytes(message.key)
        taken = pack.builder.append(
            timestamp=None, key=key, value=message.body, headers=list(message.headers)
        )
        if taken is None:
            return False
        pack.indexes.append(index)
        return True

    async def _deliver(self, packs: Sequence[_Pack]) -> list[tuple[_Pack, KafkaError | None]]:
        """What became of each."""
        on_the_way: list[tuple[_Pack, asyncio.Future[Any]]] = []
        results: list[tuple[_Pack, KafkaError | None]] = []
        for pack in packs:
            try:
                future = await self._producer.send_batch(pack.builder, self._topic, partition=pack.partition)
            except KafkaError as error:
                results.append((pack, error))
            else:
                on_the_way.append((pack, future))
        for pack, future in on_the_way:
            try:
                await future
            except KafkaError as error:
                results.append((pack, error))
            else:
                results.append((pack, None))
        return results


def _bytes(key: str) -> bytes:
    # As records show keys that are not UTF-8.
    return key.encode("utf-8", "surrogateescape")


def _told(error: KafkaError) -> str:
    return f"{type(error).__name__}: {error}"
