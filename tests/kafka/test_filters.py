"""Filter patterns on a real topic: what fits is delivered, and the group's position passes the rest."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streamfn import App
from streamfn.config import ConfigurationErrors
from tests.kafka.cluster import PATIENCE, Cluster

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

VALUES: list[bytes | None] = [b'{"kind": "a"}', b'{"kind": "b"}', b"plain", b"12", b"\xff\xfe", None]


class Seen:
    """What came through, and how much did not."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.values: list[bytes | None] = []

    @property
    def filtered(self) -> int:
        (status,) = self.app.statuses()
        return status.counters.get("FilteredOutEventCount", 0)

    @property
    def done(self) -> int:
        return len(self.values) + self.filtered


@asynccontextmanager
async def running(cluster: Cluster, topic: str, *patterns: dict[str, Any]) -> AsyncIterator[Seen]:
    app = App(name="filters")
    seen = Seen(app)

    @app.function(name="f")
    async def see(event: dict[str, Any], context: Any) -> None:
        for records in event["records"].values():
            seen.values += [value and b64decode(value) for value in (record["value"] for record in records)]

    criteria = {"Filters": [{"Pattern": json.dumps(pattern)} for pattern in patterns]}
    app.event_source_mapping("f", cluster.source(topic), FilterCriteria=criteria, ConsumerGroupId=topic)
    async with app:
        yield seen


async def put(cluster: Cluster, topic: str, values: list[bytes | None]) -> None:
    async with cluster.producing() as producer:
        for value in values:
            await producer.send_and_wait(topic, value, key=b"k")


@pytest.mark.parametrize(
    ("pattern", "through"),
    [
        ({"value": {"kind": ["a"]}}, [b'{"kind": "a"}', b"plain", b"12", b"\xff\xfe", None]),
        ({"value": ["plain"]}, [b'{"kind": "a"}', b'{"kind": "b"}', b"plain", b"\xff\xfe"]),
        ({"value": [None]}, [b'{"kind": "a"}', b'{"kind": "b"}', b"\xff\xfe", None]),
        ({"value": {"kind": ["a"]}, "offset": [{"numeric": ["<", 2]}]}, [b'{"kind": "a"}']),
        ({"key": ["aw=="]}, VALUES),
        ({"timestampType": ["LOG_APPEND_TIME"]}, []),
    ],
)
async def test_values_of_each_kind_against_patterns_of_each_kind(
    cluster: Cluster, pattern: dict[str, Any], through: list[bytes | None]
) -> None:
    topic = await cluster.topic(1)
    await put(cluster, topic, VALUES)
    async with running(cluster, topic, pattern) as seen:
        await cluster.until(lambda: seen.done == len(VALUES), PATIENCE)
        assert seen.values == through
    assert await cluster.committed(topic, topic) == {0: len(VALUES)}


async def test_a_partition_where_nothing_fits_is_passed(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    await put(cluster, topic, [b'{"kind": "b"}'] * 100)
    async with running(cluster, topic, {"value": {"kind": ["a"]}}) as seen:
        await cluster.until(lambda: seen.filtered == 100, PATIENCE)
    assert await cluster.committed(topic, topic) == {0: 100}
    await put(cluster, topic, [b'{"kind": "c"}'])
    async with running(cluster, topic) as seen:
        await cluster.until(lambda: seen.done == 1, PATIENCE)
        assert seen.values == [b'{"kind": "c"}']


async def test_one_of_ten_filters_is_enough_and_an_eleventh_is_refused(cluster: Cluster) -> None:
    topic = await cluster.topic(1)
    await put(cluster, topic, [json.dumps({"n": n}).encode() for n in range(20)])
    patterns = [{"value": {"n": [n]}} for n in range(10)]
    async with running(cluster, topic, *patterns) as seen:
        await cluster.until(lambda: seen.done == 20, PATIENCE)
        assert [json.loads(value or b"")["n"] for value in seen.values] == [*range(10)]
    with pytest.raises(ConfigurationErrors, match="at most 10 filters, not 11"):
        async with running(cluster, topic, *patterns, {"value": {"n": [10]}}):
            pass
