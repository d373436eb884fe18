"""Published functions in a file: the suite, what stands in the file, and processes that share it."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from streamfn.errors import ConfigurationError
from streamfn.ports import Alias, Deployment, FunctionStore
from streamfn.stores.functions import FILE, SqliteFunctionStore
from streamfn.stores.keys import LocalKey
from streamfn.testing.conformance import FunctionStoreHarness, FunctionStoreSuite

PROGRAM = Path(__file__).with_name("publishing.py")
SECRET = "correct horse battery staple"
DEPLOYMENT = Deployment("orders", "http://127.0.0.1/", environment={"PASSWORD": SECRET})


class SqliteHarness(FunctionStoreHarness):
    """Two stores on one file, as two processes have them."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._resources = AsyncExitStack()
        self._stores: list[SqliteFunctionStore] = []
        self._next = 0

    async def open(self) -> None:
        self._stores = [
            await self._resources.enter_async_context(SqliteFunctionStore.at(self._state_dir))
            for _ in range(2)
        ]

    async def close(self) -> None:
        await self._resources.aclose()

    def store(self) -> FunctionStore:
        self._next += 1
        return self._stores[self._next % 2]

    async def reopen(self) -> None:
        await self.close()
        await self.open()


class TestSqliteFunctionStore(FunctionStoreSuite):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[FunctionStoreHarness]:
        harness = SqliteHarness(tmp_path / "state")
        await harness.open()
        yield harness
        await harness.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteFunctionStore]:
    async with SqliteFunctionStore.at(tmp_path / "state") as store:
        yield store


# ------------------------------------------------------------------------------------------------ variables


async def test_variables_are_encrypted_in_the_file(store: SqliteFunctionStore, tmp_path: Path) -> None:
    await store.publish(DEPLOYMENT)
    for path in (tmp_path / "state").iterdir():
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()
            assert b"PASSWORD" not in path.read_bytes()
    assert (tmp_path / "state" / "keys" / "variables.key").exists()


async def test_without_variables_no_key_is_made(store: SqliteFunctionStore, tmp_path: Path) -> None:
    made = await store.publish(replace(DEPLOYMENT, environment={}))
    assert list(await store.published("orders")) == [made]
    assert not (tmp_path / "state" / "keys").exists()


async def test_a_key_that_was_given_is_used(tmp_path: Path) -> None:
    key = LocalKey(bytes(32), "env:KEY")
    async with SqliteFunctionStore.at(tmp_path, key) as store:
        made = await store.publish(DEPLOYMENT)
    assert not (tmp_path / "keys").exists()
    async with SqliteFunctionStore.at(tmp_path, key) as store:
        assert list(await store.published("orders")) == [made]
    async with SqliteFunctionStore.at(tmp_path, LocalKey(b"x" * 32, "env:OTHER")) as store:
        with pytest.raises(ConfigurationError) as error:
            await store.published("orders")
        assert str(error.value) == (
            "KMSKeyArn: the environment of version 1 of orders was sealed with another key than env:OTHER. "
            "Fix: name that key"
        )


async def test_a_key_that_is_given_later_leaves_the_rest_readable(tmp_path: Path) -> None:
    async with SqliteFunctionStore.at(tmp_path) as store:
        first = await store.publish(DEPLOYMENT, code_sha256="1")
    given = LocalKey(bytes(32), "env:KEY")
    async with SqliteFunctionStore.at(tmp_path, given) as store:
        assert await store.publish(DEPLOYMENT, code_sha256="1") == first
        second = await store.publish(DEPLOYMENT, code_sha256="2")
        assert list(await store.published("orders")) == [first, second]
    async with SqliteFunctionStore.at(tmp_path) as store:
        with pytest.raises(ConfigurationError, match="version 2 of orders was sealed with another key than"):
            await store.published("orders")
    async with SqliteFunctionStore.at(tmp_path, LocalKey(b"x" * 32, "env:OTHER")) as store:
        with pytest.raises(ConfigurationError, match="version 2 of orders was sealed with another key than"):
            await store.published("orders")


async def test_variables_that_were_swapped_are_refused(store: SqliteFunctionStore, tmp_path: Path) -> None:
    await store.publish(DEPLOYMENT)
    await store.publish(replace(DEPLOYMENT, function="payments"))
    connection = sqlite3.connect(tmp_path / "state" / FILE)
    connection.execute(
        "UPDATE versions SET environment = (SELECT environment FROM versions WHERE function = 'orders') "
        "WHERE function = 'payments'"
    )
    connection.commit()
    connection.close()
    with pytest.raises(ConfigurationError, match="of payments was sealed for function orders"):
        await store.published("payments")
    assert len(await store.published("orders")) == 1


class Unreachable:
    """A key that nobody answers for."""

    name = "kms:away"

    async def seal(self, plain: bytes) -> bytes:
        raise OSError(errno.EHOSTUNREACH, "no answer")

    async def unseal(self, sealed: bytes) -> bytes:
        raise OSError(errno.EHOSTUNREACH, "no answer")


