"""What every event queue does with what was read: settling it, remembering it, and finding out who died."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamfn.core.events import EventRecord, History
from streamfn.core.outcomes import Cause, Failed
from streamfn.testing.conformance.events import EventTakingSuite, F, events, ids, numbered, of, put
from streamfn.testing.conformance.features import needs
from streamfn.testing.conformance.reading import tasks
from streamfn.testing.conformance.settling import assert_quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.records import Record
    from streamfn.testing.conformance.harness import EventQueueHarness

FAILURE = Failed("ValueError", "no: \udcff Grüße", ("  File one\n", "  File two\n"), Cause.FUNCTION)
TIMEOUT = Failed("Sandbox.Timedout", "RequestId: 1 Error: Task timed out", (), Cause.TIMEOUT)


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
