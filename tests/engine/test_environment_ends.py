"""Execution environments: when and why they are left, and what is left of those who use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import anyio
import anyio.lowlevel
import pytest

from streamfn.core.admission import ScaleUp
from streamfn.core.outcomes import Succeeded, Throttled
from streamfn.telemetry import (
    EnvironmentEnded,
    EnvironmentFailed,
)
from streamfn.testing.clock import clock
from streamfn.testing.runtimes import (
    Invocation,
    ScriptedEnvironment,
    ScriptedRuntime,
    breaks,
    crashes,
    hangs,
    lasts,
    raises,
    returns,
    waits,
)
from tests.engine.environments_made import REQUEST, desk

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------------------------------------------- ends


async def test_an_environment_that_is_not_used_is_left() -> None:
    runtime = ScriptedRuntime(returns())
    async with desk(runtime) as at:
        await at.ask()
        await anyio.sleep(599)
        await at.ask()
        await anyio.sleep(599)
        assert len(runtime.alive) == 1
        await anyio.sleep(2)
        assert not runtime.alive
        assert at.seen.of(EnvironmentEnded)[0].reason == "Idle"


async def test_environments_that_are_not_needed_any_more_are_left_while_others_work() -> None:
    runtime = ScriptedRuntime(lasts(1))
    async with desk(runtime, idle_timeout=60) as at:
        at.call(3)
        await runtime.wait_ended(3)
        for _ in range(7):
            await at.ask()
            await anyio.sleep(9)
        assert len(runtime.alive) == 1


async def test_a_busy_environment_is_not_idle() -> None:
    runtime = ScriptedRuntime(lasts(700), timeout=900)
    async with desk(runtime) as at:
        assert (await at.ask()).outcome == Succeeded()
        assert len(runtime.alive) == 1
        await anyio.sleep(599)
        assert len(runtime.alive) == 1


async def test_an_environment_is_replaced_when_its_life_is_over() -> None:
    runtime = ScriptedRuntime(lasts(100), timeout=900)
    async with desk(runtime, lifetime=1000) as at:
        for _ in range(11):
            await at.ask()
        assert [one.invocations for one in runtime.environments] == [10, 1]
        assert at.seen.of(EnvironmentEnded)[0].reason == "Lifetime"
        await anyio.sleep(900)
        assert not runtime.alive, "idle ones as well"


async def test_one_with_several_invocations_ends_with_the_last_of_them() -> None:
    runtime = ScriptedRuntime(lasts(15), lasts(40), returns(), capacity=2, timeout=900)
    async with desk(runtime, capacity=2, lifetime=10) as at:
        at.call(2)
        await runtime.wait_ended(1)
        await at.ask()
        old, _ = runtime.environments
        assert not old.left
        await runtime.wait_ended(3)
        await runtime.wait_alive(1)
        assert old.left
        assert at.calls.outcomes == [Succeeded()] * 2


async def test_changed_code_is_for_new_environments_while_old_ones_finish() -> None:
    old, new = ScriptedRuntime(lasts(5), returns("old"), timeout=60), ScriptedRuntime(returns("new"))
    async with desk(old) as at:
        at.call(2)
        await old.wait_ended(1)
        at.environments.replace(new)
        await old.wait_alive(1)
        assert not old.closed
        assert (await at.ask()).payload == b'"new"'
        await old.wait_alive(0)
        await anyio.lowlevel.checkpoint()
        assert old.closed
        assert at.calls.outcomes == [Succeeded()] * 2
    assert new.closed


async def test_who_waits_for_an_environment_of_old_code_gets_one_of_the_new() -> None:
    old, new = ScriptedRuntime(returns("old"), init=lasts(9)), ScriptedRuntime(returns("new"))
    async with desk(old) as at:
        at.call(3)
        await anyio.sleep(1)
        at.environments.replace(new)
        await new.wait_ended(3)
        assert [answer.payload for answer in at.calls.answers] == [b'"new"'] * 3
        assert old.closed
        assert not old.invocations


async def test_a_runtime_without_environments_is_closed_when_it_is_replaced() -> None:
    old, new = ScriptedRuntime(), ScriptedRuntime()
    async with desk(old) as at:
        at.environments.replace(new)
        await anyio.sleep(0.1)
        assert old.closed
    assert new.closed


async def test_retired_environments_are_not_used_again() -> None:
    runtime = ScriptedRuntime(lasts(1))
    async with desk(runtime) as at:
        await at.ask()
        at.call()
        await runtime.wait_invocations(2)
        at.environments.retire()
        await at.ask()
        assert len(runtime.environments) == 2
        await at.seen.until(EnvironmentEnded)
        assert {ended.reason for ended in at.seen.of(EnvironmentEnded)} == {"Retired"}
        assert at.calls.outcomes == [Succeeded()]


# ------------------------------------------------------------------------------------------------- stops


async def test_nothing_is_run_before_it_works_and_after_it_was_stopped() -> None:
    runtime = ScriptedRuntime()
    async with desk(runtime) as at:
        pass
    assert (await at.environments.invoke(REQUEST)).outcome == Throttled(1.0, "the function is being stopped")
    assert not runtime.environments


async def test_a_stop_lets_invocations_end_within_its_grace() -> None:
    finish = anyio.Event()
    runtime = ScriptedRuntime(waits(finish), timeout=900)
    async with desk(runtime) as at:
        at.call(2)
        await runtime.wait_invocations(2)

        async def finishes() -> None:
            await anyio.sleep(3)
            assert (await at.ask()).outcome == Throttled(1.0, "the function is being stopped")
            finish.set()

        at.tasks.start_soon(finishes)
        began = clock()
        await at.environments.stop(grace=10)
        assert clock() - began == pytest.approx(3)
        await anyio.lowlevel.checkpoint()
        assert at.calls.outcomes == [Succeeded()] * 2


async def test_a_stop_leaves_environments_whose_invocations_go_on_after_its_grace() -> None:
    runtime = ScriptedRuntime(hangs(), timeout=900)
    async with desk(runtime) as at:
        (scope,) = at.call()
        await runtime.wait_invocations(1)
        began = clock()
        await at.environments.stop(grace=10)
        assert clock() - began == pytest.approx(10)
        assert not runtime.alive
        scope.cancel()


async def test_a_stop_answers_those_who_wait() -> None:
    runtime = ScriptedRuntime(init=hangs())
    async with desk(runtime) as at:
        at.call(2)
        await anyio.sleep(1)
        await at.environments.stop(grace=10)
        await anyio.lowlevel.checkpoint()
        assert at.calls.outcomes == [Throttled(1.0, "the function is being stopped")] * 2


async def test_environments_end_together() -> None:
    """A thousand processes that take a second each to end are not ended one after the other."""

    class Slow(ScriptedRuntime):
        @asynccontextmanager
        async def environment(self, *, provisioned: bool = False) -> AsyncIterator[ScriptedEnvironment]:
            async with super().environment(provisioned=provisioned) as environment:
                try:
                    yield environment
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(1)

    runtime = Slow(lasts(1))
    async with desk(runtime) as at:
        at.call(20)
        await runtime.wait_ended(20)
        began = clock()
        await at.environments.stop(grace=5)
        assert clock() - began == pytest.approx(1)


async def test_cancelled_it_leaves_all_environments_and_closes_its_runtime() -> None:
    runtime = ScriptedRuntime(hangs(), init=(returns(), hangs()), timeout=900)
    async with desk(runtime) as at:
        (scope, _) = at.call(2)
        await runtime.wait_invocations(1)
        at.environments._tasks.cancel_scope.cancel()
        await runtime.wait_alive(0)
        scope.cancel()
        await anyio.lowlevel.checkpoint()
        assert at.calls.outcomes == [Throttled(1.0, "the function is being stopped")]


async def test_a_runtime_that_cannot_be_closed_does_not_keep_it_from_ending() -> None:
    class Stuck(ScriptedRuntime):
        async def close(self) -> None:
            await super().close()
            await anyio.sleep_forever()

    async with desk(Stuck()) as at:
        began = clock()
        await at.environments.stop()
        assert clock() - began == pytest.approx(5)


@pytest.mark.parametrize("number", [0, 1])
async def test_an_environment_that_breaks_while_nobody_uses_it_is_not_used_again(number: int) -> None:
    broken = anyio.Event()

    async def breaks_later() -> None:
        await broken.wait()
        raise OSError("its process is gone")

    class Breaking(ScriptedRuntime):
        @asynccontextmanager
        async def environment(self, *, provisioned: bool = False) -> AsyncIterator[ScriptedEnvironment]:
            made = super().environment(provisioned=provisioned)
            async with made as environment, anyio.create_task_group() as tasks:
                if len(self.environments) == 1:
                    tasks.start_soon(breaks_later)
                yield environment
                tasks.cancel_scope.cancel()

    runtime = Breaking(returns())
    async with desk(runtime) as at:
        at.environments.provision(number)
        await anyio.sleep(1)
        await at.ask()
        broken.set()
        await at.seen.until(EnvironmentEnded)
        assert (await at.ask()).outcome == Succeeded()
        assert [one.left for one in runtime.environments][:2] == [True, False]
        assert at.seen.of(EnvironmentEnded)[0].reason == "Broken"
        assert "its process is gone" in at.seen.of(EnvironmentFailed)[0].reason
        await anyio.sleep(1)
        assert at.environments.statistics.provisioned.available == number


async def test_what_goes_wrong_in_leaving_and_closing_is_told() -> None:
    class Broken(ScriptedRuntime):
        @asynccontextmanager
        async def environment(self, *, provisioned: bool = False) -> AsyncIterator[ScriptedEnvironment]:
            async with super().environment(provisioned=provisioned) as environment:
                yield environment
            raise OSError("cannot be left")

        async def close(self) -> None:
            await super().close()
            raise OSError("device or resource busy")

    async with desk(Broken()) as at:
        assert (await at.ask()).outcome == Succeeded()
        at.environments.replace(Broken())
        assert (await at.ask()).outcome == Succeeded()
        await at.environments.stop()
        reasons = [failed.reason for failed in at.seen.of(EnvironmentFailed)]
        assert reasons == ["cannot be left", "scripted could not be closed: device or resource busy"] * 2


async def test_an_environment_that_is_given_up_when_it_is_just_made_is_not_used() -> None:
    async def init(invocation: Invocation) -> None:
        await anyio.sleep(1)
        if invocation.number == 1:
            at.environments.retire()

    runtime = ScriptedRuntime(returns(), init=init)
    async with desk(runtime) as at:
        assert (await at.ask()).outcome == Succeeded()
        assert [one.invocations for one in runtime.environments] == [0, 1]
        there = at.environments.statistics
        assert (there.environments, there.starting) == (1, 0)


@pytest.mark.slow
async def test_ten_thousand_random_ends_leave_no_place_behind() -> None:
    random = Random(5)
    steps = [returns(), lasts(0.5), lasts(9), raises(), crashes(), breaks(), hangs()]

    async def acts(invocation: Invocation) -> object:
        return await random.choice(steps)(invocation)

    runtime = ScriptedRuntime(acts)
    async with desk(runtime, scale_up=ScaleUp(10_000)) as at:

        async def caller() -> None:
            for _ in range(500):
                with anyio.move_on_after(random.choice([0.2, 5, 5, 5])):
                    await at.ask()

        async with anyio.create_task_group() as callers:
            for _ in range(20):
                callers.start_soon(caller)
        assert len(runtime.invocations) == 10_000
        there = at.environments.statistics
        assert (there.in_use, there.waiting, there.starting) == (0, 0, 0)
        assert there.environments == len(runtime.alive) <= 20
