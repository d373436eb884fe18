"""Places of a function: never more than there are, none lost, and those who wait are served in turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn import Batch
from streamfn.engine.pool import Pool, Room
from streamfn.testing.clock import VirtualTimeLoop
from streamfn.testing.memory import MemoryQueue, MemoryStream
from tests.engine.conftest import Bench

pytestmark = pytest.mark.anyio


async def use(pool: Pool, owner: str, seconds: float, order: list[str]) -> None:
    await pool.acquire(owner)
    order.append(owner)
    try:
        await anyio.sleep(seconds)
    finally:
        pool.release()


async def test_owners_are_served_in_turn_however_many_of_each_wait() -> None:
    pool, order = Pool(1), []
    async with anyio.create_task_group() as tasks:
        for owner in ["a"] * 6 + ["b"] * 2 + ["c"]:
            tasks.start_soon(use, pool, owner, 1, order)
    assert order == ["a", "a", "b", "c", "a", "b", "a", "a", "a"]
    assert pool.in_use == 0


async def test_of_one_owner_whoever_waits_longest_is_next() -> None:
    pool, order = Pool(1), []

    async def one(number: int) -> None:
        await pool.acquire("a")
        order.append(number)
        await anyio.sleep(1)
        pool.release()

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(one, number)
    assert order == [0, 1, 2, 3, 4]


async def test_who_stops_waiting_leaves_no_trace() -> None:
    pool, order = Pool(1), []
    assert pool.try_acquire()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use, pool, "b", 1, order)
        with anyio.move_on_after(1):
            await pool.acquire("a")
        assert not pool.contended("b")
        assert pool.contended("a")
        pool.release()
    assert (order, pool.in_use, pool.contended("c")) == (["b"], 0, False)


@pytest.mark.parametrize("moved", [False, True])
async def test_who_waits_is_told_when_there_are_no_places_any_more(moved: bool) -> None:
    pool, told = Pool(room=Room(1)), list[bool]()

    async def ask() -> None:
        told.append(await pool.acquire("a"))

    assert pool.try_acquire()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert told == []
        if moved:
            pool.move(Room(0))
        else:
            pool.resize(0)
        await anyio.wait_all_tasks_blocked()
        assert (told, pool.in_use, pool.contended("b")) == ([False], 1, False)
        # Who asks again waits until there are some.
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert told == [False]
        pool.resize(2)
    assert (told, pool.in_use) == ([False, True], 2)


async def test_a_pool_without_places_is_not_contended() -> None:
    pool = Pool(0)
    with anyio.move_on_after(1):
        await pool.acquire("a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.acquire, "a")
        await anyio.sleep(1)
        assert not pool.contended("b")
        pool.resize(1)


def test_the_reason_is_aws_word() -> None:
    assert Pool(1).reason == "ConcurrentInvocationLimitExceeded"
    assert Pool(1, "ReservedFunctionConcurrentInvocationLimitExceeded").reason.startswith("Reserved")


@given(
    st.integers(0, 4),
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from([0.5, 1.0, 3.0]), st.none() | st.floats(0, 9, width=16)
        ),
        max_size=25,
    ),
    st.lists(st.tuples(st.floats(0, 9, width=16), st.integers(0, 5)), max_size=4),
)
def test_places_are_neither_lost_nor_given_twice(
    limit: int, uses: list[tuple[str, float, float | None]], sizes: list[tuple[float, int]]
) -> None:
    running = most = done = 0

    async def scenario() -> None:
        pool = Pool(limit)

        async def one(owner: str, seconds: float, patience: float | None) -> None:
            nonlocal running, most, done
            with anyio.move_on_after(patience):
                while not await pool.acquire(owner):
                    pass  # There were none: it waits until there are some again.
                running += 1
                most = max(most, running)
                assert running == pool.in_use or running < pool.in_use
                try:
                    await anyio.sleep(seconds)
                    done += 1
                finally:
                    running -= 1
                    pool.release()

        async def resize(after: float, size: int) -> None:
            await anyio.sleep(after)
            pool.resize(size)

        async with anyio.create_task_group() as tasks:
            for owner, seconds, patience in uses:
                tasks.start_soon(one, owner, seconds, patience)
            for after, size in sizes:
                tasks.start_soon(resize, after, size)
            await anyio.sleep(10)
            pool.resize(3)
        assert pool.in_use == 0
        assert pool.free == 3
        assert not pool.contended("d")

    loop = VirtualTimeLoop()
    loop.run_until_complete(scenario())
    loop.close()
    assert most <= max(limit, 3, *(size for _, size in sizes))
    assert done >= sum(patience is None for _, _, patience in uses)


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=40))
def test_no_owner_is_served_twice_while_another_waits(owners: list[str]) -> None:
    order: list[str] = []

    async def scenario() -> None:
        pool = Pool(1)
        await pool.acquire("x")
        async with anyio.create_task_group() as tasks:
            for owner in owners:
                tasks.start_soon(use, pool, owner, 1, order)
            await asyncio.sleep(1)
            pool.release()

    loop = VirtualTimeLoop()
    loop.run_until_complete(scenario())
    loop.close()
    left = Counter(owners)
    while order:
        round_of = order[: len(left)]
        assert set(round_of) == set(left), "in each round everybody who waits has one turn"
        del order[: len(left)]
        left = Counter({owner: number - 1 for owner, number in left.items() if number > 1})


async def test_who_waits_moves_along_and_who_runs_takes_its_place_along() -> None:
    shared = Room(1)
    one, other = Pool(room=shared), Pool(room=shared)
    order: list[str] = []
    await one.acquire("a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use, one, "a", 1, order)
        tasks.start_soon(use, other, "b", 1, order)
        await anyio.wait_all_tasks_blocked()
        own = Room(1, "own")
        one.move(own)
        assert (one.reason, one.in_use, own.in_use, one.free) == ("own", 1, 1, 0)
        await anyio.wait_all_tasks_blocked()
        assert (order, shared.in_use) == (["b"], 1), "the place that was left went to who waited for it"
        one.move(shared)
        assert (shared.in_use, own.in_use) == (2, 0), "even where there is no room"
        one.release()
    assert order == ["b", "a"]
    assert shared.in_use == one.in_use == other.in_use == 0


async def test_who_watches_sees_that_it_has_moved() -> None:
    full, pool = Room(0), Pool(room=Room(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.wait_free, "a")
        await anyio.wait_all_tasks_blocked()
        pool.move(full)
        await anyio.wait_all_tasks_blocked()
        pool.move(Room(1))
    assert pool.free == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.floats(0, 9, width=16), st.none() | st.floats(0, 9, width=16)),
        max_size=20,
    ),
    st.lists(st.tuples(st.floats(0, 12, width=16), st.integers(0, 1), st.integers(0, 2)), max_size=8),
)
def test_moving_neither_loses_places_nor_those_who_wait(
    uses: list[tuple[int, float, float | None]], moves: list[tuple[float, int, int]]
) -> None:
    done = 0

    async def scenario() -> None:
        rooms = [Room(2), Room(1), Room(0)]
        pools = [Pool(room=rooms[0]), Pool(room=rooms[0])]

        async def one(number: int, seconds: float, patience: float | None) -> None:
            nonlocal done
            with anyio.move_on_after(patience):
                while not await pools[number].acquire(str(number)):
                    pass  # Moved to where there are none: it waits for the next move.
                try:
                    await anyio.sleep(seconds)
                finally:
                    pools[number].release()
            done += 1

        async def move(after: float, number: int, room: int) -> None:
            await anyio.sleep(after)
            pools[number].move(rooms[room])
            assert sum(each.in_use for each in rooms) >= sum(each.in_use for each in pools)

        async with anyio.create_task_group() as tasks:
            for use_of in uses:
                tasks.start_soon(one, *use_of)
            for move_to in moves:
                tasks.start_soon(move, *move_to)
            await anyio.sleep(20)
            for pool in pools:
                pool.move(rooms[1])
        assert [each.in_use for each in rooms] + [each.in_use for each in pools] == [0] * 5
        assert not any(room.contended("x") for room in rooms)

    loop = VirtualTimeLoop()
    loop.run_until_complete(scenario())
    loop.close()
    assert done == len(uses)


# ------------------------------------------------------------------------------------- through the engine


async def shares(first: Any, second: Any, **options: Any) -> Counter[str]:
    """How often each of two mappings was served in 100 seconds, where their function has one place."""
    served: Counter[str] = Counter()
    bench = Bench()

    async def function(batch: Batch) -> None:
        served[batch[0].value.decode()] += 1
        await anyio.sleep(1)

    bench.app.function(name="f", batch=True, reserved_concurrency=1)(function)
    bench.app.event_source_mapping("f", first, name="first", batch_size=1, **options)
    bench.app.event_source_mapping("f", second, name="second", batch_size=1)
    async with bench.app:
        await anyio.sleep(100)
        return served.copy()


async def test_a_stream_with_many_lanes_leaves_another_its_share() -> None:
    busy, quiet = MemoryStream("busy", shards=4), MemoryStream("quiet")
    for number in range(400):
        busy.put([b"busy"], key=f"k{number}")
    quiet.put([b"quiet"] * 200)
    served = await shares(busy, quiet, parallelization_factor=10)
    assert served["quiet"] == pytest.approx(50, abs=3)
    assert served["busy"] == pytest.approx(50, abs=3)


async def test_a_stream_that_always_waits_leaves_a_queue_its_share() -> None:
    busy, quiet = MemoryStream("busy", shards=4), MemoryQueue("quiet")
    for number in range(400):
        busy.put([b"busy"], key=f"k{number}")
    quiet.put([b"quiet"] * 200)
    served = await shares(busy, quiet, parallelization_factor=10)
    assert served["quiet"] == pytest.approx(50, abs=3)
    assert served["busy"] == pytest.approx(50, abs=3)


async def test_two_queues_share_a_place() -> None:
    busy, quiet = MemoryQueue("busy"), MemoryQueue("quiet")
    busy.put([b"busy"] * 200)
    quiet.put([b"quiet"] * 200)
    served = await shares(busy, quiet)
    assert served["quiet"] + served["busy"] >= 98
    assert served["quiet"] == pytest.approx(50, abs=15)
