"""Adaptive concurrency at work: what calls come to, decides how many places a pool has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import anyio
import pytest

from streamfn import Batch
from streamfn.core.limiting import Algorithm, LimitPolicy
from streamfn.core.outcomes import Cause, Failed, Outcome, Succeeded, Throttled
from streamfn.core.policies import BatchPolicy, DeliveryPolicy, Ordering
from streamfn.core.records import StreamRecord
from streamfn.engine.adapting import Adapting
from streamfn.engine.mapping import Mapping
from streamfn.engine.plan import MappingPlan
from streamfn.engine.pool import Pool
from streamfn.functions import Context, FunctionSpec
from streamfn.ports import Subscription
from streamfn.runtimes import prepare
from streamfn.telemetry import ConcurrencyAdapted, Counters, LogTelemetry
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryQueue
from tests.engine.conftest import Seen

pytestmark = pytest.mark.anyio

SPEC = FunctionSpec("f", lambda event, context: None)


class Database:
    """So many at a time; beyond that they wait for each other, or are refused."""

    def __init__(self, connections: int, seconds: float = 0.1) -> None:
        self.connections = connections
        self.seconds = seconds
        self.in_use = self.most = 0
        self.free = anyio.Semaphore(connections, max_value=100)
        self.refuses: Outcome | None = None

    async def __call__(self, batch: Batch, context: Context) -> Outcome:
        self.in_use += 1
        self.most = max(self.most, self.in_use)
        try:
            if self.refuses is not None and self.in_use > self.connections:
                await anyio.sleep(0.05)
                return self.refuses
            async with self.free:
                await anyio.sleep(self.seconds)
            return Succeeded()
        finally:
            self.in_use -= 1


async def call_on_end(call: Any, pool: Pool, seconds: float, callers: int = 100) -> None:
    """So many callers, each with one call after the other, as far as the pool lets them."""
    batch = Batch([StreamRecord(0, b"{}")], None)  # type: ignore[arg-type]

    async def caller() -> None:
        while True:
            await pool.acquire()
            try:
                await call(batch, Context(SPEC, 0.0))
            finally:
                pool.release()

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(caller)


def adapting(policy: LimitPolicy, pool: Pool) -> tuple[Adapting, Seen]:
    seen = Seen()
    return Adapting(policy, "f", pool, seen), seen


async def test_a_pool_gets_about_as_many_places_as_what_is_behind_the_function_bears() -> None:
    pool, database = Pool(1000), Database(20)
    limits, seen = adapting(LimitPolicy(), pool)
    assert (pool.limit, limits.limit) == (10, 10)
    await call_on_end(limits.watching(database), pool, 50)
    assert 20 <= pool.limit <= 34
    assert pool.limit == limits.limit
    assert database.most <= 40
    changes: Sequence[ConcurrencyAdapted] = seen.of(ConcurrencyAdapted)
    assert changes[-1].limit == pool.limit
    assert all(later.was == earlier.limit for earlier, later in pairwise(changes))
    assert all(change.latency > 0.099 and change.dropped == 0 for change in changes)


@pytest.mark.parametrize(
    "refuses",
    [Failed("E", "too many"), Failed("E", "too long", cause=Cause.TIMEOUT), Throttled()],
    ids=["failures", "timeouts", "throttles"],
)
async def test_calls_that_go_wrong_take_places_away(refuses: Outcome) -> None:
    pool, database = Pool(1000), Database(20)
    database.refuses = refuses
    limits, _ = adapting(LimitPolicy(Algorithm.AIMD, initial=100), pool)
    await call_on_end(limits.watching(database), pool, 50)
    assert 15 <= pool.limit <= 25


async def test_there_are_never_more_places_than_there_were() -> None:
    pool = Pool(8)
    limits, _ = adapting(LimitPolicy(Algorithm.AIMD, minimum=50, initial=60, maximum=70), pool)
    assert pool.limit == 8
    await call_on_end(limits.watching(Database(100)), pool, 50)
    assert pool.limit == 8


async def test_a_function_that_is_switched_off_stays_so() -> None:
    pool = Pool(0)
    limits, seen = adapting(LimitPolicy(minimum=5), pool)
    for _ in range(100):
        await anyio.sleep(1)
        limits.observe(clock() - 1, Succeeded())
    assert (pool.limit, limits.limit, seen.events) == (0, 0, [])


async def test_a_call_that_is_cut_off_says_nothing() -> None:
    pool = Pool(1000)
    limits, _ = adapting(LimitPolicy(Algorithm.AIMD, window=0.01), pool)
    for _ in range(50):
        await call_on_end(limits.watching(Database(100, seconds=10)), pool, 1)
    assert (pool.limit, pool.in_use) == (10, 0)


async def test_a_mapping_delivers_as_much_at_a_time_as_its_function_bears() -> None:
    pool, database, queue = Pool(1000), Database(16), MemoryQueue()
    limits, seen = adapting(LimitPolicy(), pool)
    plan = MappingPlan(
        "m",
        "id",
        SPEC,
        queue,
        Subscription("m"),
        DeliveryPolicy(ordering=Ordering.NONE),
        BatchPolicy(batch_size=1),
        concurrency=100,
    )
    mapping = Mapping(
        plan,
        make_call=lambda function, ordering: database,
        pool=pool,
        telemetry=seen,
        clock=clock,
        random=Random(1),
        adapting=limits,
    )
    assert mapping.adaptive_limit == 10
    queue.put([b"value"] * 4000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mapping.run)
        await queue.wait_empty()
        assert 16 <= pool.limit <= 30
        assert mapping.adaptive_limit == pool.limit
        mapping.drain()
    assert database.most <= 34


async def test_without_it_a_mapping_calls_its_function_as_it_is() -> None:
    plan = MappingPlan("m", "id", SPEC, MemoryQueue(), Subscription("m"))
    made = partial(Mapping, plan, make_call=prepare, pool=Pool(1), telemetry=Seen(), clock=clock)
    mapping = made(random=Random(1))
    assert (mapping.adaptive_limit, mapping.circuit_breaker) == (None, None)


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))


def test_changes_are_logged_for_debugging_only_and_not_counted() -> None:
    event, log, counters = ConcurrencyAdapted("f", 11, 10, 0.1, 0.0), Log(), Counters()
    for debug in (False, True):
        LogTelemetry(log, debug=debug).emit(event)
    counters.emit(event)
    fields = {"function": "f", "limit": 11, "was": 10, "latency": 0.1, "dropped": 0.0}
    assert log.lines == [("concurrency_adapted", fields)]
    assert counters.of("f") == {}
