"""Random crashes, timeouts and cancellations, one after the other and at a time: nothing is left of any, and
whoever asks afterwards is served.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from pathlib import Path

import anyio
import pytest

from streamfn.core.outcomes import Failed, Succeeded, Throttled
from streamfn.engine.environments import Environments
from streamfn.runtimes.process.api import RuntimeApi
from streamfn.runtimes.process.launchers import Launchers
from streamfn.runtimes.process.sandbox import Allowed
from tests.proof.corpus import Corpus, Traces, said

pytestmark = pytest.mark.anyio

WAYS = {
    "all that there is": Allowed(),
    "without namespaces": Allowed(namespaces=False, users=False, cgroups=False),
}
CALLERS = 8
TIMEOUT = 0.5

EXPECTED = {
    "Runtime.ExitError": (
        ("exits", {"status": 0}),
        ("exits", {"status": 3}),
        ("raises_system_exit", {}),
        ("segfaults", {}),
        ("is_killed", {}),
        ("forks", {"dies": True}),
        ("opens_files", {"dies": True}),
    ),
    "Sandbox.Timedout": (("hangs", {}), ("hangs_deaf", {}), ("forks", {"hangs": True})),
    "ValueError": (("raises", {}),),
    "": (("nothing", {}), ("forks", {}), ("forks_zombies", {}), ("prints", {"bytes": 100_000})),
}
"""What a request leads to: the type of the error, and the requests."""


class Chance:
    """Asks for harm at random; the same seed asks for the same."""

    def __init__(self, corpus: Corpus, environments: Environments, seed: int) -> None:
        self._corpus = corpus
        self._environments = environments
        self._random = random.Random(seed)
        self.came: Counter[str] = Counter()

    async def ask(self, left: list[None]) -> None:
        """One caller, who asks until there is nothing left to ask for."""
        while left:
            left.pop()
            kind = self._random.choice(list(EXPECTED))
            how, more = self._random.choice(EXPECTED[kind])
            patience = self._random.choice([60.0] * 9 + [self._random.uniform(0.0, 0.1)])
            request = self._corpus.harm(how, **more)
            with anyio.move_on_after(patience) as waiting:
                answer = await self._environments.invoke(request)
            if waiting.cancelled_caught:
                assert patience < 60, f"{how} was not answered within a minute"
                self.came["cancelled"] += 1
                continue
            if isinstance(answer.outcome, Succeeded):
                assert kind == "", (how, answer)
                self.came["succeeded"] += 1
                continue
            if isinstance(answer.outcome, Throttled):
                # What hung before had not ended within the short timeout, and nothing ran.
                self.came["throttled"] += 1
                continue
            assert isinstance(answer.outcome, Failed), (how, answer)
            document = said(answer)
            # With a timeout this short, a machine that is busy is seldom too slow to crash in time.
            assert document["errorType"] in {kind, "Sandbox.Timedout"}, (how, answer)
            # Nobody gets what another was answered.
            assert request.request_id in answer.payload.decode(), (how, answer)
            self.came[document["errorType"]] += 1


async def endure(corpus: Corpus, total: int, seed: int) -> None:
    runtime = corpus.runtime("harms.handler", timeout=TIMEOUT)
    async with runtime.environment():
        pass  # What a launcher keeps open is there from now on.
    traces = Traces(corpus)
    async with corpus.environments(runtime) as environments:
        chance = Chance(corpus, environments, seed)
        left: list[None] = [None] * total
        async with anyio.create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(chance.ask, left)
        assert chance.came.total() == total
        for kind in ("succeeded", "cancelled", *(kind for kind in EXPECTED if kind)):
            assert chance.came[kind] > total / 50, chance.came
        statistics = environments.statistics
        assert (statistics.in_use, statistics.waiting, statistics.starting) == (0, 0, 0)
        assert statistics.idle == statistics.environments <= CALLERS
        await every_slot_works(corpus, environments)
    await traces.are_gone()


async def every_slot_works(corpus: Corpus, environments: Environments) -> None:
    """As many at a time as before are served."""

    async def one() -> None:
        with anyio.fail_after(30):
            # A cold start may take longer than the short timeout.
            while not isinstance((await environments.invoke(corpus.harm("nothing"))).outcome, Succeeded):
                pass

    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(one)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("allowed", WAYS.values(), ids=WAYS)
async def test_three_hundred_crashes_leave_nothing(tmp_path: Path, allowed: Allowed) -> None:
    async with Launchers(tmp_path / "environments", allowed) as launchers:
        await endure(Corpus(launchers), 150, seed=1)


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("allowed", WAYS.values(), ids=WAYS)
async def test_ten_thousand_crashes_leave_nothing(tmp_path: Path, allowed: Allowed) -> None:
    async with Launchers(tmp_path / "environments", allowed) as launchers:
        await endure(Corpus(launchers), 10_000, seed=2)


async def test_an_api_that_is_cut_off_while_it_opens_leaves_nothing_with_the_loop() -> None:
    """A descriptor that the loop went on with would be taken for the next socket of that number."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.setblocking(False)
    number = listener.fileno()
    api = RuntimeApi(1, lambda peer: True)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await api.open(listener)
    api.close()
    listener.close()
    assert not asyncio.get_running_loop().remove_reader(number)


async def test_an_api_of_a_runtime_that_has_ended_does_not_open() -> None:
    api = RuntimeApi(1, lambda peer: True)
    api.close()
    with socket.socket() as listener:
        listener.close()
        await api.open(listener)
