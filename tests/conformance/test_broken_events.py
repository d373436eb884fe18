"""The suite notices what is broken in event queues. Each test says what it is for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from streamfn.core.events import History
from streamfn.testing.clock import virtual_backend
from streamfn.testing.conformance import EventQueueSuite
from streamfn.testing.memory.events import (
    Kept,
    Line,
    MemoryEvents,
    MemoryEventShard,
    MemoryEventSource,
)
from tests.conformance.broken import assert_noticed, breaks
from tests.conformance.test_events import MemoryEventsHarness


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


EVENTS: list[Any] = []


put, source = MemoryEvents.put, MemoryEvents.source
read, remember, release = MemoryEventShard.read, MemoryEventShard.remember, MemoryEventShard.release
delivered, take = Kept.delivered, MemoryEventShard._take


@breaks(EVENTS, MemoryEvents, "in_use", "test_it_says_whether_it_is_in_use")
@property
def never_in_use(self: MemoryEvents) -> bool:
    return False


@breaks(EVENTS, MemoryEvents, "put", "test_what_was_put_is_there", "test_many_may_put_at_the_same_time")
async def put_forgets_every_second(self: MemoryEvents, function: str, event: Any) -> None:
    if int(event.request_id.removeprefix("id-")) % 2:
        await put(self, function, event)


@breaks(EVENTS, MemoryEvents, "put", "test_many_may_put_at_the_same_time")
async def put_twice(self: MemoryEvents, function: str, event: Any) -> None:
    await put(self, function, event)
    if event.request_id.endswith("7"):
        await put(self, function, event)


@breaks(EVENTS, MemoryEvents, "put", "test_events_come_as_they_were_put")
async def put_strips(self: MemoryEvents, function: str, event: Any) -> None:
    await put(self, function, event._replace(payload=event.payload.strip()))


@breaks(EVENTS, MemoryEvents, "put", "test_events_come_as_they_were_put")
async def put_merges_headers(self: MemoryEvents, function: str, event: Any) -> None:
    await put(self, function, event._replace(headers=tuple(dict(event.headers).items())))


@breaks(EVENTS, MemoryEvents, "put", "test_functions_are_apart")
async def put_ignores_the_qualifier(self: MemoryEvents, function: str, event: Any) -> None:
    await put(self, function.partition(":")[0], event)


@breaks(EVENTS, MemoryEvents, "put", "test_what_was_put_before_the_end_is_written")
async def put_only_as_long_as_it_is_open(self: MemoryEvents, function: str, event: Any) -> None:
    await anyio.sleep(0.1)
    if self._open:
        await put(self, function, event)


@breaks(EVENTS, MemoryEvents, "put", "test_what_was_put_before_the_end_is_written")
async def put_is_always_open(self: MemoryEvents, function: str, event: Any) -> None:
    self.add(function, event)


@breaks(EVENTS, MemoryEvents, "put", "test_a_cancelled_put_took_the_event_or_not")
async def put_takes_half(self: MemoryEvents, function: str, event: Any) -> None:
    self.add(function, event)
    await put(self, function, event)


@breaks(EVENTS, MemoryEvents, "source", "test_a_source_has_a_name")
def source_without_a_name(self: MemoryEvents, function: str) -> Any:
    class Nameless(MemoryEventSource):
        name = "events"

    return Nameless(self, function)


@breaks(EVENTS, MemoryEventSource, "check", "test_what_cannot_be_used_says_so")
async def check_is_content(self: MemoryEventSource) -> None:
    """As one that looks at nothing."""


@breaks(EVENTS, MemoryEventSource, "open", "test_what_a_reader_leaves_comes_again_at_once")
@asynccontextmanager
async def open_leaves_it_hidden(self: MemoryEventSource) -> Any:
    yield self._events.reader(self._function)


@breaks(EVENTS, MemoryEventShard, "read", "test_a_read_brings_no_more_than_its_limit")
async def read_too_many(self: MemoryEventShard, limit: int, wait: float) -> Any:
    return await read(self, limit + 1, wait)


@breaks(EVENTS, MemoryEventShard, "read", "test_a_read_waits_for_the_first_event")
async def read_at_once(self: MemoryEventShard, limit: int, wait: float) -> Any:
    return await read(self, limit, 0)


@breaks(EVENTS, MemoryEventShard, "read", "test_a_cancelled_read_loses_nothing")
async def read_loses(self: MemoryEventShard, limit: int, wait: float) -> Any:
    records = await read(self, limit, wait)
    await anyio.sleep(0.003)
    return records


@breaks(EVENTS, MemoryEventShard, "_take", "test_the_suspicious_come_alone")
def take_others_with_it(self: MemoryEventShard, limit: int) -> Any:
    self._in_hand.clear()
    return take(self, limit)


@breaks(EVENTS, MemoryEventShard, "_take", "test_the_suspicious_wait_until_nothing_is_in_hand")
def take_beside_others(self: MemoryEventShard, limit: int) -> Any:
    self._in_hand.clear()
    return take(self, limit)


@breaks(EVENTS, MemoryEventShard, "ack", "test_what_is_acknowledged_never_comes_again")
async def ack_later(self: MemoryEventShard, records: Any) -> None:
    """As one that acknowledges with the next flush, which never comes."""


@breaks(EVENTS, MemoryEventShard, "release", "test_what_is_released_was_never_tried")
async def release_counts(self: MemoryEventShard, records: Any, delay: Any) -> None:
    await release(self, records, 0.001)


@breaks(EVENTS, MemoryEventShard, "release", "test_what_is_exposed_and_given_back_did_not_die")
async def release_without_a_word(self: MemoryEventShard, records: Any, delay: Any) -> None:
    exposed = [kept for kept, _ in self._current(records) if kept.exposed]
    await release(self, records, delay)
    for kept in exposed:
        kept.exposed = True


@breaks(EVENTS, MemoryEventShard, "extend", "test_what_is_not_settled_comes_back")
async def extend_nothing(self: MemoryEventShard, records: Any, seconds: float) -> None:
    """As one that forgets."""


@breaks(EVENTS, MemoryEventShard, "remember", "test_what_is_remembered_comes_when_it_is_due")
async def remember_at_once(self: MemoryEventShard, records: Any, delay: float) -> None:
    await remember(self, records, 0.0)


@breaks(EVENTS, MemoryEventShard, "remember", "test_what_is_remembered_comes_with_its_history")
async def remember_attempts_only(self: MemoryEventShard, records: Any, delay: float) -> None:
    for record in records:
        record.history = History(record.history.attempts)
    await remember(self, records, delay)


@breaks(EVENTS, MemoryEventShard, "remember", "test_what_is_remembered_comes_with_its_history")
async def remember_no_stack(self: MemoryEventShard, records: Any, delay: float) -> None:
    for record in records:
        failure = record.history.failure
        record.history = replace(record.history, failure=failure and replace(failure, stack=()))
    await remember(self, records, delay)


@breaks(EVENTS, MemoryEventShard, "_current", "test_settling_too_late_changes_nothing")
def current_always(self: MemoryEventShard, records: Any) -> Any:
    for record in records:
        yield record.receipt[0], record


@breaks(EVENTS, MemoryEventShard, "bury", "test_what_is_buried_stays")
async def bury_alive(self: MemoryEventShard, record: Any, letter: bytes) -> None:
    await release(self, [record], 0)


@breaks(EVENTS, MemoryEventShard, "depth", "test_the_depth_is_what_waits")
@property
def depth_of_all(self: MemoryEventShard) -> int:
    return len(self._line.kept)


@breaks(EVENTS, MemoryEventShard, "die", "test_what_the_dead_had_in_hand_comes_again")
def die_unnoticed(self: MemoryEventShard) -> None:
    self._in_hand.clear()


@breaks(EVENTS, Kept, "is_suspicious", "test_the_suspicious_come_alone")
@property
def nobody_is_suspicious(self: Kept) -> bool:
    return False


@breaks(EVENTS, Kept, "delivered", "test_what_the_dead_had_in_hand_comes_again")
def delivered_with_suspicion(self: Kept, delivery: int) -> Any:
    self.receives += 1
    return delivered(self, delivery)


@breaks(EVENTS, MemoryEventShard, "expose", "test_what_is_exposed_and_comes_without_a_word_died")
async def expose_nothing(self: MemoryEventShard, record: Any) -> None:
    """As one that forgets."""


@breaks(EVENTS, Line, "first", "test_a_read_brings_no_more_than_its_limit")
def first_is_the_last(self: Line) -> Kept | None:
    return max(self.kept.values(), key=lambda kept: (-kept.due_at, kept.serial), default=None)


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), EVENTS)
async def test_a_broken_event_queue_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    monkeypatch.setattr(target, attribute, instead)
    await assert_noticed(EventQueueSuite(), MemoryEventsHarness(), test)
