"""Streams to read, and the end where records are put."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.errors import ShardClosed
from streamfn.ports import Message, StreamShard
from streamfn.testing.conformance.harness import Harness
from streamfn_aws.kinesis import KinesisStream
from tests.servers.aws import KEY, SECRET, AwsServer
from tests.waiting import until

HASHES = 2**128


def source(server: AwsServer, name: str, folder: Path, **options: Any) -> KinesisStream:
    """As quick as tests want it: leases in a file, shards looked at five times a second."""
    given = {
        "endpoint_url": server.endpoint,
        "region": server.region,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "leases": "sqlite",
        "state_dir": folder,
        "lease_time": 1.5,
        "poll_interval": 0.2,
        **options,
    }
    return KinesisStream(name, **given)


class Producer:
    """One stream, by a client of its own."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    async def create(self, shards: int) -> None:
        await self.client.create_stream(StreamName=self.name, ShardCount=shards)
        await self.active()

    async def active(self) -> dict[str, Any]:
        """Waits for it, and describes it."""
        summary: dict[str, Any] = {}

        async def is_active() -> bool:
            answer = await self.client.describe_stream_summary(StreamName=self.name)
            summary.update(answer["StreamDescriptionSummary"])
            return bool(summary["StreamStatus"] == "ACTIVE")

        await until(is_active)
        return summary

    async def delete(self) -> None:
        """A server takes so many shards, and no more."""
        with suppress(self.client.exceptions.ResourceNotFoundException):
            await self.client.delete_stream(StreamName=self.name, EnforceConsumerDeletion=True)

    async def open_shards(self) -> list[dict[str, Any]]:
        """Those that take records, by hash key."""
        shards = (await self.client.list_shards(StreamName=self.name))["Shards"]
        there = [s for s in shards if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
        return sorted(there, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))

    async def put(self, messages: Sequence[Message], shard: int | None = None) -> None:
        """In this order: one request after the other."""
        place: dict[str, Any] = {}
        if shard is not None:
            place["ExplicitHashKey"] = (await self.open_shards())[shard]["HashKeyRange"]["StartingHashKey"]
        for first in range(0, len(messages), 500):
            records = [
                {"Data": message.body, "PartitionKey": message.key or "-", **place}
                for message in messages[first : first + 500]
            ]
            answer = await self.client.put_records(StreamName=self.name, Records=records)
            assert answer["FailedRecordCount"] == 0

    async def split(self, shard: int) -> None:
        """Cuts an open shard in two."""
        old = (await self.open_shards())[shard]
        low, high = (int(old["HashKeyRange"][f"{end}HashKey"]) for end in ("Starting", "Ending"))
        await self.client.split_shard(
            StreamName=self.name, ShardToSplit=old["ShardId"], NewStartingHashKey=str((low + high) // 2)
        )
        await self.active()

    async def merge(self, shard: int) -> None:
        """Makes one of an open shard and the next."""
        one, other = (await self.open_shards())[shard : shard + 2]
        await self.client.merge_shards(
            StreamName=self.name, ShardToMerge=one["ShardId"], AdjacentShardToMerge=other["ShardId"]
        )
        await self.active()


@asynccontextmanager
async def producer(server: AwsServer) -> AsyncIterator[Producer]:
    """A stream that is not there yet, and is no more when the block ends."""
    async with server.client("kinesis") as client:
        made = Producer(client, server.unique("stream"))
        try:
            yield made
        finally:
            await made.delete()


class Waiting(Harness):
    """Waits with an end, for tests that have streams of their own."""


async def ended(shard: StreamShard) -> None:
    """Reads it to its end, where no record is left, and gives it back."""
    with anyio.fail_after(10), pytest.raises(ShardClosed):
        while True:
            assert not await shard.read(10, 1.0)
    await shard.close()
