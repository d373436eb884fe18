"""Virtual time, so that patience costs nothing."""

from __future__ import annotations

from typing import Any

import pytest

from streamfn.testing.clock import virtual_backend


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend
