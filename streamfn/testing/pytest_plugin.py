"""The pytest plug-in of `streamfn.testing`. Users ask for it: `-p streamfn.testing.pytest_plugin`.

It is not registered as an entry point: pytest would load it before coverage measurement begins.
"""

from __future__ import annotations

from typing import Any

import pytest

# Only modules that are not imported yet can be rewritten, so the suites stay out of this one.
pytest.register_assert_rewrite("streamfn.testing.conformance")


@pytest.fixture(scope="session")
def virtual_time() -> tuple[str, dict[str, Any]]:
    """The backend of virtual time. Make it a module's own with

    @pytest.fixture
    def anyio_backend(virtual_time):
        return virtual_time
    """
    from streamfn.testing.clock import virtual_backend

    return virtual_backend
