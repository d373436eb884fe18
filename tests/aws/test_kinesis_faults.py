"""Kinesis that throttles, breaks off, falls silent, restarts, or has lost what was asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from streamfn import App, Batch
from streamfn.errors import ConfigurationError, PositionLost, SourceError
from streamfn.ports import Checkpoint
from streamfn.telemetry import MappingCrashed, TelemetryEvent
from streamfn.testing.conformance.reading import messages, numbers, reading, take
from streamfn_aws.kinesis import KinesisStream
from tests.aws.kinesis_made import Producer, Waiting, producer, source
from tests.servers.aws import Ministack
from tests.servers.aws_process import need_restart
from tests.servers.microburst import (
    Microburst,
    Rule,
    answer_lost,
    error,
    latency,
    reset,
    throttle,
    unavailable,
)
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

POLLING, PUSHED = {}, {"consumer": "faults"}


@pytest.fixture
async def stream(aws: Ministack) -> AsyncIterator[Producer]:
    async with producer(aws) as stream:
        await stream.create(1)
        yield stream


class Noted:
    """The numbers a function was given, and whether its mapping crashed meanwhile."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.crashes: list[str] = []

    def emit(self, event: TelemetryEvent) -> None:
        if isinstance(event, MappingCrashed):
            self.crashes.append(str(event.error))

    def app(self, place: KinesisStream) -> App:
        app = App(name="faults", telemetry=[self])

        @app.function(name="note", batch=True)
        async def note(batch: Batch) -> None:
            self.numbers += numbers(batch)

        app.event_source_mapping("note", place, StartingPosition="TRIM_HORIZON")
        return app


async def put_and_wait(noted: Noted, stream: Producer, place: KinesisStream, server: Microburst) -> None:
    async with noted.app(place):
        for first in range(0, 60, 20):
            await stream.put(messages(20, first))
            await until(lambda: len(noted.numbers) >= first + 20)  # noqa: B023 - waited for at once
    assert server.fired()
    assert noted.numbers == list(range(60))
    assert noted.crashes == []


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(throttle("kinesis", "GetRecords", times=3), id="a throttled read"),
        pytest.param(
            error("kinesis", "GetRecords", "ExpiredIteratorException", times=3), id="a dead iterator"
        ),
        pytest.param(error("kinesis", "GetRecords", "InternalFailure", 500, times=4), id="a failure"),
        pytest.param(unavailable("kinesis", "GetRecords", times=4), id="a service that is away"),
        pytest.param(reset("kinesis", "GetRecords", times=4), id="a broken connection"),
        pytest.param(answer_lost("kinesis", "GetRecords", times=4), id="an answer that is lost"),
        pytest.param(latency("kinesis", None, 400, times=8), id="a slow service"),
        pytest.param(throttle("kinesis", "GetShardIterator", times=2), id="a throttled iterator"),
    ],
)
@pytest.mark.parametrize("transport", ["lean", "botocore"])
async def test_trouble_that_passes_costs_no_record_and_repeats_none(
    stream: Producer, burst: Microburst, tmp_path: Path, rule: Rule, transport: str
) -> None:
    await to_thread.run_sync(burst.rules, rule)
    place = source(burst, stream.name, tmp_path, transport=transport)
    await put_and_wait(Noted(), stream, place, burst)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(throttle("kinesis", "SubscribeToShard", times=2), id="throttled"),
        pytest.param(
            error("kinesis", "SubscribeToShard", "ResourceInUseException", times=2), id="another is there"
        ),
        pytest.param(
            error("kinesis", "SubscribeToShard", "ResourceNotFoundException", times=2), id="not known yet"
        ),
        pytest.param(unavailable("kinesis", "SubscribeToShard", times=2), id="a service that is away"),
        pytest.param(reset("kinesis", "SubscribeToShard", times=2), id="a broken connection"),
    ],
)
async def test_a_subscription_that_does_not_begin_is_tried_again(
    stream: Producer, burst: Microburst, tmp_path: Path, rule: Rule
) -> None:
    await to_thread.run_sync(burst.rules, rule)
    await put_and_wait(Noted(), stream, source(burst, stream.name, tmp_path, **PUSHED), burst)


async def test_a_subscription_that_breaks_off_goes_on_where_it_was(
    stream: Producer, burst: Microburst, tmp_path: Path
) -> None:
    # After some bytes of each of the first answers the connection is gone.
    cut = {
        "service": "kinesis",
        "operation": "SubscribeToShard",
        "response": {"abort_bytes": 700},
        "times": 2,
    }
    await to_thread.run_sync(burst.rules, cut)
    await put_and_wait(Noted(), stream, source(burst, stream.name, tmp_path, **PUSHED), burst)


