"""Sequenced mode through the app, over `local:` streams: order per key even across failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn import App, Batch, TooManyRequests
from streamfn.core.records import StreamRecord
from streamfn.local import LocalLetters
from streamfn.telemetry import RecordsParked
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryStream
from tests.engine.sequenced import OPTIONS, STYLES, Line, dead_of, items
from tests.waiting import until

pytestmark = pytest.mark.anyio


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
    app.event_source_mapping("f", "local:s?shards=1", **options)
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
