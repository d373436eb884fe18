"""What was made through the API, in a file: the suite, full disks, and daemons that are killed."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from streamfn.errors import ConfigurationError
from streamfn.ports import Resource, ResourceStore
from streamfn.stores.resources import SqliteResourceStore
from streamfn.testing.conformance import ResourceStoreHarness, ResourceStoreSuite

PROGRAM = Path(__file__).with_name("writing_resources.py")


async def limit(store: SqliteResourceStore) -> None:
    """The file of the store cannot grow any more."""

    def work(transaction: Any) -> None:
        pages = transaction.connection.execute("PRAGMA page_count").fetchone()[0]
        transaction.connection.execute(f"PRAGMA max_page_count = {pages}")

    await store._database.write(work)


class SqliteHarness(ResourceStoreHarness):
    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._resources = AsyncExitStack()
        self._store: SqliteResourceStore

    async def open(self) -> None:
        self._store = await self._resources.enter_async_context(SqliteResourceStore.at(self._state_dir))

    async def close(self) -> None:
        await self._resources.aclose()

    def store(self) -> ResourceStore:
        return self._store

    async def reopen(self) -> None:
        await self.close()
        await self.open()

    async def fill(self) -> None:
        await limit(self._store)


class TestSqliteResourceStore(ResourceStoreSuite):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[ResourceStoreHarness]:
        harness = SqliteHarness(tmp_path / "state")
        await harness.open()
        yield harness
        await harness.close()


async def test_a_full_disk_is_named(tmp_path: Path) -> None:
    async with SqliteResourceStore.at(tmp_path) as store:
        await limit(store)
        with pytest.raises(OSError, match="the disk is full") as error:
            await store.write([Resource("a", "b", {"text": "x" * 1_000_000})])
        assert error.value.errno == errno.ENOSPC


async def test_one_daemon_has_it_at_a_time(tmp_path: Path) -> None:
    async with SqliteResourceStore.at(tmp_path):
        with pytest.raises(ConfigurationError) as error:
            async with SqliteResourceStore.at(tmp_path):
                pass
        assert error.value.problem == (
            f"another streamfn serves the API of this state directory (pid {os.getpid()})"
        )
        assert "--state-dir" in error.value.fix
    async with SqliteResourceStore.at(tmp_path) as store:
        assert list(await store.resources()) == []


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_what_a_killed_daemon_was_told_is_there(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    said: list[int] = []
    for run in range(4):
        command = [sys.executable, str(PROGRAM), str(tmp_path), str(1000 * run)]
        async with await anyio.open_process(command, stderr=None, env=environment) as process:
            assert process.stdout is not None
            lines = BufferedByteReceiveStream(process.stdout)
            with anyio.fail_after(60):
                for _ in range(5 + 11 * run):
                    said.append(int(await lines.receive_until(b"\n", 100)))
            with pytest.raises(ConfigurationError, match=rf"\(pid {process.pid}\)"):
                async with SqliteResourceStore.at(tmp_path):
                    pass
            process.kill()
            await process.wait()
        async with SqliteResourceStore.at(tmp_path) as store:
            found = list(await store.resources())
        numbers = [int(one.key) for one in found if one.kind == "a"]
        assert set(said) <= set(numbers)
        assert numbers == sorted(numbers)
        # Both changes of the last write, or neither.
        assert [one for one in found if one.kind == "b"] == [Resource("b", "last", {"number": numbers[-1]})]
