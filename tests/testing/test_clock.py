"""Virtual time: what passes at once, what takes its time, and what never ends."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st

from streamfn.testing.clock import EPOCH, Deadlock, VirtualTimeLoop, clock, virtual_backend

DAY = 86400.0
block = time.sleep  # noqa: TID251 - tests that the loop waits for threads


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


def run(main: Callable[[], Coroutine[Any, Any, Any]], busy: Callable[[], bool] | None = None) -> Any:
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(busy)) as runner:
        return runner.run(main())


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


async def test_days_pass_at_once() -> None:
    began = time.monotonic()
    for _ in range(1000):
        await anyio.sleep(10 * DAY)
    assert loop().time() == 10_000 * DAY
    assert time.monotonic() - began < 5


async def test_who_sleeps_for_ever_can_be_woken() -> None:
    with anyio.move_on_after(DAY) as limit:
        await anyio.sleep_forever()
    assert limit.cancelled_caught
    assert loop().time() == DAY


def test_a_sleep_for_ever_is_a_deadlock_if_nobody_ends_it() -> None:
    with pytest.raises(Deadlock):
        run(anyio.sleep_forever)


async def test_the_clock_begins_at_its_epoch_and_goes_with_the_loop() -> None:
    assert clock() == EPOCH
    await anyio.sleep(0.1)
    await anyio.sleep(0.2)
    assert clock() == EPOCH + 0.3


def test_without_a_loop_it_is_the_epoch() -> None:
    assert clock() == EPOCH


async def test_timers_come_in_the_order_of_their_times() -> None:
    came: list[float] = []

    async def wait(seconds: float) -> None:
        await anyio.sleep(seconds)
        came.append(loop().time())

    async with anyio.create_task_group() as group:
        for seconds in (5.0, 0.5, DAY, 3.0, 0.001):
            group.start_soon(wait, seconds)
    assert came == [0.001, 0.5, 3.0, 5.0, DAY]


async def test_timeouts_strike_when_they_are_due() -> None:
    with anyio.move_on_after(3600) as limit:
        await anyio.sleep(3601)
    assert limit.cancelled_caught
    assert loop().time() == 3600


async def test_no_sleep_is_too_short_to_move_the_clock() -> None:
    # Else one that waits for a time which rounding put a little later would turn for ever.
    await anyio.sleep(400 * DAY)
    due = loop().time() + 1e-5
    for _ in range(20):
        if loop().time() >= due:
            return
        await asyncio.sleep(1e-7)
    pytest.fail("the clock stands")


@given(st.lists(st.floats(0, 40 * DAY), max_size=20))
def test_two_runs_see_the_same_times(sleeps: list[float]) -> None:
    async def main() -> list[tuple[int, float]]:
        seen: list[tuple[int, float]] = []

        async def one(number: int, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((number, clock()))
            await asyncio.sleep(seconds / 3)
            seen.append((number, clock()))

        async with asyncio.TaskGroup() as group:
            for number, seconds in enumerate(sleeps):
                group.create_task(one(number, seconds))
        return seen

    first = run(main)
    assert first == run(main)
    assert [at for _, at in first] == sorted(at for _, at in first)


# ----------------------------------------------------------------------------------- the world outside


async def test_a_thread_takes_its_time() -> None:
    with anyio.fail_after(5):
        await to_thread.run_sync(block, 0.05)
    assert 0.04 <= loop().time() < 5


async def test_a_thread_of_a_limiter_of_its_own_counts_too() -> None:
    with anyio.fail_after(5):
        await to_thread.run_sync(block, 0.05, limiter=anyio.CapacityLimiter(1))
    assert 0.04 <= loop().time() < 5


async def test_after_a_thread_time_is_virtual_again() -> None:
    await to_thread.run_sync(int)
    await asyncio.to_thread(int)
    began = time.monotonic()
    await anyio.sleep(DAY)
    assert time.monotonic() - began < 5


async def test_the_executor_of_the_loop_counts() -> None:
    async with asyncio.timeout(5):
        await asyncio.to_thread(block, 0.05)


async def test_a_thread_that_runs_too_long_can_time_out() -> None:
    stop = threading.Event()
    with anyio.move_on_after(0.05) as limit:
        await to_thread.run_sync(stop.wait, abandon_on_cancel=True)
    stop.set()
    assert limit.cancelled_caught


async def test_a_connection_to_the_outside_takes_its_time() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def answer() -> None:
        with theirs:
            block(0.05)
            theirs.sendall(b"hello")

    thread = threading.Thread(target=answer)
    thread.start()
    with ours:
        async with asyncio.timeout(5):
            assert await asyncio.get_running_loop().sock_recv(ours, 100) == b"hello"
    thread.join()


async def test_a_child_process_takes_its_time() -> None:
    async with asyncio.timeout(30):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print('hello')", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    assert output.strip() == b"hello"


async def test_both_ends_of_a_connection_in_one_loop_do_not_hold_time() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await asyncio.sleep(DAY)
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        began = time.monotonic()
        for number in range(20):
            writer.write(b"%d\n" % number)
            assert await reader.readline() == b"%d\n" % number
        await asyncio.sleep(DAY)
        assert time.monotonic() - began < 5
        assert loop().time() == 21 * DAY
        writer.close()
        await writer.wait_closed()


async def test_a_listening_socket_does_not_hold_time() -> None:
    async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0):
        began = time.monotonic()
        await asyncio.sleep(DAY)
    assert time.monotonic() - began < 5


async def test_a_pipe_counts_as_the_outside() -> None:
    read, write = os.pipe()
    woken = asyncio.Event()
    loop().add_reader(read, woken.set)
    thread = threading.Timer(0.05, os.write, (write, b"x"))
    thread.start()
    async with asyncio.timeout(5):
        await woken.wait()
    loop().remove_reader(read)
    thread.join()
    os.close(read)
    os.close(write)


def test_busy_makes_time_real() -> None:
    began = time.monotonic()

    async def main() -> float:
        await asyncio.sleep(0.2)
        return asyncio.get_running_loop().time()

    assert 0.19 < run(main, busy=lambda: time.monotonic() - began < 0.1) < 5
    assert 0.09 < time.monotonic() - began < 5


async def test_inside_real_time_it_is_real() -> None:
    began = time.monotonic()
    with loop().real_time():
        await anyio.sleep(0.05)
    assert time.monotonic() - began > 0.04
    await anyio.sleep(DAY)
    assert time.monotonic() - began < 5


# -------------------------------------------------------------------------------------------- deadlocks


def test_a_deadlock_is_an_error_that_says_who_waits() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(stuck, name="the one that is stuck")
            await asyncio.sleep(10)

    with pytest.raises(Deadlock, match=r"the one that is stuck at .*test_clock.py:\d+ in stuck"):
        run(main)


def test_a_thread_nobody_told_us_of_is_waited_for_before_a_deadlock_is_declared() -> None:
    async def main() -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        running = asyncio.get_running_loop()
        thread = threading.Timer(0.05, lambda: running.call_soon_threadsafe(future.set_result, "late"))
        thread.start()
        answer = await future
        thread.join()
        return answer

    assert run(main) == "late"


async def test_the_clock_can_be_moved_by_hand() -> None:
    loop().advance(5)
    assert clock() == EPOCH + 5
