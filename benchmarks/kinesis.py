"""Kinesis: how much of the bare client's rate is left, what fan-out adds, and what leases cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.aws import fill_stream, ministack, new_stream, options, pushing
from benchmarks.counting import Counted, counted
from benchmarks.measuring import PATIENCE, Trip, Watch, delivering, figures, rates, worked_off
from benchmarks.scenario import Scenario, Settings, Side, Target
from streamfn import Batch
from streamfn_aws.kinesis import KinesisStream
from tests.servers.aws import AwsServer

_SHARDS = 4
_BATCH = 500
_WINDOW = 30
"""Seconds for which idle leases are watched: each is renewed three times."""


class Throughput:
    """A stream that is full: the bare loop, and the engine."""

    def __init__(self, records: int) -> None:
        self._records = records
        of = f"Kinesis, {_SHARDS} shards, 1 KB records, batch size {_BATCH}, whole Lambda event"
        against = "bare: aiobotocore's get_records(Limit=10000), a task for each shard, no checkpoints"
        self.scenarios: Sequence[Scenario] = (
            Scenario(
                "kinesis",
                f"{of}; {against}",
                "records/s",
                "streamfn",
                "bare",
                Target("ratio", at_least=0.9),
            ),
            Scenario(
                "kinesis-cpu",
                f"{of}: records per second of the client's CPU; {against}",
                "records/CPU-s",
                "streamfn-cpu",
                "bare-cpu",
            ),
        )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        server = ministack()
        records = settings.size(self._records, 4000)
        stream = settings.run(new_stream(server, _SHARDS))
        settings.run(fill_stream(server, stream, records))

        sides = {
            **rates("bare", records, lambda watch: self._bare(server, stream, watch), settings),
            **rates("streamfn", records, lambda watch: self._streamfn(server, stream, watch), settings),
        }
        for warm in sides.values():
            warm()
        yield sides

    async def _streamfn(self, server: AwsServer, stream: str, watch: Watch) -> None:
        async def nothing(event: dict[str, Any], context: Any) -> None:
            watch.saw(len(event["Records"]))

        source = KinesisStream(stream, leases="memory", **options(server.endpoint))
        async with delivering(
            nothing, source, batch=False, batch_size=_BATCH, maximum_batching_window_in_seconds=0
        ):
            await watch.rate()

    async def _bare(self, server: AwsServer, stream: str, watch: Watch) -> None:
        async def nothing(records: Sequence[Any]) -> None:
            watch.saw(len(records))

        async def poll(kinesis: Any, shard: str) -> None:
            asked = {"StreamName": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
            iterator = (await kinesis.get_shard_iterator(**asked))["ShardIterator"]
            while not watch.is_done:
                answer = await kinesis.get_records(ShardIterator=iterator, Limit=10_000)
                records, iterator = answer["Records"], answer["NextShardIterator"]
                for first in range(0, len(records), _BATCH):
                    await nothing(records[first : first + _BATCH])
                if not records:
                    await asyncio.sleep(0.2)

        async with server.client("kinesis") as kinesis, asyncio.TaskGroup() as tasks:
            for shard in (await kinesis.list_shards(StreamName=stream))["Shards"]:
                tasks.create_task(poll(kinesis, shard["ShardId"]))


class FanOut:
    """From before `put_record` in another process to the function, a record every 20 ms."""

    def __init__(self) -> None:
        of = "Kinesis, enhanced fan-out, 1 shard, a 1 KB record every 20 ms"
        against = "bare: aiobotocore's subscribe_to_shard"
        self.scenarios: Sequence[Scenario] = (
            Scenario(
                "kinesis-fan-out",
                f"{of}: 99th percentile from put_record to function; {against}",
                "ms",
                "streamfn",
                "bare",
                Target("difference", at_most=5),
            ),
            Scenario(
                "kinesis-fan-out-median", f"{of}: the median; {against}", "ms", "streamfn-50", "bare-50"
            ),
        )

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        server = pushing()
        count = settings.size(300, 30)

        def side(way: str, reads: Callable[[str, Trip], Awaitable[None]]) -> dict[str, Side]:
            async def work() -> Mapping[str, float]:
                stream, trip = await new_stream(server, 1), Trip(count)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._put(server, stream, trip))
                    async with asyncio.timeout(PATIENCE):
                        await reads(stream, trip)
                return {way: trip.took(99), f"{way}-50": trip.took(50)}

            return figures(way, lambda: settings.run(work()), f"{way}-50")

        yield {
            **side("bare", lambda stream, trip: self._bare(server, stream, trip)),
            **side("streamfn", lambda stream, trip: self._streamfn(server, stream, trip)),
        }

    async def _put(self, server: AwsServer, stream: str, trip: Trip) -> None:
        async with server.client("kinesis") as kinesis:
            await kinesis.put_record(StreamName=stream, Data=b"0", PartitionKey="first")
        await trip.there.wait()
        await worked_off("put_records", server.endpoint, stream, 50, trip.count)

    async def _streamfn(self, server: AwsServer, stream: str, trip: Trip) -> None:
        async def arrived(batch: Batch) -> None:
            for record in batch:
                trip.arrived(record.value)

        source = KinesisStream(stream, consumer="bench", leases="memory", **options(server.endpoint))
        async with delivering(arrived, source, maximum_batching_window_in_seconds=0):
            await trip.done.wait()

    async def _bare(self, server: AwsServer, stream: str, trip: Trip) -> None:
        async with server.client("kinesis") as kinesis:
            arn = (await kinesis.describe_stream_summary(StreamName=stream))["StreamDescriptionSummary"]
            made = await kinesis.register_stream_consumer(StreamARN=arn["StreamARN"], ConsumerName="bench")
            shards = (await kinesis.list_shards(StreamName=stream))["Shards"]
            answer = await kinesis.subscribe_to_shard(
                ConsumerARN=made["Consumer"]["ConsumerARN"],
                ShardId=shards[0]["ShardId"],
                StartingPosition={"Type": "TRIM_HORIZON"},
            )
            async for event in answer["EventStream"]:
                for record in event["SubscribeToShardEvent"]["Records"]:
                    trip.arrived(record["Data"])
                if trip.done.is_set():
                    break


class Leases:
    """A stream in which there is nothing, its leases in a table."""

    scenarios: Sequence[Scenario] = (
        Scenario(
            "kinesis-idle-leases",
            f"an idle mapping on a stream of {_SHARDS} shards, leases in DynamoDB: requests to DynamoDB for "
            "each shard",
            "requests/s",
            "leases",
        ),
    )

    def repeats(self, settings: Settings) -> int:
        return 1

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        server = ministack()
        stream = settings.run(new_stream(server, _SHARDS))
        window = settings.size(_WINDOW, 1)
        with counted(server.endpoint) as proxy:
            yield {"leases": lambda: settings.run(self._asked(proxy, stream, window))}

    async def _asked(self, proxy: Counted, stream: str, window: int) -> float:
        async def nothing(event: dict[str, Any], context: Any) -> None: ...

        def asked() -> int:
            requests = proxy.requests
            return sum(requests[target] for target in requests if target.startswith("DynamoDB_"))

        source = KinesisStream(stream, leases="dynamodb", **options(proxy.endpoint))
        async with delivering(nothing, source, batch=False) as app:
            async with asyncio.timeout(PATIENCE):
                while sum(status.shards for status in app.statuses()) < _SHARDS:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await asyncio.sleep(window / 20)
            before, began = asked(), time.perf_counter()
            await asyncio.sleep(window)
            return (asked() - before) / (time.perf_counter() - began) / _SHARDS


GROUPS = (Throughput(120_000), FanOut(), Leases())
