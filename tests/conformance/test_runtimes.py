"""Runtimes pass the suite of runtimes: the scripted one and functions behind an address, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import anyio
import pytest

from streamfn.ports import Environment, Runtime
from streamfn.testing.clock import virtual_backend
from streamfn.testing.conformance import RuntimeFeatures, RuntimeHarness, RuntimeSuite
from streamfn.testing.runtimes import (
    Crashed,
    Invocation,
    Raised,
    ScriptedEnvironment,
    ScriptedRuntime,
    Step,
    hangs,
    lasts,
    raises,
    returns,
    streams,
)
from streamfn_http import HttpRuntime
from tests.http.functions import INVOKE, FunctionServer, serving
from tests.http.receiver import nobody


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


async def conformance(invocation: Invocation) -> object:
    """The function of the suite, as a step of a script."""
    event, request = invocation.event, invocation.request
    assert request is not None
    match event["do"]:
        case "raise":
            raise Raised("ValueError", event["message"])
        case "hang":
            await anyio.sleep_forever()
        case "sleep":
            await anyio.sleep(event["seconds"])
        case "die":
            raise Crashed("exit status 3")
        case "print":
            invocation.log += event["text"] + "\n"
        case "large":
            return "x" * event["size"]
        case "stream":
            pieces = [text.encode() for text in event["pieces"]] + [bytes(65_536)] * (
                event.get("fill", 0) >> 16
            )
            then = {"raise": raises("ValueError", event.get("message", "")), "hang": hangs()}
            step = streams(*pieces, content_type=event["type"], then=then.get(event.get("then")))
            return await step(invocation)
        case _:
            pass
    return {
        "value": event.get("value"),
        "count": invocation.environment.invocations,
        "requestId": request.request_id,
        "arn": request.function_arn,
        "trace": request.trace,
        "custom": {"key": "value"} if "key" in request.client_context else None,
        "left": 500,
    }


class ScriptedHarness(RuntimeHarness):
    def __init__(self) -> None:
        self.made: list[ScriptedRuntime] = []

    def make(self, *init: Step) -> ScriptedRuntime:
        self.made.append(ScriptedRuntime(conformance, init=init, timeout=1.0, capacity=3))
        return self.made[-1]

    def runtime(self) -> Runtime:
        return self.make()

    async def running(self) -> int:
        return sum(runtime.running + len(runtime.alive) for runtime in self.made)

    def failing(self, times: int | None) -> Runtime:
        fails = raises("ValueError", "no init")
        return self.make(fails) if times is None else self.make(*[fails] * times, returns())

    def streaming(self) -> Runtime:
        return self.make()

    def slow(self, seconds: float) -> Runtime:
        return self.make(lasts(seconds))

    async def spoil(self, environment: Environment) -> None:
        assert isinstance(environment, ScriptedEnvironment)
        environment.runtime.faults.down = True

    def unusable(self) -> Runtime:
        runtime = self.make()
        runtime.faults.down = True
        return runtime


class TestScripted(RuntimeSuite):
    features = RuntimeFeatures(capacity=3, ending=0.1, streaming=True)

    @pytest.fixture
    def harness(self) -> RuntimeHarness:
        return ScriptedHarness()


class HttpHarness(RuntimeHarness):
    def __init__(self, server: FunctionServer, path: str) -> None:
        self.server = server
        self.path = path

    def runtime(self) -> Runtime:
        return HttpRuntime(f"{self.server.url}{self.path}", timeout=1.0, capacity=3)

    async def running(self) -> int:
        return self.server.running

    async def spoil(self, environment: Environment) -> None:
        await self.server.stop()
        await anyio.sleep(0.1)  # the end of its connections is on its way

    def unusable(self) -> Runtime:
        return HttpRuntime(nobody(), timeout=1.0)


ELSEWHERE = "a service has its own environments"


class HttpSuite(RuntimeSuite):
    path: ClassVar[str] = "/function"

    @pytest.fixture
    async def harness(self) -> AsyncIterator[RuntimeHarness]:
        async with serving() as server:
            yield HttpHarness(server, self.path)


class TestHttp(HttpSuite):
    features = RuntimeFeatures(
        capacity=3,
        ending=0.5,
        logs="no header for it is known",
        deadlines="in a header, which is tested with the others",
        apart=ELSEWHERE,
        resetting=ELSEWHERE,
        init=ELSEWHERE,
        slow_init=ELSEWHERE,
    )


class TestInvokeByHttp(HttpSuite):
    path = INVOKE
    features = RuntimeFeatures(
        capacity=3,
        ending=0.5,
        deadlines="in a header, which is tested with the others",
        apart=ELSEWHERE,
        resetting=ELSEWHERE,
        init=ELSEWHERE,
        slow_init=ELSEWHERE,
    )
