"""Functions that outlive the process that made them, and changes that meet one another."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from botocore.exceptions import ClientError

from streamfn import App
from streamfn.control.api import LambdaApi
from streamfn.control.operations import Operating
from streamfn.control.plane import Plane
from streamfn.control.resources import Resources
from streamfn.errors import ConfigurationError, StreamfnError
from streamfn.ports.resources import Resource, ResourceStore
from streamfn.stores.resources import SqliteResourceStore
from streamfn.testing.resources import MemoryResourceStore
from tests.control.calling import Calls
from tests.control.function_calls import ONE, ROLE, TWO, active, create, said, zipped
from tests.waiting import until

pytestmark = pytest.mark.anyio

PROGRAM = Path(__file__).with_name("making_functions.py")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def daemon(state: Path, store: ResourceStore, **options: Any) -> AsyncIterator[tuple[Plane, Calls]]:
    """A process on what others have left."""
    app = options.pop("app", None) or App(state_dir=state, serves_api=True)
    resources = Resources(store)
    await resources.load()
    async with app, anyio.create_task_group() as tasks:
        plane = Plane(app, resources, tasks, time.time, state, **options)  # noqa: TID251 - as the daemon has it
        operating = Operating(plane)
        await operating.restore()
        yield plane, Calls(LambdaApi(operating.operations(), plane.identity))
        tasks.cancel_scope.cancel()


def changed(store: MemoryResourceStore, **members: Any) -> None:
    """What a process that was killed would have left."""
    known = store.kept["function", "orders"].document
    assert known is not None
    store.kept["function", "orders"] = Resource("function", "orders", {**known, **members})


async def test_functions_versions_aliases_and_layers_come_back(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    layer = {"Content": {"ZipFile": zipped({"python/words.py": "SAID = 1"})}}
    async with daemon(tmp_path, store) as (_, call):
        arn = (await call("PublishLayerVersion", LayerName="words", **layer))["LayerVersionArn"]
        await create(call, Publish=True, Layers=[arn], Environment={"Variables": {"COLOUR": "red"}})
        await call("CreateAlias", FunctionName="orders", Name="live", FunctionVersion="1")
        await call("UpdateFunctionCode", FunctionName="orders", ZipFile=TWO)
        before = await active(call)
        shown = await call("GetFunctionConfiguration", FunctionName="orders", Qualifier="1")
    async with daemon(tmp_path, store) as (plane, call):
        assert await active(call) == before
        assert (await said(plane))["said"] == "two"
        assert (await said(plane, qualifier="live"))["said"] == "one"
        again = await call("GetFunctionConfiguration", FunctionName="orders", Qualifier="1")
        assert (again["Layers"], again["Environment"]) == (shown["Layers"], {"Variables": {"COLOUR": "red"}})
        # Nothing has changed since: there is nothing to publish but the new code.
        assert (await call("PublishVersion", FunctionName="orders"))["Version"] == "2"
        assert (await call("PublishVersion", FunctionName="orders"))["Version"] == "2"
        uploads = {path.name for path in (tmp_path / "uploads").iterdir()}
        assert len(uploads) == 3


@pytest.mark.parametrize("lines", [1, 4, 11])
async def test_what_was_answered_survives_a_kill(tmp_path: Path, lines: int) -> None:
    said_so: dict[str, str] = {}
    command = [sys.executable, str(PROGRAM), str(tmp_path), "f"]
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])}
    async with await anyio.open_process(command, stderr=None, env=environment) as process:
        assert process.stdout is not None
        output = BufferedByteReceiveStream(process.stdout)
        for _ in range(lines):
            name, hashed = (await output.receive_until(b"\n", 1000)).decode().split()
            said_so[name] = hashed
        process.kill()
    async with SqliteResourceStore.at(tmp_path) as store, daemon(tmp_path, store) as (plane, call):
        listed = {each["FunctionName"]: each for each in (await call("ListFunctions"))["Functions"]}
        for name, hashed in said_so.items():
            if hashed == "deleted":
                assert name not in listed
            elif name != f"f{len(said_so) - 2}":  # Which may be being deleted.
                assert listed[name]["CodeSha256"] == hashed
        for name in listed:
            assert (await active(call, name))["State"] == "Active"
            assert (await said(plane, name))["said"] == name
        kept = {path.stem for path in (tmp_path / "uploads").iterdir()}
        documents = plane.resources.all("function").values()
        assert kept == {document["Code"]["Upload"] for document in documents}


async def test_what_was_on_its_way_goes_on(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    async with daemon(tmp_path, store) as (_, call):
        await create(call)
        await active(call)
    changed(store, State="Pending", LastUpdateStatus=None)
    async with daemon(tmp_path, store) as (plane, call):
        assert (await active(call))["State"] == "Active"
        assert (await said(plane))["said"] == "one"


async def test_what_was_being_deleted_is_deleted(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    async with daemon(tmp_path, store) as (_, call):
        await create(call, Publish=True)
    changed(store, State="Deleting")
    async with daemon(tmp_path, store) as (plane, call):
        assert plane.resources.all("function") == {}
        assert (await call("ListFunctions"))["Functions"] == []
        assert list((tmp_path / "uploads").iterdir()) == []
        await create(call, Publish=True)
        listed = await call("ListVersionsByFunction", FunctionName="orders")
        assert [each["Version"] for each in listed["Versions"]] == ["$LATEST", "2"]


async def test_what_was_put_for_a_deleted_alias_is_removed(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    kinds = ("event-invoke-config", "policy", "url")
    async with daemon(tmp_path, store) as (plane, call):
        await create(call, Publish=True)
        await call("CreateAlias", FunctionName="orders", Name="live", FunctionVersion="1")
        for qualifier in ("1", "live"):
            await call(
                "PutFunctionEventInvokeConfig",
                FunctionName="orders",
                Qualifier=qualifier,
                MaximumRetryAttempts=0,
            )
        # As a process leaves it that is killed in the middle of DeleteAlias.
        await plane.app.deployed.delete_alias("orders", "live")
    for kind in kinds[1:]:
        store.kept[kind, "orders:live"] = Resource(kind, "orders:live", {"RevisionId": "x"})
    async with daemon(tmp_path, store) as (plane, call):
        assert {key for kind in kinds for key in plane.resources.all(kind)} == {"orders:1"}
        assert set(plane.app.event_invoke_configs) == {"orders:1"}


async def test_a_change_that_cannot_be_made_is_taken_back(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    async with daemon(tmp_path, store) as (_, call):
        await create(call)
        await active(call)
    before = store.kept["function", "orders"].document
    changed(store, LastUpdateStatus="InProgress", Runtime="java21", Before=before)
    for _ in range(2):  # It stays known.
        async with daemon(tmp_path, store) as (plane, call):
            now = await active(call)
            assert (now["State"], now["LastUpdateStatus"]) == ("Active", "Failed")
            assert now["Runtime"] == "python3.11"
            assert (await said(plane))["said"] == "one"


async def test_code_that_is_gone_fails_and_stops_nothing(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    async with daemon(tmp_path, store) as (_, call):
        await create(call)
        await create(call, "other", data=TWO)
        await active(call, "orders")
        await active(call, "other")
    document = store.kept["function", "orders"].document
    assert document is not None
    (tmp_path / "uploads" / f"{document['Code']['Upload']}.zip").unlink()
    async with daemon(tmp_path, store) as (plane, call):
        now = await active(call)
        assert (now["State"], now["StateReasonCode"]) == ("Failed", "InvalidZipFileException")
        assert (await said(plane, "other"))["said"] == "two"
        # New code mends it.
        await call("UpdateFunctionCode", FunctionName="orders", ZipFile=ONE)
        await active(call)
        assert (await said(plane))["said"] == "one"


async def test_local_code_that_is_not_allowed_any_more_does_not_run(tmp_path: Path) -> None:
    store, code = MemoryResourceStore(), tmp_path / "code"
    code.mkdir()
    (code / "index.py").write_text("def handler(event, context):\n    return {'said': 'local'}\n")
    async with daemon(tmp_path / "state", store, code_dirs=(code,)) as (_, call):
        await call(
            "CreateFunction",
            FunctionName="orders",
            Role=ROLE,
            Runtime="python3.11",
            Handler="index.handler",
            Code={"S3Bucket": "__local__", "S3Key": str(code)},
        )
        await active(call)
    async with daemon(tmp_path / "state", store) as (plane, call):
        assert (await active(call))["State"] == "Failed"
        assert plane.app.functions == {}


async def test_a_function_that_the_app_declares_by_now_stays_the_apps(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    async with daemon(tmp_path, store) as (_, call):
        await create(call)
        await active(call)
    app = App(state_dir=tmp_path, serves_api=True)
    app.function(name="orders")(lambda event, context: {"said": "own"})
    async with daemon(tmp_path, store, app=app) as (plane, call):
        now = await active(call)
        assert now["State"] == "Failed"
        assert "declared by the app" in now["StateReason"]
        assert (await said(plane))["said"] == "own"
        await call("DeleteFunction", FunctionName="orders")
        assert (await said(plane))["said"] == "own"


async def test_what_the_app_deploys_is_shown_and_published(tmp_path: Path) -> None:
    app = App(state_dir=tmp_path, serves_api=True)
    text = "def handler(event, context):\n    return {'said': context.function_version}\n"
    variables = {"COLOUR": "red"}
    app.deploy(
        "orders",
        inline_code=text,
        runtime="python3.11",
        handler="index.handler",
        environment=variables,
        role=ROLE,
        tracing_config={"mode": "Active"},
    )
    async with daemon(tmp_path, MemoryResourceStore(), app=app) as (plane, call):
        now = await active(call)
        assert (now["Role"], now["TracingConfig"]) == (ROLE, {"Mode": "Active"})
        assert now["Environment"] == {"Variables": variables}
        published = await call("PublishVersion", FunctionName="orders", CodeSha256=now["CodeSha256"])
        assert (published["Version"], published["Role"]) == ("1", ROLE)
        await call("CreateAlias", FunctionName="orders", Name="live", FunctionVersion="1")
        assert (await said(plane, qualifier="live"))["said"] == "1"
        with pytest.raises(ClientError, match="change it there"):
            await call("UpdateFunctionConfiguration", FunctionName="orders", Timeout=9)


async def test_what_cannot_be_stored_has_not_happened(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    async with daemon(tmp_path, store) as (plane, call):
        store.fails = lambda changes: True
        with pytest.raises(ClientError):
            await create(call)
        store.fails = lambda changes: False
        assert (await call("ListFunctions"))["Functions"] == []
        assert plane.app.functions == {}
        await create(call)
        assert (await active(call))["State"] == "Active"


async def test_a_disk_that_is_full_for_a_while_ends_nothing(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    async with daemon(tmp_path, store) as (plane, call):
        await create(call)
        refused: list[Sequence[Resource]] = []

        def is_full(changes: Sequence[Resource]) -> bool:
            refused.append(changes)
            return len(refused) == 1

        store.fails = is_full
        assert (await active(call))["State"] == "Active"
        assert len(refused) == 2
        store.fails = lambda changes: changes[0].document is None
        await call("DeleteFunction", FunctionName="orders")
        assert (await call("ListFunctions"))["Functions"] == []
        with pytest.raises(ClientError, match="currently in the following state: Deleting"):
            await create(call)
    store.fails = lambda changes: False
    async with daemon(tmp_path, store) as (plane, call):
        assert plane.resources.all("function") == {}
        await create(call)


async def test_old_code_serves_until_new_code_is_ready(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    async with daemon(tmp_path, store) as (plane, call):
        await create(call)
        await active(call)
        seen: list[str] = []
        done = anyio.Event()

        async def invoke() -> None:
            while not done.is_set():
                seen.append((await said(plane))["said"])

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(invoke)
            await until(lambda: seen)
            for data in (TWO, ONE, TWO):
                await call("UpdateFunctionCode", FunctionName="orders", ZipFile=data)
                await active(call)
            await until(lambda: seen[-1] == "two")
            done.set()
        assert set(seen) == {"one", "two"}


async def test_of_racing_changes_one_is_made_at_a_time(tmp_path: Path) -> None:
    store = MemoryResourceStore()
    async with daemon(tmp_path, store) as (plane, call):
        outcomes: list[str] = []

        async def tried(operation: str, params: dict[str, Any]) -> None:
            try:
                await call(operation, FunctionName="orders", **params)
            except ClientError as error:
                outcomes.append(error.response["Error"]["Code"])
            else:
                outcomes.append("")

        new = {"Role": ROLE, "Runtime": "python3.11", "Handler": "index.handler", "Code": {"ZipFile": ONE}}
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(tried, "CreateFunction", new)
        assert sorted(outcomes) == ["", *["ResourceConflictException"] * 4]
        await active(call)
        outcomes.clear()
        async with anyio.create_task_group() as tasks:
            for timeout in range(1, 6):
                tasks.start_soon(tried, "UpdateFunctionConfiguration", {"Timeout": timeout})
            tasks.start_soon(tried, "DeleteFunction", {})
        assert outcomes.count("") == 2
        assert set(outcomes) <= {"", "ResourceConflictException", "ResourceNotFoundException"}
        await until(lambda: plane.resources.get("function", "orders") is None)
        with pytest.raises((ConfigurationError, StreamfnError)):
            json.loads((await plane.app.invoke("orders", {})).payload)
