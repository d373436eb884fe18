"""Execution environments: when they are made, used again and left, and who gets which."""

from __future__ import annotations

import asyncio
import logging

import anyio
import anyio.lowlevel
import pytest

from streamfn.core.admission import ScaleUp
from streamfn.core.outcomes import Failed, Succeeded, Throttled
from streamfn.telemetry import (
    Counters,
    EnvironmentEnded,
    EnvironmentFailed,
    EnvironmentStarted,
    InvocationThrottled,
    LogTelemetry,
    logger,
)
from streamfn.testing.clock import clock
from streamfn.testing.runtimes import (
    Invocation,
    ScriptedRuntime,
    breaks,
    crashes,
    hangs,
    lasts,
    raises,
    returns,
)
from tests.engine.environments_made import desk

pytestmark = pytest.mark.anyio

UNMAKEABLE = "no environment could be made: environment fails: the test planned it"


# ------------------------------------------------------------------------------------------------ reuse


async def test_an_environment_is_made_for_the_first_request_and_used_again() -> None:
    runtime = ScriptedRuntime(returns({"a": 1}), init=lasts(2))
    async with desk(runtime) as at:
        began = clock()
        answers = [await at.ask() for _ in range(3)]
        assert clock() - began == pytest.approx(2)
        assert [answer.payload for answer in answers] == [b'{"a": 1}'] * 3
        assert len(runtime.environments) == 1
        assert at.environments.statistics.cold_starts == 1
        (started,) = at.seen.of(EnvironmentStarted)
        assert (started.function, started.version, started.provisioned) == ("f", "7", False)
        assert started.seconds == pytest.approx(2)
    (ended,) = at.seen.of(EnvironmentEnded)
    assert (ended.reason, ended.invocations) == ("Stopped", 3)


async def test_each_request_at_a_time_has_an_environment_of_its_own() -> None:
    runtime = ScriptedRuntime(lasts(1))
    async with desk(runtime) as at:
        at.call(3)
        await runtime.wait_invocations(3)
        assert at.environments.statistics.in_use == 3
        await runtime.wait_ended(3)
        at.call(3)
        await runtime.wait_ended(6)
        assert len(runtime.environments) == 3
        assert at.environments.peak() == 3
        assert at.environments.peak() == 0


async def test_the_environment_that_was_used_last_is_used_next() -> None:
    runtime = ScriptedRuntime(lasts(1), lasts(2), returns())
    async with desk(runtime) as at:
        at.call(2)
        await runtime.wait_ended(2)
        await at.ask()
        await at.ask()
        first, second = runtime.environments
        assert (first.invocations, second.invocations) == (1, 3)


async def test_one_that_must_be_initialised_again_is_used_last() -> None:
    runtime = ScriptedRuntime(lasts(1), lasts(2, crashes()), returns())
    async with desk(runtime) as at:
        at.call(2)
        await runtime.wait_ended(2)
        await at.ask()
        well, broken = runtime.environments
        assert (well.invocations, broken.invocations) == (2, 1)
        assert not broken.ready


async def test_environments_take_as_many_requests_as_they_say() -> None:
    runtime = ScriptedRuntime(lasts(1), capacity=3)
    async with desk(runtime, capacity=3) as at:
        at.call(7)
        await runtime.wait_invocations(7)
        assert len(runtime.environments) == 3
        assert runtime.peak == 7
        await runtime.wait_ended(7)
        assert at.calls.outcomes == [Succeeded()] * 7


async def test_environments_that_take_less_than_thought_are_made_for_the_rest() -> None:
    runtime = ScriptedRuntime(lasts(1), init=lasts(1))
    async with desk(runtime, capacity=3) as at:
        at.call(3)
        await runtime.wait_ended(3)
        assert at.calls.outcomes == [Succeeded()] * 3


# ------------------------------------------------------------------------------------------- cold starts


