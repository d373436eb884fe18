"""The suite notices what is broken: each stream breaks one promise, and its test fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio import lowlevel

from streamfn.errors import ShardLost
from streamfn.ports import Checkpoint
from streamfn.testing.clock import virtual_backend
from streamfn.testing.conformance import (
    StreamSourceSuite,
)
from streamfn.testing.memory import MemoryShard, MemoryStream
from streamfn.testing.memory.groups import Group
from streamfn.testing.memory.logs import Log
from tests.conformance.broken import assert_noticed, breaks
from tests.conformance.test_memory import (
    MemoryStreamHarness,
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


STREAMS: list[Any] = []

shard_read, shard_commit, shard_take = MemoryShard.read, MemoryShard.commit, MemoryShard._take
group_rebalance, group_join, stream_put = Group.rebalance, Group.join, MemoryStream.put


@breaks(STREAMS, MemoryShard, "read", "test_a_cancelled_read_loses_nothing")
async def read_takes_before_it_waits(self: MemoryShard, limit: int, wait: float) -> Any:
    records = self._take(limit)
    await lowlevel.checkpoint()
    return records or await shard_read(self, limit, wait)


@breaks(STREAMS, MemoryShard, "commit_interval", "test_a_commit_that_comes_early_is_taken_all_the_same")
@property
def commit_interval_in_milliseconds(self: MemoryShard) -> float:
    return 5000.0


@breaks(STREAMS, MemoryShard, "commit", "test_a_commit_that_comes_early_is_taken_all_the_same")
async def commit_drops_what_comes_early(self: MemoryShard, checkpoint: Checkpoint) -> None:
    now = anyio.current_time()
    if now - getattr(self, "committed_at", -1.0) >= 1.0:
        await shard_commit(self, checkpoint)
        self.committed_at = now  # type: ignore[attr-defined]


@breaks(STREAMS, MemoryShard, "read", "test_a_read_brings_what_there_is")
async def read_waits_for_a_full_batch(self: MemoryShard, limit: int, wait: float) -> Any:
    with anyio.move_on_after(wait):
        while (self.lag or 0) < limit:
            await self._log.changed.heard()
    return await shard_read(self, limit, 0)


@breaks(STREAMS, MemoryShard, "read", "test_a_read_ends_within_its_wait")
async def read_waits_longer(self: MemoryShard, limit: int, wait: float) -> Any:
    return await shard_read(self, limit, wait + 1)


@breaks(STREAMS, MemoryShard, "read", "test_a_read_waits_for_the_first_record")
async def read_does_not_wait(self: MemoryShard, limit: int, wait: float) -> Any:
    records = self._take(limit)
    if not records:
        await anyio.sleep(wait)
    return records


@breaks(STREAMS, MemoryShard, "read", "test_a_read_brings_no_more_than_its_limit")
async def read_ignores_its_limit(self: MemoryShard, limit: int, wait: float) -> Any:
    return await shard_read(self, limit + 1, wait)


@breaks(STREAMS, MemoryShard, "read", "test_records_come_in_order_and_positions_grow")
async def read_swaps(self: MemoryShard, limit: int, wait: float) -> Any:
    return (await shard_read(self, limit, wait))[::-1]


@breaks(STREAMS, MemoryShard, "read", "test_a_lost_shard_is_read_no_more")
async def read_hides_the_loss(self: MemoryShard, limit: int, wait: float) -> Any:
    try:
        return await shard_read(self, limit, wait)
    except ShardLost:
        await anyio.sleep(wait)
        return []


@breaks(STREAMS, MemoryShard, "commit", "test_reading_begins_after_the_checkpoint")
async def commit_forgets_the_note(self: MemoryShard, checkpoint: Checkpoint) -> None:
    await shard_commit(self, replace(checkpoint, note=""))


@breaks(STREAMS, MemoryShard, "commit", "test_a_note_of_full_length_comes_back")
async def commit_cuts_the_note(self: MemoryShard, checkpoint: Checkpoint) -> None:
    await shard_commit(self, replace(checkpoint, note=checkpoint.note[:4000]))


@breaks(STREAMS, MemoryShard, "commit", "test_a_note_of_full_length_comes_back")
async def commit_keeps_an_old_note(self: MemoryShard, checkpoint: Checkpoint) -> None:
    await shard_commit(self, replace(checkpoint, note=checkpoint.note or self._claim.checkpoint.note))


@breaks(STREAMS, MemoryShard, "commit", "test_a_lost_shard_takes_no_commit")
async def commit_is_never_fenced(self: MemoryShard, checkpoint: Checkpoint) -> None:
    self._claim.checkpoint = checkpoint


@breaks(STREAMS, MemoryShard, "commit", "test_a_lost_shard_takes_no_commit")
async def commit_writes_and_then_raises(self: MemoryShard, checkpoint: Checkpoint) -> None:
    self._claim.checkpoint = checkpoint
    await shard_commit(self, checkpoint)


@breaks(STREAMS, MemoryShard, "commit", "test_a_commit_is_durable_when_it_returns")
async def commit_is_not_durable(self: MemoryShard, checkpoint: Checkpoint) -> None:
    await lowlevel.checkpoint()


@breaks(
    STREAMS,
    MemoryShard,
    "commit",
    "test_a_note_may_change_where_the_position_does_not",
    "test_a_note_may_be_left_before_anything_is_done",
)
async def commit_skips_what_has_not_moved(self: MemoryShard, checkpoint: Checkpoint) -> None:
    if checkpoint.position > self._claim.checkpoint.position:
        await shard_commit(self, checkpoint)


@breaks(STREAMS, MemoryShard, "commit", "test_committing_does_not_move_the_reader")
async def commit_rewinds(self: MemoryShard, checkpoint: Checkpoint) -> None:
    await shard_commit(self, checkpoint)
    self._cursor = self._log.index_after(checkpoint.position)


@breaks(STREAMS, MemoryShard, "close", "test_closing_never_raises")
async def close_twice_raises(self: MemoryShard) -> None:
    if self._lost:
        raise ShardLost(self.id)
    self._group.give_back(self._claim, self)


@breaks(STREAMS, Log, "start", "test_latest_begins_after_what_is_there", "test_a_time_to_begin_at")
def begins_at_the_oldest(self: Log, subscription: Any) -> int:
    return self.trimmed_to


@breaks(
    STREAMS,
    Group,
    "join",
    "test_latest_is_settled_at_the_first_subscription",
    "test_a_starting_position_does_not_override_a_checkpoint",
)
def settles_where_to_begin_each_time(self: Group, reader: Any) -> None:
    for claim in self.claims.values():
        claim.checkpoint = Checkpoint(claim.log.start(self._subscription))
    group_join(self, reader)


@breaks(STREAMS, Group, "rebalance", "test_a_shard_is_handed_over_with_its_checkpoint")
def takes_without_asking(self: Group) -> None:
    group_rebalance(self)
    leaving = [claim for claim in self.claims.values() if claim.leaving]
    for claim in leaving:
        claim.free()
    if leaving:
        group_rebalance(self)


@breaks(STREAMS, Group, "rebalance", "test_two_readers_share_the_shards")
def first_comes_has_all(self: Group) -> None:
    for claim in self.claims.values():
        if claim.owner is None and self._readers:
            self._assign(claim, self._readers[0])


@breaks(STREAMS, Log, "index_after", "test_records_that_were_removed_unread_are_not_passed_over")
def passes_over_the_gap(self: Log, position: int) -> int:
    return max(self.trimmed, sum(record.position <= position for record in self.records) + self.trimmed)


@breaks(STREAMS, MemoryStream, "put", "test_headers_keep_their_order_and_their_doubles")
def drops_doubles(self: MemoryStream, values: Any, **where: Any) -> Any:
    return stream_put(
        self, [replace(value, headers=tuple(dict(value.headers).items())) for value in values], **where
    )


@breaks(STREAMS, MemoryStream, "put", "test_a_tombstone_has_no_value")
def makes_tombstones_empty(self: MemoryStream, values: Any, **where: Any) -> Any:
    return stream_put(self, [b"" if value is None else value for value in values], **where)


@breaks(STREAMS, Log, "close", "test_an_ended_shard_says_so_when_all_was_read")
def never_ends(self: Log) -> None:
    """More may come."""


@breaks(STREAMS, MemoryShard, "lag", "test_the_lag_is_what_waits_behind_the_last_read")
@property
def guesses_the_lag(self: MemoryShard) -> int:
    return 7


@breaks(STREAMS, MemoryStream, "check", "test_check_says_when_the_source_cannot_be_reached")
async def checks_nothing(self: MemoryStream) -> None:
    await lowlevel.checkpoint()


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), STREAMS)
async def test_a_broken_stream_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    monkeypatch.setattr(target, attribute, instead)
    await assert_noticed(StreamSourceSuite(), MemoryStreamHarness(), test)
