"""An app that runs with the mappings of the API, to be cut off and started again, and calls to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from botocore.exceptions import ClientError

from streamfn import App
from streamfn.config import Endpoint
from streamfn.control.api import LambdaApi
from streamfn.control.mappings import EventSourceMappings
from streamfn.control.plane import Plane
from streamfn.control.resources import Resources
from streamfn.local import LocalDestination
from streamfn.planning import Setting
from streamfn.ports import Message
from streamfn.testing.resources import MemoryResourceStore
from tests.control.calling import Calls
from tests.waiting import until

now = time.time  # noqa: TID251 - brokers live by the wall clock

QUEUE = "arn:aws:sqs:us-east-1:000000000000:orders"
STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/flights"


class LocalApp(App):
    """An app whose queues and streams are those of the embedded broker, whatever their ARNs say."""

    endpoint = Endpoint(url="local:")

    def _setting(self) -> Setting:
        return replace(super()._setting(), endpoints=(self.endpoint,))


class Daemon:
    """An app with the API's mappings, which can be cut off and started again."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.store = MemoryResourceStore()
        self.seen: list[str] = []
        self.failing = False
        self.free = anyio.Event()
        """Until it is set, the function waits."""
        self.free.set()
        self.endpoint = Endpoint(url="local:")
        self.declare: Callable[[App], object] = lambda _: None
        self.plane: Plane
        self.mappings: EventSourceMappings
        self.call: Calls

    def make(self) -> App:
        app = LocalApp(state_dir=self.state_dir, serves_api=True)
        app.endpoint = self.endpoint
        return app

    def app(self) -> App:
        app = self.make()

        @app.function(name="f")
        async def f(event: Any, context: Any) -> None:
            await self.free.wait()
            if self.failing:
                raise ValueError("not today")
            self.seen += [one.get("body") or one["kinesis"]["data"] for one in event["Records"]]

        app.function(name="g")(f)
        self.declare(app)
        return app

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serves until it is cancelled, which is as sudden as the end of a process for what is stored."""
        app, resources = self.app(), Resources(self.store)
        await resources.load()
        await app.start()
        try:
            async with anyio.create_task_group() as tasks:
                self.plane = Plane(app, resources, tasks, now, self.state_dir)
                self.mappings = EventSourceMappings(self.plane)
                await self.mappings.restore()
                self.call = Calls(LambdaApi(self.mappings.operations(), self.plane.identity))
                task_status.started()
                await anyio.sleep_forever()
        finally:
            # Cut off at once, and waited for: the loop may end behind it.
            app.cut()
            with anyio.CancelScope(shield=True):
                await app.stop(0.0)

    async def create(self, arn: str = QUEUE, **more: Any) -> dict[str, Any]:
        more = {"FunctionName": "f", **more}
        if ":kinesis:" in arn:
            more.setdefault("StartingPosition", "TRIM_HORIZON")
        return await self.call("CreateEventSourceMapping", EventSourceArn=arn, **more)

    async def state(self, uuid: str) -> str:
        found = await self.call("ListEventSourceMappings")
        return {one["UUID"]: str(one["State"]) for one in found["EventSourceMappings"]}.get(uuid, "gone")

    def in_flight(self, uuid: str) -> int:
        status = self.plane.app.mapping_status(uuid)
        return 0 if status is None else status.in_flight

    def done(self, uuid: str) -> int:
        """Records that the function was invoked with, and did not fail on."""
        status = self.plane.app.mapping_status(uuid)
        counts = {} if status is None else status.counters
        return counts.get("InvokedEventCount", 0) - counts.get("FailedInvokeEventCount", 0)

    async def reaches(self, uuid: str, state: str) -> None:
        async def there() -> bool:
            return await self.state(uuid) == state

        await until(there)

    async def made(self, arn: str = QUEUE, **more: Any) -> str:
        uuid = str((await self.create(arn, **more))["UUID"])
        await self.reaches(uuid, "Enabled" if more.get("Enabled", True) else "Disabled")
        return uuid

    async def send(self, uri: str, *bodies: str) -> None:
        target = LocalDestination(uri, state_dir=self.state_dir)
        try:
            assert not await target.send([Message(body.encode(), key=body) for body in bodies])
        finally:
            await target.close()


def said(error: ClientError) -> tuple[str, int, str]:
    told: Any = error.response
    return told["Error"]["Code"], told["ResponseMetadata"]["HTTPStatusCode"], told["Error"]["Message"]


async def refused(call: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as error:
        await call
    return said(error.value)
