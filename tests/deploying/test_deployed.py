"""Deployed functions through the App, in real processes: invoked, mapped, published, aliased, changed."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn import App, ConfigurationError, TooManyRequests
from streamfn.core.versions import Alias
from streamfn.errors import InvalidRequestContent, PayloadTooLarge, StreamfnError
from tests.waiting import until

pytestmark = pytest.mark.anyio

ECHO = """
import os
def handler(event, context):
    if event == "fail":
        raise ValueError("told to")
    return {"event": event, "version": context.function_version, "arn": context.invoked_function_arn,
            "id": context.aws_request_id, "pid": os.getpid()}
"""
OPTIONS: dict[str, Any] = {"runtime": "python3.11", "handler": "index.handler", "timeout": 10}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(state_dir=tmp_path / "state", seed=1)


@pytest.fixture
def echo(app: App) -> App:
    app.deploy("echo", inline_code=ECHO, **OPTIONS)
    return app


async def answer(app: App, *args: Any, **options: Any) -> Any:
    response = await app.invoke(*args, **options)
    assert response.function_error == "", response.payload
    return json.loads(response.payload)


async def test_a_function_answers_who_waits(echo: App) -> None:
    async with echo as app:
        response = await app.invoke("echo", {"a": 1})
        said = json.loads(response.payload)
        assert said["event"] == {"a": 1}
        assert (said["id"], said["version"]) == (response.request_id, "$LATEST")
        assert said["arn"].endswith(":function:echo")
        assert response.executed_version == "$LATEST"
        assert response.log_result.startswith(f"START RequestId: {response.request_id}".encode())
        assert said["pid"] == (await answer(app, "echo"))["pid"]  # the same environment


async def test_its_error_is_an_answer(echo: App) -> None:
    async with echo as app:
        response = await app.invoke("echo", "fail")
        assert response.function_error == "Unhandled"
        said = json.loads(response.payload)
        assert (said["errorType"], said["errorMessage"]) == ("ValueError", "told to")
        assert said["requestId"] == response.request_id


async def test_what_cannot_be_invoked_is_refused(echo: App) -> None:
    with pytest.raises(StreamfnError, match="the app is not running"):
        await echo.invoke("echo")
    async with echo as app:
        with pytest.raises(InvalidRequestContent):
            await app.invoke("echo", b"{")
        with pytest.raises(PayloadTooLarge, match="a synchronous invocation takes 6,291,456"):
            await app.invoke("echo", "x" * 6_291_456)
        with pytest.raises(ConfigurationError, match="Function does not exist"):
            await app.invoke("other")
        with pytest.raises(ConfigurationError, match="function echo has no version or alias prod"):
            await app.invoke("echo", qualifier="prod")


async def test_functions_of_the_process_answer_too(app: App) -> None:
    @app.function
    def add(event: Any, context: Any) -> int:
        return int(event["a"] + event["b"])

    @app.function
    async def fails(event: Any, context: Any) -> None:
        raise KeyError("k")

    async with app:
        assert await answer(app, add, {"a": 1, "b": 2}) == 3
        response = await app.invoke("fails")
        assert (response.function_error, json.loads(response.payload)["errorType"]) == (
            "Unhandled",
            "KeyError",
        )
        with pytest.raises(ConfigurationError, match="runs in this process, and has no versions"):
            await app.invoke("add:1")


async def test_who_invokes_one_function_after_another_begins_a_chain_with_each(app: App) -> None:
    """A connection that invokes again and again is no function that invokes itself."""
    traces = []

    @app.function
    async def f(event: Any, context: Any) -> None:
        traces.append(context.trace)

    async with app:
        for _ in range(3):
            await app.invoke(f)
    assert traces == [None] * 3


@pytest.mark.parametrize(
    ("reserved", "reason"),
    [
        (0, "ReservedFunctionConcurrentInvocationLimitExceeded"),
        (None, "ConcurrentInvocationLimitExceeded"),
    ],
)
async def test_who_finds_no_place_is_told_so(tmp_path: Path, reserved: int | None, reason: str) -> None:
    """A22, and the same of the account."""
    app = App(state_dir=tmp_path, concurrent_executions=1)
    holding = anyio.Event()

    @app.function
    async def holds(event: Any, context: Any) -> None:
        holding.set()
        await anyio.sleep_forever()

    app.deploy("echo", inline_code=ECHO, reserved_concurrency=reserved, **OPTIONS)
    async with app, anyio.create_task_group() as tasks:
        if reserved is None:
            tasks.start_soon(app.invoke, holds)
            await holding.wait()
        with pytest.raises(TooManyRequests, match=r"^Rate Exceeded\.$") as caught:
            await app.invoke("echo")
        assert caught.value.reason == reason
        tasks.cancel_scope.cancel()


async def test_too_much_cannot_be_reserved(tmp_path: Path) -> None:
    app = App(state_dir=tmp_path, concurrent_executions=100)
    app.deploy("echo", inline_code=ECHO, reserved_concurrency=91, **OPTIONS)
    with pytest.raises(
        ConfigurationError, match=r"echo.ReservedConcurrentExecutions: .* below its minimum value of \[10\]"
    ):
        await app.start()


async def test_a_queue_feeds_it_and_what_fails_is_named(app: App) -> None:
    code = """