async def test_a_request_takes_whichever_environment_comes_first() -> None:
    runtime = ScriptedRuntime(lasts(1), returns(), init=(returns(), lasts(5)))
    async with desk(runtime) as at:
        at.call()
        await runtime.wait_invocations(1)
        began = clock()
        await at.ask()
        assert clock() - began == pytest.approx(1), "it waited for the one that was busy, not for the new one"
        assert at.environments.statistics.starting == 1
        await anyio.sleep(5)
        assert at.environments.statistics.idle == 2


async def test_a_cold_start_that_nobody_waits_for_any_more_is_for_the_next() -> None:
    runtime = ScriptedRuntime(returns(), init=lasts(4))
    async with desk(runtime) as at:
        (scope,) = at.call()
        await anyio.sleep(1)
        scope.cancel()
        await anyio.lowlevel.checkpoint()
        assert at.environments.statistics.waiting == 0
        began = clock()
        await at.ask()
        assert clock() - began == pytest.approx(3)
        assert len(runtime.environments) == 1


async def test_who_is_cancelled_in_the_moment_of_getting_an_environment_gives_it_back() -> None:
    runtime = ScriptedRuntime(lasts(1), returns(), init=(returns(), hangs()))
    async with desk(runtime) as at:
        second: list[asyncio.Task[object] | None] = []

        async def first_then_cancel() -> None:
            await at.ask()
            assert at.environments.statistics.in_use == 1, "it was given on"
            assert second[0] is not None
            second[0].cancel()

        async def waits_and_is_cancelled() -> None:
            second.append(asyncio.current_task())
            with pytest.raises(asyncio.CancelledError):
                await at.ask()

        at.tasks.start_soon(first_then_cancel)
        await runtime.wait_invocations(1)
        at.tasks.start_soon(waits_and_is_cancelled)
        await runtime.wait_ended(1)
        await anyio.sleep(0.1)
        assert len(runtime.invocations) == 1
        assert at.environments.statistics.in_use == 0
        assert at.environments.statistics.idle == 1


async def test_an_environment_whose_function_cannot_be_initialised_answers_so() -> None:
    runtime = ScriptedRuntime(returns(), init=raises("ImportError", "no such module"))
    async with desk(runtime) as at:
        answer = await at.ask()
        assert isinstance(answer.outcome, Failed)
        assert answer.outcome.type == "ImportError"
        await at.ask()
        assert len(runtime.environments) == 1


async def test_where_no_environment_can_be_made_the_request_is_throttled() -> None:
    runtime = ScriptedRuntime(returns())
    runtime.faults.fail_next("environment")
    async with desk(runtime) as at:
        assert (await at.ask()).outcome == Throttled(1.0, UNMAKEABLE)
        assert (await at.ask()).outcome == Succeeded()
        (failed,) = at.seen.of(EnvironmentFailed)
        assert not failed.provisioned
        assert len(at.seen.of(InvocationThrottled)) == at.environments.statistics.throttles == 1


async def test_only_those_are_throttled_for_whom_no_environment_comes() -> None:
    runtime = ScriptedRuntime(lasts(1))
    runtime.faults.fail_next("environment", times=2)
    async with desk(runtime) as at:
        at.call(5)
        await runtime.wait_ended(3)
        assert at.calls.outcomes == [Throttled(1.0, UNMAKEABLE)] * 2 + [Succeeded()] * 3


async def test_environments_are_added_at_a_limited_rate() -> None:
    runtime = ScriptedRuntime(lasts(1), init=lasts(3))
    async with desk(runtime, scale_up=ScaleUp(limit=2, seconds=10)) as at:
        at.call(2)
        await anyio.sleep(4)
        at.call(2)
        await anyio.lowlevel.checkpoint()
        assert (await at.ask()).outcome == Throttled(6.0, "ConcurrentInvocationLimitExceeded")
        await anyio.sleep(6)
        at.call(3)
        await anyio.sleep(5)
        assert at.calls.outcomes == [Succeeded()] * 7
        assert len(runtime.environments) == 3


