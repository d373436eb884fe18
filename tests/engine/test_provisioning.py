"""Provisioned concurrency: environments that are kept initialised, whatever happens to them."""

from __future__ import annotations

from random import Random

import anyio
import pytest

from streamfn.core.outcomes import Failed, Succeeded
from streamfn.core.provisioning import Provisioning, ScheduledNumber, TargetTracking
from streamfn.core.schedules import schedule
from streamfn.engine.environments import Environments
from streamfn.engine.provisioning import ProvisionedStatus, follow
from streamfn.ports import Answer
from streamfn.telemetry import EnvironmentEnded, EnvironmentFailed, EnvironmentStarted
from streamfn.testing.clock import EPOCH, clock
from streamfn.testing.runtimes import (
    Invocation,
    ScriptedRuntime,
    Step,
    crashes,
    hangs,
    lasts,
    raises,
    returns,
)
from tests.engine.environments_made import REQUEST, Desk, desk

pytestmark = pytest.mark.anyio

INIT = 0.4


def sometimes(seed: int) -> Step:
    """Now and then the function dies."""
    random = Random(seed)

    async def step(invocation: Invocation) -> object:
        chance = random.random()
        if chance < 0.01:
            return await crashes()(invocation)
        return await lasts(0.02 if chance < 0.9 else 0.2)(invocation)

    return step


async def provisioned(at: Desk, number: int, seconds: float = 60) -> None:
    at.environments.provision(number)
    await anyio.sleep(seconds)
    assert at.environments.statistics.provisioned == ProvisionedStatus(number, number, "READY", "")


@pytest.mark.slow
async def test_no_invocation_sees_a_cold_start() -> None:
    """10,000 invocations by four callers, of which every hundredth kills its environment."""
    runtime = ScriptedRuntime(sometimes(3), init=lasts(INIT))
    answers: list[Answer] = []
    slowest = 0.0
    async with desk(runtime) as at:
        await provisioned(at, 8)

        async def caller() -> None:
            nonlocal slowest
            for _ in range(2500):
                began = clock()
                answers.append(await at.environments.invoke(REQUEST))
                slowest = max(slowest, clock() - began)

        async with anyio.create_task_group() as callers:
            for _ in range(4):
                callers.start_soon(caller)
        await anyio.sleep(2)
        there = at.environments.statistics
        assert len(answers) == 10_000
        assert there.cold_starts == 0
        assert slowest < INIT, "nobody waited for an init, not even for a second one"
        assert sum(isinstance(answer.outcome, Failed) for answer in answers) > 50
        assert there.provisioned.status == "READY"
        assert len(runtime.environments) > 50


async def test_they_are_made_a_few_at_a_time() -> None:
    runtime = ScriptedRuntime(init=lasts(1))
    async with desk(runtime) as at:
        at.environments.provision(20)
        await anyio.sleep(0.5)
        assert at.environments.statistics.provisioned == ProvisionedStatus(20, 0, "IN_PROGRESS", "")
        assert at.environments.statistics.starting == 8
        await anyio.sleep(1)
        assert at.environments.statistics.provisioned.available == 8
        await anyio.sleep(1)
        assert at.environments.statistics.provisioned.available == 16
        await anyio.sleep(1)
        assert at.environments.statistics.provisioned.status == "READY"
        assert all(started.provisioned for started in at.seen.of(EnvironmentStarted))


async def test_demand_above_them_is_served_on_demand_and_only_that_is_reaped() -> None:
    runtime = ScriptedRuntime(lasts(1))
    async with desk(runtime) as at:
        await provisioned(at, 2)
        at.call(5)
        await runtime.wait_ended(5)
        assert at.environments.statistics.cold_starts == 3
        await anyio.sleep(0.1)
        assert at.environments.statistics.environments == 5
        at.call(2)
        await anyio.sleep(700)
        assert at.environments.statistics.environments == 2
        assert at.environments.statistics.provisioned.status == "READY"
        assert at.environments.statistics.cold_starts == 3


async def test_fewer_end_idle_ones_first() -> None:
    runtime = ScriptedRuntime(hangs(), returns(), timeout=900)
    async with desk(runtime) as at:
        await provisioned(at, 3)
        (scope,) = at.call()
        await runtime.wait_invocations(1)
        at.environments.provision(1)
        await runtime.wait_alive(1)
        assert runtime.alive[0].running == 1
        at.environments.provision(0)
        scope.cancel()
        await runtime.wait_alive(0)
        assert at.environments.statistics.provisioned == ProvisionedStatus(0, 0, "", "")
        assert [ended.reason for ended in at.seen.of(EnvironmentEnded)][:2] == ["Surplus"] * 2


async def test_those_being_made_are_given_up_when_they_are_too_many() -> None:
    runtime = ScriptedRuntime(init=(lasts(1), hangs()))
    async with desk(runtime) as at:
        at.environments.provision(4)
        await anyio.sleep(2)
        at.environments.provision(1)
        await runtime.wait_alive(1)
        assert at.environments.statistics.provisioned.status == "READY"


async def test_one_whose_life_is_over_serves_until_another_has_its_place() -> None:
    runtime = ScriptedRuntime(lasts(1), init=lasts(30))
    async with desk(runtime, lifetime=1000) as at:
        await provisioned(at, 3)
        began = clock()
        while clock() - began < 5000:
            await at.ask()
        there = at.environments.statistics
        assert there.cold_starts == 0
        assert there.provisioned.available in (3, 4)
        assert runtime.most <= 6
        assert len(runtime.environments) >= 12
        assert {ended.reason for ended in at.seen.of(EnvironmentEnded)} == {"Surplus"}


