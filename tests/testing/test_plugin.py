"""The plug-in as users have it: another project's tests, with failures that show their values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest
from streamfn.ports import Checkpoint
from streamfn.testing import MemoryStream
from streamfn.testing.clock import clock
from streamfn.testing.conformance import StreamFeatures, StreamHarness, StreamSourceSuite


@pytest.fixture
def anyio_backend(virtual_time):
    return virtual_time


class Forgetful(MemoryStream):
    def checkpoint_of(self):
        return None


class Harness(StreamHarness):
    def now(self):
        return clock()

    async def create(self, shards):
        self.stream = MemoryStream("users", shards)

    def source(self):
        return self.stream

    async def put(self, messages, shard=0):
        self.stream.put(messages[:1], shard=self.stream.shard_ids[shard])


class TestUsers(StreamSourceSuite):
    features = StreamFeatures(tombstones="not here", patience=1.0)

    @pytest.fixture
    def harness(self):
        return Harness()
"""

PROJECT = """
[tool.pytest.ini_options]
addopts = ["-p", "streamfn.testing.pytest_plugin", "-W", "error"]
"""


def run(folder: Path, *arguments: str) -> str:
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "test_users.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60).stdout


def test_a_failure_of_a_suite_shows_its_values(tmp_path: Path) -> None:
    output = run(tmp_path, "-k", "test_a_read_brings_no_more_than_its_limit")
    assert "1 of 50 records came: not within 1.0 seconds" in output
    assert "1 failed" in output
    output = run(tmp_path, "-k", "test_records_come_in_order")
    assert "records came" in output


def test_a_feature_that_is_off_is_skipped_with_its_reason(tmp_path: Path) -> None:
    output = run(tmp_path, "-rs", "-k", "test_a_tombstone_has_no_value or test_a_source_has_a_name")
    assert "tombstones: not here" in output
    assert "1 passed, 1 skipped" in output


def test_the_plug_in_brings_no_suite_along() -> None:
    code = (
        "import sys, streamfn.testing.pytest_plugin;"
        "print([name for name in sys.modules if 'conformance' in name or name == 'hypothesis'])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
