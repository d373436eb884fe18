"""What every stream source does: checkpoints, and who may commit them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from streamfn.core.policies import StartingPosition
from streamfn.errors import ShardLost
from streamfn.ports import Checkpoint, Reason, Subscription
from streamfn.testing.conformance.features import StreamFeatures, needs
from streamfn.testing.conformance.reading import (
    LATEST,
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


class StreamCommittingSuite:
    """Checkpoints, and who may commit them: one reader after the other, and several at a time."""

    features: ClassVar[StreamFeatures] = StreamFeatures()
    pytestmark = pytest.mark.anyio

    async def test_reading_begins_after_the_checkpoint(self, harness: StreamHarness) -> None:
        """StreamShard.checkpoint: the last one committed when the shard was assigned, note included."""
        await harness.create(1)
        await harness.put(messages(10))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            records = await take(harness, shard, 7, self.features.patience)
            committed = Checkpoint(records[2].position, "note" if self.features.notes is True else "")
            await shard.commit(committed)
            await reader.give_back()
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            assert shard.checkpoint == committed
            assert numbers(await take(harness, shard, 7, self.features.patience)) == list(range(3, 10))
            await reader.give_back()

    async def test_a_commit_is_durable_when_it_returns(self, harness: StreamHarness) -> None:
        """StreamShard.commit: whoever commits and is never heard of again has committed."""
        await harness.create(1)
        await harness.put(messages(4))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            records = await take(harness, shard, 3, self.features.patience)
            await shard.commit(Checkpoint(records[0].position))
            await shard.commit(Checkpoint(records[1].position))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            assert shard.checkpoint.position == records[1].position
            assert numbers(await take(harness, shard, 2, self.features.patience)) == [2, 3]
            await reader.give_back()

    async def test_a_commit_that_comes_early_is_taken_all_the_same(self, harness: StreamHarness) -> None:
        """StreamShard.commit_interval: seconds that should lie between two commits, and need not."""
        await harness.create(1)
        await harness.put(messages(3))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            assert 0 <= shard.commit_interval <= 3600
            records = await take(harness, shard, 3, self.features.patience)
            async with harness.within(self.features.patience):
                for record in records[:2]:
                    await shard.commit(Checkpoint(record.position))
            await reader.give_back()
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            assert shard.checkpoint.position == records[1].position
            await reader.give_back()

    async def test_what_is_not_committed_comes_again(self, harness: StreamHarness) -> None:
        """At least once: whoever reads and is never heard of again has done nothing."""
        await harness.create(1)
        await harness.put(messages(4))
        for _ in range(2):
            async with reading(harness, harness.source(), self.features.patience) as reader:
                shard = await reader.shard()
                assert numbers(await take(harness, shard, 4, self.features.patience)) == [0, 1, 2, 3]

    async def test_committing_does_not_move_the_reader(self, harness: StreamHarness) -> None:
        """StreamShard.commit: reading goes on where it was, however far behind the commit is."""
        await harness.create(1)
        await harness.put(messages(6))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            records = await take(harness, shard, 4, self.features.patience)
            await shard.commit(Checkpoint(records[0].position))
            assert numbers(await take(harness, shard, 2, self.features.patience)) == [4, 5]
            await reader.give_back()

    async def test_a_note_of_full_length_comes_back(self, harness: StreamHarness) -> None:
        """Checkpoint.note: text kept for the next owner, up to `StreamShard.note_limit` characters."""
        needs(self.features.notes, "notes beside the checkpoint")
        await harness.create(1)
        await harness.put(messages(3))
        before = ""
        for number, length in enumerate((1, None, 0)):
            async with reading(harness, harness.source(), self.features.patience) as reader:
                shard = await reader.shard()
                assert shard.checkpoint.note == before
                (record,) = await take(harness, shard, 1, self.features.patience)
                assert numbers([record]) == [number]
                length = shard.note_limit if length is None else length
                assert length <= shard.note_limit
                before = ("sfn1 z aB+/=" * (length // 12 + 1))[:length]
                await shard.commit(Checkpoint(record.position, before))
                await reader.give_back()
        async with reading(harness, harness.source(), self.features.patience) as reader:
            assert (await reader.shard()).checkpoint.note == ""
            await reader.give_back()

    async def test_a_note_may_change_where_the_position_does_not(self, harness: StreamHarness) -> None:
        """StreamShard.commit: the same position again, with another note."""
        needs(self.features.notes, "notes beside the checkpoint")
        await harness.create(1)
        await harness.put(messages(2))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            (record,) = await take(harness, shard, 1, self.features.patience)
            await shard.commit(Checkpoint(record.position, "one"))
            await shard.commit(Checkpoint(record.position, "two"))
            await reader.give_back()
        async with reading(harness, harness.source(), self.features.patience) as reader:
            assert (await reader.shard()).checkpoint == Checkpoint(record.position, "two")
            await reader.give_back()

    async def test_a_note_may_be_left_before_anything_is_done(self, harness: StreamHarness) -> None:
        """StreamShard.commit: the checkpoint as assigned, with a note, before the first record is done."""
        needs(self.features.notes, "notes beside the checkpoint")
        await harness.create(1)
        await harness.put(messages(2))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            await shard.commit(Checkpoint(shard.checkpoint.position, "running"))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            assert shard.checkpoint.note == "running"
            assert numbers(await take(harness, shard, 2, self.features.patience)) == [0, 1]
            await reader.give_back()

    async def test_groups_read_apart(self, harness: StreamHarness) -> None:
        """Subscription.group: readers of one group share the checkpoints; those of another have their own."""
        await harness.create(1)
        await harness.put(messages(3))
        for group in ("conformance-1", "conformance-2"):
            subscription = Subscription(group)
            async with reading(harness, harness.source(), self.features.patience, subscription) as reader:
                shard = await reader.shard()
                records = await take(harness, shard, 3, self.features.patience)
                assert numbers(records) == [0, 1, 2]
                await shard.commit(Checkpoint(records[-1].position))
                await reader.give_back()

    async def test_latest_begins_after_what_is_there(self, harness: StreamHarness) -> None:
        """Subscription.starting_position: LATEST."""
        needs(self.features.latest, "LATEST")
        await harness.create(1)
        await harness.put(messages(3))
        async with reading(harness, harness.source(), self.features.patience, LATEST) as reader:
            shard = await reader.shard()
            assert list(await shard.read(10, self.features.moment)) == []
            await harness.put(messages(2, 3))
            assert numbers(await take(harness, shard, 2, self.features.patience)) == [3, 4]
            await reader.give_back()

    async def test_latest_is_settled_at_the_first_subscription(self, harness: StreamHarness) -> None:
        """Subscription.starting_position: the first time only; what comes meanwhile is not missed."""
        needs(self.features.latest, "LATEST")
        await harness.create(1)
        await harness.put(messages(3))
        async with reading(harness, harness.source(), self.features.patience, LATEST) as reader:
            await reader.shard()
        await harness.put(messages(2, 3))
        async with reading(harness, harness.source(), self.features.patience, LATEST) as reader:
            shard = await reader.shard()
            assert numbers(await take(harness, shard, 2, self.features.patience)) == [3, 4]
            await reader.give_back()

    async def test_a_time_to_begin_at(self, harness: StreamHarness) -> None:
        """Subscription.starting_at: begins with the first record that arrived at that time or later."""
        needs(self.features.at_timestamp, "AT_TIMESTAMP")
        await harness.create(1)
        await harness.put(messages(3))
        after = harness.now()
        await harness.until(lambda: harness.now() >= after + 0.05, self.features.patience)
        await harness.put(messages(2, 3))
        at = Subscription("conformance", StartingPosition.AT_TIMESTAMP, after + 0.025)
        async with reading(harness, harness.source(), self.features.patience, at) as reader:
            shard = await reader.shard()
            assert numbers(await take(harness, shard, 2, self.features.patience)) == [3, 4]
            await reader.give_back()

    async def test_a_starting_position_does_not_override_a_checkpoint(self, harness: StreamHarness) -> None:
        """Subscription.starting_position: from where the first time, and never again."""
        needs(self.features.latest, "LATEST")
        await harness.create(1)
        await harness.put(messages(4))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            records = await take(harness, shard, 2, self.features.patience)
            await shard.commit(Checkpoint(records[-1].position))
            await reader.give_back()
        async with reading(harness, harness.source(), self.features.patience, LATEST) as reader:
            shard = await reader.shard()
            assert numbers(await take(harness, shard, 2, self.features.patience)) == [2, 3]
            await reader.give_back()

    async def test_closing_never_raises(self, harness: StreamHarness) -> None:
        """StreamShard.close: once, twice, and after its source was left."""
        await harness.create(1)
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            await reader.give_back()
            await shard.close()
        await shard.close()

    async def test_a_lost_shard_takes_no_commit(self, harness: StreamHarness) -> None:
        """StreamShard.commit raises ShardLost when the shard is no longer ours; then nothing was written."""
        needs(self.features.losing, "shards that can be taken away")
        await harness.create(1)
        await harness.put(messages(4))
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            records = await take(harness, shard, 4, self.features.patience)
            await shard.commit(Checkpoint(records[0].position))
            await harness.lose(shard.id, TRIM_HORIZON.group)
            async with harness.within(self.features.patience):
                with pytest.raises(ShardLost):
                    await shard.commit(Checkpoint(records[2].position))
            await shard.close()
        async with reading(harness, harness.source(), self.features.patience) as reader:
            shard = await reader.shard()
            assert shard.checkpoint.position == records[0].position
            assert numbers(await take(harness, shard, 3, self.features.patience)) == [1, 2, 3]
            await reader.give_back()

    async def test_a_lost_shard_is_read_no_more(self, harness: StreamHarness) -> None:
        """Shard.read raises ShardLost when the shard is another's, also where it waits at that moment."""
        needs(self.features.losing, "shards that can be taken away")
        await harness.create(1)
        async with reading(harness, harness.source(), self.features.patience) as reader, tasks() as group:
            shard = await reader.shard()
            group.start_soon(harness.lose, shard.id, TRIM_HORIZON.group)
            async with harness.within(self.features.patience):
                with pytest.raises(ShardLost):
                    await read_on(shard)
            await reader.told(Reason.LOST)
            await shard.close()

    async def test_two_readers_share_the_shards(self, harness: StreamHarness) -> None:
        """Readers of one group share the shards; those of one that leaves go to the other."""
        needs(self.features.shares, "readers that share")
        await harness.create(4)
        async with reading(harness, harness.source(), self.features.patience) as first:
            await first.holds(4)
            everything = set(first.held)
            async with reading(harness, harness.source(), self.features.patience) as second:
                await second.holds(2)
                await first.holds(2)
                assert set(first.held) | set(second.held) == everything
                await second.give_back()
            await first.holds(4)
            assert set(first.held) == everything
            await first.give_back()

    async def test_a_shard_is_handed_over_with_its_checkpoint(self, harness: StreamHarness) -> None:
        """Revoked, REQUESTED: finish, commit, close; the next owner goes on from that commit."""
        needs(self.features.shares, "readers that share")
        needs(self.features.waits_for_close, "hand-over that waits for the owner")
        await harness.create(2)
        for place in range(2):
            await harness.put(messages(3), place)
        first_source, second_source = harness.source(), harness.source()
        async with reading(harness, first_source, self.features.patience, give_back=False) as first:
            await first.holds(2)
            done = {}
            for shard in first.held.values():
                done[shard.id] = (await take(harness, shard, 2, self.features.patience))[-1].position
            async with reading(harness, second_source, self.features.patience) as second:
                await first.told(Reason.REQUESTED)
                asked = {event.shard_id for event in first.revoked}
                # Its owner is still at work, so nobody else has it.
                await harness.never(lambda: asked & set(second.held), self.features.moment)
                note = "handed over" if self.features.notes is True else ""
                for shard_id in asked:
                    shard = first.held.pop(shard_id)
                    await shard.commit(Checkpoint(done[shard_id], note))
                    await shard.close()
                await harness.until(lambda: second.held, self.features.patience)
                for shard_id, shard in second.held.items():
                    assert shard.checkpoint == Checkpoint(done[shard_id], note)
                    assert numbers(await take(harness, shard, 1, self.features.patience)) == [2]
                await second.give_back()
            await first.give_back()
