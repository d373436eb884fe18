"""Several processes on one file, and some of them are killed: nothing that was acknowledged is lost."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from streamfn.local import Broker, LocalQueue, LocalStream, QueueMessage, QueueOptions, StreamOptions, admin
from streamfn.local.schema import FILE
from streamfn.ports import Assigned, Message, Subscription

PROGRAM = Path(__file__).with_name("program.py")
GROUP = Subscription("group")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with Broker(tmp_path / FILE) as broker:
        yield broker


class Process:
    """A process of program.py, and what it has said."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None
        self._process = process
        self._lines = BufferedByteReceiveStream(process.stdout)
        self.said: list[str] = []
        self.held: set[str] = set()
        """The shards that it says it has."""
        self.values: list[int] = []
        """What it says it has read."""

    async def until(self, done: Callable[[list[str]], bool]) -> None:
        """Listens until it has said enough."""
        with anyio.fail_after(40):
            while not done(self.said):
                self._hear((await self._lines.receive_until(b"\n", 100_000)).decode())

    def _hear(self, line: str) -> None:
        self.said.append(line)
        match line.split(" "):
            case ["has", shard]:
                self.held.add(shard)
            case ["gives", shard]:
                self.held.discard(shard)
            case [number] if number.isdigit():
                self.values.append(int(number))

    async def kill(self) -> None:
        """kill -9, and hears what it said before."""
        self._process.kill()
        with suppress(anyio.EndOfStream, anyio.IncompleteRead):
            await self.until(lambda _: False)
        await self._process.wait()


async def hear(done: Callable[[], bool], *processes: Process) -> None:
    """Listens to all of them until they have said enough."""
    with anyio.fail_after(40):
        async with anyio.create_task_group() as tasks:

            async def listen(process: Process) -> None:
                await process.until(lambda _: done())
                tasks.cancel_scope.cancel()

            for process in processes:
                tasks.start_soon(listen, process)


@asynccontextmanager
async def started(role: str, folder: Path) -> AsyncIterator[Process]:
    process = await anyio.open_process([sys.executable, str(PROGRAM), role, str(folder)], stderr=None)
    async with process:
        try:
            yield Process(process)
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()


def numbered(count: int, first: int = 0) -> list[Message]:
    return [Message(str(number).encode(), str(number)) for number in range(first, first + count)]


async def test_what_a_killed_producer_was_told_is_durable_is_there(tmp_path):
    async with started("put", tmp_path) as process:
        await process.until(lambda said: len(said) >= 300)
        await process.kill()
    async with Broker(tmp_path / FILE) as broker:
        there = Counter[str]()
        for shard in range(2):
            records = await admin.peek_stream(broker, "s", shard=shard, after=-1, limit=100_000)
            assert [record.position for record in records] == list(range(len(records)))
            there.update((record.value or b"").rstrip(b".").decode() for record in records)
        assert set(there.values()) == {3}, "a put is there as a whole or not at all"
        there.update(m.value.rstrip(b".").decode() for m in await admin.peek(broker, "q", limit=100_000))
    assert set(process.said) <= set(there)
    # The four were at one put each that was not acknowledged yet.
    assert len(set(there) - set(process.said)) <= 4


async def test_what_a_killed_reader_had_not_committed_is_read_by_the_next(tmp_path, broker):
    stream = await broker.stream("s", StreamOptions(shards=2))
    await broker.put(stream, numbered(6000))
    async with started("read", tmp_path) as first:
        # Not beside the second: were that one much quicker to start, nothing would be left to read.
        await first.until(lambda _: len(first.values) >= 300)
        async with started("read", tmp_path) as second:
            await first.kill()
            everything = set(range(6000))
            await second.until(
                lambda _: (
                    len(second.held) == 2
                    and len(second.values) + len(first.values) >= len(everything)
                    and {*first.values, *second.values} == everything
                )
            )
    # Read twice is what was read and not committed: a read for each shard.
    assert len(set(first.values) & set(second.values)) <= 20


async def test_processes_share_the_shards_and_take_over_from_the_dead(tmp_path, broker):
    stream = await broker.stream("s", StreamOptions(shards=4))
    async with started("read", tmp_path) as first:
        await first.until(lambda _: len(first.held) == 4)
        async with started("read", tmp_path) as second:
            # Heard together: what one of them said a while ago may not hold any more.
            await hear(
                lambda: len(first.held) == len(second.held) == 2 and not first.held & second.held,
                first,
                second,
            )
            await broker.put(stream, numbered(400))
            await first.until(lambda _: len(first.values) >= 100)
            await second.until(lambda _: len(second.values) >= 100)
            await second.kill()
        await first.until(lambda _: len(first.held) == 4)
        await broker.put(stream, numbered(400, 400))
        await first.until(lambda _: set(first.values) | set(second.values) == set(range(800)))
        assert len(set(first.values) & set(second.values)) <= 20


async def test_processes_share_a_queue_and_what_a_killed_one_held_comes_back(tmp_path, broker):
    queue = await broker.queue("q", QueueOptions(visibility_timeout=0.5))
    messages = [QueueMessage(str(number).encode()) for number in range(1000)]
    await broker.send(queue, messages[:50])
    async with started("hoard", tmp_path) as hoarder:
        await hoarder.until(lambda said: len(said) == 50)
        await hoarder.kill()
    async with started("consume", tmp_path) as one, started("consume", tmp_path) as two:
        await one.until(lambda said: said == ["ready"])
        await two.until(lambda said: said == ["ready"])
        await broker.send(queue, messages[50:])
        await one.until(lambda _: len(one.values) > 20)
        await one.kill()
        done = set(one.values)
        await two.until(lambda _: len(done | set(two.values)) >= 1000 - 7)
        # Acknowledged and not said yet when it was killed: seven at most.
        assert not done & set(two.values)
        status = (await admin.list_queues(broker))[0]
        assert status.visible + status.in_flight == 0 or len(done | set(two.values)) < 1000


async def test_a_reader_wakes_up_when_another_process_puts(tmp_path, broker):
    """Long before its wait is over, though nobody in this process told it."""
    await broker.send(await broker.queue("q"), [])
    source = LocalStream("s", state_dir=tmp_path, shards=1)
    async with source.shards(GROUP) as changes, LocalQueue("q", state_dir=tmp_path).open() as queue:
        change = await anext(changes)
        assert isinstance(change, Assigned)
        async with started("once", tmp_path), anyio.create_task_group() as tasks:
            for shard in (change.shard, queue):
                tasks.start_soon(shard.read, 10, 1000.0)
