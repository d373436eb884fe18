"""What the crash tests start, kill and watch: a process that says on its standard output what it has done.

python program.py ROLE STATE_DIR
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import anyio

from streamfn.errors import ShardLost
from streamfn.local import Broker, LocalQueue, LocalStream, QueueMessage, StreamOptions
from streamfn.local.schema import FILE
from streamfn.ports import Assigned, Checkpoint, Message, StreamShard, Subscription

GROUP = Subscription("group")
LEASE_TIME = 2.0


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def put(folder: Path) -> None:
    """Puts without end, from four tasks, and says what is durable."""
    async with Broker(folder / FILE) as broker, anyio.create_task_group() as tasks:
        stream = await broker.stream("s", StreamOptions(shards=2))
        queue = await broker.queue("q")

        async def loop(task: int) -> None:
            number = 0
            while True:
                name = f"{task}-{number}".encode()
                if task % 2:
                    await broker.put(stream, [Message(name + b"." * 2000, str(task))] * 3)
                else:
                    await broker.send(queue, [QueueMessage(name + b"." * 2000)])
                say(name.decode())
                number += 1

        for task in range(4):
            tasks.start_soon(loop, task)


async def once(folder: Path) -> None:
    """Puts one record and sends one message."""
    async with Broker(folder / FILE) as broker:
        await broker.put(await broker.stream("s"), [Message(b"1")])
        await broker.send(await broker.queue("q"), [QueueMessage(b"1")])


async def read(folder: Path) -> None:
    """Reads shards, ten records at a time, and says what it read before it commits."""
    source = LocalStream("s", state_dir=folder, lease_time=LEASE_TIME)
    async with source.shards(GROUP) as changes, anyio.create_task_group() as tasks:
        scopes: dict[str, anyio.CancelScope] = {}

        async def work(shard: StreamShard) -> None:
            # A short lease may run out on a busy machine: then the shard comes again.
            with anyio.CancelScope() as scope, suppress(ShardLost):
                scopes[shard.id] = scope
                say(f"has {shard.id}")
                while True:
                    records = await shard.read(10, 10.0)
                    for record in records:
                        say((record.value or b"").decode())
                    if records:
                        await shard.commit(Checkpoint(records[-1].position))
            say(f"gives {shard.id}")
            await shard.close()

        async for change in changes:
            if isinstance(change, Assigned):
                tasks.start_soon(work, change.shard)
            else:
                scopes[change.shard_id].cancel()


async def consume(folder: Path) -> None:
    """Takes messages, seven at a time, and says what it acknowledged."""
    async with LocalQueue("q", state_dir=folder).open() as queue:
        say("ready")
        while True:
            records = await queue.read(7, 10.0)
            await queue.ack(records)
            for record in records:
                say((record.value or b"").decode())


async def hoard(folder: Path) -> None:
    """Takes messages and settles none."""
    async with LocalQueue("q", state_dir=folder).open() as queue:
        for record in await queue.read(50, 10.0):
            say((record.value or b"").decode())
        await anyio.Event().wait()


ROLES = {"put": put, "once": once, "read": read, "consume": consume, "hoard": hoard}

if __name__ == "__main__":
    anyio.run(ROLES[sys.argv[1]], Path(sys.argv[2]))