async def test_a_key_out_of_reach_publishes_nothing(tmp_path: Path) -> None:
    async with SqliteFunctionStore.at(tmp_path, Unreachable()) as store:
        with pytest.raises(OSError, match="no answer"):
            await store.publish(DEPLOYMENT)
        assert list(await store.published("orders")) == []
        # What needs no key works: aliases, and functions without variables.
        await store.publish(replace(DEPLOYMENT, environment={}))
        await store.put_alias(Alias("orders", "live", "1"))


# ------------------------------------------------------------------------------------------------ the file


async def test_a_state_directory_can_be_moved(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    async with SqliteFunctionStore.at(here) as store:
        for layers in ("", str(here / "layers" / "def"), "/elsewhere/layers"):
            await store.publish(replace(DEPLOYMENT, code=str(here / "code" / "abc"), layers=layers))
    here.rename(there)
    async with SqliteFunctionStore.at(there) as store:
        found = [one.deployment for one in await store.published("orders")]
    assert [one.code for one in found] == [str(there / "code" / "abc")] * 3
    assert [one.layers for one in found] == ["", str(there / "layers" / "def"), "/elsewhere/layers"]


async def test_what_a_newer_one_wrote_beside_is_left(store: SqliteFunctionStore, tmp_path: Path) -> None:
    made = await store.publish(DEPLOYMENT)
    connection = sqlite3.connect(tmp_path / "state" / FILE)
    connection.execute("UPDATE versions SET deployment = json_set(deployment, '$.invented_later', 1)")
    connection.commit()
    connection.close()
    assert list(await store.published("orders")) == [made]


async def test_a_full_disk_publishes_nothing(store: SqliteFunctionStore) -> None:
    first = await store.publish(DEPLOYMENT)

    def limit(transaction: Any) -> None:
        pages = transaction.connection.execute("PRAGMA page_count").fetchone()[0]
        transaction.connection.execute(f"PRAGMA max_page_count = {pages}")

    await store._database.write(limit)
    with pytest.raises(OSError, match="the disk is full") as error:
        await store.publish(replace(DEPLOYMENT, handler="x" * 1_000_000))
    assert error.value.errno == errno.ENOSPC
    assert list(await store.published("orders")) == [first]


# ------------------------------------------------------------------------------------------------ processes


class Publisher:
    """A process that publishes."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None
        self.process = process
        self._lines = BufferedByteReceiveStream(process.stdout)
        self.said: list[str] = []

    async def listen(self, lines: int) -> None:
        with anyio.fail_after(60):
            while len(self.said) < lines:
                self.said.append((await self._lines.receive_until(b"\n", 10_000)).decode())

    async def kill(self) -> None:
        self.process.kill()
        with pytest.raises((anyio.EndOfStream, anyio.IncompleteRead)):
            await self.listen(10**9)
        await self.process.wait()


@asynccontextmanager
async def started(state_dir: Path, *words: object) -> AsyncIterator[Publisher]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, str(PROGRAM), str(state_dir), *map(str, words)]
    async with await anyio.open_process(command, stderr=None, env=environment) as process:
        try:
            yield Publisher(process)
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_processes_that_publish_at_once_share_the_numbers(tmp_path: Path) -> None:
    async with (
        started(tmp_path, "own", 40) as one,
        started(tmp_path, "own", 40) as two,
        anyio.create_task_group() as group,
    ):
        group.start_soon(one.listen, 40)
        group.start_soon(two.listen, 40)
    numbers = Counter([*one.said, *two.said])
    assert numbers == Counter(str(number) for number in range(1, 81))
    async with SqliteFunctionStore.at(tmp_path) as store:
        assert [one.version for one in await store.published("orders")] == sorted(numbers, key=int)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_processes_that_publish_the_same_make_one_version(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        publishers = [await stack.enter_async_context(started(tmp_path, "same", 10)) for _ in range(3)]
        async with anyio.create_task_group() as group:
            for publisher in publishers:
                group.start_soon(publisher.listen, 10)
    assert {word for publisher in publishers for word in publisher.said} == {"1"}


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_what_a_killed_publisher_was_told_is_there(tmp_path: Path) -> None:
    said: list[str] = []
    for number in range(4):
        async with started(tmp_path, "own", 10_000) as publisher:
            await publisher.listen(5 + 7 * number)
            await publisher.kill()
        said += publisher.said
    async with SqliteFunctionStore.at(tmp_path) as store:
        there = await store.published("orders")
        numbers = [one.version for one in there]
        assert set(said) <= set(numbers)
        # One more for each at most: done, and not said any more.
        assert len(numbers) - len(said) <= 4
        assert len(said) == len(set(said))
        assert all(one.deployment.environment["PASSWORD"] == SECRET for one in there)
