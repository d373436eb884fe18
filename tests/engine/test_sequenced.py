"""Sequenced mode through the app, over `local:` streams: order per key even across failure."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from streamfn import App, Batch, TooManyRequests, planning
from streamfn.core.envelopes import FailureFormat
from streamfn.core.letters import Stored
from streamfn.core.records import StreamRecord
from streamfn.errors import ConfigurationError
from streamfn.local import LocalDestination, LocalLetters, LocalSequences, SequenceLetters
from streamfn.ports import Message, Parked
from streamfn.telemetry import DestinationDeliveryFailed, RecordsParked
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryStream
from tests.engine.conftest import DeadLetters, Seen
from tests.waiting import until

pytestmark = pytest.mark.anyio

STYLES = ["event", "batch", "each", "each on a thread"]
OPTIONS: dict[str, Any] = {
    "name": "m",
    "ordering": "key",
    "sequenced": True,
    "batch_size": 1,
    "maximum_retry_attempts": 1,
    "retry_backoff": {"first": 0.1},
}

Item = tuple[str | None, int]


class Line:
    """An app whose function fails for what is bad, and notes what it did in which order."""

    def __init__(self, folder: Path, style: str = "each", **function: Any) -> None:
        self.folder = folder
        self.style = style
        self.function = function
        self.bad: set[Item] = set()
        self.done: list[Item] = []
        self.tried: list[Item] = []
        self.events: list[Any] = []
        self.before: Callable[[Item], Any] = lambda item: None
        """What a delivery waits for."""
        self.seen = Seen()
        self.app: App
        self._target = LocalDestination("local:s?shards=1", state_dir=folder, clock=clock)
        self.store = SequenceLetters("app.m", state_dir=folder, clock=clock)

    def declare(self, **options: Any) -> App:
        app = App(name="app", state_dir=self.folder, clock=clock, telemetry=[self.seen], seed=7)
        match self.style:
            case "event":
                app.function(name="f", **self.function)(self._on_event)
            case "batch":
                app.function(name="f", batch=True, **self.function)(self._on_batch)
            case "each":
                app.function(name="f", each=dict, **self.function)(self._on_each)
            case _:
                app.function(name="f", each=dict, **self.function)(self._on_thread)
        app.event_source_mapping("f", options.pop("source", "local:s?shards=1"), **{**OPTIONS, **options})
        return app

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[App]:
        self.app = self.declare(**options)
        try:
            async with self.app:
                yield self.app
        finally:
            await self.store.close()
            await self._target.close()

    async def put(self, *items: Item) -> None:
        messages = [Message(json.dumps({"k": k, "v": v}).encode(), k) for k, v in items]
        assert not await self._target.send(messages)

    async def letters(self) -> dict[str | None, Stored]:
        try:
            return {stored.key: stored async for stored in self.store.scan()}
        except ConfigurationError:  # the mapping has not begun
            return {}

    async def reopen(self, *keys: str) -> None:
        found = await self.letters()
        assert await self.store.reopen([found[key] for key in keys]) == len(keys)

    async def closed(self, **behind: int) -> None:
        """Returns when just these keys are closed, with so many records behind each."""

        async def holds() -> bool:
            return {key: stored.behind for key, stored in (await self.letters()).items()} == behind

        try:
            await until(holds)
        except AssertionError:
            found = {key: stored.behind for key, stored in (await self.letters()).items()}
            raise AssertionError(f"{found}, not {behind}; done: {self.done}") from None

    async def until_done(self, *items: Item) -> None:
        try:
            await until(lambda: len(self.done) >= len(items))
        except AssertionError:
            raise AssertionError(f"done: {self.done}, not {items}") from None

    def of(self, key: str | None) -> list[int]:
        return [number for name, number in self.done if name == key]

    def _note(self, item: Item) -> None:
        self.tried.append(item)
        if item in self.bad:
            raise ValueError(f"bad {item}")
        self.done.append(item)

    async def _wait(self, item: Item) -> None:
        waits = self.before(item)
        if waits is not None:
            await waits

    async def _on_each(self, value: dict[str, Any]) -> None:
        await self._wait(item_of(value))
        self._note(item_of(value))

    def _on_thread(self, value: dict[str, Any]) -> None:
        self._note(item_of(value))

    async def _on_batch(self, batch: Batch) -> None:
        self.events.append([(r.id, r.position, r.key, r.value, r.headers, r.arrived_at) for r in batch])
        for record in batch:
            await self._wait(item_of(record.json()))
        for record in batch:
            assert record.key == record.json()["k"]
            self._note(item_of(record.json()))

    async def _on_event(self, event: Any, context: Any) -> None:
        self.events.append(event)
        for record in event["Records"]:
            self._note(item_of(json.loads(b64decode(record["kinesis"]["data"]))))


def item_of(value: dict[str, Any]) -> Item:
    return value["k"], value["v"]


def items(key: str | None, numbers: Iterable[int]) -> list[Item]:
    return [(key, number) for number in numbers]


def dead_of(stored: Stored) -> dict[str, Any]:
    found = json.loads(stored.body)["deadLetter"]
    assert isinstance(found, dict)
    return found


# ------------------------------------------------------------------------------------------ the whole of it


@pytest.mark.parametrize("style", STYLES)
async def test_what_follows_a_dead_letter_waits_and_is_released_in_order(tmp_path: Path, style: str) -> None:
    line = Line(tmp_path, style)
    line.bad = {("a", 1), (None, 7)}
    async with line.running():
        await line.put(*items("a", range(4)), *items("b", range(3)), (None, 7), (None, 8))
        await line.closed(a=2)
        await line.until_done(("a", 0), *items("b", range(3)), (None, 8))
        assert (line.of("a"), line.of("b"), line.of(None)) == ([0], [0, 1, 2], [8])
        assert line.tried.count(("a", 1)) == 2
        ordinary = LocalLetters("local:queue/dead-letters", state_dir=tmp_path, clock=clock)
        await until(ordinary.count)
        (unkeyed,) = [stored async for stored in ordinary.scan()]
        assert dead_of(unkeyed)["condition"] == "RetryAttemptsExhausted"
        await ordinary.close()
        line.bad.clear()
        await line.reopen("a")
        await until(lambda: line.of("a") == [0, 1, 2, 3])
        await line.put(*items("a", range(4, 8)))
        await until(lambda: len(line.of("a")) == 8)
        assert line.of("a") == list(range(8))
        assert await line.letters() == {}
    parked = [(event.mapping, event.records) for event in line.seen.of(RecordsParked)]
    assert parked == [("m", 1)] * 2
    assert line.app.counters.of("m")["ParkedEventCount"] == 2


@pytest.mark.parametrize("style", ["event", "batch"])
async def test_a_function_sees_in_the_end_what_it_saw_at_first(tmp_path: Path, style: str) -> None:
    line = Line(tmp_path, style)
    line.bad = {("ключ", 1)}
    async with line.running(maximum_retry_attempts=0):
        await line.put(("ключ", 1))
        await line.closed(ключ=0)
        line.bad.clear()
        await line.reopen("ключ")
        await line.until_done(("ключ", 1))
    at_first, then = line.events
    if style == "batch":
        (*first, began), (*again, came) = at_first[0], then[0]
        assert first == again
        assert came == pytest.approx(began, abs=0.001)
    else:
        assert at_first == then


async def test_keys_of_bytes_and_headers_come_as_they_came(tmp_path: Path) -> None:
    line, stream = Line(tmp_path), MemoryStream()
    seen: list[Any] = []
    failing = True

    async def handler(batch: Batch) -> None:
        seen.extend((r.key, r.value, tuple(r.headers)) for r in batch)
        assert batch.to_event()["Records"]
        if failing:
            raise ValueError

    app = App(name="app", state_dir=tmp_path, clock=clock)
    app.function(name="f", batch=True)(handler)
    app.event_source_mapping("f", stream, **{**OPTIONS, "maximum_retry_attempts": 0})
    async with app:
        stream.put([StreamRecord(0, b"\xff\x00", "\udcfe", clock(), (("h", b"\x01"), ("h", b"2")))])
        await until(lambda: seen)
        await line.closed(**{"\udcfe": 0})
        failing = False
        await line.reopen("\udcfe")
        await until(lambda: len(seen) == 2)
    assert seen[0] == seen[1] == ("\udcfe", b"\xff\x00", (("h", b"\x01"), ("h", b"2")))
    await line.store.close()


async def test_one_given_up_once_more_closes_its_key_again(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0), ("a", 2)}
    async with line.running(maximum_retry_attempts=2):
        await line.put(*items("a", range(4)))
        await line.closed(a=3)
        first = (await line.letters())["a"]
        assert (dead_of(first)["redrives"], dead_of(first)["attempts"]) == (0, 3)
        await line.reopen("a")
        await line.closed(a=3)
        again = (await line.letters())["a"]
        assert (again.id, dead_of(again)["redrives"], dead_of(again)["attempts"]) == (first.id, 1, 3)
        assert line.tried == [("a", 0)] * 6
        line.bad.discard(("a", 0))
        await line.reopen("a")
        await line.closed(a=1)
        third = dead_of((await line.letters())["a"])
        # It had only been parked.
        assert (third["redrives"], third["attempts"]) == (0, 3)
        assert third["condition"] == "RetryAttemptsExhausted"
        assert third["error"]["message"] == "bad ('a', 2)"
        await line.reopen("a")
        await line.closed(a=1)
        assert dead_of((await line.letters())["a"])["redrives"] == 1
        line.bad.clear()
        await line.reopen("a")
        await line.until_done(*items("a", range(4)))
    assert line.done == items("a", range(4))


async def test_a_purged_letter_is_given_up_alone(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0), ("a", 2)}
    async with line.running():
        await line.put(*items("a", range(4)))
        await line.closed(a=3)
        assert await line.store.purge() == 1
        await line.closed(a=1)
        assert await line.store.purge() == 1
        await line.until_done(("a", 1), ("a", 3))
        await line.put(("a", 4))
        await line.until_done(("a", 1), ("a", 3), ("a", 4))
    assert line.done == [("a", 1), ("a", 3), ("a", 4)]


async def test_what_comes_while_a_sequence_drains_is_appended(tmp_path: Path) -> None:
    line, going = Line(tmp_path), anyio.Event()
    line.bad = {("a", 0)}
    async with line.running():
        await line.put(("a", 0), ("a", 1))
        await line.closed(a=1)
        line.bad.clear()
        line.before = lambda item: going.wait() if item == ("a", 0) else None
        await line.reopen("a")
        await line.put(*items("a", range(2, 5)))
        await until(lambda: line.app.counters.of("m")["ParkedEventCount"] == 4)
        assert line.done == []
        going.set()
        await line.until_done(*items("a", range(5)))
    assert line.done == items("a", range(5))


# ------------------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("style", STYLES)
async def test_batches_of_many_keys_with_reports_and_bisecting(tmp_path: Path, style: str) -> None:
    line = Line(tmp_path, style)
    line.bad = {("a", 3), ("b", 5)}
    keys = "abcd"
    async with line.running(batch_size=16, bisect_batch_on_function_error=True, maximum_concurrency=3):
        await line.put(*((key, number) for number in range(12) for key in keys))
        await line.closed(a=8, b=6)
        line.bad.clear()
        await line.reopen("a", "b")
        await until(lambda: all(set(line.of(key)) == set(range(12)) for key in keys))
    for key in keys:
        assert list(dict.fromkeys(line.of(key))) == list(range(12))


async def test_a_batch_given_up_whole_closes_each_of_its_keys(tmp_path: Path) -> None:
    line = Line(tmp_path, "batch")
    line.bad = {("a", 0)}
    async with line.running(batch_size=10, maximum_batching_window_in_seconds=1):
        await line.put(("a", 0), ("b", 0), ("a", 1), ("b", 1), (None, 0))
        await line.closed(a=1, b=1)
        await line.put(("b", 2), ("c", 0))
        await line.closed(a=1, b=2)
        line.bad.clear()
        await line.reopen("b")
        await until(lambda: line.of("b") == [0, 1, 2])
        await line.closed(a=1)
        await line.reopen("a")
        await until(lambda: line.of("a") == [0, 1])
    assert line.of("c") == [0]


@pytest.mark.parametrize("identifier", ["its own", "another", None])
async def test_a_record_that_is_reported_again_is_not_taken_for_done(
    tmp_path: Path, identifier: str | None
) -> None:
    """Lambda-style functions, which name what failed as it was named to them."""
    line = Line(tmp_path)
    calls: list[list[str]] = []
    failing = True

    async def handler(event: Any, context: Any) -> Any:
        numbers = [record["kinesis"]["sequenceNumber"] for record in event["Records"]]
        calls.append(numbers)
        named = numbers[0] if identifier == "its own" else identifier
        return {"batchItemFailures": [{"itemIdentifier": named}] if failing else []}

    app = App(name="app", state_dir=tmp_path, clock=clock)
    app.function(name="f")(handler)
    options = {**OPTIONS, "function_response_types": ["ReportBatchItemFailures"]}
    app.event_source_mapping("f", "local:s", **options)
    async with app:
        await line.put(("a", 0), ("a", 1))
        await line.closed(a=1)
        await line.reopen("a")
        await until(lambda: len(calls) == 4)
        await line.closed(a=1)
        assert dead_of((await line.letters())["a"])["redrives"] == 1
        failing = False
        await line.reopen("a")
        await until(lambda: len(calls) == 6)
        assert await line.letters() == {}
    assert calls[4] != calls[5]
    await line.store.close()


async def test_a_timeout_is_a_failure_like_any_other(tmp_path: Path) -> None:
    line = Line(tmp_path, timeout=2.0)
    line.before = lambda item: anyio.sleep(10) if item == ("a", 0) else None
    async with line.running(maximum_retry_attempts=0):
        await line.put(("a", 0), ("a", 1), ("b", 0))
        await line.closed(a=1)
        await line.reopen("a")

        async def redriven() -> bool:
            found = await line.letters()
            return "a" in found and dead_of(found["a"])["redrives"] == 1

        await until(redriven)
        assert "Task timed out" in dead_of((await line.letters())["a"])["error"]["message"]
        line.before = lambda item: None
        await line.reopen("a")
        await line.until_done(("b", 0), ("a", 0), ("a", 1))
    assert line.done == [("b", 0), ("a", 0), ("a", 1)]


async def test_throttles_spend_no_attempt_of_what_is_redriven(tmp_path: Path) -> None:
    line, refusals = Line(tmp_path), iter(range(5))
    line.bad = {("a", 0)}

    async def refuse() -> None:
        if next(refusals, None) is not None:
            raise TooManyRequests("later", retry_after=1)

    async with line.running(maximum_retry_attempts=0):
        await line.put(("a", 0), ("a", 1))
        await line.closed(a=1)
        line.bad.clear()
        line.before = lambda item: refuse()
        await line.reopen("a")
        await line.until_done(("a", 0), ("a", 1))
    assert line.done == items("a", range(2))


# -------------------------------------------------------------------------------------------------- the age


async def test_what_is_too_old_closes_its_key_for_what_follows_in_its_batch(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.app = line.declare(maximum_record_age_in_seconds=60, batch_size=10)
    await line.put(("a", 0), ("b", 0))
    await anyio.sleep(70)
    await line.put(("a", 1), ("c", 1))
    async with line.running(maximum_record_age_in_seconds=60, batch_size=10):
        await line.closed(a=1, b=0)
        assert dead_of((await line.letters())["a"])["condition"] == "RecordAgeExceeded"
        await until(lambda: line.done == [("c", 1)])
        # Parked records do not grow old: they had to wait.
        await anyio.sleep(100)
        await line.put(("a", 2))
        await line.closed(a=2, b=0)
        await line.reopen("a")
        await until(lambda: line.of("a") == [0, 1, 2])


async def test_what_is_too_old_waits_for_a_younger_one_before_it(tmp_path: Path) -> None:
    """Their producers set the times of Kafka's records, and not all clocks are right."""
    line, stream = Line(tmp_path, "batch"), MemoryStream()
    line.bad = {("a", 0)}
    now = clock()
    stream.put([StreamRecord(0, b'{"k": "a", "v": 0}', "a", now)])
    stream.put([StreamRecord(0, b'{"k": "a", "v": 1}', "a", now - 100)])
    stream.put([StreamRecord(0, b'{"k": "a", "v": 2}', "a", now)])
    async with line.running(source=stream, maximum_record_age_in_seconds=60, batch_size=10):
        await line.closed(a=2)
        line.bad.clear()
        await line.reopen("a")
        await line.until_done(*items("a", range(3)))
    assert line.done == items("a", range(3))


