"""Worker processes of a sequenced mapping that are killed while keys fail, are opened again and drain."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import anyio
import pytest

from streamfn.errors import ConfigurationError
from streamfn.local import LocalDestination, SequenceLetters
from streamfn.ports import Message
from tests.waiting import until

PROGRAM = Path(__file__).with_name("sequenced_program.py")
KEYS = [f"k{number}" for number in range(12)]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(150)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Field:
    """One state directory: what is put into it, which keys fail, what the workers have done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put: dict[str, int] = dict.fromkeys(KEYS, 0)
        (folder / "bad").mkdir()
        (folder / "deadly").mkdir()
        (folder / "done").touch()
        self.target = LocalDestination("local:s?shards=4", state_dir=folder / "state")
        self.store = SequenceLetters("app.m", state_dir=folder / "state")
        self.reopened = 0

    async def feed(self, random: Random, count: int) -> None:
        messages = []
        for key in random.choices(KEYS, k=count):
            body = json.dumps({"key": key, "number": self.put[key]}).encode()
            messages.append(Message(body, key))
            self.put[key] += 1
        assert not await self.target.send(messages)

    def spoil(self, key: str) -> None:
        (self.folder / "bad" / key).touch()

    def heal(self, key: str) -> None:
        (self.folder / "bad" / key).unlink(missing_ok=True)

    async def closed(self) -> set[str | None]:
        try:
            return {stored.key async for stored in self.store.scan()}
        except ConfigurationError:  # no worker has been up yet
            return set()

    async def reopen(self) -> None:
        """Opens all again: also of keys that fail still."""
        if await self.closed():
            self.reopened += await self.store.reopen([stored async for stored in self.store.scan()])

    def done(self) -> dict[str, list[int]]:
        """The numbers of each key in the order of their first successes."""
        found: defaultdict[str, dict[int, None]] = defaultdict(dict)
        for line in (self.folder / "done").read_text().splitlines():
            key, number = line.split()
            found[key].setdefault(int(number))
        return {key: list(numbers) for key, numbers in found.items()}

    async def is_over(self) -> bool:
        await self.reopen()
        return sum(map(len, self.done().values())) == sum(self.put.values())

    async def close(self) -> None:
        await self.target.close()
        await self.store.close()


@asynccontextmanager
async def worker(field: Field) -> AsyncIterator[anyio.abc.Process]:
    async with await anyio.open_process([sys.executable, str(PROGRAM), str(field.folder)]) as process:
        try:
            assert process.stdout is not None
            with anyio.fail_after(30):
                assert await process.stdout.receive() == b"up\n"
            yield process
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_at_any_instant_each_key_keeps_its_order_and_nothing_is_lost(
    tmp_path: Path, seed: int
) -> None:
    """Two at a time share the shards and the sequences; one of them is killed again and again."""
    random, field = Random(seed), Field(tmp_path)
    kills = 0
    async with AsyncExitStack() as resources:
        resources.push_async_callback(field.close)
        await resources.enter_async_context(worker(field))
        for _ in range(6):
            async with worker(field) as victim:
                for _ in range(5):
                    await field.feed(random, 40)
                    key = random.choice(KEYS)
                    (field.spoil if random.random() < 0.5 else field.heal)(key)
                    await anyio.sleep(random.uniform(0.0, 0.12))
                    if random.random() < 0.5:
                        await field.reopen()
                victim.kill()
                kills += 1
        field.spoil("k0")
        await field.feed(random, 100)
        await until(field.closed)
        for key in KEYS:
            field.heal(key)
        await until(field.is_over, 60)
    assert field.done() == {key: list(range(count)) for key, count in field.put.items() if count}
    assert (kills, field.reopened > 3) == (6, True)


async def test_the_death_of_all_keeps_the_order(tmp_path: Path) -> None:
    random, field = Random(3), Field(tmp_path)
    async with AsyncExitStack() as resources:
        resources.push_async_callback(field.close)
        field.spoil("k0")
        field.spoil("k1")
        for _ in range(5):
            async with worker(field) as first, worker(field) as second:
                await field.feed(random, 60)
                await anyio.sleep(random.uniform(0.05, 0.4))
                await field.reopen()
                await anyio.sleep(random.uniform(0.0, 0.1))
                first.kill()
                second.kill()
        field.heal("k0")
        field.heal("k1")
        await resources.enter_async_context(worker(field))
        await until(field.is_over, 60)
    assert field.done() == {key: list(range(count)) for key, count in field.put.items() if count}
    assert field.reopened


async def deaths_until(field: Field, holds: Callable[[], Awaitable[bool]]) -> int:
    """Starts a worker anew each time it dies, until it holds."""
    for deaths in range(20):
        async with worker(field) as process, anyio.create_task_group() as tasks:

            async def watch(dies: anyio.abc.Process, tasks: anyio.abc.TaskGroup) -> None:
                await dies.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch, process, tasks)
            await until(holds)
            tasks.cancel_scope.cancel()
            return deaths
    raise AssertionError("it dies again and again")


async def test_what_kills_its_process_closes_its_key_and_does_so_again(tmp_path: Path) -> None:
    random, field = Random(4), Field(tmp_path)
    deadly = tmp_path / "deadly" / "k0"

    async def all_is_settled() -> bool:
        """Others may have been given up with it, in one batch, and may have been done before."""
        try:
            letters = [stored async for stored in field.store.scan()]
        except ConfigurationError:
            return False
        waiting = sum(stored.behind + 1 for stored in letters)
        done = sum(map(len, field.done().values()))
        closed = {stored.key for stored in letters}
        return "k0" in closed and done + waiting >= sum(field.put.values())

    async def redriven() -> bool:
        found = [json.loads(stored.body)["deadLetter"] async for stored in field.store.scan()]
        return ("k0", 1) in [(dead["key"], dead["redrives"]) for dead in found]

    async with AsyncExitStack() as resources:
        resources.push_async_callback(field.close)
        await field.feed(random, 60)
        deadly.touch()
        assert await deaths_until(field, all_is_settled) >= 2
        await field.reopen()
        assert await deaths_until(field, redriven) >= 3
        deadly.unlink()
        await field.reopen()
        await resources.enter_async_context(worker(field))
        await until(field.is_over, 60)
    assert field.done() == {key: list(range(count)) for key, count in field.put.items() if count}
