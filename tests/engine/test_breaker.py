"""The circuit breaker of a mapping: what opens it, what waits, who finds out, and how it ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamfn import App, Batch, TooManyRequests
from streamfn.core.breaking import BreakerPolicy, BreakerState
from streamfn.engine.breaking import Breaker
from streamfn.planning import Setting, mapping_plan, sequence_plan
from streamfn.telemetry import (
    BatchDelivered,
    BreakerClosed,
    BreakerOpened,
    Counters,
    LogTelemetry,
    RecordsDiscarded,
)
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryQueue, MemoryStream
from tests.engine.breakers import THREE, breaker_of, down, since
from tests.engine.conftest import Bench, Calls, DeadLetters, Seen, raising
from tests.engine.watched import run

pytestmark = pytest.mark.anyio

AT_ONCE: dict[str, Any] = {"batch_size": 1, "retry_backoff": {"first": 0}, "circuit_breaker": THREE}


# --------------------------------------------------------------------------------------------- streams


async def test_it_opens_probes_later_and_later_and_closes_when_the_function_works_again(bench: Bench) -> None:
    stream, began = MemoryStream(), clock()
    calls = Calls(down(100))
    stream.put([b"value"] * 3)
    async with bench.running(calls, stream, **AT_ONCE) as app:
        assert breaker_of(app) == "closed"
        await anyio.sleep(5)
        assert breaker_of(app) == "open"
        await stream.wait_done()
        assert breaker_of(app) == "closed"
        assert app.statuses()[0].counters["CircuitBreakerOpenings"] == 4
    assert since(began, calls) == [0, 0, 0, 10, 30, 70, 110, 110, 110]
    assert calls.ids[:7] == [["0"]] * 7, "the batch that failed finds out"
    assert calls.ids[7:] == [["1"], ["2"]]
    opened = bench.seen.of(BreakerOpened)
    assert [(event.openings, event.delay, event.failures) for event in opened] == [
        (1, 10, 3),
        (2, 20, 3),
        (3, 40, 3),
        (4, 40, 3),
    ]
    assert [round(event.seconds) for event in bench.seen.of(BreakerClosed)] == [110]


async def test_without_the_option_there_is_none(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls(down(100))
    stream.put([b"value"])
    async with bench.running(calls, stream, batch_size=1, retry_backoff={"first": 1, "cap": 1}) as app:
        await stream.wait_done()
        assert breaker_of(app) is None
    assert len(calls.ids) > 100
    assert bench.seen.of(BreakerOpened) == []


async def test_all_lanes_wait_and_all_go_on(bench: Bench) -> None:
    stream, began, calls = MemoryStream(shards=2), clock(), Calls(down(5))
    for number in range(40):
        stream.put([b"value"], key=f"key-{number % 8}")
    options = AT_ONCE | {"ordering": "key", "maximum_concurrency": 8}
    async with bench.running(calls, stream, **options):
        await anyio.sleep(9)
        first = len(calls.ids)
        assert first < 20, "those that were under way came to their end"
        await stream.wait_done()
    assert since(began, calls)[first] == 10
    assert clock() - began == pytest.approx(10, abs=0.1)


async def test_each_shard_has_its_turn_at_finding_out(bench: Bench) -> None:
    stream, began = MemoryStream(shards=3), clock()
    works_again = down(15)

    def then(batch: Batch) -> None:
        works_again(batch)
        if batch.records[0].key == poison:
            raise ValueError("never")

    for number in range(30):
        stream.put([b"value"], key=f"key-{number}")
    poison, calls = "key-0", Calls(then)
    async with bench.running(calls, stream, **AT_ONCE):
        await bench.seen.until(BreakerClosed)
    assert clock() - began == pytest.approx(30, abs=0.1), "the second probe, of another shard, closed it"


async def test_timeouts_open_it(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls(lambda batch: anyio.sleep(100))
    stream.put([b"value"])
    async with bench.running(calls, stream, timeout=1, **AT_ONCE):
        await bench.seen.until(BreakerOpened)
    assert len(calls.ids) == 3


async def test_throttles_do_not(bench: Bench) -> None:
    def busy(batch: Batch) -> None:
        raise TooManyRequests("come later", retry_after=1)

    stream, calls = MemoryStream(), Calls(busy)
    stream.put([b"value"])
    async with bench.running(calls, stream, **AT_ONCE) as app:
        await anyio.sleep(1000)
        assert breaker_of(app) == "closed"
    assert len(calls.ids) > 5


async def test_a_throttled_probe_says_nothing(bench: Bench) -> None:
    works_again = down(5)

    def then(batch: Batch) -> None:
        works_again(batch)
        if len(calls.ids) < 6:
            raise TooManyRequests("come later", retry_after=3)

    stream, began, calls = MemoryStream(), clock(), Calls(then)
    stream.put([b"value"])
    async with bench.running(calls, stream, **AT_ONCE):
        await stream.wait_done()
    assert since(began, calls)[:4] == [0, 0, 0, 10]
    assert [event.openings for event in bench.seen.of(BreakerOpened)] == [1]
    assert len(calls.ids) == 6


@pytest.mark.parametrize(("reported", "opens"), [(1, False), (2, True)], ids=["some", "all"])
async def test_records_that_are_reported_open_it_only_if_none_went_well(
    bench: Bench, reported: int, opens: bool
) -> None:
    def report(batch: Batch) -> object:
        names = [record.id for record in batch][:reported]
        return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}

    stream, calls = MemoryStream(), Calls(report)
    stream.put([b"value"] * 2)
    options = AT_ONCE | {"batch_size": 2, "function_response_types": ["ReportBatchItemFailures"]}
    async with bench.running(calls, stream, **options, maximum_retry_attempts=20, on_failure=DeadLetters()):
        await anyio.sleep(1)
    assert bool(bench.seen.of(BreakerOpened)) is opens


async def test_a_share_of_failures_opens_it_too(bench: Bench) -> None:
    stream, calls = MemoryStream(), Calls(raising(*(str(number) for number in range(0, 100, 2))))
    stream.put([b"value"] * 100)
    breaker = {"failures": 1000, "failure_rate": 0.4, "minimum_calls": 20}
    options = AT_ONCE | {"maximum_retry_attempts": 0, "circuit_breaker": breaker}
    async with bench.running(calls, stream, **options):
        await bench.seen.until(BreakerOpened)
    assert len(calls.ids) in (20, 21)


async def test_no_attempt_is_spent_while_it_is_open(bench: Bench) -> None:
    stream, dead, calls = MemoryStream(), DeadLetters(), Calls(raising())
    stream.put([b"value"])
    options = AT_ONCE | {"maximum_retry_attempts": 5, "on_failure": dead}
    async with bench.running(calls, stream, **options):
        await stream.wait_done()
    assert len(calls.ids) == 6
    assert dead.sent[0]["requestContext"]["approximateInvokeCount"] == 6


async def test_what_grew_too_old_meanwhile_is_given_up_without_a_call(bench: Bench) -> None:
    stream, began, dead, calls = MemoryStream(), clock(), DeadLetters(), Calls(down(5))
    stream.put([b"value"] * 3)
    breaker = {"failures": 3, "delay": 100, "maximum_delay": 100}
    options = AT_ONCE | {"maximum_record_age_in_seconds": 60, "on_failure": dead, "circuit_breaker": breaker}
    async with bench.running(calls, stream, **options) as app:
        await stream.wait_done()
        assert clock() - began == pytest.approx(100, abs=0.1), "when it is its turn"
        assert calls.ids == [["0"]] * 3
        assert breaker_of(app) == "open"
        stream.put([b"value"])
        await stream.wait_done()
        assert breaker_of(app) == "closed"
    assert [event.condition for event in bench.seen.of(RecordsDiscarded)] == ["RecordAgeExceeded"] * 3


async def test_a_destination_that_is_down_holds_no_other_shard_up(bench: Bench) -> None:
    stream, dead, calls = MemoryStream(shards=2), DeadLetters(), Calls(down(5))
    dead.down = True
    stream.put([b"value"], key="key-0")
    breaker = {"failures": 3, "delay": 100, "maximum_delay": 100}
    options = AT_ONCE | {"maximum_record_age_in_seconds": 60, "on_failure": dead, "circuit_breaker": breaker}
    async with bench.running(calls, stream, **options):
        await anyio.sleep(90)
        for number in range(10):
            stream.put([b"value"], key=f"key-{number}")
        await bench.seen.until(BreakerClosed)
        assert dead.sent == []


async def test_a_stop_while_it_is_open_ends_at_once(bench: Bench) -> None:
    stream, queue, calls = MemoryStream(), MemoryQueue(), Calls(raising())
    stream.put([b"value"] * 3)
    queue.put([b"value"] * 3)
    app = bench.declare(calls, stream, **AT_ONCE)
    app.event_source_mapping("f", queue, name="q", batch_size=1, circuit_breaker=THREE)
    await app.start()
    await anyio.sleep(5)
    began = clock()
    assert await app.stop() is True
    assert clock() == began
    assert stream.checkpoint().position == -1, "and is in order"


async def test_what_waits_for_a_place_when_it_opens_is_not_called(bench: Bench) -> None:
    async def fail(batch: Batch) -> None:
        await anyio.sleep(1)
        works_again(batch)

    works_again = down(5)
    stream, began, calls = MemoryStream(), clock(), Calls(fail)
    for number in range(20):
        stream.put([b"value"], key=f"key-{number}")
    options = AT_ONCE | {"ordering": "key", "maximum_concurrency": 10, "reserved_concurrency": 1}
    async with bench.running(calls, stream, **options):
        await anyio.sleep(12)
        assert since(began, calls)[:4] == [0, 1, 2, 13][: len(calls.ids)]
        await stream.wait_done()
    assert since(began, calls)[:5] == [0, 1, 2, 13, 14]
    assert sorted(set(calls.flat), key=int) == [str(number) for number in range(20)]
    assert len(calls.ids) == 23


async def test_a_probe_whose_shard_is_lost_leaves_its_turn_to_another(bench: Bench) -> None:
    works_again, began, keys = down(5), clock(), {}

    async def then(batch: Batch) -> None:
        works_again(batch)
        keys[clock() - began] = batch[0].key
        if len(keys) == 1:
            await anyio.sleep(500)

    stream, calls = MemoryStream(shards=2), Calls(then)
    for number in range(10):
        stream.put([b"value"], key=f"key-{number}")
    async with bench.running(calls, stream, timeout=900, **AT_ONCE) as app:
        await anyio.sleep(20)
        assert breaker_of(app) == "half_open"
        assert list(keys) == [10]
        (probing,) = (
            shard
            for shard in stream.shard_ids
            if any(record.key == keys[10] for record in stream.records(shard))
        )
        stream.lose(probing)
        await anyio.sleep(1)
        assert breaker_of(app) == "closed"
        await stream.wait_done()


async def test_a_probe_that_is_lost_while_it_waits_for_a_place_leaves_its_turn_too(bench: Bench) -> None:
    async def then(batch: Batch) -> None:
        if batch[0].key is None:
            await anyio.sleep(20)
        else:
            works_again(batch)

    works_again, stream, other = down(9), MemoryStream(shards=2), MemoryStream("other")
    for number in range(10):
        stream.put([b"value"], key=f"key-{number}")
    app = bench.declare(Calls(then), stream, timeout=900, reserved_concurrency=1, **AT_ONCE)
    app.event_source_mapping("f", other, name="other", batch_size=1)
    async with app:
        await anyio.sleep(5)
        other.put([b"value"])
        await anyio.sleep(10)
        assert breaker_of(app) == "half_open", "another mapping has the place"
        for shard in stream.shard_ids:
            stream.lose(shard)
        await anyio.sleep(15)
        assert breaker_of(app) == "closed"
        await stream.wait_done()


# ------------------------------------------------------------------------------------------- the breaker


async def test_turns_are_kept_and_those_who_left_are_passed_over() -> None:
    breaker = Breaker(BreakerPolicy(failures=1), "m", Seen())
    breaker.answered(await breaker.admit(), well=False)
    let_in: list[str] = []
    began = clock()

    async def enter(name: str, scope: anyio.CancelScope | None = None) -> None:
        with scope or anyio.CancelScope():
            permit = await breaker.admit()
            let_in.append(f"{name} {round(clock() - began)}")
            breaker.answered(permit, well=name == "d")

    async with anyio.create_task_group() as tasks:
        leaves = anyio.CancelScope()
        for name in "abcd":
            tasks.start_soon(enter, name, leaves if name == "b" else None)
        await anyio.sleep(1)
        leaves.cancel()
    assert let_in == ["a 10", "c 30", "d 70"]
    assert breaker.state is BreakerState.CLOSED


async def test_one_that_is_cancelled_just_as_it_is_let_in_leaves_its_turn() -> None:
    breaker, loop = Breaker(BreakerPolicy(failures=1), "m", Seen()), asyncio.get_running_loop()
    breaker.answered(await breaker.admit(), well=False)
    let_in = False

    async def enter() -> None:
        nonlocal let_in
        task = asyncio.current_task()
        assert task is not None
        loop.call_later(5, lambda: loop.call_later(5, task.cancel))
        with suppress(asyncio.CancelledError):
            await breaker.admit()
            let_in = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        await anyio.sleep(10)
        assert breaker.holds(await breaker.admit())
    assert not let_in


def test_it_is_logged_and_counted() -> None:
    lines: list[str] = []

    class Log:
        def warning(self, event: str, **fields: Any) -> None:
            lines.append(f"warning {event} {fields}")

        def info(self, event: str, **fields: Any) -> None:
            lines.append(f"info {event} {fields}")

    opened, counters = BreakerOpened("m", 5, 2, 20.0), Counters()
    for event in (opened, BreakerClosed("m", 31.0)):
        LogTelemetry(Log()).emit(event)
        counters.emit(event)
    assert lines == [
        "warning breaker_opened {'mapping': 'm', 'failures': 5, 'openings': 2, 'delay': 20.0}",
        "info breaker_closed {'mapping': 'm', 'seconds': 31.0}",
    ]
    assert counters.of("m") == {"CircuitBreakerOpenings": 1}


def test_what_waits_behind_dead_letters_is_delivered_without_one(tmp_path: Path) -> None:
    app = App(name="bench", clock=clock, state_dir=tmp_path)
    app.function(name="f")(lambda event, context: None)
    options = {"ordering": "key", "sequenced": True, "circuit_breaker": True}
    app.event_source_mapping("f", MemoryStream(), name="m", **options)
    setting = Setting("bench", tmp_path, clock, app.functions)
    plan = mapping_plan(setting, app.declared["m"])
    opened = sequence_plan(setting, plan)
    assert plan.circuit_breaker == BreakerPolicy()
    assert opened is not None
    assert opened.circuit_breaker is None


# --------------------------------------------------------------------------------------------- whatever


@settings(deadline=None, max_examples=40)
@example(seed=882, ordering="shard", queue=True)
@given(seed=st.integers(0, 2**32), ordering=st.sampled_from(["shard", "key", "none"]), queue=st.booleans())
def test_whatever_fails_all_is_delivered_in_order_and_nothing_is_called_while_it_is_open(
    seed: int, ordering: str, queue: bool
) -> None:
    async def scenario() -> None:
        random, bench = Random(seed), Bench()
        done: list[tuple[str | None, str]] = []

        async def then(batch: Batch) -> None:
            state = breaker_of(app)
            assert state != "open"
            bad = random.random() < failing
            await anyio.sleep(random.choice([0, 0.1, 3]))
            if bad:
                raise ValueError("bad luck")
            done.extend((record.key, record.id) for record in batch)

        source: Any = MemoryQueue(visibility_timeout=20) if queue else MemoryStream(shards=2)
        breaker = {"failures": random.randint(1, 4), "delay": random.choice([1, 30]), "maximum_delay": 60}
        options: dict[str, Any] = {"batch_size": random.choice([1, 7]), "circuit_breaker": breaker}
        if not queue:
            options |= {"ordering": ordering, "retry_backoff": {"first": random.choice([0, 5])}}
        if queue or ordering != "shard":
            options["maximum_concurrency"] = random.randint(1, 6)
        failing, sent = 0.7, 0
        async with bench.running(
            Calls(then), source, reserved_concurrency=random.choice([None, 1, 2]), **options
        ) as app:
            for _ in range(random.randint(1, 4)):
                for key in "abcd":
                    count = random.randint(1, 9)
                    source.put([b"value"] * count, **({} if queue else {"key": key}))
                    sent += count
                await anyio.sleep(random.choice([0, 10, 100]))
            failing = 0.1
            with anyio.fail_after(100_000):
                await (source.wait_empty() if queue else source.wait_done())
        assert len({name for _, name in done} if queue else set(done)) == sent
        if not queue and ordering != "none":
            for key in "abcd":
                first = list(dict.fromkeys(int(name) for its, name in done if its == key))
                assert first == sorted(first)
        seen = bench.seen.of(BatchDelivered)
        assert all(event.attempt < 100 for event in seen)

    run(scenario())