async def test_a_function_that_cannot_be_initialised_is_said_to_have_failed_and_tried_again() -> None:
    init = [raises("ImportError")] * 4 + [returns()]
    runtime = ScriptedRuntime(init=init)
    async with desk(runtime) as at:
        at.environments.provision(2)
        await anyio.sleep(0.1)
        status = at.environments.statistics.provisioned
        assert status == ProvisionedStatus(2, 0, "FAILED", "FUNCTION_ERROR_INIT_FAILURE")
        assert not runtime.alive
        assert len(runtime.inits) == 2
        await anyio.sleep(1)
        assert len(runtime.inits) == 4
        await anyio.sleep(2)
        assert at.environments.statistics.provisioned == ProvisionedStatus(2, 2, "READY", "")
        failed = at.seen.of(EnvironmentFailed)
        assert [one.reason for one in failed] == ["FUNCTION_ERROR_INIT_FAILURE"] * 4
        assert all(one.provisioned for one in failed)


async def test_what_fails_on_and_on_is_tried_ever_more_slowly_until_it_is_asked_for_anew() -> None:
    runtime = ScriptedRuntime(init=raises())
    async with desk(runtime) as at:
        at.environments.provision(1)
        await anyio.sleep(3600)
        tries = len(runtime.inits)
        assert 60 < tries < 70
        at.environments.provision(1)
        await anyio.sleep(0.1)
        assert len(runtime.inits) == tries + 1


async def test_requests_are_served_on_demand_while_provisioning_fails() -> None:
    runtime = ScriptedRuntime(returns())
    runtime.faults.fail_next("environment", times=1)
    async with desk(runtime) as at:
        at.environments.provision(1)
        await anyio.sleep(0.1)
        status = at.environments.statistics.provisioned
        assert status == ProvisionedStatus(1, 0, "FAILED", "environment fails: the test planned it")
        assert (await at.ask()).outcome == Succeeded()
        assert at.environments.statistics.cold_starts == 1


async def test_a_request_does_not_wait_for_one_that_is_being_provisioned() -> None:
    runtime = ScriptedRuntime(returns(), init=(lasts(100), lasts(1)))
    async with desk(runtime) as at:
        at.environments.provision(1)
        await anyio.sleep(0.5)
        began = clock()
        await at.ask()
        assert clock() - began == pytest.approx(1)


async def test_but_takes_it_if_it_comes_first() -> None:
    runtime = ScriptedRuntime(returns(), init=(lasts(2), lasts(9)))
    async with desk(runtime) as at:
        at.environments.provision(1)
        await anyio.sleep(0.5)
        began = clock()
        await at.ask()
        assert clock() - began == pytest.approx(1.5)


async def test_one_that_dies_while_it_is_idle_is_replaced_before_anybody_needs_it() -> None:
    runtime = ScriptedRuntime(returns(), init=lasts(INIT))
    async with desk(runtime) as at:
        await provisioned(at, 1)
        runtime.alive[0].ready = False
        await anyio.sleep(11)
        began = clock()
        assert (await at.ask()).outcome == Succeeded()
        assert clock() == began
        assert at.seen.of(EnvironmentEnded)[0].reason == "Reset"


async def test_what_was_kept_before_does_not_matter_to_a_new_policy() -> None:
    async with desk(ScriptedRuntime()) as at, anyio.create_task_group() as tasks:
        await provisioned(at, 2)
        tasks.start_soon(follow, at.environments, Provisioning(), clock)
        await anyio.sleep(1)
        assert at.environments.statistics.environments == 0
        tasks.cancel_scope.cancel()


async def test_new_code_is_provisioned_as_well() -> None:
    old, new = ScriptedRuntime(), ScriptedRuntime(returns("new"))
    async with desk(old) as at:
        await provisioned(at, 2)
        at.environments.replace(new)
        await new.wait_alive(2)
        assert not old.alive
        assert (await at.ask()).payload == b'"new"'
        assert at.environments.statistics.cold_starts == 0


async def test_they_follow_a_schedule() -> None:
    hour = 3600.0
    at_one = ScheduledNumber(schedule("cron(0 1 * * ? *)"), 4)
    at_two = ScheduledNumber(schedule("cron(30 2 * * ? *)"), 0)
    policy = Provisioning(1, (at_one, at_two))
    numbers = await followed(policy, [0.5 * hour, 1.01 * hour, 2.49 * hour, 2.51 * hour, 25.01 * hour])
    assert numbers == [0, 4, 4, 0, 4]
    assert clock() >= EPOCH + 25 * hour


async def followed(policy: Provisioning, moments: list[float]) -> list[int]:
    """How many are available at these seconds after the beginning of virtual time."""
    begin, numbers = clock() - EPOCH, []
    async with desk(ScriptedRuntime()) as at, anyio.create_task_group() as tasks:
        tasks.start_soon(follow, at.environments, policy, clock)
        for moment in moments:
            await anyio.sleep(begin + moment - (clock() - EPOCH))
            numbers.append(at.environments.statistics.provisioned.available)
        tasks.cancel_scope.cancel()
    return numbers


async def test_they_follow_what_is_in_use() -> None:
    runtime = ScriptedRuntime(lasts(30), timeout=60)
    policy = Provisioning(1, tracking=TargetTracking(maximum=10, target=0.5, scale_in_after=100))
    async with desk(runtime) as at, anyio.create_task_group() as tasks:
        tasks.start_soon(follow, at.environments, policy, clock)
        await anyio.sleep(5)
        assert requested(at.environments) == 1
        at.call(3)
        await anyio.sleep(10)
        assert requested(at.environments) == 6
        await anyio.sleep(100)
        assert requested(at.environments) == 6
        await anyio.sleep(60)
        assert requested(at.environments) == 1
        tasks.cancel_scope.cancel()


def requested(environments: Environments) -> int:
    return environments.statistics.provisioned.requested
