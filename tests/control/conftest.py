"""A Lambda API on a running app, without a socket: `call` an operation, look at its `plane`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn import App
from streamfn.control.api import LambdaApi
from streamfn.control.operations import Operating
from streamfn.control.plane import Plane
from streamfn.control.resources import Resources
from streamfn.testing.resources import MemoryResourceStore
from tests.control.calling import Calls
from tests.control.function_calls import active, create
from tests.control.noting import Notes


@pytest.fixture
def store() -> MemoryResourceStore:
    return MemoryResourceStore()


@pytest.fixture
async def plane(tmp_path: Path, store: MemoryResourceStore) -> AsyncIterator[Plane]:
    """A plane on an app that runs; code may come from `tmp_path/code`."""
    state_dir = tmp_path / "state"
    code = tmp_path / "code"
    code.mkdir()
    app = App(state_dir=state_dir, serves_api=True)
    resources = Resources(store)
    await resources.load()
    async with app, anyio.create_task_group() as tasks:
        yield Plane(app, resources, tasks, app._clock, state_dir, code_dirs=(code,))
        tasks.cancel_scope.cancel()


@pytest.fixture
def operating(plane: Plane) -> Operating:
    return Operating(plane)


@pytest.fixture
def call(operating: Operating, plane: Plane) -> Calls:
    return Calls(LambdaApi(operating.operations(), plane.identity))


@pytest.fixture
def notes() -> Notes:
    """An API whose operations note what they are given."""
    return Notes()


@pytest.fixture
async def orders(call: Calls) -> dict[str, Any]:
    """A function that works."""
    await create(call)
    return await active(call)


@pytest.fixture
async def released(call: Calls) -> None:
    """A function with a version and an alias."""
    await create(call, Publish=True)
    await call("CreateAlias", FunctionName="orders", Name="live", FunctionVersion="1")
