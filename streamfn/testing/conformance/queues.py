"""What every queue source does: reading, and settling in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import anyio
import pytest

from streamfn.errors import ConfigurationError, SourceError
from streamfn.ports import Message, QueueShard
from streamfn.testing.conformance.features import QueueFeatures, needs
from streamfn.testing.conformance.payloads import HEADERS, KEYS, assert_rendered, texts
from streamfn.testing.conformance.reading import messages, numbers, take, tasks
from streamfn.testing.conformance.settling import LONG, QueueSettlingSuite, assert_quiet

if TYPE_CHECKING:
    from streamfn.core.records import Record
    from streamfn.testing.conformance.harness import QueueHarness


class QueueReadingSuite:
    """Opening, reading, cancellation, payloads."""

    features: ClassVar[QueueFeatures] = QueueFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> QueueHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    async def take(self, harness: QueueHarness, queue: QueueShard, count: int) -> list[Record]:
        limit = self.features.max_batch
        return await take(harness, queue, count, self.features.patience, limit)

    async def test_a_source_has_a_name(self, harness: QueueHarness) -> None:
        """QueueSource.name: what people call it."""
        await harness.create(LONG)
        assert harness.source().name
        assert harness.source().name == harness.source().name

    async def test_check_proves_that_the_source_can_be_reached(self, harness: QueueHarness) -> None:
        """QueueSource.check."""
        await harness.create(LONG)
        async with harness.within(self.features.patience):
            await harness.source().check()

    async def test_check_says_when_the_source_cannot_be_reached(self, harness: QueueHarness) -> None:
        """QueueSource.check raises SourceError or ConfigurationError."""
        needs(self.features.unreachable, "an address where nobody answers")
        async with harness.within(self.features.patience):
            with pytest.raises((SourceError, ConfigurationError)) as error:
                await harness.unreachable().check()
        assert str(error.value)

    async def test_it_opens_and_closes_twice(self, harness: QueueHarness) -> None:
        """QueueSource.open: the context can be entered again."""
        await harness.create(LONG)
        source = harness.source()
        for number in range(2):
            await harness.put(messages(1, number))
            async with source.open() as queue:
                records = await self.take(harness, queue, 1)
                assert numbers(records) == [number]
                await queue.ack(records)

    async def test_opening_may_be_cancelled(self, harness: QueueHarness) -> None:
        """Cancelled before it began and while it reads, it leaves nothing behind."""
        await harness.create(self.features.visibility_timeout)
        for seconds in (0.0, 0.01, 0.1):
            with anyio.CancelScope() as scope:
                scope.deadline = anyio.current_time() + seconds
                if not seconds:
                    scope.cancel()
                async with harness.source().open() as queue:
                    await queue.read(1, LONG)
        await harness.put(messages(1))
        async with harness.source().open() as queue:
            await queue.ack(await self.take(harness, queue, 1))

    async def test_pollers_are_told_apart(self, harness: QueueHarness) -> None:
        """Shard.id: unique in its source. QueueShard.visibility_timeout: for how long a read hides."""
        await harness.create(self.features.visibility_timeout)
        source = harness.source()
        async with source.open() as one, source.open() as two:
            assert one.id != two.id
            assert one.visibility_timeout == two.visibility_timeout == self.features.visibility_timeout

    async def test_pollers_share_the_messages(self, harness: QueueHarness) -> None:
        """QueueSource.open: one for each poller; none gets what another has in flight."""
        await harness.create(LONG)
        await harness.put(messages(40))
        source = harness.source()
        async with source.open() as one, source.open() as two:
            got: list[Record] = []
            async with harness.within(self.features.patience):
                while len(got) < 40:
                    for queue in (one, two):
                        limit = min(5, self.features.max_batch)
                        records = list(await queue.read(limit, self.features.moment))
                        got += records
                        await queue.ack(records[:2])
            assert sorted(numbers(got)) == list(range(40))

    async def test_a_read_brings_no_more_than_its_limit(self, harness: QueueHarness) -> None:
        """Shard.read: up to `limit` records."""
        await harness.create(LONG)
        await harness.put(messages(20))
        async with harness.source().open() as queue:
            records = await take(harness, queue, 20, self.features.patience, limit=3)
            assert sorted(numbers(records)) == list(range(20))
            assert len({record.id for record in records}) == 20
            await queue.ack(records)

    async def test_a_read_ends_within_its_wait(self, harness: QueueHarness) -> None:
        """Shard.read: waits at most `wait` seconds; empty when no record came."""
        await harness.create(LONG)
        async with harness.source().open() as queue:
            for wait in (0.0, 0.1, self.features.moment):
                async with harness.within(wait + self.features.moment):
                    assert list(await queue.read(10, wait)) == []

    async def test_a_read_waits_for_the_first_record(self, harness: QueueHarness) -> None:
        """Shard.read: a message that comes during the wait ends it."""
        await harness.create(LONG)
        async with harness.source().open() as queue, tasks() as group:
            assert list(await queue.read(1, 0.05)) == []
            group.start_soon(harness.put, messages(1))
            async with harness.within(self.features.patience):
                records = await queue.read(1, 2 * self.features.patience)
            assert numbers(records) == [0]
            await queue.ack(records)

    async def test_a_cancelled_read_loses_nothing(self, harness: QueueHarness) -> None:
        """Shard.read: cancelled before, while and just as messages come, all of them come.

        Those that were on their way may first have to wait for their visibility timeout.
        """
        await harness.create(self.features.visibility_timeout)
        got: set[int] = set()
        async with harness.source().open() as queue, tasks() as group:
            for number in range(30):
                if number % 3 == 0:
                    await harness.put(messages(1, number))
                else:
                    group.start_soon(harness.put, messages(1, number))
                with anyio.CancelScope() as scope:
                    if number % 2:
                        scope.deadline = anyio.current_time() + number % 5 * 0.005
                    else:
                        scope.cancel()
                    records = await queue.read(2, self.features.patience)
                    scope.shield = True
                    got.update(numbers(records))
                    await queue.ack(records)
            async with harness.within(2 * self.features.visibility_timeout + self.features.patience):
                while len(got) < 30:
                    records = await queue.read(self.features.max_batch, self.features.moment)
                    got.update(numbers(records))
                    await queue.ack(records)
        assert got == set(range(30))

    async def test_payloads_come_as_they_were_put(self, harness: QueueHarness) -> None:
        """Record.value: empty, unicode and the largest payload; Shard.shape renders them."""
        values = [*texts(self.features.any_text), b"x" * self.features.max_payload]
        await harness.create(LONG)
        for value in values:
            await harness.put([Message(value)])
        async with harness.source().open() as queue:
            records = await self.take(harness, queue, len(values))
            assert sorted(record.value or b"" for record in records) == sorted(values)
            assert_rendered(queue, records)
            await queue.ack(records)

    async def test_keys_and_times_come_with_the_record(self, harness: QueueHarness) -> None:
        """Record.key is the producer's; Record.arrived_at is about the time it was put."""
        needs(self.features.keys, "keys")
        await harness.create(LONG)
        began = harness.now()
        for key in KEYS:
            await harness.put([Message(b"{}", key)])
        async with harness.source().open() as queue:
            records = await self.take(harness, queue, len(KEYS))
            assert sorted(record.key or "" for record in records) == sorted(KEYS)
            for record in records:
                assert began - 1.0 <= record.arrived_at <= harness.now() + 1.0
            assert_rendered(queue, records)
            await queue.ack(records)

    async def test_headers_come_with_the_record(self, harness: QueueHarness) -> None:
        """Record.headers: name and value pairs in the producer's order, duplicates kept."""
        needs(self.features.headers, "headers")
        await harness.create(LONG)
        await harness.put([Message(b"1", None, HEADERS)])
        async with harness.source().open() as queue:
            records = await self.take(harness, queue, 1)
            assert [tuple(record.headers) for record in records] == [HEADERS]
            await queue.ack(records)

    async def test_the_depth_is_what_waits(self, harness: QueueHarness) -> None:
        """QueueShard.depth: records that wait in the queue; None when unknown."""
        await harness.create(LONG)
        await harness.put(messages(5))
        async with harness.source().open() as queue:
            records = await self.take(harness, queue, 2)
            await harness.until(lambda: queue.depth in (3, None), self.features.patience)
            await queue.ack(records)
            await queue.ack(await self.take(harness, queue, 3))
            await harness.until(lambda: queue.depth in (0, None), self.features.patience)

    async def test_messages_survive_a_restart_of_the_broker(self, harness: QueueHarness) -> None:
        """What was put comes, and what was acknowledged does not."""
        needs(self.features.restarting, "a broker that can be restarted")
        await harness.create(self.features.visibility_timeout)
        await harness.put(messages(6))
        async with harness.source().open() as queue:
            done = await self.take(harness, queue, 3)
            await queue.ack(done)
        await harness.restart()
        async with harness.source().open() as queue:
            records = await self.take(harness, queue, 3)
            assert sorted(numbers([*done, *records])) == list(range(6))
            await queue.ack(records)
            await assert_quiet(queue, self.features.visibility_timeout + self.features.moment)

    async def test_messages_of_a_key_come_in_order(self, harness: QueueHarness) -> None:
        """FIFO: each key in the order it was put, none while another of it is in flight."""
        needs(self.features.fifo, "order by key")
        await harness.create(LONG, fifo=True)
        await harness.put([Message(str(n).encode(), "a" if n % 2 else "b") for n in range(20)])
        came: dict[str | None, list[int]] = {"a": [], "b": []}
        async with harness.source().open() as queue:
            held: list[Record] = []
            async with harness.within(self.features.patience):
                while {record.key for record in held} < {"a", "b"}:
                    held += await queue.read(1, self.features.moment)
            assert sorted(numbers(held)) == [0, 1], "while one is in flight, the next of its key came"
            await assert_quiet(queue, self.features.moment)
            # What is given back comes before what follows it.
            await queue.release(held, 0)
            async with harness.within(2 * self.features.patience):
                while sum(map(len, came.values())) < 20:
                    records = await queue.read(self.features.max_batch, self.features.moment)
                    for record in records:
                        came[record.key] += numbers([record])
                    await queue.ack(records)
        assert came == {"a": list(range(1, 20, 2)), "b": list(range(0, 20, 2))}


class QueueSourceSuite(QueueReadingSuite, QueueSettlingSuite):
    """All that is promised of a `QueueSource`. Subclass it with `features` and a fixture `harness`."""