def handler(event, context):
    bad = [r for r in event["Records"] if r["body"] == '"bad"']
    first = [r for r in bad if r["attributes"]["ApproximateReceiveCount"] == "1"]
    return {"batchItemFailures": [{"itemIdentifier": r["messageId"]} for r in first]}
"""
    app.deploy("count", inline_code=code, **OPTIONS)
    app.event_source_mapping(
        "count",
        "local:queue/in",
        batch_size=10,
        function_response_types=["ReportBatchItemFailures"],
        retry_delay=0,
    )
    async with app:
        await put(app, "local:queue/in", ["good", "bad"])
        await until(lambda: app.statuses()[0].counters.get("InvokedEventCount", 0) == 3)
        assert app.statuses()[0].counters["FailedInvokeEventCount"] == 1


async def test_events_are_delivered_and_their_answers_kept(echo: App) -> None:
    echo.event_invoke_config(
        "echo", on_success="local:queue/done", on_failure="local:queue/failed", maximum_retry_attempts=0
    )
    async with echo as app:
        good = await app.enqueue("echo", {"n": 12345678901234567890})
        bad = await app.enqueue("echo", "fail")
        done, failed = await taken(app, "local:queue/done"), await taken(app, "local:queue/failed")
        assert done["requestContext"]["requestId"] == good
        assert done["responsePayload"]["event"] == {"n": 12345678901234567890}
        assert failed["requestContext"]["requestId"] == bad
        assert failed["responsePayload"]["errorType"] == "ValueError"
        assert failed["responseContext"]["functionError"] == "Unhandled"


async def test_events_go_to_what_an_alias_stands_for(app: App) -> None:
    app.deploy("echo", inline_code=ECHO, auto_publish_alias="prod", **OPTIONS)
    app.event_invoke_config("echo:prod", on_success="local:queue/done")
    async with app:
        request_id = await app.enqueue("echo:prod", {"n": 1})
        done = await taken(app, "local:queue/done")
        assert done["requestContext"]["requestId"] == request_id
        assert done["requestContext"]["functionArn"].endswith(":function:echo:prod")
        assert done["responseContext"] == {"statusCode": 200, "executedVersion": "1"}
        assert done["responsePayload"]["arn"].endswith(":function:echo:prod")
        with pytest.raises(ConfigurationError, match="no version or alias other"):
            await app.enqueue("echo:other", {})


async def test_environments_are_added_at_a_limited_rate(app: App) -> None:
    app.deploy("echo", inline_code=ECHO, scaling_rate=1, **OPTIONS)
    async with app:
        async with anyio.create_task_group() as tasks:
            refused = []

            async def call() -> None:
                try:
                    await app.invoke("echo")
                except TooManyRequests as error:
                    refused.append(error.reason)

            for _ in range(3):
                tasks.start_soon(call)
        assert refused == ["ConcurrentInvocationLimitExceeded"] * 2


async def test_versions_stay_and_aliases_choose(app: App, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "app.py").write_text("def handler(event, context): return 'one'")
    app.deploy("f", code_uri=str(folder), runtime="python3.11", handler="app.handler", timeout=10)
    async with app:
        first = await app.deployed.publish("f", "the first")
        assert (await app.deployed.publish("f")).version == first.version == "1"
        (folder / "app.py").write_text("def handler(event, context): return 'two'  # changed")

        async def changed() -> bool:
            return bool(await answer(app, "f") == "two")

        await until(changed)
        assert (await app.deployed.publish("f")).version == "2"
        await app.deployed.put_alias(Alias("f", "prod", "1"))
        response = await app.invoke("f", qualifier="prod")
        assert (response.payload, response.executed_version) == (b'"one"', "1")
        assert (await app.invoke("f:2")).payload == b'"two"'
        await app.deployed.put_alias(Alias("f", "prod", "1", {"2": 0.5}))
        said = Counter([await answer(app, "f:prod") for _ in range(60)])
        assert said["one"] > 10
        assert said["two"] > 10
        assert await app.deployed.delete_alias("f", "prod")
        with pytest.raises(ConfigurationError, match="take one of 1, 2"):
            await app.invoke("f:prod")


async def test_releases_are_there_after_a_restart_and_in_other_processes(tmp_path: Path) -> None:
    def made() -> App:
        app = App(state_dir=tmp_path)
        app.deploy("echo", inline_code=ECHO, environment={"SECRET": "hush"}, **OPTIONS)
        return app

    async with made() as one, made() as other:
        await one.deployed.publish("echo")
        await one.deployed.put_alias(Alias("echo", "prod", "1"))

        async def known() -> bool:
            return "prod" in other.deployed.releases.aliases("echo")

        await until(known)
        assert (await answer(other, "echo:prod"))["version"] == "1"
    async with made() as again:
        assert (await answer(again, "echo:prod"))["version"] == "1"
    assert b"hush" not in (tmp_path / "functions.db").read_bytes()


async def test_a_mapping_follows_its_alias(echo: App) -> None:
    echo.event_source_mapping("echo:prod", "local:queue/in", batch_size=1)
    with pytest.raises(ConfigurationError, match="has no version or alias prod"):
        await echo.start()
    await echo.stop()
    config = echo.deployments.pop("echo")
    del echo.functions["echo"]
    echo.deploy_config("echo", config.model_copy(update={"auto_publish_alias": "prod"}))
    async with echo as app:
        await put(app, "local:queue/in", [1])
        await until(lambda: app.deployed.invocations["echo", "1"] == 1)
        await app.deployed.delete_alias("echo", "prod")
        await put(app, "local:queue/in", [2])
        await until(lambda: app.statuses()[0].counters.get("Throttles", 0) > 0)
        # Nothing was lost: it is there for whatever the alias stands for next.
        await app.deployed.put_alias(Alias("echo", "prod", "1"))
        await until(lambda: app.deployed.invocations["echo", "1"] == 2)


@pytest.mark.parametrize(
    ("second", "ending"), [("return 'two'", "Done"), ("raise ValueError()", "RolledBack")]
)
async def test_traffic_is_shifted_and_goes_back_when_it_fails(
    app: App, tmp_path: Path, second: str, ending: str
) -> None:
    file = tmp_path / "app.py"
    file.write_text("def handler(event, context): return 'one'")
    app.deploy("f", code_uri=str(await zipped(file)), runtime="python3.11", handler="app.handler", timeout=10)
    async with app:
        await app.deployed.publish("f")
        await app.deployed.put_alias(Alias("f", "prod", "1"))
        file.write_text(f"def handler(event, context): {second}  # changed")
        await zipped(file)

        async def published() -> bool:
            return (await app.deployed.publish("f")).version == "2"

        await until(published)
        result = []

        async def shift() -> None:
            result.append((await app.deployed.shift("f", "prod", "2", "Canary50Percent3Seconds", 0.5)).value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shift)
            while not result:
                await app.invoke("f:prod")
        assert result == [ending]
        assert app.deployed.releases.aliases("f")["prod"].versions == ("2" if ending == "Done" else "1",)
        assert app.deployed.invocations["f", "2"] > 20


async def zipped(file: Path) -> Path:
    """The file in a zip beside it, in one step."""
    made = file.with_suffix(".new")
    with zipfile.ZipFile(made, "w") as archive:
        archive.write(file, file.name)
    return made.rename(file.with_suffix(".zip"))


async def test_provisioned_environments_are_ready_before_they_are_used(echo: App) -> None:
    echo.deployments["echo"] = type(echo.deployments["echo"]).load(
        {"inline_code": ECHO, **OPTIONS, "provisioned_concurrency": 2}
    )

    def provisioned() -> Any:
        return echo.deployed.shown("echo")["versions"][0]

    async with echo as app:
        await until(lambda: provisioned()["provisioned_status"] == "READY")
        assert provisioned()["provisioned"] == 2
        assert b"Init Duration" not in (await app.invoke("echo")).log_result


async def test_code_that_cannot_run_is_refused_and_named(app: App, tmp_path: Path) -> None:
    app.deploy("f", code_uri=str(tmp_path / "nothing"), runtime="python3.11", handler="a.b")
    with pytest.raises(ConfigurationError, match=r"^f\.CodeUri: .*nothing is no folder and no zip"):
        await app.start()


async def test_reserved_variables_are_refused(app: App) -> None:
    app.deploy("f", inline_code=ECHO, environment={"AWS_REGION": "x"}, **OPTIONS)
    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        await app.start()


async def put(app: App, destination: str, values: list[Any]) -> None:
    from streamfn.ports import Message

    end = app.destination_of(destination)
    assert end is not None
    assert not await end.send([Message(json.dumps(value).encode()) for value in values])
    await end.close()


async def taken(app: App, queue: str) -> Any:
    """The next message of a queue."""
    from streamfn import plugins
    from streamfn.ports import is_queue

    source = plugins.source(queue, {"state_dir": app.state_dir})
    assert is_queue(source)
    async with source.open() as shard:
        (record,) = await shard.read(1, 30.0)
        await shard.ack([record])
        return record.json()
