"""The broker for tests works itself."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from . import kafka, kafka_ways
from .kafka import KafkaServer, add_partitions, create_topic, need_restart, run_kafka

# The first run of all fetches the jars.
pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    with run_kafka() as running:
        yield running


@asynccontextmanager
async def producing(bootstrap: str, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def produce(bootstrap: str, topic: str, start: int, stop: int, **options: Any) -> None:
    async with producing(bootstrap, **options) as producer:
        sent = [await producer.send(topic, str(n).encode()) for n in range(start, stop)]
        for delivered in sent:
            await delivered


async def consume(bootstrap: str, topic: str, count: int, **options: Any) -> list[int]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **options,
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            got: list[int] = []
            while len(got) < count:
                batches = await consumer.getmany(timeout_ms=1000)
                got += [int(r.value) for records in batches.values() for r in records]
    finally:
        await consumer.stop()
    return sorted(got)


async def test_produce_and_consume(server: KafkaServer) -> None:
    topic = await create_topic(server.bootstrap, partitions=4)
    await produce(server.bootstrap, topic, 0, 1000)
    assert await consume(server.bootstrap, topic, 1000, group_id=topic) == list(range(1000))


async def test_topic_settings_and_more_partitions(server: KafkaServer) -> None:
    topic = await create_topic(server.bootstrap, config={"cleanup.policy": "compact"})
    await add_partitions(server.bootstrap, topic, 3)
    async with producing(server.bootstrap) as producer:
        assert await producer.partitions_for(topic) == {0, 1, 2}


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_restart_keeps_data_and_port(server: KafkaServer, how: str) -> None:
    need_restart(server)
    topic = await create_topic(server.bootstrap)
    await produce(server.bootstrap, topic, 0, 100)
    before = server.bootstrap
    await anyio.to_thread.run_sync(getattr(server, how))
    assert not kafka_ways.broker_answers(before)
    await anyio.to_thread.run_sync(server.start)
    assert server.running
    assert server.bootstrap == before
    await produce(server.bootstrap, topic, 100, 200)
    assert await consume(server.bootstrap, topic, 200) == list(range(200))


async def test_freeze_and_thaw(server: KafkaServer) -> None:
    need_restart(server)
    server.freeze()
    try:
        assert not kafka_ways.broker_answers(server.bootstrap, timeout=0.2)
    finally:
        server.thaw()
    assert kafka_ways.broker_answers(server.bootstrap, timeout=10)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_sasl(server: KafkaServer, mechanism: str) -> None:
    features = server.features
    if features.sasl_bootstrap is None:
        pytest.skip("this broker has no SASL listener")
    topic = await create_topic(server.bootstrap)
    options = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": features.sasl_username,
        "sasl_plain_password": features.sasl_password,
    }
    await produce(features.sasl_bootstrap, topic, 0, 3, **options)
    assert await consume(features.sasl_bootstrap, topic, 3, **options) == [0, 1, 2]


async def test_tls(server: KafkaServer) -> None:
    features = server.features
    if features.ssl_bootstrap is None or features.ssl_cafile is None:
        pytest.skip("this broker has no TLS listener")
    topic = await create_topic(server.bootstrap)
    options = {
        "security_protocol": "SSL",
        "ssl_context": ssl.create_default_context(cafile=str(features.ssl_cafile)),
    }
    await produce(features.ssl_bootstrap, topic, 0, 3, **options)
    assert await consume(features.ssl_bootstrap, topic, 3, **options) == [0, 1, 2]


def test_failed_start_shows_the_log_and_leaves_nothing() -> None:
    way = kafka_ways.find_kafka()
    if isinstance(way, str) or way.kind != "java":
        pytest.skip("only for a broker of our own")
    broken = KafkaServer(way, {"num.io.threads": "0"})
    with pytest.raises(kafka.KafkaStartError, match=r"num\.io\.threads"), broken:
        pass
    assert broken.pid is None
    assert not broken.data_dir.exists()


def test_close_ends_the_process(server: KafkaServer) -> None:
    if server.way.kind != "java":
        pytest.skip("only for a broker of our own")
    with KafkaServer(server.way) as second:
        pid = second.pid
        assert pid is not None
        assert second.bootstrap != server.bootstrap
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_reason_when_there_is_no_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    monkeypatch.delenv(kafka_ways.ADDRESS_ENV, raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    kafka_ways._find_local.cache_clear()
    request.addfinalizer(kafka_ways._find_local.cache_clear)
    reason = kafka_ways.find_kafka()
    assert isinstance(reason, str)
    assert "java" in reason
    assert "docker" in reason


def test_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kafka_ways.ADDRESS_ENV, "127.0.0.1:1")
    way = kafka_ways.find_kafka()
    assert way == kafka_ways.Way("external", address="127.0.0.1:1")
    server = KafkaServer(kafka_ways.Way("external", address="127.0.0.1:1"))
    assert not server.features.can_restart
    with pytest.raises(RuntimeError, match="not ours"):
        server.stop()
    with pytest.raises(kafka.KafkaStartError, match="does not answer"), server:
        pass
