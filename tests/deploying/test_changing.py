"""What changes while an app runs: functions come, change and go; their places, provisions and events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn import App, ConfigurationError, TooManyRequests, plugins
from streamfn.app import MappingStatus
from streamfn.config import EventInvokeConfig, EventSourceMapping, FunctionConfig
from streamfn.core.admission import InvalidConcurrency
from streamfn.core.versions import Alias
from streamfn.ports import Message, is_queue
from streamfn.testing.memory import MemoryQueue
from tests.waiting import until

pytestmark = pytest.mark.anyio

SAYS = """
import socket
def handler(event, context):
    if isinstance(event, dict) and "hold" in event:
        with socket.create_connection(("127.0.0.1", event["hold"])) as gate:
            gate.recv(1)
    return "WORD " + str(context.memory_limit_in_mb)
"""


class Gate:
    """Where an invocation stands until it is let through: it runs in a process of its own."""

    def __init__(self, port: int) -> None:
        self.event = {"hold": port}
        self.reached = anyio.Event()
        self.open = anyio.Event()


@asynccontextmanager
async def gate() -> AsyncIterator[Gate]:
    async def stand(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.reached.set()
        await made.open.wait()
        writer.close()

    server = await asyncio.start_server(stand, "127.0.0.1", 0)
    made = Gate(server.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        made.open.set()
        server.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(state_dir=tmp_path / "state", seed=1, serves_api=True, concurrent_executions=200)


def says(word: str, **options: Any) -> FunctionConfig:
    given = {"runtime": "python3.11", "handler": "index.handler", "timeout": 20}
    return FunctionConfig.load({"inline_code": SAYS.replace("WORD", word), **given, **options})


async def said(app: App, function: str = "f", payload: Any = None, **options: Any) -> Any:
    response = await app.invoke(function, payload, **options)
    assert not response.function_error, response.payload
    return json.loads(response.payload)


async def test_a_function_is_made_changed_and_removed_while_the_app_runs(app: App) -> None:
    async with app, gate() as held_at, anyio.create_task_group() as tasks:
        with pytest.raises(ConfigurationError, match="Function does not exist"):
            await app.invoke("f")
        await app.put_function("f", says("one"))
        assert await said(app) == "one 128"

        held: list[str] = []

        async def hold() -> None:
            held.append(await said(app, payload=held_at.event))

        tasks.start_soon(hold)
        await held_at.reached.wait()
        await app.put_function("f", says("two", memory_size=256))
        assert await said(app) == "two 256"
        assert not held
        await app.remove_function("f")
        with pytest.raises(ConfigurationError, match="Function does not exist"):
            await app.invoke("f")
        held_at.open.set()
        await until(lambda: held)
        assert held == ["one 128"], "what was in flight ended on the code that it began with"

        await app.put_function("f", says("three"))
        assert await said(app) == "three 128"


async def test_what_cannot_run_changes_nothing(app: App) -> None:
    async with app:
        await app.put_function("f", says("one"))
        with pytest.raises(ConfigurationError):
            await app.put_function("f", says("two", code_uri="/nowhere", inline_code=None))
        with pytest.raises(ConfigurationError):
            await app.put_function("g", says("two", runtime="nodejs99.x", strict_runtime=True))
        with pytest.raises(ConfigurationError, match="CodeUri"):
            await app.put_function("g", FunctionConfig.load({"handler": "a:b"}))
        with pytest.raises(InvalidConcurrency, match=r"below its minimum value of \[20\]"):
            await app.put_function("f", says("two", reserved_concurrency=190))
        assert await said(app) == "one 128"
        assert set(app.functions) == {"f"}
        with pytest.raises(ConfigurationError, match="Function not found: g"):
            await app.remove_function("g")


async def test_functions_that_are_declared_are_not_changed(app: App) -> None:
    @app.function
    def mine(event: Any, context: Any) -> str:
        return "mine"

    app.deploy("also", inline_code=SAYS, runtime="python3.11", handler="index.handler")
    async with app:
        for name in ("mine", "also"):
            with pytest.raises(ConfigurationError, match=f"The function {name} is declared by the app"):
                await app.put_function(name, says("other"))
            with pytest.raises(ConfigurationError, match=f"The function {name} is declared by the app"):
                await app.remove_function(name)
        assert await said(app, "mine") == "mine"


async def test_versions_go_with_their_function_and_numbers_are_not_used_again(app: App) -> None:
    async with app:
        await app.put_function("f", says("one"))
        assert (await app.deployed.publish("f")).version == "1"
        await app.deployed.put_alias(Alias("f", "prod", "1"))
        await app.put_function("f", says("two"))
        assert await said(app, qualifier="prod") == "one 128"
        assert (await app.deployed.publish("f")).version == "2"
        with pytest.raises(ConfigurationError, match="prod"):
            await app.deployed.delete_version("f", "1")
        assert await said(app, qualifier="2") == "two 128"
        assert await app.deployed.delete_version("f", "2")
        with pytest.raises(ConfigurationError, match="no version 2"):
            await app.invoke("f", qualifier="2")
        await app.remove_function("f")
        await app.put_function("f", says("three"))
        with pytest.raises(ConfigurationError, match="no version or alias prod"):
            await app.invoke("f", qualifier="prod")
        assert (await app.deployed.publish("f")).version == "3"


async def put(app: App, destination: str, values: list[Any]) -> None:
    end = app.destination_of(destination)
    assert end is not None
    assert not await end.send([Message(json.dumps(value).encode()) for value in values])
    await end.close()


async def taken(app: App, queue: str) -> Any:
    """The next message of a queue."""
    source = plugins.source(queue, {"state_dir": app.state_dir})
    assert is_queue(source)
    async with source.open() as shard:
        (record,) = await shard.read(1, 30.0)
        await shard.ack([record])
        return record.json()


def counted(app: App, name: str) -> int:
    return app.counters.of("m").get(name, 0)


async def test_batches_of_a_function_that_is_gone_wait_for_it(app: App) -> None:
    async with app:
        mapping = EventSourceMapping.load({"name": "m", "function": "f", "source": "local:queue/q"})
        with pytest.raises(ConfigurationError, match="Function does not exist"):
            await app.add_mapping(mapping)
        await app.add_mapping(mapping, missing_function=True)
        await put(app, "local:queue/q", [1])
        await until(lambda: counted(app, "Throttles"))
        await app.put_function("f", says("one"))
        await until(lambda: status(app).last_processing_result == "OK")
        await app.remove_function("f")
        assert status(app).state == "Enabled"
        await app.update_mapping("m", batch_size=5)
        await until(lambda: status(app).state == "Enabled")
        throttles = counted(app, "Throttles")
        await put(app, "local:queue/q", [2])
        await until(lambda: counted(app, "Throttles") > throttles)
        await app.put_function("f", says("two"))
        await until(lambda: status(app).last_processing_result == "OK")
        assert counted(app, "InvokeErrorCount") == counted(app, "DroppedEventCount") == 0


def status(app: App) -> MappingStatus:
    found = app.mapping_status("m")
    assert found is not None
    return found


async def test_a_mapping_that_cannot_begin_harms_no_other(app: App) -> None:
    class Broken(MemoryQueue):
        def open(self) -> Any:
            raise ConfigurationError("nobody is there", field="EventSourceArn")

    async with app:
        await app.put_function("f", says("one"))
        await app.add_mapping(EventSourceMapping.load({"name": "m", "function": "f", "source": Broken()}))
        await until(lambda: counted(app, "Crashes"))
        assert "nobody is there" in status(app).last_processing_result
        assert await said(app) == "one 128"
        await app.remove_mapping("m")
        assert app.mapping_status("m") is None


async def test_places_are_reserved_while_invocations_run(app: App) -> None:
    async with app, gate() as held_at, anyio.create_task_group() as tasks:
        await app.put_function("f", says("one"))
        await app.put_function("g", says("two"))
        tasks.start_soon(app.invoke, "f", held_at.event)
        await held_at.reached.wait()
        await app.reserve("f", 1)
        assert app.functions["f"].reserved_concurrency == 1
        with pytest.raises(TooManyRequests) as caught:
            await app.invoke("f")
        assert caught.value.reason == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert app.account.unreserved == 199
        with pytest.raises(InvalidConcurrency, match=r"below its minimum value of \[20\]"):
            await app.reserve("g", 180)
        await app.reserve("f", None)
        assert await said(app) == "one 128"
        await app.reserve("f", 0)
        with pytest.raises(TooManyRequests):
            await app.invoke("f")
        await app.put_function("f", says("three"))
        with pytest.raises(TooManyRequests):
            await app.invoke("f")
        held_at.open.set()
        await app.reserve("f", 1)

        async def free() -> bool:
            try:
                return bool(await said(app) == "three 128")
            except TooManyRequests:
                return False

        await until(free)
        await app.remove_function("f")
        assert app.account.unreserved == 200
        await app.reserve("f", 0)
        await app.put_function("f", says("four"))
        with pytest.raises(TooManyRequests):
            await app.invoke("f")


async def test_versions_are_kept_initialised_as_asked_also_after_a_restart(app: App) -> None:
    async with app:
        await app.put_function("f", says("one"))
        await app.deployed.publish("f")
        with pytest.raises(InvalidConcurrency, match="cannot be applied to unpublished"):
            await app.provision("f", "$LATEST", 1)
        with pytest.raises(ConfigurationError, match="no version or alias 7"):
            await app.provision("f", "7", 1)
        with pytest.raises(InvalidConcurrency, match="greater than account's unreserved"):
            await app.provision("f", "1", 500)
        await app.provision("f", "1", 2)
        await until(lambda: provisioned(app) == ("READY", 2, 2))
        with pytest.raises(InvalidConcurrency, match=r"provisioned concurrency \[2\]"):
            await app.reserve("f", 1)

    async with (again := App(state_dir=app.state_dir, serves_api=True)):
        await again.put_function("f", says("one"))
        await until(lambda: provisioned(again) == ("READY", 2, 2))
        await again.provision("f", "1", None)
        assert again.deployed.provisioned("f", "1") is None
        await until(lambda: again.functions_shown()[0]["versions"][1]["provisioned"] == 0)


def provisioned(app: App) -> tuple[str, int, int]:
    found = app.deployed.provisioned("f", "1")
    assert found is not None
    return found.status, found.requested, found.available


async def test_events_that_wait_go_by_what_is_configured_then(app: App) -> None:
    async with app, gate() as held_at:
        await app.put_function("f", says("one", timeout=30))
        first = await app.enqueue("f", held_at.event)
        await held_at.reached.wait()
        config = EventInvokeConfig.load({"function": "f", "on_success": "local:queue/done"})
        await app.put_event_invoke_config(config)
        second = await app.enqueue("f", {})
        done = await taken(app, "local:queue/done")
        assert done["requestContext"]["requestId"] == second, "while the first one runs"
        held_at.open.set()
        with pytest.raises(ConfigurationError, match="no version or alias prod"):
            await app.put_event_invoke_config(EventInvokeConfig.load({"function": "f:prod"}))
        bad = EventInvokeConfig.load({"function": "f", "on_success": "function:nobody"})
        with pytest.raises(ConfigurationError):
            await app.put_event_invoke_config(bad)
        assert app.event_invoke_configs["f"] == config
        await app.remove_event_invoke_config("f")
        assert app.event_plan_of("f").on_success is None
        assert first != second


async def test_events_of_before_a_restart_go_on_when_their_function_is_there(app: App) -> None:
    """Here those of an alias, whose options come before the function does."""
    async with gate() as held_at:
        async with app:
            await app.put_function("f", says("one"))
            await app.deployed.publish("f")
            await app.deployed.put_alias(Alias("f", "prod", "1"))
            request_id = await app.enqueue("f", held_at.event, qualifier="prod")
            await held_at.reached.wait()
            assert not await app.stop(grace=0)
        held_at.open.set()
        config = EventInvokeConfig.load({"function": "f:prod", "on_success": "local:queue/done"})
        async with (again := App(state_dir=app.state_dir, serves_api=True)):
            await again.put_event_invoke_config(config)
            await again.put_function("f", says("two"))
            done = await taken(again, "local:queue/done")
    assert done["requestContext"]["requestId"] == request_id
    assert done["responsePayload"] == "one 128"


async def test_events_wait_for_a_function_that_is_made_again(app: App) -> None:
    """And what cannot be processed goes to the dead-letter queue that the function is deployed with."""
    config = EventInvokeConfig.load({"function": "f", "on_success": "local:queue/done"})
    async with app:
        await app.put_function("f", says("one", reserved_concurrency=0))
        await app.put_event_invoke_config(config)
        await app.remove_function("f")
        with pytest.raises(ConfigurationError, match="Function not found: f"):
            await app.enqueue("f", {})
        await app.put_function("f", says("two"))
        await app.put_event_invoke_config(config)
        await app.enqueue("f", {})
        assert (await taken(app, "local:queue/done"))["responsePayload"] == "two 128"

    queue = {"target_arn": "local:queue/letters"}
    async with (again := App(state_dir=app.state_dir, serves_api=True)):
        await again.put_function("f", says("three", dead_letter_config=queue))
        end = again.event_plan_of("f").dead_letter_queue
        assert end is not None
        assert end.name == "local:queue/letters"
