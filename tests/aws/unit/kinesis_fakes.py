"""A shard of Kinesis in memory, as its readers call it: it answers what it is told to, and remembers when."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio

from streamfn.core.events import KinesisShape
from streamfn.testing.clock import clock
from streamfn_aws.errors import ServiceError
from streamfn_aws.kinesis.intake import Intake
from streamfn_aws.kinesis.start import Start
from streamfn_aws.kinesis.stream import Stream, StreamShard
from streamfn_aws.positions import TRIM_HORIZON

SHARD = StreamShard("shardId-000000000000", (), "1000")
SHAPE = KinesisShape("arn:aws:kinesis:us-east-1:000000000000:stream/s", SHARD.id, "us-east-1")
Step = Mapping[str, Any] | Exception | Callable[[], Any] | None


def wire(number: int, data: str = "AA==") -> dict[str, Any]:
    return {
        "SequenceNumber": str(number),
        "ApproximateArrivalTimestamp": clock(),
        "Data": data,
        "PartitionKey": "k",
    }


def refused(code: str, operation: str = "GetRecords", status: int = 400) -> ServiceError:
    return ServiceError(operation, code, "", status)


def intake(position: int = TRIM_HORIZON, shard: StreamShard = SHARD, **options: Any) -> Intake:
    given = {"aggregated": False, "on_position_lost": "fail", "clock": clock, **options}
    return Intake(f"kinesis://s/{shard.id}", shard, position, **given)


class FakeStream:
    """Answers with the next of `steps`; with nothing when there are no more."""

    def __init__(self, *steps: Step) -> None:
        self.steps = deque(steps)
        self.calls: list[tuple[float, str]] = []
        """When GetRecords or SubscribeToShard was called, and with which iterator or start."""
        self.starts: list[Start] = []
        self.iterators: deque[Exception] = deque()
        """What GetShardIterator fails with."""
        self.shards = [SHARD.id]
        self.latency = 0.0
        self.made = 0

    @property
    def stream(self) -> Stream:
        return cast("Stream", self)

    @property
    def times(self) -> list[float]:
        return [round(at, 3) for at, _ in self.calls]

    async def iterator(self, shard: str, start: Start) -> str:
        await anyio.lowlevel.checkpoint()
        assert shard == SHARD.id
        self.starts.append(start)
        if self.iterators:
            raise self.iterators.popleft()
        self.made += 1
        return f"iterator-{self.made}"

    async def records(self, iterator: str) -> Mapping[str, Any]:
        self.calls.append((anyio.current_time(), iterator))
        await anyio.sleep(self.latency)
        step = self.steps.popleft() if self.steps else {}
        if isinstance(step, Exception):
            raise step
        return {
            "Records": [],
            "NextShardIterator": iterator + "+",
            "MillisBehindLatest": 0,
            **cast("Any", step),
        }

    async def has(self, shard: str) -> bool:
        await anyio.lowlevel.checkpoint()
        return shard in self.shards

    @asynccontextmanager
    async def subscribed(self, consumer: str, shard: str, start: Start) -> AsyncIterator[FakeEvents]:
        self.calls.append((anyio.current_time(), consumer))
        self.starts.append(start)
        await anyio.sleep(self.latency)
        step = self.steps.popleft() if self.steps else FakeEvents()
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, FakeEvents)
        try:
            yield step
        finally:
            step.closed = True


class FakeEvents:
    """One subscription: seconds to wait, events and errors, one after the other. Then it is silent."""

    def __init__(self, *steps: float | tuple[str, Any] | Exception | None) -> None:
        self.steps = deque(steps)
        self.closed = False

    async def next(self) -> tuple[str, Any] | None:
        while self.steps:
            step = self.steps[0]
            if isinstance(step, float):
                await anyio.sleep(step)
            self.steps.popleft()
            if isinstance(step, Exception):
                raise step
            if not isinstance(step, float):
                return step
        await anyio.Event().wait()
        raise AssertionError


def event(
    records: Sequence[Mapping[str, Any]] = (), continuation: str | None = "1000", **more: Any
) -> tuple[str, Any]:
    """One of a subscription."""
    content = {"Records": records, "ContinuationSequenceNumber": continuation, "MillisBehindLatest": 0}
    return "SubscribeToShardEvent", {**content, **more}
