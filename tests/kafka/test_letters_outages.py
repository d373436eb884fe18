"""Brokers that hang or are killed while letters are read: it is said in bounded time, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from streamfn.errors import SourceError
from streamfn.ports import Message
from streamfn_kafka import KafkaFetcher, KafkaLetters, letters, reader
from tests.kafka.cluster import PATIENCE, Cluster
from tests.kafka.test_letters import put, scanned
from tests.kafka.test_outages import frozen, left_running, stopped
from tests.servers.kafka import need_restart, run_kafka

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A broker that is ours to stop."""
    with run_kafka() as server:
        need_restart(server)
        yield Cluster(server)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_SILENCE", 2.0)
    monkeypatch.setattr(letters, "_PURGE", 2.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("away", [frozen, stopped])
async def test_a_broker_that_goes_during_a_scan_ends_it(cluster: Cluster, away: Any) -> None:
    """Afterwards the same store sees all letters."""
    topic = await cluster.topic()
    await put(cluster, topic, [Message(b"x" * 200_000)] * 100)
    store, count = KafkaLetters(topic, cluster.bootstrap), 0
    with anyio.fail_after(PATIENCE):
        scan = store.scan()
        await anext(scan)
        async with away(cluster):
            with pytest.raises(SourceError, match=f"{topic}: no answer within 2 s"):
                async for _ in scan:
                    count += 1
    assert count < 99
    await cluster.until(cluster.is_well, PATIENCE)
    assert len(await scanned(store)) == 100
    assert not left_running()


@pytest.mark.usefixtures("impatient")
async def test_a_fetcher_connects_anew(cluster: Cluster) -> None:
    topic = await cluster.topic()
    await cluster.put(topic, range(3))
    lane = {"firstRecordOffset": "0", "lastRecordOffset": "2"}
    info = {"recordsInfo": {f"{topic}-0": lane}}
    fetcher = KafkaFetcher(topic, cluster.bootstrap)
    event = await fetcher.fetch(info)
    assert event is not None
    async with frozen(cluster):
        with anyio.fail_after(PATIENCE):
            with pytest.raises(SourceError, match=r"no answer|RequestTimedOut|KafkaTimeout"):
                await fetcher.fetch(info)
    assert await fetcher.fetch(info) == event
    await fetcher.close()
    assert not left_running()


async def test_a_store_that_is_closed_in_the_middle_of_a_scan_leaves_nothing(cluster: Cluster) -> None:
    """And the scan ends with what was fetched by then."""
    topic = await cluster.topic()
    await put(cluster, topic, [Message(b"x" * 200_000)] * 100)
    store, count = KafkaLetters(topic, cluster.bootstrap), 1
    scan = store.scan()
    assert (await anext(scan)).id == "0-0"
    await store.close()
    assert not left_running()
    with anyio.fail_after(PATIENCE):
        with pytest.raises(SourceError, match="ConsumerStopped"):
            async for _ in scan:
                count += 1
    assert count < 100


@pytest.mark.usefixtures("impatient")
async def test_nothing_is_purged_where_nobody_answers(cluster: Cluster) -> None:
    topic = await cluster.topic()
    await cluster.put(topic, range(3))
    store = KafkaLetters(topic, cluster.bootstrap)
    async with frozen(cluster):
        with anyio.fail_after(PATIENCE):
            with pytest.raises(SourceError):
                await store.purge()
    assert len(await scanned(store)) == 3