# ------------------------------------------------------------------------------------------------ the limit


async def test_beyond_the_limit_the_shard_waits_and_goes_on(tmp_path: Path) -> None:
    """With one place for the function alone, which what waits must not keep."""
    line = Line(tmp_path, reserved_concurrency=1)
    line.bad = {("a", 0)}
    async with line.running(sequenced_limit=3):
        await line.put(*items("a", range(6)))
        await line.closed(a=2)
        await until(lambda: line.seen.of(DestinationDeliveryFailed))
        waits = line.seen.of(DestinationDeliveryFailed)[0]
        assert (waits.destination, waits.role, waits.dropped) == ("sequence:app.m", "DeadLetters", False)
        assert "SequencedLimit is 3" in waits.reason
        # Letters are always taken, and other keys go on.
        line.bad.add(("b", 0))
        await line.put(("b", 0), ("c", 0))
        await line.closed(a=2, b=0)
        await until(lambda: ("c", 0) in line.done)
        line.bad.clear()
        await line.reopen("a")
        await until(lambda: line.of("a") == list(range(6)), 120)


async def test_what_waits_for_room_keeps_no_drain_waiting(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    async with line.running(sequenced_limit=1) as app:
        await line.put(*items("a", range(3)))
        await until(lambda: line.seen.of(DestinationDeliveryFailed))
        began = clock()
        assert await app.stop(grace=30)
        assert clock() - began < 1
    line.bad.clear()
    async with line.running():
        await line.closed(a=2)
        await line.reopen("a")
        await line.until_done(*items("a", range(3)))
    assert line.done == items("a", range(3))


# ---------------------------------------------------------------------------------------------- the disk


class Faulty(LocalSequences):
    """Sequences on a disk that fails for a while."""

    faults: ClassVar[list[str]] = []

    async def bury(self, shard: str, letters: Sequence[Parked]) -> None:
        self._fail("bury")
        await super().bury(shard, letters)

    async def park(self, shard: str, records: Sequence[Parked]) -> Sequence[Parked]:
        self._fail("park")
        return await super().park(shard, records)

    def _fail(self, action: str) -> None:
        if action in self.faults:
            self.faults.remove(action)
            raise OSError(28, f"no space left to {action}")


async def test_a_disk_that_fails_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "LocalSequences", Faulty)
    monkeypatch.setattr(Faulty, "faults", ["bury", "bury", "park"])
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    async with line.running():
        await line.put(*items("a", range(3)), ("b", 0))
        await line.closed(a=2)
        reasons = [event.reason for event in line.seen.of(DestinationDeliveryFailed)]
        assert [reason.split()[-1] for reason in reasons] == ["bury", "bury", "park"]
        line.bad.clear()
        await line.reopen("a")
        await until(lambda: line.of("a") == [0, 1, 2])
    assert Faulty.faults == []


