"""Functions whose code is the address of something, through the App: a service behind HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from streamfn import App
from streamfn.ports import Message
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncIterator[str]:
    """Answers with what it was sent; asked to fail, it does."""

    async def answer(request: web.Request) -> web.Response:
        event = await request.json()
        return web.json_response(event, status=500 if event == "fail" else 200)

    app = web.Application()
    app.router.add_post("/f", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/f"
    await runner.cleanup()


async def test_a_service_is_a_function(service: str, tmp_path: Path) -> None:
    app = App(state_dir=tmp_path)
    app.deploy("service", code_uri=service, timeout=5, auto_publish_alias="live")
    app.event_source_mapping("service:live", "local:queue/in", batch_size=1, name="live")
    async with app:
        response = await app.invoke("service", {"a": [1]})
        assert (response.payload.replace(b" ", b""), response.function_error) == (b'{"a":[1]}', "")
        assert (await app.invoke("service", "fail")).function_error == "Unhandled"
        queue = app.destination_of("local:queue/in")
        assert queue is not None
        assert not await queue.send([Message(b"{}")])
        await queue.close()
        await until(lambda: app.deployed.invocations["service", "1"] == 1)
        assert app.deployed.errors["service", "1"] == 0


async def test_nobody_there_is_no_failure_of_the_function(tmp_path: Path) -> None:
    """Nothing ran: the record waits, and no attempt is spent."""
    app = App(state_dir=tmp_path)
    app.deploy("service", code_uri="http://127.0.0.1:9/f", timeout=1)
    app.event_invoke_config("service", on_failure="local:queue/failed", maximum_retry_attempts=0)
    async with app:
        await app.enqueue("service", {})
        await until(lambda: app.statuses()[0].counters.get("Throttles", 0) > 0)
        assert app.statuses()[0].counters.get("AsyncEventsDropped", 0) == 0


WITHOUT = """
import asyncio, sys
sys.modules["httptools"] = None
from streamfn import App, ConfigurationError

async def said(**options):
    app = App(state_dir=sys.argv[1])
    app.deploy("f", **options)
    try:
        async with app:
            return "runs"
    except ConfigurationError as error:
        return str(error)

print(asyncio.run(said(inline_code="", runtime="python3.11", handler="a.b")))
print(asyncio.run(said(code_uri="docker:image")))
print(asyncio.run(said(code_uri="http://127.0.0.1:9/f")))
"""


def test_what_is_not_installed_is_named_and_needed_by_packages_only(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.splitlines() == [
        "functions that run in processes need httptools. Fix: pip install 'streamfn[process]'",
        "functions that run in processes need httptools. Fix: pip install 'streamfn[process]'",
        "runs",
    ]
