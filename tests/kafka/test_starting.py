"""Clients that are broken off while they start leave no connection behind."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from streamfn.core.policies import StartingPosition
from streamfn.ports import Message, Subscription
from streamfn_kafka import KafkaDestination, KafkaSource
from tests.kafka.cluster import PATIENCE, Cluster

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

HORIZON = Subscription("group", StartingPosition.TRIM_HORIZON)


class SlowWay:
    """Leads to a broker. The second answer of each connection is kept back: the first says what the broker
    speaks, the second what the cluster is.
    """

    def __init__(self, bootstrap: str) -> None:
        self.host, _, port = bootstrap.partition(":")
        self.port = int(port)
        self.keeps = asyncio.Event()
        """Something is kept back."""
        self.goes_on = asyncio.Event()
        self.address = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._lead, "127.0.0.1", 0) as server:
            self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection(self.host, self.port)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._answer, broker_reader, writer)
                while data := await reader.read(65_536):
                    broker_writer.write(data)
                tasks.cancel_scope.cancel()
        finally:
            broker_writer.close()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        while head := await reader.read(4):
            answer = head + await reader.readexactly(int.from_bytes(head, "big"))
            number += 1
            if number == 2:
                self.keeps.set()
                await self.goes_on.wait()
            writer.write(answer)


async def opened(cluster: Cluster, address: str, topic: str) -> None:
    async with KafkaSource(topic, address, session_timeout=3).shards(HORIZON) as events:
        async for _ in events:
            pass


async def checked(cluster: Cluster, address: str, topic: str) -> None:
    await KafkaSource(topic, address).check()


async def sent(cluster: Cluster, address: str, topic: str) -> None:
    await KafkaDestination(topic, address).send([Message(b"1")])


@pytest.mark.parametrize("start", [opened, checked, sent])
async def test_no_connection_is_left(cluster: Cluster, start: object) -> None:
    topic = await cluster.topic(1)
    way = SlowWay(cluster.bootstrap)
    gc.collect()  # What others have left is not ours.
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        async with way.open(), anyio.create_task_group() as tasks:
            tasks.start_soon(start, cluster, way.address, topic)  # type: ignore[arg-type]
            with anyio.fail_after(PATIENCE):
                await way.keeps.wait()
            tasks.cancel_scope.cancel()
            way.goes_on.set()
        gc.collect()
    assert [str(one.message) for one in said if one.category is ResourceWarning] == []