# ------------------------------------------------------------------------------------- destinations and life


@pytest.mark.parametrize("style", list(FailureFormat))
async def test_the_on_failure_destination_is_told_as_well(tmp_path: Path, style: FailureFormat) -> None:
    """Also of what had only been parked, in the same words."""
    line, dead = Line(tmp_path), DeadLetters(style)
    line.bad = {("a", 0), ("a", 1)}
    async with line.running(on_failure=dead, maximum_retry_attempts=2):
        await line.put(("a", 0), ("a", 1), ("a", 2))
        await line.closed(a=2)
        assert len(dead.sent) == 1
        line.bad = {("a", 1)}
        await line.reopen("a")
        await line.closed(a=1)
    at_first, then = dead.sent
    context = then["requestContext"]
    assert context == {**at_first["requestContext"], "requestId": context["requestId"]}
    assert context["approximateInvokeCount"] == 3
    assert then.keys() == at_first.keys()
    assert then["responseContext"] == at_first["responseContext"]
    assert then["KinesisBatchInfo"]["batchSize"] == 1
    if style is not FailureFormat.METADATA:
        assert then["responsePayload"]["errorMessage"] == "bad ('a', 1)"
        payload = json.loads(then["payload"]) if style is FailureFormat.PAYLOAD else then["payload"]
        assert len(payload["Records"]) == 1


