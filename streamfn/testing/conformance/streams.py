"""What every stream source does: shards, reading, payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import anyio
import pytest

from streamfn.errors import ConfigurationError, PositionLost, ShardClosed, SourceError
from streamfn.ports import Checkpoint, Message
from streamfn.testing.conformance.commits import StreamCommittingSuite
from streamfn.testing.conformance.features import StreamFeatures, needs
from streamfn.testing.conformance.payloads import BINARY, HEADERS, KEYS, TEXTS, assert_rendered
from streamfn.testing.conformance.reading import (
    TRIM_HORIZON,
    messages,
    numbers,
    read_on,
    reading,
    take,
    tasks,
)

if TYPE_CHECKING:
    from streamfn.testing.conformance.harness import StreamHarness


class StreamReadingSuite:
    """One reader: records, positions, cancellation, payloads."""

    features: ClassVar[StreamFeatures] = StreamFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> StreamHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    async def test_a_source_has_a_name(self, harness: StreamHarness) -> None:
        """StreamSource.name: what people call it."""
        await harness.create(1)
        assert harness.source().name
        assert harness.source().name == harness.source().name

    async def test_check_proves_that_the_source_can_be_reached(self, harness: StreamHarness) -> None:
        """StreamSource.check."""
        await harness.create(1)
        async with harness.within(self.features.patience):
            await harness.source().check()

    async def test_check_says_when_the_source_cannot_be_reached(self, harness: StreamHarness) -> None:
        """StreamSource.check raises SourceError or ConfigurationError."""
        needs(self.features.unreachable, "an address where nobody answers")
        async with harness.within(self.features.patience):
            with pytest.raises((SourceError, ConfigurationError)) as error:
                await harness.unreachable().check()
        assert str(error.value)

    async def test_shards_says_when_the_source_cannot_be_reached(self, harness: StreamHarness) -> None:
        """StreamSource.shards raises SourceError where it cannot be read: at once, or when waited for."""
        needs(self.features.unreachable, "an address where nobody answers")
        async with harness.within(self.features.patience):
            with pytest.raises(SourceError):
                async with harness.unreachable().shards(TRIM_HORIZON) as events:
                    await anext(events)

    async def test_it_opens_and_closes_twice(self, harness: StreamHarness) -> None:
        """StreamSource.shards: leaving the context gives up what is held, and it can be entered again."""
        await harness.create(1)
        await harness.put(messages(3))
        source = harness.source()
        for _ in range(2):
            async with reading(harness, source, self.features.patience) as reader:
                shard = await reader.shard()
                assert numbers(await take(harness, shard, 3, self.features.patience)) == [0, 1, 2]
                await reader.give_back()

    async def test_opening_may_be_cancelled(self, harness: StreamHarness) -> None:
        """Cancelled before it began and while it waits for an event, it leaves nothing behind."""
        await harness.create(1)
        await harness.put(messages(1))
        for seconds in (0.0, 0.01, 0.1):
            with anyio.CancelScope() as scope:
                scope.deadline = anyio.current_time() + seconds
                if not seconds:
                    scope.cancel()
                async with harness.source().shards(TRIM_HORIZON) as events:
                    async for _ in events:
                        pass
        async with reading(harness, harness.source(), self.features.patience) as reader:
            await take(harness, await reader.shard(), 1, self.features.patience)
            await reader.give_back()

    async def test_a_shard_is_named_the_same_each_time(self, harness: StreamHarness) -> None:
        """Shard.id: unique in its source, and stable."""
        await harness.create(3)
        names = []
        for _ in range(2):
            async with reading(harness, harness.source(), self.features.patience) as reader:
                await reader.holds(3)
                assert {shard.id for shard in reader.held.values()} == set(reader.held)
                names.append(set(reader.held))
                await reader.give_back()
        assert names[0] == names[1]

    async def test_a_read_brings_what_there_is(self, harness: StreamHarness) -> None:
        """Shard.read: does not wait for `limit` records once it has some."""
        await harness.create(1)
        await harness.put(messages(3))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            async with harness.within(self.features.patience):
                records = await shard.read(1000, 10 * self.features.patience)
            assert 1 <= len(records) <= 3
            await reader.give_back()

    async def test_a_read_brings_no_more_than_its_limit(self, harness: StreamHarness) -> None:
        """Shard.read: up to `limit` records, in whatever portions the broker hands them out."""
        await harness.create(1)
        await harness.put(messages(50))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            records = await take(harness, await reader.shard(), 50, self.features.patience, limit=7)
            assert numbers(records) == list(range(50))
            await reader.give_back()

    async def test_a_read_ends_within_its_wait(self, harness: StreamHarness) -> None:
        """Shard.read: waits at most `wait` seconds; empty when no record came."""
        await harness.create(1)
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            for wait in (0.0, 0.1, self.features.moment):
                async with harness.within(wait + self.features.moment):
                    assert list(await shard.read(10, wait)) == []
            await reader.give_back()

    async def test_a_read_waits_for_the_first_record(self, harness: StreamHarness) -> None:
        """Shard.read: a record that comes during the wait ends it."""
        await harness.create(1)
        async with reading(harness, harness.source(), self.features.patience) as reader, tasks() as group:
            shard = await reader.shard()
            assert list(await shard.read(1, 0.05)) == []
            group.start_soon(harness.put, messages(1))
            async with harness.within(self.features.patience):
                assert numbers(await shard.read(1, 10 * self.features.patience)) == [0]
            await reader.give_back()

    async def test_a_cancelled_read_loses_nothing(self, harness: StreamHarness) -> None:
        """Shard.read: cancelled before, while and just as records come, all are read after it, in order."""
        await harness.create(1)
        got: list[int] = []
        async with reading(harness, harness.source(), self.features.patience) as reader, tasks() as group:
            shard = await reader.shard()
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
                    got += numbers(await shard.read(2, self.features.patience))
            rest = await take(harness, shard, 30 - len(got), self.features.patience)
            assert sorted(got + numbers(rest)) == list(range(30))
            await reader.give_back()

    async def test_records_come_in_order_and_positions_grow(self, harness: StreamHarness) -> None:
        """StreamShard: records come in growing positions, those of each key in the order they were put."""
        await harness.create(1)
        for first in range(0, 300, 60):
            await harness.put([Message(str(first + i).encode(), f"key-{i % 7}") for i in range(60)])
        async with reading(harness, harness.source(), self.features.patience) as reader:
            records = await take(harness, await reader.shard(), 300, self.features.patience, limit=11)
            assert numbers(records) == list(range(300))
            positions = [record.position for record in records]
            assert positions == sorted(set(positions))
            assert len({record.id for record in records}) == 300
            assert [record.key for record in records] == [f"key-{i % 60 % 7}" for i in range(300)]
            await reader.give_back()

    async def test_the_lag_is_what_waits_behind_the_last_read(self, harness: StreamHarness) -> None:
        """StreamShard.lag: records known to wait after those read; StreamShard.iterator_age: the same in
        seconds. None when unknown.
        """
        await harness.create(1)
        await harness.put(messages(5))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            await take(harness, shard, 2, self.features.patience)
            assert shard.lag in (3, None)
            await take(harness, shard, 3, self.features.patience)
            assert shard.lag in (0, None)
            age = shard.iterator_age
            assert age is None or 0 <= age < 2 * self.features.patience
            await reader.give_back()

    async def test_payloads_come_as_they_were_put(self, harness: StreamHarness) -> None:
        """Record.value: empty, unicode, binary and the largest payload; Shard.shape renders them."""
        values = [*TEXTS.values(), *BINARY.values(), b"x" * self.features.max_payload]
        await harness.create(1)
        for value in values:
            await harness.put([Message(value, "key")])
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            records = await take(harness, shard, len(values), self.features.patience)
            assert [record.value for record in records] == values
            assert_rendered(shard, records)
            await reader.give_back()

    async def test_keys_and_times_come_with_the_record(self, harness: StreamHarness) -> None:
        """Record.key is the producer's; Record.arrived_at is about the time it was put."""
        await harness.create(1)
        began = harness.now()
        for key in KEYS:
            await harness.put([Message(b"{}", key)])
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            records = await take(harness, shard, len(KEYS), self.features.patience)
            assert [record.key for record in records] == list(KEYS)
            for record in records:
                assert began - 1.0 <= record.arrived_at <= harness.now() + 1.0
            assert_rendered(shard, records)
            await reader.give_back()

    async def test_headers_keep_their_order_and_their_doubles(self, harness: StreamHarness) -> None:
        """Record.headers: name and value pairs in the producer's order, duplicates kept."""
        needs(self.features.headers, "headers")
        await harness.create(1)
        await harness.put([Message(b"1", None, HEADERS), Message(b"2")])
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            records = await take(harness, shard, 2, self.features.patience)
            assert [tuple(record.headers) for record in records] == [HEADERS, ()]
            assert_rendered(shard, records)
            await reader.give_back()

    async def test_a_tombstone_has_no_value(self, harness: StreamHarness) -> None:
        """Record.value: None for a tombstone, which is not the same as empty."""
        needs(self.features.tombstones, "tombstones")
        await harness.create(1)
        await harness.put([Message(b"", "k")])
        await harness.put_tombstone("k")
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            records = await take(harness, shard, 2, self.features.patience)
            assert [(record.key, record.value) for record in records] == [("k", b""), ("k", None)]
            assert_rendered(shard, records)
            await reader.give_back()

    async def test_an_ended_shard_says_so_when_all_was_read(self, harness: StreamHarness) -> None:
        """Shard.read raises ShardClosed at the shard's end, and not before."""
        needs(self.features.ending, "shards that end")
        await harness.create(1)
        await harness.put(messages(3))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            assert numbers(await take(harness, shard, 2, self.features.patience)) == [0, 1]
            await harness.end()
            assert numbers(await take(harness, shard, 1, self.features.patience)) == [2]
            async with harness.within(self.features.patience):
                with pytest.raises(ShardClosed):
                    await read_on(shard)
            await reader.give_back()

    async def test_records_that_were_removed_unread_are_not_passed_over(self, harness: StreamHarness) -> None:
        """PositionLost: records between the checkpoint and the oldest kept one are gone, and said to be."""
        needs(self.features.trimming, "records that can be removed")
        await harness.create(1)
        await harness.put(messages(3))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            await reader.shard()
        await harness.trim()
        await harness.put(messages(1, 3))
        with pytest.raises(PositionLost) as error:  # noqa: PT012 - whichever step finds it out
            async with reading(harness, harness.source(), self.features.patience) as reader:
                shard = await reader.shard()
                async with harness.within(self.features.patience):
                    await read_on(shard)
        assert not error.value.retryable

    async def test_records_survive_a_restart_of_the_broker(self, harness: StreamHarness) -> None:
        """What was put is read, and what was committed stays so."""
        needs(self.features.restarting, "a broker that can be restarted")
        await harness.create(1)
        await harness.put(messages(6))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            records = await take(harness, shard, 3, self.features.patience)
            await shard.commit(Checkpoint(records[-1].position, "before"))
            await reader.give_back()
        await harness.restart()
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            assert numbers(await take(harness, shard, 3, self.features.patience)) == [3, 4, 5]
            await reader.give_back()


class StreamSourceSuite(StreamReadingSuite, StreamCommittingSuite):
    """All that is promised of a `StreamSource`. Subclass it with `features` and a fixture `harness`."""