async def test_a_subscription_that_falls_silent_is_replaced(
    stream: Producer, aws: Ministack, tmp_path: Path
) -> None:
    """This server says something every five seconds, and refuses a second subscription for as long."""
    place = source(aws, stream.name, tmp_path, **PUSHED)
    place._how = replace(place._how, silence=1.0)
    async with reading(Waiting(), place, 15.0) as reader:
        shard = await reader.shard()
        await stream.put(messages(1))
        assert numbers(await take(Waiting(), shard, 1, 15.0)) == [0]
        assert await shard.read(1, 2.0) == ()
        await stream.put(messages(1, 1))
        assert numbers(await take(Waiting(), shard, 1, 15.0)) == [1]
        await reader.give_back()


@pytest.mark.parametrize("options", [POLLING, PUSHED], ids=["polling", "fan-out"])
async def test_records_survive_a_restart_of_the_server(
    own_aws: Ministack, tmp_path: Path, options: dict[str, Any]
) -> None:
    need_restart(own_aws)
    noted = Noted()
    async with producer(own_aws) as stream:
        await stream.create(1)
        await stream.put(messages(6))
        async with reading(Waiting(), source(own_aws, stream.name, tmp_path, **options), 10.0) as reader:
            shard = await reader.shard()
            records = await take(Waiting(), shard, 3, 10.0)
            await shard.commit(Checkpoint(records[-1].position))
            await reader.give_back()
        async with reading(Waiting(), source(own_aws, stream.name, tmp_path, **options), 10.0) as reader:
            shard = await reader.shard()
            noted.numbers += numbers(await take(Waiting(), shard, 1, 10.0))
            # While it reads: iterators and subscriptions are gone then.
            await to_thread.run_sync(own_aws.stop)
            await to_thread.run_sync(own_aws.start)
            noted.numbers += numbers(await take(Waiting(), shard, 2, 20.0))
            await stream.put(messages(1, 6))
            noted.numbers += numbers(await take(Waiting(), shard, 1, 20.0))
            await reader.give_back()
    assert noted.numbers == [3, 4, 5, 6]


@pytest.mark.parametrize("options", [POLLING, PUSHED], ids=["polling", "fan-out"])
async def test_a_stream_that_is_deleted_is_an_error(
    stream: Producer, aws: Ministack, tmp_path: Path, options: dict[str, Any]
) -> None:
    async with reading(Waiting(), source(aws, stream.name, tmp_path, **options), 10.0) as reader:
        shard = await reader.shard()
        await shard.read(1, 0.5)
        await stream.client.delete_stream(StreamName=stream.name, EnforceConsumerDeletion=True)
        with anyio.fail_after(20), pytest.raises(SourceError, match="Fix") as error:
            while True:
                assert not await shard.read(1, 1.0)
        assert not error.value.retryable
        await reader.give_back()


@pytest.mark.parametrize("how", ["fail", "trim_horizon", "latest"])
async def test_a_stream_that_was_made_anew_is_a_lost_position(
    stream: Producer, aws: Ministack, tmp_path: Path, how: str
) -> None:
    await stream.put(messages(2))
    place = source(aws, stream.name, tmp_path, on_position_lost=how)
    async with reading(Waiting(), place, 10.0) as reader:
        shard = await reader.shard()
        records = await take(Waiting(), shard, 2, 10.0)
        await shard.commit(Checkpoint(records[-1].position))
        await reader.give_back()
    await stream.client.delete_stream(StreamName=stream.name)
    await stream.create(1)
    await stream.put(messages(1, 2))
    if how == "fail":
        with pytest.raises(PositionLost, match="made anew"):
            async with reading(Waiting(), place, 10.0) as reader:
                await reader.shard()
        return
    async with reading(Waiting(), place, 10.0) as reader:
        shard = await reader.shard()
        if how == "latest":
            assert not await shard.read(1, 0.5)
            await stream.put(messages(1, 3))
        assert numbers(await take(Waiting(), shard, 1, 10.0)) == [2 if how == "trim_horizon" else 3]
        await reader.give_back()


@pytest.mark.parametrize("options", [POLLING, PUSHED], ids=["polling", "fan-out"])
async def test_a_stream_that_is_not_there_is_said_to_be(
    aws: Ministack, tmp_path: Path, options: dict[str, Any]
) -> None:
    place = source(aws, "nowhere", tmp_path, **options)
    with pytest.raises(ConfigurationError, match="kinesis://nowhere.*Fix: create it") as wrong:
        await place.check()
    assert wrong.value.field == "Source"
    with pytest.raises(SourceError, match="Fix") as error:
        async with reading(Waiting(), place, 5.0):
            pass
    assert not error.value.retryable


async def test_check_speaks_of_the_consumer(stream: Producer, aws: Ministack, tmp_path: Path) -> None:
    # One that is named by its name is registered when reading begins.
    await source(aws, stream.name, tmp_path, consumer="board").check()
    arn = (await stream.active())["StreamARN"]
    with pytest.raises(ConfigurationError, match="has no consumer") as wrong:
        await source(aws, f"{arn}/consumer/board:1", tmp_path).check()
    assert wrong.value.field == "consumer"
