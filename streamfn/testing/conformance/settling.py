"""What every queue source does with what was read: acknowledging, giving back, keeping hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import anyio
import pytest

from streamfn.testing.conformance.features import QueueFeatures, needs
from streamfn.testing.conformance.reading import messages, numbers, take, tasks

if TYPE_CHECKING:
    from streamfn.core.records import Record
    from streamfn.ports import QueueShard
    from streamfn.testing.conformance.harness import QueueHarness

LONG = 120.0
"""A visibility timeout that no test waits for."""


async def assert_quiet(queue: QueueShard, seconds: float) -> None:
    """Nothing comes for that long."""
    came = await queue.read(1, seconds)
    assert list(came) == [], "what should not come has come"


class QueueSettlingSuite:
    """Each message is settled on its own."""

    features: ClassVar[QueueFeatures] = QueueFeatures()
    pytestmark = pytest.mark.anyio

    async def take(self, harness: QueueHarness, queue: QueueShard, count: int) -> list[Record]:
        limit = self.features.max_batch
        return await take(harness, queue, count, self.features.patience, limit)

    async def test_what_is_acknowledged_never_comes_again(self, harness: QueueHarness) -> None:
        """QueueShard.ack: the records are done and never come again."""
        await harness.create(self.features.visibility_timeout)
        await harness.put(messages(3))
        async with harness.source().open() as queue:
            await queue.ack(await self.take(harness, queue, 3))
            await assert_quiet(queue, self.features.visibility_timeout + self.features.moment)

    async def test_an_acknowledgement_is_durable_when_it_returns(self, harness: QueueHarness) -> None:
        """QueueShard.ack: whoever acknowledges and is never heard of again has done it."""
        await harness.create(self.features.visibility_timeout)
        await harness.put(messages(3))
        async with harness.source().open() as queue:
            await queue.ack(await self.take(harness, queue, 3))
        async with harness.source().open() as queue:
            await assert_quiet(queue, self.features.visibility_timeout + self.features.moment)

    async def test_what_is_not_settled_comes_back(self, harness: QueueHarness) -> None:
        """QueueShard: one that is not settled comes back after its visibility timeout, and not before."""
        needs(self.features.redelivers, "messages that come back while their poller is open")
        await harness.create(self.features.visibility_timeout)
        await harness.put(messages(2))
        async with harness.source().open() as queue:
            first = await self.take(harness, queue, 2)
            await assert_quiet(queue, self.features.visibility_timeout / 2)
            again = await self.take(harness, queue, 2)
            assert sorted(numbers(again)) == [0, 1]
            assert {record.id for record in again} == {record.id for record in first}
            assert not set(map(id, again)) & set(map(id, first)), "a delivery is a record of its own"
            await queue.ack(again)

    async def test_what_a_poller_left_unsettled_comes_to_another(self, harness: QueueHarness) -> None:
        """At least once: whoever reads and is never heard of again has done nothing."""
        await harness.create(self.features.visibility_timeout)
        await harness.put(messages(2))
        async with harness.source().open() as queue:
            await self.take(harness, queue, 2)
        async with harness.source().open() as queue:
            again = await self.take(harness, queue, 2)
            assert sorted(numbers(again)) == [0, 1]
            await queue.ack(again)

    async def test_some_of_a_batch_are_acknowledged(self, harness: QueueHarness) -> None:
        """QueueShard: records are settled one by one, whatever they were read with."""
        await harness.create(LONG)
        await harness.put(messages(6))
        async with harness.source().open() as queue:
            records = await self.take(harness, queue, 6)
            await queue.ack(records[1::2])
            await queue.release(records[::2], 0)
            again = await self.take(harness, queue, 3)
            assert sorted(numbers(again)) == sorted(numbers(records[::2]))
            await queue.ack(again)
            await assert_quiet(queue, self.features.moment)

    async def test_a_released_record_comes_back_at_once(self, harness: QueueHarness) -> None:
        """QueueShard.release: the records come again after `delay` seconds, 0 included."""
        await harness.create(LONG)
        await harness.put(messages(2))
        async with harness.source().open() as queue:
            await queue.release(await self.take(harness, queue, 2), 0)
            again = await self.take(harness, queue, 2)
            assert sorted(numbers(again)) == [0, 1]
            await queue.ack(again)

    async def test_a_released_record_comes_back_after_its_delay(self, harness: QueueHarness) -> None:
        """QueueShard.release: after `delay` seconds, and not before."""
        needs(self.features.delays, "delays")
        await harness.create(LONG)
        await harness.put(messages(1))
        delay = self.features.visibility_timeout
        async with harness.source().open() as queue:
            await queue.release(await self.take(harness, queue, 1), delay)
            await assert_quiet(queue, delay / 2)
            async with harness.within(delay + self.features.moment):
                again = await queue.read(1, 2 * delay)
            assert numbers(again) == [0]
            await queue.ack(again)

    async def test_a_release_without_a_delay_leaves_the_timeout(self, harness: QueueHarness) -> None:
        """QueueShard.release, None: the records come when their visibility timeout is over."""
        needs(self.features.redelivers, "messages that come back while their poller is open")
        await harness.create(self.features.visibility_timeout)
        await harness.put(messages(1))
        async with harness.source().open() as queue:
            await queue.release(await self.take(harness, queue, 1), None)
            await assert_quiet(queue, self.features.visibility_timeout / 2)
            await queue.ack(await self.take(harness, queue, 1))

    async def test_a_release_takes_the_receive_back(self, harness: QueueHarness) -> None:
        """QueueShard.release with delay 0: the read does not count where the source can take it back."""
        needs(self.features.receive_counts, "receive counts")
        needs(self.features.takes_back, "receives that can be taken back")
        await harness.create(LONG)
        await harness.put(messages(1))
        async with harness.source().open() as queue:
            for _ in range(3):
                (record,) = await self.take(harness, queue, 1)
                assert record.attempt == 0
                await queue.release([record], 0)
            await queue.ack(await self.take(harness, queue, 1))

    async def test_a_record_says_how_often_it_came(self, harness: QueueHarness) -> None:
        """Record.attempt: failed deliveries the source remembers, which is the receive count less one."""
        needs(self.features.receive_counts, "receive counts")
        needs(self.features.redelivers, "messages that come back while their poller is open")
        await harness.create(self.features.visibility_timeout)
        await harness.put(messages(1))
        async with harness.source().open() as queue:
            attempts = []
            for _ in range(3):
                (record,) = await self.take(harness, queue, 1)
                attempts.append(record.attempt)
            assert attempts == [0, 1, 2]

    async def test_an_extended_record_stays_hidden(self, harness: QueueHarness) -> None:
        """QueueShard.extend: hides the records for that long from now on; they can still be acknowledged."""
        needs(self.features.extends, "visibility that can be extended")
        timeout = self.features.visibility_timeout
        await harness.create(timeout)
        await harness.put(messages(2))
        async with harness.source().open() as queue:
            records = await self.take(harness, queue, 2)
            for _ in range(3):
                await assert_quiet(queue, timeout * 0.6)
                await queue.extend(records, timeout)
            await queue.ack(records)
            await assert_quiet(queue, timeout + self.features.moment)

    async def test_an_extension_ends(self, harness: QueueHarness) -> None:
        """QueueShard.extend: for that long, which may be shorter than what was left."""
        needs(self.features.extends, "visibility that can be extended")
        needs(self.features.redelivers, "messages that come back while their poller is open")
        await harness.create(LONG)
        await harness.put(messages(1))
        async with harness.source().open() as queue:
            await queue.extend(await self.take(harness, queue, 1), self.features.visibility_timeout)
            await assert_quiet(queue, self.features.visibility_timeout / 2)
            await queue.ack(await self.take(harness, queue, 1))

    async def test_settling_too_late_changes_nothing(self, harness: QueueHarness) -> None:
        """QueueShard: settling a record that came back meanwhile changes nothing and raises nothing."""
        needs(self.features.redelivers, "messages that come back while their poller is open")
        await harness.create(self.features.visibility_timeout)
        await harness.put(messages(1))
        async with harness.source().open() as queue:
            late = await self.take(harness, queue, 1)
            again = await self.take(harness, queue, 1)
            await queue.extend(late, LONG)
            await queue.release(late, 0)
            await queue.ack(late)
            await assert_quiet(queue, self.features.visibility_timeout / 4)
            await queue.release(again, 0)
            again = await self.take(harness, queue, 1)
            await queue.ack(again)
            await assert_quiet(queue, self.features.visibility_timeout + self.features.moment)

    async def test_settling_twice_raises_nothing(self, harness: QueueHarness) -> None:
        """QueueShard: what is done is done; nothing at all may be settled too."""
        await harness.create(LONG)
        await harness.put(messages(2))
        async with harness.source().open() as queue:
            records = await self.take(harness, queue, 2)
            for _ in range(2):
                await queue.ack(records)
            await queue.extend(records, LONG)
            await queue.release(records, 0)
            await queue.ack([])
            await queue.release([], 0)
            await queue.extend([], LONG)
            await assert_quiet(queue, self.features.moment)

    async def test_a_thousand_settle_at_once(self, harness: QueueHarness) -> None:
        """QueueShard: settling is concurrent, each task its own record."""
        await harness.create(LONG)
        for first in range(0, 1000, 100):
            await harness.put(messages(100, first))
        async with harness.source().open() as queue:
            records = await take(harness, queue, 1000, 6 * self.features.patience, self.features.max_batch)
            assert sorted(numbers(records)) == list(range(1000))
            async with harness.within(6 * self.features.patience), tasks() as group:
                for record in records[100:]:
                    group.start_soon(queue.ack, [record])
                for record in records[:100]:
                    group.start_soon(queue.release, [record], 0)
            again = await take(harness, queue, 100, 6 * self.features.patience, self.features.max_batch)
            assert sorted(numbers(again)) == sorted(numbers(records[:100]))
            await queue.ack(again)
            await assert_quiet(queue, self.features.moment)

    async def test_settling_may_be_cancelled(self, harness: QueueHarness) -> None:
        """A cancelled acknowledgement was made or was not; either way it may be repeated."""
        await harness.create(LONG)
        await harness.put(messages(5))
        async with harness.source().open() as queue:
            records = await self.take(harness, queue, 5)
            for delay, record in enumerate(records):
                with anyio.move_on_after(delay * 0.001):
                    await queue.ack([record])
            await queue.ack(records)
            await harness.put(messages(1, 5))
            last = await self.take(harness, queue, 1)
            assert numbers(last) == [5]
            await queue.ack(last)
