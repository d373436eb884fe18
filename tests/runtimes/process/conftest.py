"""Environments for tests: launchers are shared by the tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from streamfn.runtimes.process.launchers import Launchers
from tests.runtimes.process.environments import Made


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that every user can reach, as those of functions have to: pytest closes its own."""
    with TemporaryDirectory(prefix="streamfn-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
async def launchers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Launchers]:
    async with Launchers(tmp_path_factory.mktemp("environments")) as all_of_them:
        yield all_of_them


@pytest.fixture
def made(launchers: Launchers, tmp_path: Path) -> Made:
    return Made(launchers, tmp_path / "code")