async def test_a_key_is_closed_when_the_on_failure_destination_has_taken_it(tmp_path: Path) -> None:
    line, dead = Line(tmp_path), DeadLetters()
    line.bad = {("a", 0)}
    dead.down = True
    async with line.running(on_failure=dead, maximum_retry_attempts=0):
        await line.put(("a", 0), ("a", 1))
        await until(lambda: dead.refused > 2)
        assert (await line.letters(), line.done) == ({}, [])
        dead.down = False
        await line.closed(a=1)
    assert len(dead.sent) == 1


async def test_a_drain_and_a_restart_keep_the_order(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    for first in range(0, 9, 3):
        async with line.running():
            await line.put(*items("a", range(first, first + 3)))
            await line.closed(a=first + 2)
    line.bad.clear()
    async with line.running():
        await line.reopen("a")
        await line.put(*items("a", range(9, 12)))
        await line.until_done(*items("a", range(12)))
    assert line.done == items("a", range(12))


async def test_pausing_pauses_the_sequences_too(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    async with line.running() as app:
        await line.put(("a", 0), ("a", 1))
        await line.closed(a=1)
        await app.pause("m")
        line.bad.clear()
        await line.reopen("a")
        await line.put(("a", 2), ("b", 0))
        await anyio.sleep(60)
        assert line.done == []
        await app.resume("m")
        await line.until_done(*items("a", range(3)), ("b", 0))
        assert line.of("a") == [0, 1, 2]


async def test_options_change_for_the_sequences_too_and_the_mode_comes_and_goes(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    async with line.running() as app:
        await line.put(("a", 0), ("a", 1))
        await line.closed(a=1)
        await app.update_mapping("m", maximum_retry_attempts=3)
        line.tried.clear()
        await line.reopen("a")
        await line.closed(a=1)
        assert line.tried == [("a", 0)] * 4
        await app.update_mapping("m", sequenced=False)
        assert "m:sequence" not in app._running().mappings
        await line.put(("a", 2))
        await line.until_done(("a", 2))
        await app.pause("m")
        await app.update_mapping("m", sequenced=True)
        line.bad.clear()
        await line.reopen("a")
        await anyio.sleep(60)
        assert line.done == [("a", 2)]
        await app.resume("m")
        await line.until_done(("a", 2), ("a", 0), ("a", 1))
        await app.remove_mapping("m")
        assert not {"m", "m:sequence"} & app._running().mappings.keys()
    assert line.done == [("a", 2), ("a", 0), ("a", 1)]


async def test_a_function_that_is_switched_off_gives_nothing_up(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.bad = {("a", 0)}
    async with line.running():
        await line.put(("a", 0))
        await line.closed(a=0)
    line.bad.clear()
    line.function = {"reserved_concurrency": 0}
    async with line.running():
        await line.reopen("a")
        await anyio.sleep(60)
        assert await line.letters() == {}
    line.function = {}
    async with line.running():
        await line.until_done(("a", 0))


# ---------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"ordering": "shard"}, "goes with ordering key only"),
        ({"ordering": None}, "goes with ordering key only"),
        ({"dead_letters": False}, "needs dead letters"),
        ({"sequenced": False, "sequenced_limit": 5}, "goes with sequenced only"),
        ({"sequenced_limit": 0}, "SequencedLimit"),
        ({"source": "local:queue/q.fifo", "ordering": None}, "Sequenced"),
    ],
)
async def test_what_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    wanted = {name: value for name, value in {**OPTIONS, **options}.items() if value is not None}
    app = App(name="app", state_dir=tmp_path, clock=clock)
    app.function(name="f")(lambda event, context: None)
    with pytest.raises(ConfigurationError, match=problem):
        app.event_source_mapping("f", wanted.pop("source", "local:s"), **wanted)
        await app.start()


async def test_an_app_without_dead_letters_has_no_sequences(tmp_path: Path) -> None:
    app = App(name="app", state_dir=tmp_path, clock=clock, dead_letters=False)
    app.function(name="f")(lambda event, context: None)
    app.event_source_mapping("f", "local:s", **OPTIONS)
    with pytest.raises(ConfigurationError, match="the app has them switched off"):
        await app.start()
