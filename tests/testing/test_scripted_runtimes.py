"""The scripted runtime does what its steps say, in the order of all invocations."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from streamfn.core.outcomes import Cause, Failed, Succeeded, Throttled
from streamfn.ports import Request
from streamfn.testing.clock import virtual_backend
from streamfn.testing.runtimes import (
    ScriptedRuntime,
    breaks,
    crashes,
    echoes,
    hangs,
    lasts,
    raises,
    returns,
    throttles,
    waits,
)

pytestmark = pytest.mark.anyio

REQUEST = Request("id", b'{"a": 1}', "arn")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


async def test_steps_come_in_order_and_the_last_stays() -> None:
    steps = [raises("KeyError"), crashes("signal: killed"), hangs(), throttles(7), echoes]
    runtime = ScriptedRuntime(returns(1), *steps)
    async with runtime.environment() as environment:
        answers = [await environment.invoke(REQUEST) for _ in range(7)]
    outcomes = [answer.outcome for answer in answers]
    assert json.loads(answers[-1].payload) == {"a": 1}
    causes = [one.cause if isinstance(one, Failed) else type(one) for one in outcomes]
    failures = [Cause.FUNCTION, Cause.CRASH, Cause.TIMEOUT]
    assert causes == [Succeeded, *failures, Throttled, Succeeded, Succeeded]
    assert outcomes[4] == Throttled(7)
    assert [one.outcome for one in runtime.invocations] == outcomes
    assert len(runtime.inits) == 3, "after the crash and after the timeout there is another"


async def test_it_tells_what_goes_on() -> None:
    gate = anyio.Event()
    runtime = ScriptedRuntime(waits(gate, returns("done")), lasts(2.0, echoes), capacity=2)
    async with runtime.environment() as environment, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(environment.invoke, REQUEST)
        await runtime.wait_invocations(2)
        assert (runtime.running, environment.running, len(runtime.alive)) == (2, 2, 1)
        gate.set()
        await runtime.wait_ended(2)
        first, second = runtime.invocations
        assert second.ended_at == second.began_at + 2
        assert first.ended_at == first.began_at
    await runtime.wait_alive(0)
    assert (runtime.peak, runtime.most) == (2, 1)
    await runtime.close()
    assert runtime.closed


async def test_more_than_it_takes_is_the_caller_s_fault() -> None:
    runtime = ScriptedRuntime(hangs())
    async with runtime.environment() as environment, anyio.create_task_group() as tasks:
        tasks.start_soon(environment.invoke, REQUEST)
        await runtime.wait_invocations()
        with pytest.raises(AssertionError, match="at a time"):
            await environment.invoke(REQUEST)
        tasks.cancel_scope.cancel()
    with pytest.raises(AssertionError, match="left"):
        await environment.invoke(REQUEST)


async def test_faults_are_of_the_environment() -> None:
    runtime = ScriptedRuntime(breaks(), returns(1))
    async with runtime.environment() as environment:
        with pytest.raises(OSError, match="planned"):
            await environment.invoke(REQUEST)
        runtime.faults.fail_next("invoke")
        with pytest.raises(OSError, match="planned"):
            await environment.invoke(REQUEST)
        assert (await environment.invoke(REQUEST)).outcome == Succeeded()
    runtime.faults.fail_next("environment")
    with pytest.raises(OSError, match="planned"):
        async with runtime.environment():
            raise AssertionError("none can be made")
    assert len(runtime.environments) == 1
