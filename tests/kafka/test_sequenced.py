"""Sequenced mode on a real broker: what was given up comes again as it came first, and in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streamfn import App, Batch
from streamfn.local import SequenceLetters
from tests.kafka.cluster import Cluster
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

RAW = b"\xff\x00key"
HEADERS = [("h", b"\x01\xff"), ("h", b"again"), ("ü", b"")]


class Topic:
    """A topic with a sequenced mapping, whose function fails for some offsets and notes what it gets."""

    def __init__(self, cluster: Cluster, name: str, folder: Path) -> None:
        self.cluster = cluster
        self.name = name
        self.folder = folder
        self.store = SequenceLetters("app.m", state_dir=folder)
        self.failing: set[int] = set()
        self.seen: list[tuple[int, Any]] = []
        """Offset, and all that was shown."""
        self.done: list[int] = []

    def on_event(self, event: dict[str, Any], context: Any) -> None:
        ((item,),) = event["records"].values()
        self._note(item["offset"], event)

    def on_batch(self, batch: Batch) -> None:
        (r,) = batch
        self._note(r.position, (r.id, r.key, r.value, list(r.headers), r.arrived_at, batch.to_event()))

    def _note(self, offset: int, shown: Any) -> None:
        self.seen.append((offset, shown))
        if offset in self.failing:
            raise ValueError("bad")
        self.done.append(offset)

    @asynccontextmanager
    async def running(self, handler: Callable[..., Any], **function: Any) -> AsyncIterator[None]:
        app = App(name="app", state_dir=self.folder)
        app.function(name="f", **function)(handler)
        app.event_source_mapping(
            "f",
            f"kafka://{self.cluster.bootstrap}/{self.name}?session_timeout=3",
            name="m",
            ordering="key",
            sequenced=True,
            batch_size=1,
            starting_position="TRIM_HORIZON",
            maximum_retry_attempts=0,
            maximum_batching_window_in_seconds=0,
        )
        async with app:
            try:
                yield
            finally:
                await self.store.close()

    async def put(self, *records: tuple[bytes | None, bytes | None]) -> None:
        async with self.cluster.producing() as producer:
            for key, value in records:
                await producer.send_and_wait(self.name, value, key=key, headers=HEADERS, partition=0)

    async def reopen(self) -> int:
        return await self.store.reopen([stored async for stored in self.store.scan()])


@pytest.mark.parametrize("style", ["event", "batch"])
async def test_what_is_redriven_is_what_it_was(cluster: Cluster, tmp_path: Path, style: str) -> None:
    topic = Topic(cluster, await cluster.topic(1), tmp_path)
    handler = topic.on_event if style == "event" else topic.on_batch
    topic.failing = {0, 2, 6}
    await topic.put(
        (RAW, b"0"), (RAW, b"1"), (b"", b"2"), (b"", None), (None, b"4"), (b"ok", b"5"), (None, b"6")
    )
    async with topic.running(handler, batch=style == "batch"):
        await until(lambda: {4, 5} <= set(topic.done) and len(topic.seen) == 5)

        async def parked() -> bool:
            found = {stored.key: stored.behind async for stored in topic.store.scan()}
            return found == {RAW.decode("utf-8", "surrogateescape"): 1, "": 1}

        await until(parked)
        at_first = dict(topic.seen)
        topic.failing.clear()
        topic.seen.clear()
        assert await topic.reopen() == 2
        await until(lambda: len(topic.seen) == 4)
        then = dict(topic.seen)
    assert then[0] == at_first[0]
    assert then[2] == at_first[2]
    assert [offset for offset in topic.done if offset in {0, 1}] == [0, 1]
    assert [offset for offset in topic.done if offset in {2, 3}] == [2, 3]
    if style == "batch":
        # A tombstone, which had only been parked.
        assert then[3][:4] == ("3", "", None, HEADERS)
    else:
        ((item,),) = then[3]["records"].values()
        assert (item["offset"], item["value"]) == (3, None)


async def test_each_record_of_a_key_waits_across_restarts(cluster: Cluster, tmp_path: Path) -> None:
    topic = Topic(cluster, await cluster.topic(1), tmp_path)
    topic.failing = {0}
    await topic.put((b"a", b"0"), (b"a", b"1"))
    async with topic.running(topic.on_event):
        await until(lambda: topic.seen)
    await topic.put((b"a", b"2"), (b"b", b"3"))
    async with topic.running(topic.on_event):
        await until(lambda: topic.done == [3])
        topic.failing.clear()
        await until(topic.reopen)
        await until(lambda: topic.done == [3, 0, 1, 2])
    await topic.put((b"a", b"4"))
    async with topic.running(topic.on_event):
        await until(lambda: topic.done == [3, 0, 1, 2, 4])


async def test_mappings_of_one_consumer_group_have_sequences_of_their_own(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Else one function would get what was given up by the other."""
    app = App(name="app", state_dir=tmp_path)
    app.function(name="f")(lambda event, context: None)
    names = []
    for name in ("one", "two"):
        mapping = app.event_source_mapping(
            "f",
            f"kafka://{cluster.bootstrap}/{name}",
            name=name,
            consumer_group_id="same",
            ordering="key",
            sequenced=True,
        )
        parking, draining = app._plans(mapping)
        assert parking.subscription.group == "same"
        assert parking.sequences is not None
        names.append((parking.sequences.name, draining.source.name))
    assert names == [("sequence:app.one",) * 2, ("sequence:app.two",) * 2]
