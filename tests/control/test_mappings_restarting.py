"""Event source mappings after a restart of their daemon, and those that its app declares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from streamfn.control.mapping_states import KIND
from tests.control.mapping_daemon import QUEUE, STREAM, Daemon, refused
from tests.waiting import until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


async def test_what_was_made_goes_on_after_a_restart(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        on = await daemon.made(STREAM, Tags={"a": "b"})
        off = await daemon.made(QUEUE, Enabled=False)
        await daemon.send("local:flights", "a")
        await until(lambda: len(daemon.seen) == 1)
        before = [await daemon.call("GetEventSourceMapping", UUID=uuid) for uuid in (on, off)]
        tasks.cancel_scope.cancel()
    await daemon.send("local:flights", "b")
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        await until(lambda: len(daemon.seen) == 2)
        after = [await daemon.call("GetEventSourceMapping", UUID=uuid) for uuid in (on, off)]
        for each in (*before, *after):
            each.pop("LastProcessingResult", None)
            each.pop("ResponseMetadata")
        assert after == before
        assert (await refused(daemon.create(QUEUE)))[2].endswith(off)
        tasks.cancel_scope.cancel()


async def test_a_mapping_survives_its_function(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.declare = lambda app: app.function(name="gone")(lambda event, context: None)
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        uuid = await daemon.made(FunctionName="gone")
        tasks.cancel_scope.cancel()
    daemon.declare = lambda _: None
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        assert await daemon.state(uuid) == "Enabled"
        await daemon.call("DeleteEventSourceMapping", UUID=uuid)
        await daemon.reaches(uuid, "gone")
        tasks.cancel_scope.cancel()


async def test_what_is_not_known_any_more_stops_nothing_else(tmp_path: Path) -> None:
    """A newer streamfn may have written options that this one lacks."""
    daemon = Daemon(tmp_path)
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        broken, well = await daemon.made(QUEUE), await daemon.made(STREAM)
        tasks.cancel_scope.cancel()
    (made,) = [one for one in await daemon.store.resources() if one.key == broken]
    await daemon.store.write([replace(made, document={**(made.document or {}), "Invented": 1})])
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        got = await daemon.call("GetEventSourceMapping", UUID=broken)
        assert (got["State"], got["LastProcessingResult"]) == (
            "Enabled",
            "PROBLEM: Configuration error. Invented: unknown option",
        )
        assert well in daemon.plane.app.declared
        # It is tried again: as soon as it can, it runs.
        await daemon.plane.resources.put(KIND, broken, made.document or {})
        await until(lambda: broken in daemon.plane.app.declared)
        tasks.cancel_scope.cancel()


async def test_declared_mappings_are_shown_and_can_be_switched(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.declare = lambda app: app.event_source_mapping("f", "local:queue/own", name="own")
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        (found,) = (await daemon.call("ListEventSourceMappings"))["EventSourceMappings"]
        uuid = found["UUID"]
        assert (found["EventSourceArn"], found["State"]) == ("local:queue/own", "Enabled")
        message = "The event source mapping own is declared by the app that runs here: change it there."
        for call in (
            daemon.call("DeleteEventSourceMapping", UUID=uuid),
            daemon.call("UpdateEventSourceMapping", UUID=uuid, Enabled=False, BatchSize=1),
            daemon.call("UpdateEventSourceMapping", UUID=uuid),
        ):
            assert await refused(call) == ("ResourceInUseException", 400, message)
        off = await daemon.call("UpdateEventSourceMapping", UUID=uuid, Enabled=False)
        assert off["State"] == "Disabling"
        await daemon.reaches(uuid, "Disabled")
        await daemon.send("local:queue/own", "a")
        on = await daemon.call("UpdateEventSourceMapping", UUID=uuid, Enabled=True)
        assert on["State"] == "Enabling"
        await until(lambda: daemon.seen == ["a"])
        assert daemon.store.writes == 0
        tasks.cancel_scope.cancel()
