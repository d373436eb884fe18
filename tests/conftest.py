"""Profiles of hypothesis: HYPOTHESIS_PROFILE=dev (the default), ci or nightly."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# Shared machines are slow now and then; a test that hangs is ended by pytest-timeout.
_patient = [HealthCheck.too_slow]

settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=_patient)
settings.register_profile(
    "ci", max_examples=100, deadline=None, derandomize=True, print_blob=True, suppress_health_check=_patient
)
settings.register_profile(
    "nightly", max_examples=5000, stateful_step_count=100, deadline=None, suppress_health_check=_patient
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio is the one loop there is; modules that run in virtual time override this."""
    return "asyncio"