async def test_a_runtime_with_a_fault_of_its_own_harms_its_requests_only() -> None:
    runtime = ScriptedRuntime(returns())
    runtime.faults.fail_next("environment", error=ZeroDivisionError("a bug"))
    async with desk(runtime) as at:
        outcome = (await at.ask()).outcome
        assert isinstance(outcome, Throttled)
        assert outcome.reason == "no environment could be made: a bug"
        assert (await at.ask()).outcome == Succeeded()


# ------------------------------------------------------------------------------------------- invocations


async def test_an_environment_that_cannot_work_is_left_and_the_request_throttled() -> None:
    runtime = ScriptedRuntime(breaks("its process is gone"), returns())
    async with desk(runtime) as at:
        assert (await at.ask()).outcome == Throttled(1.0, "the environment cannot work: its process is gone")
        assert (await at.ask()).outcome == Succeeded()
        assert [one.left for one in runtime.environments] == [True, False]
        assert at.seen.of(EnvironmentEnded)[0].reason == "Failed: its process is gone"


async def test_an_invocation_that_raises_what_it_must_not_takes_its_environment_with_it() -> None:
    runtime = ScriptedRuntime(returns())
    runtime.faults.fail_next("invoke", error=ZeroDivisionError("a bug"))
    async with desk(runtime) as at:
        with pytest.raises(ZeroDivisionError):
            await at.ask()
        await runtime.wait_alive(0)
        assert (await at.ask()).outcome == Succeeded()


async def test_a_cancelled_invocation_is_cut_off_and_its_environment_used_again() -> None:
    runtime = ScriptedRuntime(hangs(), returns(), timeout=900)
    async with desk(runtime) as at:
        (scope,) = at.call()
        await runtime.wait_invocations(1)
        scope.cancel()
        await runtime.wait_ended(1)
        assert (await at.ask()).outcome == Succeeded()
        assert len(runtime.environments) == 1
        assert at.calls.answers == []


async def test_what_the_function_does_is_its_answer() -> None:
    async def acts(invocation: Invocation) -> object:
        return [await step(invocation) for step in (lasts(0.1), returns(1))]

    runtime = ScriptedRuntime(acts, raises("KeyError"), lasts(9), returns())
    async with desk(runtime) as at:
        assert (await at.ask()).payload == b"[null, 1]"
        failed = [(await at.ask()).outcome for _ in range(2)]
        assert [outcome.type for outcome in failed if isinstance(outcome, Failed)] == [
            "KeyError",
            "Sandbox.Timedout",
        ]
        assert (await at.ask()).outcome == Succeeded()
        assert len(runtime.environments) == 1


# ----------------------------------------------------------------------------------------------- telling


async def test_what_happens_is_counted_and_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    runtime = ScriptedRuntime(returns())
    runtime.faults.fail_next("environment")
    async with desk(runtime) as at:
        await at.ask()
        await at.ask()
    counters = Counters()
    with caplog.at_level(logging.INFO, "streamfn"):
        for event in at.seen.events:
            counters.emit(event)
            LogTelemetry(logger()[0]).emit(event)
    assert counters.of_function("f") == {
        "EnvironmentFailures": 1,
        "Throttles": 1,
        "EnvironmentsStarted": 1,
        "EnvironmentsEnded": 1,
    }
    assert counters.of("f") == {}
    (line,) = caplog.messages
    assert line.startswith("event='environment_failed' function='f' version='7' reason='environment fails")


async def test_each_environment_is_logged_for_who_looks_closely(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "streamfn"):
        telemetry = LogTelemetry(*logger()[:1], debug=True)
        telemetry.emit(EnvironmentStarted("f", "7", 0.5, provisioned=True))
        telemetry.emit(EnvironmentEnded("f", "7", "Idle", 3))
    assert caplog.messages == [
        "event='environment_started' function='f' version='7' seconds=0.5 provisioned=True",
        "event='environment_ended' function='f' version='7' reason='Idle' invocations=3",
    ]
