"""Profiles of hypothesis: HYPOTHESIS_PROFILE=dev (the default), ci or nightly."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Shared machines are slow now and then; a test that hangs is ended by pytest-timeout.
_patient = [HealthCheck.too_slow]

settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=_patient)
settings.register_profile(
    "ci", max_examples=300, deadline=None, derandomize=True, print_blob=True, suppress_health_check=_patient
)
settings.register_profile(
    "nightly", max_examples=5000, stateful_step_count=100, deadline=None, suppress_health_check=_patient
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
