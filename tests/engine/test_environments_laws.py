"""The laws of execution environments: whatever happens, none is lost, none is used beyond what it takes, and
every request is answered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamfn.core.outcomes import Throttled
from streamfn.engine.environments import Environments
from streamfn.ports import Answer, Request
from streamfn.testing.clock import VirtualTimeLoop
from streamfn.testing.runtimes import Invocation, ScriptedRuntime, breaks, crashes, hangs, lasts, raises
from tests.engine.conftest import Seen

ACTS = {
    "lasts": lasts(2),
    "quick": lasts(0.01),
    "raises": raises(),
    "crashes": crashes(),
    "hangs": hangs(),
    "breaks": breaks(),
}
INITS = {"quick": lasts(0.01), "slow": lasts(4), "late": lasts(60), "raises": raises(), "crashes": crashes()}
TIMEOUT = 3.0
IDLE, LIFETIME = 30.0, 100.0


class Call:
    """One request under way."""

    def __init__(self, name: str, act: str) -> None:
        self.request = Request(name, json.dumps(act).encode(), "arn")
        self.act = act
        self.scope: anyio.CancelScope
        self.answer: Answer | None = None
        self.cancelled = False


async def acts(invocation: Invocation) -> object:
    return await ACTS[invocation.event](invocation)


class Laws(RuleBasedStateMachine):
    """Requests come and are cancelled, code changes, environments fail, in any order."""

    capacity = 1

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.init = "quick"
        self.faults = False
        """Whether requests may have been throttled."""
        self.runtimes: list[ScriptedRuntime] = []
        self.calls: list[Call] = []
        self.seen = Seen()
        self.leave = asyncio.Event()
        self.environments = Environments(
            self.runtime(),
            function="f",
            version="1",
            telemetry=self.seen,
            capacity=self.capacity,
            idle_timeout=IDLE,
            lifetime=LIFETIME,
        )
        started = asyncio.Event()
        self.main = self.loop.create_task(self.work(started))
        self.loop.run_until_complete(started.wait())

    async def work(self, started: asyncio.Event) -> None:
        async with anyio.create_task_group() as self.tasks:
            await self.tasks.start(self.environments.run)
            started.set()
            await self.leave.wait()
            await self.environments.stop(grace=TIMEOUT + 10)

    def runtime(self) -> ScriptedRuntime:
        async def init(invocation: Invocation) -> object:
            return await INITS[self.init](invocation)

        made = ScriptedRuntime(acts, init=init, timeout=TIMEOUT, capacity=self.capacity)
        self.runtimes.append(made)
        return made

    def within(self, do: Callable[..., object], *args: Any) -> None:
        """Does something as a task of the loop would."""

        async def inside() -> None:
            do(*args)

        self.loop.run_until_complete(inside())

    def pass_time(self, seconds: float) -> None:
        """What is due by then has been done to its end."""

        async def passes() -> None:
            await asyncio.sleep(seconds)
            for _ in range(20):
                await asyncio.sleep(0)

        self.loop.run_until_complete(passes())

    async def ask(self, call: Call) -> None:
        with anyio.CancelScope() as call.scope:
            call.answer = await self.environments.invoke(call.request)

    @rule(act=st.sampled_from(sorted(ACTS)), number=st.integers(1, 4))
    def request(self, act: str, number: int) -> None:
        for _ in range(number):
            call = Call(str(len(self.calls)), act)
            self.calls.append(call)
            self.within(self.tasks.start_soon, self.ask, call)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls[-8:]))
        if call.answer is None and not call.cancelled:
            call.cancelled = True
            self.within(call.scope.cancel)

    @rule(seconds=st.sampled_from([0.0, 0.01, 1.0, 2.0, 4.0, 12.0, IDLE, LIFETIME]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(init=st.sampled_from(sorted(INITS)))
    def change_init(self, init: str) -> None:
        self.init = init

    @rule(number=st.integers(0, 4))
    def provision(self, number: int) -> None:
        self.within(self.environments.provision, number)

    @rule()
    def retire(self) -> None:
        self.within(self.environments.retire)

    @rule()
    def replace(self) -> None:
        self.within(self.environments.replace, self.runtime())

    @rule(times=st.integers(1, 3))
    def fail_to_make(self, times: int) -> None:
        self.faults = True
        self.runtimes[-1].faults.fail_next("environment", times=times)

    @invariant()
    def everything_is_accounted_for(self) -> None:
        self.pass_time(0.001)
        there = self.environments.statistics
        alive = [one for runtime in self.runtimes for one in runtime.alive]
        assert len(alive) == there.environments + there.starting
        assert there.in_use == sum(one.running for one in alive)
        assert all(one.running <= self.capacity for one in alive)
        open_calls = [call for call in self.calls if call.answer is None and not call.cancelled]
        assert len(open_calls) == there.in_use + there.waiting
        assert there.waiting == 0 or there.starting > 0
        assert all(runtime.closed for runtime in self.runtimes[:-1] if not runtime.alive)
        kept = self.environments._keeper
        assert kept.making >= 0
        assert kept.available >= kept.worn >= 0
        assert kept.available - kept.worn + kept.making <= kept.requested

    @invariant()
    def nobody_is_throttled_without_need(self) -> None:
        for call in self.calls:
            if call.answer is not None and isinstance(call.answer.outcome, Throttled):
                assert self.faults or call.act == "breaks"

    def teardown(self) -> None:
        self.init = "quick"
        self.runtimes[-1].faults._before.clear()
        self.pass_time(200)
        if self.environments.statistics.starting:
            self.pass_time(1)  # One was worn in this very moment, and its place is being taken.
        there = self.environments.statistics
        assert all(call.answer is not None or call.cancelled for call in self.calls)
        assert there.in_use == there.waiting == there.starting == 0
        kept = there.provisioned
        assert kept.available == there.environments == kept.requested
        assert kept.status == ("READY" if kept.requested else "")
        assert sum(len(runtime.alive) for runtime in self.runtimes) == there.environments
        self.leave.set()
        self.loop.run_until_complete(self.main)
        assert not any(runtime.alive for runtime in self.runtimes)
        assert all(runtime.closed for runtime in self.runtimes)
        self.loop.close()


class LawsOfMany(Laws):
    """The same where an environment takes several requests at a time."""

    capacity = 3


class LawsOfEnds(Laws):
    """The same, cancelled at any moment instead of stopped."""

    def teardown(self) -> None:
        self.within(self.environments._tasks.cancel_scope.cancel)
        self.pass_time(TIMEOUT + 10)
        self.leave.set()
        self.loop.run_until_complete(self.main)
        assert all(call.answer is not None or call.cancelled for call in self.calls)
        assert not any(runtime.alive for runtime in self.runtimes)
        assert all(runtime.closed for runtime in self.runtimes)
        self.loop.close()


_LONG: Any = settings(stateful_step_count=30)
TestLaws = Laws.TestCase
TestLaws.settings = _LONG
TestLawsOfMany = LawsOfMany.TestCase
TestLawsOfMany.settings = _LONG
TestLawsOfEnds = LawsOfEnds.TestCase
TestLawsOfEnds.settings = _LONG
