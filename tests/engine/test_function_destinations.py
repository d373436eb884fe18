"""Functions as destinations of functions, over the embedded queue: chains, and chains that would be loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn import App, ConfigurationError
from streamfn.testing import MemoryDestination, MemoryEvents
from tests.engine.asynchronous import Invoked, failing
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(name="bench", state_dir=tmp_path)


async def test_a_failure_invokes_a_function_with_its_record(app: App) -> None:
    mourn = Invoked()
    app.function(name="f")(Invoked(failing()))
    app.function(name="mourn")(mourn)
    app.event_invoke_config("f", RetryDelays=[0.05], OnFailure="function:mourn")
    async with app:
        request_id = await app.enqueue("f", {"a": 1})
        await until(lambda: mourn.events)
    (record,) = mourn.events
    assert record["requestContext"]["requestId"] == request_id
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestPayload"] == {"a": 1}
    assert mourn.ids != [request_id]


async def test_a_destination_may_be_an_alias(app: App) -> None:
    g = Invoked()
    app.function(name="f")(Invoked(lambda _: "answer"))
    app.function(name="g")(g)
    app.event_invoke_config("f", OnSuccess="function:g:live")
    app.event_invoke_config("g", Qualifier="live")
    async with app:
        await app.enqueue("f", 1)
        await until(lambda: g.events)
    assert g.events[0]["responsePayload"] == "answer"
    assert g.contexts[0].invoked_function_arn.endswith(":g:live")


@pytest.mark.parametrize("name", ["nobody", "nobody:live", "g:nobody"])
async def test_a_destination_has_to_be_there(app: App, name: str) -> None:
    app.function(name="f")(Invoked())
    app.function(name="g")(Invoked())
    app.event_invoke_config("f", OnSuccess=f"function:{name}")
    with pytest.raises(ConfigurationError, match="Function (not found|does not exist)"):
        await app.start()


async def test_functions_that_are_each_others_destinations_are_stopped(app: App) -> None:
    f, g, failures = Invoked(), Invoked(), MemoryDestination()
    app.function(name="f")(f)
    app.function(name="g")(g)
    app.event_invoke_config("f", OnSuccess="function:g", OnFailure=failures)
    app.event_invoke_config("g", OnSuccess="function:f", OnFailure=failures)
    async with app:
        await app.enqueue("f", 1)
        with anyio.fail_after(15):
            await failures.wait_messages()
    assert (len(f.at), len(g.at)) == (16, 16)
    (record,) = failures.bodies()
    assert record["requestContext"]["functionArn"].endswith(":f:$LATEST")
    assert record["requestContext"]["condition"] == "RecursiveInvocationException"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert record["responsePayload"]["errorType"] == "RecursiveInvocationException"


async def test_failures_that_go_round_are_stopped(app: App) -> None:
    """A loop through a destination and an enqueue, with failures in it."""

    async def again(record: Any) -> None:
        await app.enqueue("f", 1)

    f, repair, dead = Invoked(failing()), Invoked(again), MemoryDestination()
    app.function(name="f")(f)
    app.function(name="repair")(repair)
    options = {"MaximumRetryAttempts": 1, "RetryDelays": [0]}
    app.event_invoke_config("f", OnFailure="function:repair", **options)
    app.event_invoke_config("repair", OnFailure=dead)
    async with app:
        await app.enqueue("f", 1)
        with anyio.fail_after(15):
            await dead.wait_messages()
    (record,) = dead.bodies()
    assert record["requestContext"]["condition"] == "RecursiveInvocationException"
    assert len(repair.at) == 16
    assert record["requestPayload"]["requestContext"]["condition"] == "RecursiveInvocationException"
    assert len(f.at) == 32


async def test_apps_share_the_events_of_a_state_directory(app: App, tmp_path: Path) -> None:
    g, stuck = Invoked(lambda _: anyio.sleep(0.01)), Invoked(lambda _: anyio.sleep_forever())
    app.function(name="f")(Invoked())
    app.function(name="g", reserved_concurrency=1)(g)
    app.event_invoke_config("f", OnSuccess="function:g")
    other = App(name="other", state_dir=tmp_path)
    other.function(name="g", reserved_concurrency=1)(stuck)
    other.event_invoke_config("g", MaximumRetryAttempts=0)
    async with app, other:
        for number in range(20):
            await app.enqueue("f", number)
        await until(lambda: stuck.events and len(g.events) >= 18)
        await other.stop(grace=0)
        await until(lambda: len(g.events) >= 20)
    assert sorted(record["requestPayload"] for record in g.events) == list(range(20))


async def test_an_app_with_a_queue_of_its_own_has_no_functions_as_destinations(tmp_path: Path) -> None:
    app = App(state_dir=tmp_path, event_queue=MemoryEvents())
    app.function(name="f")(Invoked())
    app.function(name="g")(Invoked())
    app.event_invoke_config("f", OnSuccess="function:g")
    with pytest.raises(ConfigurationError, match="and this app has another"):
        await app.start()
