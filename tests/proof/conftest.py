"""One set of launchers for all tests of a module, as an app has one for all of its functions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

pytest.importorskip("httptools", reason="the extra `process` is not installed")

from streamfn.runtimes.process.launchers import Launchers
from tests.proof.corpus import Corpus


@pytest.fixture(scope="module")
async def launchers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Launchers]:
    async with Launchers(tmp_path_factory.mktemp("environments")) as all_of_them:
        yield all_of_them


@pytest.fixture
def corpus(launchers: Launchers) -> Corpus:
    return Corpus(launchers)
