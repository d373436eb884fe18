"""The suite notices what is broken: each queue breaks one promise, and its test fails."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import lowlevel

from streamfn.testing.clock import virtual_backend
from streamfn.testing.conformance import (
    QueueSourceSuite,
)
from streamfn.testing.memory import MemoryPoller, MemoryQueue
from streamfn.testing.memory.lines import FifoLine, Line
from tests.conformance.broken import assert_noticed, breaks
from tests.conformance.test_memory import (
    MemoryQueueHarness,
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


QUEUES: list[Any] = []

queue_read, queue_release = MemoryPoller.read, MemoryPoller.release
queue_take, queue_hide, fifo_take = MemoryQueue.take, MemoryQueue.hide, FifoLine.take


@breaks(QUEUES, MemoryPoller, "read", "test_a_cancelled_read_loses_nothing")
async def poll_and_pause(self: MemoryPoller, limit: int, wait: float) -> Any:
    records = self._queue.take(limit)
    for record in records:
        record.receipt[0].visible_at = 1e12  # the broker believes that we have it
    await lowlevel.checkpoint()
    return records or await queue_read(self, limit, wait)


@breaks(
    QUEUES,
    MemoryPoller,
    "ack",
    "test_what_is_acknowledged_never_comes_again",
    "test_an_acknowledgement_is_durable_when_it_returns",
)
@breaks(QUEUES, MemoryPoller, "extend", "test_an_extended_record_stays_hidden")
async def nothing(self: MemoryPoller, records: Any, seconds: float = 0) -> None:
    await lowlevel.checkpoint()


async def ack_at_close(self: MemoryPoller, records: Any) -> None:
    for record in records:
        record.receipt[0].visible_at = 1e12 if len(records) == 3 else 0.0


@breaks(QUEUES, MemoryPoller, "ack", "test_some_of_a_batch_are_acknowledged")
async def ack_all_that_is_hidden(self: MemoryPoller, records: Any) -> None:
    await lowlevel.checkpoint()
    if records:
        self._queue.purge()


@breaks(QUEUES, MemoryPoller, "ack", "test_settling_too_late_changes_nothing")
async def ack_by_id(self: MemoryPoller, records: Any) -> None:
    await lowlevel.checkpoint()
    for record in records:
        self._queue._messages.pop(record.id, None)
        record.receipt[0].over()


@breaks(QUEUES, MemoryPoller, "ack", "test_settling_twice_raises_nothing")
async def ack_once(self: MemoryPoller, records: Any) -> None:
    for record in records:
        del self._queue._messages[record.id]
        record.receipt[0].over()


@breaks(
    QUEUES,
    MemoryPoller,
    "release",
    "test_a_released_record_comes_back_after_its_delay",
    "test_a_release_without_a_delay_leaves_the_timeout",
)
async def release_at_once(self: MemoryPoller, records: Any, delay: float | None) -> None:
    await queue_release(self, records, 0)


@breaks(QUEUES, MemoryPoller, "release", "test_a_released_record_comes_back_at_once")
async def release_by_timeout(self: MemoryPoller, records: Any, delay: float | None) -> None:
    await queue_release(self, records, None)


@breaks(QUEUES, MemoryQueue, "hide", "test_a_release_takes_the_receive_back")
def counts_all(self: MemoryQueue, records: Any, seconds: float, *, take_back: bool = False) -> None:
    queue_hide(self, records, seconds)


@breaks(QUEUES, MemoryPoller, "extend", "test_an_extension_ends")
async def extend_for_ever(self: MemoryPoller, records: Any, seconds: float) -> None:
    self._queue.hide(records, 1e6)


@breaks(
    QUEUES,
    Line,
    "back",
    "test_what_is_not_settled_comes_back",
    "test_what_a_poller_left_unsettled_comes_to_another",
)
def comes_once(self: Line, messages: Any) -> None:
    """What was in flight is gone."""


@breaks(QUEUES, MemoryQueue, "take", "test_a_record_says_how_often_it_came")
def counts_nothing(self: MemoryQueue, limit: int) -> Any:
    records = queue_take(self, limit)
    for record in records:
        record.receive_count = 1
    return records


@breaks(QUEUES, MemoryQueue, "take", "test_what_is_not_settled_comes_back")
def same_record(self: MemoryQueue, limit: int) -> Any:
    records = queue_take(self, limit)
    return [self.__dict__.setdefault(record.id, record) for record in records]


@breaks(QUEUES, MemoryQueue, "take", "test_a_read_brings_no_more_than_its_limit")
def takes_more(self: MemoryQueue, limit: int) -> Any:
    return queue_take(self, limit + 1)


@breaks(QUEUES, FifoLine, "take", "test_messages_of_a_key_come_in_order")
def takes_a_key_at_once(self: FifoLine, limit: int) -> Any:
    taken = fifo_take(self, limit)
    for message in taken:
        self._groups[f"k{message.key}"].in_flight = 0
        self._open(self._groups[f"k{message.key}"])
    return taken


@breaks(QUEUES, FifoLine, "_landed", "test_messages_of_a_key_come_in_order")
def returns_to_the_end(self: FifoLine, group: Any) -> None:
    group.in_flight -= 1
    group.waiting.extend(group.returned)
    group.returned.clear()
    self._open(group)


@breaks(QUEUES, MemoryPoller, "depth", "test_the_depth_is_what_waits")
@property
def guesses_the_depth(self: MemoryPoller) -> int:
    return 9


@breaks(QUEUES, MemoryPoller, "id", "test_pollers_are_told_apart")
@property
def is_called_like_all(self: MemoryPoller) -> str:
    return "queue"


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), QUEUES)
async def test_a_broken_queue_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    monkeypatch.setattr(target, attribute, instead)
    await assert_noticed(QueueSourceSuite(), MemoryQueueHarness(), test)
