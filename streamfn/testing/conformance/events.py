"""What every event queue does: taking events, delivering them, and remembering what came of it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

import anyio
import pytest

from streamfn.core.events import EventRecord, History
from streamfn.core.outcomes import Cause, Failed
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

FAILURE = Failed("ValueError", "no: \udcff Grüße", ("  File one\n", "  File two\n"), Cause.FUNCTION)
TIMEOUT = Failed("Sandbox.Timedout", "RequestId: 1 Error: Task timed out", (), Cause.TIMEOUT)


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
        raise NotImplementedError("a suite is subclassed with a fixture `harness`")

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


class EventSettlingSuite(EventTakingSuite):
    """Acknowledging, giving back, remembering, and readers that end."""

    async def test_what_is_acknowledged_never_comes_again(self, harness: EventQueueHarness) -> None:
        """QueueShard.ack: durable when it returns."""
        await put(harness.queue(), events(3))
        async with self.reader(harness) as shard:
            records = await self.take(harness, shard, 3)
            await shard.ack(records[:2])
            await shard.release(records[2:], 0)
            assert ids(await self.take(harness, shard, 1)) == [records[2].id]
            await assert_quiet(shard, self.features.visibility_timeout / 2)
        async with self.reader(harness) as shard:
            assert ids(await self.take(harness, shard, 1)) == [records[2].id]

    async def test_what_is_not_settled_comes_back(self, harness: EventQueueHarness) -> None:
        """EventShard: one that is not settled comes back after its visibility timeout, and not before.
        QueueShard.extend: hides it for that long from now on.
        """
        timeout = self.features.visibility_timeout
        await put(harness.queue(), events(1))
        async with self.reader(harness) as shard:
            (first,) = await self.take(harness, shard, 1)
            for _ in range(3):
                await assert_quiet(shard, timeout * 0.6)
                await shard.extend([first], timeout)
            await assert_quiet(shard, timeout * 0.9)
            async with harness.within(timeout):
                (again,) = await shard.read(1, timeout)
            assert again.id == first.id
            await shard.ack([again])

    async def test_what_is_released_was_never_tried(self, harness: EventQueueHarness) -> None:
        """QueueShard.release with delay 0: it comes again at once, and that was no attempt."""
        await put(harness.queue(), events(3))
        async with self.reader(harness) as shard:
            for _ in range(5):
                records = await self.take(harness, shard, 3)
                assert {of(record) for record in records} == {History()}
                await shard.release(records, 0)
            await shard.ack(await self.take(harness, shard, 3))
            await assert_quiet(shard, self.features.moment)

    async def test_what_is_remembered_comes_when_it_is_due(self, harness: EventQueueHarness) -> None:
        """EventShard.remember: the records come again after `delay` seconds, and not before."""
        await put(harness.queue(), events(4))
        async with self.reader(harness) as shard:
            records = await self.take(harness, shard, 4)
            await shard.remember(records[:1], 100.0)
            await shard.remember(records[1:3], 40.0)
            await shard.remember(records[3:], 0.0)
            at_once = await shard.read(10, self.features.moment)
            assert ids(at_once) == [records[3].id]
            await shard.ack(at_once)
            for due, pause in ((records[1:3], 40.0), (records[:1], 60.0)):
                await assert_quiet(shard, pause - 1.5)
                async with harness.within(3.0):
                    came = await shard.read(10, 3.0)
                assert ids(came) == ids(due)
                await shard.ack(came)
                await assert_quiet(shard, 0.5)

    async def test_what_is_remembered_comes_with_its_history(self, harness: EventQueueHarness) -> None:
        """EventShard.remember: attempts, throttles, and the last failure with its type, message, stack and
        cause, for whoever reads next.
        """
        histories = [
            History(1, 0, FAILURE),
            History(2, 7, TIMEOUT),
            History(0, 3),
            History(1, 0, None),
            History(3, 0, Failed("E", "", (), Cause.CRASH)),
        ]
        await put(harness.queue(), events(len(histories)))
        async with self.reader(harness) as shard:
            records = await self.take(harness, shard, len(histories))
            kept = {}
            for record, history in zip(records, histories, strict=True):
                record.history = kept[record.id] = history
            await shard.remember(records, 0.0)
        for _ in range(2):
            async with self.reader(harness) as shard:
                for record in await self.take(harness, shard, len(histories)):
                    known, seen = kept[record.id], of(record)
                    assert (seen.attempts, seen.throttles) == (known.attempts, known.throttles)
                    assert record.attempt == known.attempts
                    assert _told(seen.failure) == _told(known.failure)
                    assert (seen.suspect, seen.died) == (False, False)

    async def test_settling_too_late_changes_nothing(self, harness: EventQueueHarness) -> None:
        """EventShard: settling a record that came back meanwhile changes nothing and raises nothing; so does
        settling twice.
        """
        await put(harness.queue(), events(1))
        async with self.reader(harness) as shard:
            (late,) = await self.take(harness, shard, 1)
            async with harness.within(2 * self.features.visibility_timeout):
                (again,) = await shard.read(1, 2 * self.features.visibility_timeout)
            assert isinstance(again, EventRecord)
            late.history = History(9, 9, FAILURE)
            await shard.remember([late], 0.0)
            await shard.release([late], 0)
            await shard.extend([late], 1000.0)
            await shard.expose(late)
            await shard.ack([late])
            await assert_quiet(shard, self.features.visibility_timeout / 2)
            await shard.release([again], 0)
            (last,) = await self.take(harness, shard, 1)
            assert (of(last).attempts, of(last).died) == (0, False)
            for _ in range(2):
                await shard.ack([last])
            await shard.remember([last], 0.0)
            for nothing in (shard.ack([]), shard.release([], 0), shard.extend([], 1.0)):
                await nothing
            await shard.remember([], 0.0)
            await assert_quiet(shard, self.features.moment)

    async def test_what_is_buried_stays(self, harness: EventQueueHarness) -> None:
        """EventShard.bury: the record stands there as a letter, and is not delivered any more."""
        await put(harness.queue(), events(2))
        async with self.reader(harness) as shard:
            records = await self.take(harness, shard, 2)
            await shard.bury(records[0], b"{}")
            await shard.release(records[:1], 0)
            await shard.ack(records[1:])
            await assert_quiet(shard, 2 * self.features.visibility_timeout)
        async with self.reader(harness) as shard:
            await assert_quiet(shard, self.features.moment)

    async def test_the_depth_is_what_waits(self, harness: EventQueueHarness) -> None:
        """QueueShard.depth: events that wait, for a retry too; None when unknown."""
        await put(harness.queue(), events(5))
        async with self.reader(harness) as shard:
            records = await self.take(harness, shard, 3)
            assert shard.depth in (2, None)
            await shard.remember(records[:1], 500.0)
            assert shard.depth in (3, None)
            await shard.ack(records[1:])
            assert shard.depth in (3, None)

    async def test_what_a_reader_leaves_comes_again_at_once(self, harness: EventQueueHarness) -> None:
        """EventSource.open: left with records in hand, they come again at once, as if never read."""
        await put(harness.queue(), events(3))
        for _ in range(4):
            async with self.reader(harness) as shard, harness.within(self.features.patience):
                records = await self.take(harness, shard, 3)
                assert {of(record) for record in records} == {History()}
                await shard.ack(records[3:])
        async with self.reader(harness) as shard:
            await shard.ack(await self.take(harness, shard, 3))

    async def test_what_the_dead_had_in_hand_comes_again(self, harness: EventQueueHarness) -> None:
        """EventSource.open: what a reader that died had in hand comes again, long before its timeout, and
        once is no suspicion; who reads already gets it too.
        """
        needs(self.features.dying, "readers that die")
        await put(harness.queue(), events(3))
        async with self.reader(harness) as another:
            assert ids(await self.take(harness, another, 1)) == numbered(1)
            assert ids_of(await harness.die(F, 2)) == numbered(2, 1)
            async with harness.within(self.features.visibility_timeout / 2):
                records = await self.take(harness, another, 2)
            assert {of(record) for record in records} == {History()}

    async def test_the_suspicious_come_alone(self, harness: EventQueueHarness) -> None:
        """EventShard: what was in hand when two readers died comes alone: nothing with it, and nothing beside
        it until it is settled.
        """
        needs(self.features.dying, "readers that die")
        await put(harness.queue(), events(2))
        for _ in range(2):
            assert ids_of(await harness.die(F, 2)) == numbered(2)
        await put(harness.queue(), events(3, 2))
        suspects: list[Record] = []
        others: list[Record] = []
        async with self.reader(harness) as shard, harness.within(2 * self.features.patience):
            while len(suspects) < 2 or len(others) < 3:
                records = await shard.read(10, self.features.moment)
                if any(of(record).suspect for record in records):
                    assert len(records) == 1
                    assert (of(records[0]).died, records[0].attempt) == (False, 0)
                    await assert_quiet(shard, self.features.moment)
                    suspects += records
                else:
                    others += records
                await shard.ack(records)
        assert ids(suspects) == numbered(2)
        assert ids(others) == numbered(3, 2)

    async def test_the_suspicious_wait_until_nothing_is_in_hand(self, harness: EventQueueHarness) -> None:
        """EventShard: one that is suspicious does not come beside others; their settlement brings it."""
        needs(self.features.dying, "readers that die")
        await put(harness.queue(), events(1, 8))
        async with self.reader(harness) as shard, harness.within(2 * self.features.patience):
            (held,) = await self.take(harness, shard, 1)
            await put(harness.queue(), events(1))
            for _ in range(2):
                assert ids_of(await harness.die(F, 1)) == numbered(1)
            await assert_quiet(shard, self.features.visibility_timeout * 0.4)
            async with tasks() as group:
                group.start_soon(shard.ack, [held])
                (record,) = await shard.read(10, self.features.patience)
            assert (record.id, of(record).suspect) == ("id-0", True)
            await shard.ack([record])

    async def test_what_is_exposed_and_comes_without_a_word_died(self, harness: EventQueueHarness) -> None:
        """EventShard.expose: should it come again without a word, it comes as one that died."""
        needs(self.features.dying, "readers that die")
        await put(harness.queue(), events(1))
        for _ in range(3):
            await harness.die(F, 1, exposed=True)
        async with self.reader(harness) as shard, harness.within(self.features.patience):
            (record,) = await self.take(harness, shard, 1)
            assert (of(record).suspect, of(record).died, record.attempt) == (True, True, 0)
            for suspect in (True, False):
                record.history = History(1, 0, Failed("Runtime.ExitError", "", (), Cause.CRASH), suspect)
                await shard.remember([record], 0.0)
                (record,) = await self.take(harness, shard, 1)
                assert (of(record).suspect, of(record).died, record.attempt) == (suspect, False, 1)
            await shard.ack([record])

    async def test_what_is_exposed_and_given_back_did_not_die(self, harness: EventQueueHarness) -> None:
        """EventShard.expose: a word is enough: a release, or that its reader leaves in order."""
        await put(harness.queue(), events(1))
        for _ in range(3):
            async with self.reader(harness) as shard, harness.within(self.features.patience):
                (record,) = await self.take(harness, shard, 1)
                assert not of(record).died
                await shard.expose(record)
                await shard.release([record], 0)
                (record,) = await self.take(harness, shard, 1)
                assert not of(record).died
                await shard.expose(record)


def ids_of(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(name), name))


def _told(failure: Failed | None) -> object:
    return failure and (failure.type, failure.payload("id"), list(failure.stack), failure.cause)


class EventQueueSuite(EventSettlingSuite):
    """All that is promised of an `EventQueue`. Subclass it with `features` and a fixture `harness`."""
