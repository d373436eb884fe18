"""What every event queue does: taking events, and delivering them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

import anyio
import pytest

from streamfn.core.events import EventRecord, History
from streamfn.errors import SourceError, StreamfnError
from streamfn.ports import Event, EventShard
from streamfn.testing.conformance.features import EventQueueFeatures, needs
from streamfn.testing.conformance.payloads import HEADERS
from streamfn.testing.conformance.reading import take, tasks
from streamfn.testing.conformance.settling import assert_quiet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streamfn.core.records import Record
    from streamfn.ports import EventQueue
    from streamfn.testing.conformance.harness import EventQueueHarness

F = "function"


def events(count: int, first: int = 0) -> list[Event]:
    """Events that carry their number, and have it in their ids."""
    return [Event(f"id-{number}", str(number).encode()) for number in range(first, first + count)]


def ids(records: Sequence[Record]) -> list[str]:
    """Their ids, in order of the numbers in them."""
    return sorted((record.id for record in records), key=lambda name: (len(name), name))


def numbered(count: int, first: int = 0) -> list[str]:
    return [event.request_id for event in events(count, first)]


def of(record: Record) -> History:
    assert isinstance(record, EventRecord)
    return record.history


async def put_one(queue: EventQueue, event: Event) -> None:
    await queue.put(F, event)


async def put(queue: EventQueue, given: Sequence[Event], function: str = F) -> None:
    """Puts them, in this order."""
    async with queue.open():
        for event in given:
            await queue.put(function, event)


class EventTakingSuite:
    """Putting, opening, reading."""

    features: ClassVar[EventQueueFeatures] = EventQueueFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> EventQueueHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    @asynccontextmanager
    async def reader(self, harness: EventQueueHarness, function: str = F) -> AsyncIterator[EventShard]:
        """As another process."""
        async with harness.queue().source(function).open() as shard:
            yield shard

    async def take(self, harness: EventQueueHarness, shard: EventShard, count: int) -> list[EventRecord]:
        records = await take(harness, shard, count, self.features.patience)
        assert all(isinstance(record, EventRecord) for record in records)
        return [record for record in records if isinstance(record, EventRecord)]

    async def test_it_says_whether_it_is_in_use(self, harness: EventQueueHarness) -> None:
        """EventQueue.in_use: whether events may wait in it already, of any function."""
        assert not harness.queue().in_use
        await put(harness.queue(), events(1))
        assert harness.queue().in_use

    async def test_what_was_put_is_there(self, harness: EventQueueHarness) -> None:
        """EventQueue.put: durable when it returns. EventQueue.source: the events of a function."""
        began = harness.now()
        await put(harness.queue(), events(5))
        async with self.reader(harness) as shard:
            records = await self.take(harness, shard, 5)
            assert ids(records) == numbered(5)
            for record in records:
                assert began - 1.0 <= record.arrived_at <= harness.now() + 1.0
                assert (of(record), record.attempt) == (History(), 0)

    async def test_many_may_put_at_the_same_time(self, harness: EventQueueHarness) -> None:
        """EventQueue.put: concurrent; each event is taken once."""
        queue = harness.queue()
        async with queue.open(), tasks() as group:
            for event in events(300):
                group.start_soon(put_one, queue, event)
        async with self.reader(harness) as shard:
            assert ids(await self.take(harness, shard, 300)) == numbered(300)
            await assert_quiet(shard, self.features.moment)

    async def test_events_come_as_they_were_put(self, harness: EventQueueHarness) -> None:
        """EventQueue.put: payloads byte for byte, the largest too, and headers. Shard.shape: the event is the
        payload.
        """
        filler = b"x" * (self.features.max_payload - 2)
        payloads = [b"null", b' {"a":  1.0}\n', '"Grüße 東京 🛫"'.encode(), b'"\\u0000"', b'"%b"' % filler]
        given = [Event(f"id-{n}", payload, HEADERS) for n, payload in enumerate(payloads)]
        given.append(Event("id-5", b"{}"))
        await put(harness.queue(), given)
        async with self.reader(harness) as shard:
            records = await self.take(harness, shard, len(given))
            for record, event in zip(sorted(records, key=lambda record: record.id), given, strict=True):
                assert (record.id, record.value) == (event.request_id, event.payload)
                assert tuple(record.headers) == tuple(event.headers)
                assert shard.shape.to_event([record]) == json.loads(event.payload)

    async def test_functions_are_apart(self, harness: EventQueueHarness) -> None:
        """EventQueue.source: by the function's name, with a qualifier behind a colon if it has one."""
        names = (F, "another", f"{F}:alias", f"{F}:1")
        queue = harness.queue()
        async with queue.open():
            for number, name in enumerate(names):
                await queue.put(name, events(1, number)[0])
        for number, name in enumerate(names):
            async with self.reader(harness, name) as shard:
                assert ids(await self.take(harness, shard, 1)) == numbered(1, number)
                await assert_quiet(shard, 0.0)

    async def test_what_was_put_before_the_end_is_written(self, harness: EventQueueHarness) -> None:
        """EventQueue.open: the time within which events are taken; what was put before its end is written."""
        queue = harness.queue()
        taken: list[str] = []

        async def begin(event: Event) -> None:
            await queue.put(F, event)
            taken.append(event.request_id)

        async with harness.within(self.features.patience), tasks() as group, queue.open():
            for event in events(20):
                group.start_soon(begin, event)
            await anyio.wait_all_tasks_blocked()
        assert len(taken) == 20
        for _ in range(2):
            with pytest.raises(StreamfnError):
                await queue.put(F, events(1, 20)[0])
            async with queue.open():
                pass
        async with self.reader(harness) as shard:
            assert ids(await self.take(harness, shard, 20)) == numbered(20)
            await assert_quiet(shard, self.features.moment)

    async def test_a_cancelled_put_took_the_event_or_not(self, harness: EventQueueHarness) -> None:
        """EventQueue.put: cancelled, the event may have been taken or not; it harms no other."""
        queue = harness.queue()
        taken = []
        async with queue.open():
            for number, event in enumerate(events(40)):
                with anyio.CancelScope() as scope:
                    if number % 4 == 0:
                        scope.cancel()
                    elif number % 4 < 3:
                        scope.deadline = anyio.current_time() + number % 5 * 0.001
                    await queue.put(F, event)
                    taken.append(event.request_id)
        assert len(taken) >= 10
        async with self.reader(harness) as shard:
            records = await self.take(harness, shard, len(taken))
            records += [record for record in await shard.read(100, 0.0) if isinstance(record, EventRecord)]
            assert len(set(ids(records))) == len(records)
            assert set(taken) <= set(ids(records)) <= set(numbered(40))

    async def test_a_source_has_a_name(self, harness: EventQueueHarness) -> None:
        """EventSource.name: what people call it."""
        source = harness.queue().source
        assert source(F).name == source(F).name != source("another").name

    async def test_check_proves_that_it_can_be_reached(self, harness: EventQueueHarness) -> None:
        """EventSource.check, also before anything was put."""
        async with harness.within(self.features.patience):
            await harness.queue().source(F).check()

    async def test_what_cannot_be_used_says_so(self, harness: EventQueueHarness) -> None:
        """EventQueue.open and EventQueue.put raise OSError; EventSource.check and EventSource.open raise
        SourceError.
        """
        needs(self.features.unusable, "a queue that cannot be used")
        queue = harness.unusable()
        async with harness.within(self.features.patience):
            with pytest.raises((OSError, SourceError)) as error:
                await put(queue, events(1))
            assert str(error.value)
            with pytest.raises(SourceError):
                await queue.source(F).check()
            with pytest.raises(SourceError):
                async with queue.source(F).open():
                    raise AssertionError("it was opened")

    async def test_readers_share_the_events(self, harness: EventQueueHarness) -> None:
        """EventSource.open: any number may; none gets what another has in hand. Shard.id tells them apart."""
        needs(self.features.shared, "several readers")
        await put(harness.queue(), events(40))
        async with self.reader(harness) as one, self.reader(harness) as two:
            assert one.id != two.id
            assert one.visibility_timeout == two.visibility_timeout == self.features.visibility_timeout
            got: list[Record] = []
            async with harness.within(self.features.patience):
                while len(got) < 40:
                    for shard in (one, two):
                        records = list(await shard.read(5, self.features.moment))
                        got += records
                        await shard.ack(records[:2])
            assert ids(got) == numbered(40)

    async def test_a_read_brings_no_more_than_its_limit(self, harness: EventQueueHarness) -> None:
        """Shard.read: up to `limit`, those first that are due the longest."""
        queue = harness.queue()
        async with queue.open():
            for event in events(10):
                await queue.put(F, event)
        async with self.reader(harness) as shard:
            records = await take(harness, shard, 10, self.features.patience, limit=3)
            assert [record.id for record in records] == numbered(10)

    async def test_a_read_waits_for_the_first_event(self, harness: EventQueueHarness) -> None:
        """Shard.read: at most `wait` seconds; an event that any process puts ends it."""
        queue = harness.queue()
        async with self.reader(harness) as shard, queue.open(), tasks() as group:
            for wait in (0.0, 0.1, self.features.moment):
                async with harness.within(wait + self.features.moment):
                    assert list(await shard.read(10, wait)) == []
            group.start_soon(put_one, queue, events(1)[0])
            async with harness.within(self.features.patience):
                assert ids(await shard.read(1, 2 * self.features.patience)) == numbered(1)

    async def test_a_cancelled_read_loses_nothing(self, harness: EventQueueHarness) -> None:
        """Shard.read: cancelled at any time, what it had taken comes again at once, as if never read."""
        queue = harness.queue()
        got: list[str] = []
        async with self.reader(harness) as shard, queue.open(), tasks() as group:
            for number, event in enumerate(events(30)):
                if number % 3:
                    await queue.put(F, event)
                else:
                    group.start_soon(put_one, queue, event)
                with anyio.CancelScope() as scope:
                    if number % 2:
                        scope.deadline = anyio.current_time() + number % 5 * 0.002
                    else:
                        scope.cancel()
                    records = await shard.read(2, self.features.patience)
                    scope.shield = True
                    assert not any(of(record).suspect for record in records)
                    got += ids(records)
                    await shard.ack(records)
            async with harness.within(self.features.patience):
                while len(got) < 30:
                    records = await shard.read(100, self.features.moment)
                    assert not any(of(record).suspect for record in records)
                    got += ids(records)
                    await shard.ack(records)
        assert sorted(got) == sorted(numbered(30))
