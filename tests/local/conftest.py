"""A broker on a file of its own, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamfn.local import Broker
from streamfn.local.schema import FILE
from streamfn.testing.clock import clock, virtual_backend


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with Broker(tmp_path / FILE, clock=clock) as broker:
        yield broker
