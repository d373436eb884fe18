"""The calls that reading a stream is made of, and what each lease begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import anyio
import pytest

from streamfn.core.leasing import Creation, ShardNode
from streamfn.core.policies import StartingPosition
from streamfn.errors import SourceError
from streamfn.ports import Checkpoint, Lease
from streamfn.testing.clock import EPOCH, clock, virtual_backend
from streamfn_aws.api import Api
from streamfn_aws.errors import ServiceError
from streamfn_aws.kinesis.fanout import FanOutReader
from streamfn_aws.kinesis.polling import PollingReader
from streamfn_aws.kinesis.shards import KinesisShards, Reading
from streamfn_aws.kinesis.stream import Stream
from streamfn_aws.positions import TRIM_HORIZON, instant_position
from tests.aws.unit.kinesis_fakes import refused

pytestmark = pytest.mark.anyio

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/flights"
SUMMARY = {"StreamARN": ARN, "StreamStatus": "ACTIVE"}
NAMED = {"StreamName": "flights"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


class FakeApi:
    """Answers as told, and remembers what was asked."""

    def __init__(self, **answers: Callable[[Mapping[str, Any]], Any]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, Mapping[str, Any]]] = []

    async def call(self, operation: str, parameters: Mapping[str, Any], *, patience: float = 10.0) -> Any:
        await anyio.lowlevel.checkpoint()
        self.calls.append((operation, parameters))
        return self.answers[operation](parameters)

    def stream(self, named: Mapping[str, str] = NAMED) -> Stream:
        return Stream(cast("Api", self), named, SUMMARY)


def shard(number: int, *parents: int) -> dict[str, Any]:
    parent_ids = [f"shardId-{parent}" for parent in parents]
    names = dict(zip(("ParentShardId", "AdjacentParentShardId"), parent_ids, strict=False))
    return {
        "ShardId": f"shardId-{number}",
        "SequenceNumberRange": {"StartingSequenceNumber": f"{number}00"},
        **names,
    }


def pages(*pages: list[dict[str, Any]], needs_name: bool = False) -> Callable[[Mapping[str, Any]], Any]:
    """ListShards, as AWS has it: with a token, no name may be given; or as some servers have it."""

    def answer(asked: Mapping[str, Any]) -> Any:
        token = asked.get("NextToken")
        if token is not None and needs_name and "StreamName" not in asked:
            raise refused("ResourceNotFoundException", "ListShards")
        if token is not None and not needs_name and "StreamName" in asked:
            raise refused("InvalidArgumentException", "ListShards")
        number = int(token or 0)
        more = {"NextToken": str(number + 1)} if number + 1 < len(pages) else {}
        return {"Shards": pages[number], **more}

    return answer


@pytest.mark.parametrize("needs_name", [False, True])
async def test_all_pages_of_the_shards_are_listed(needs_name: bool) -> None:
    api = FakeApi(
        ListShards=pages([shard(1), shard(2, 1)], [shard(3, 1)], [shard(4, 2, 3)], needs_name=needs_name)
    )
    shards = await api.stream().shards()
    assert [(shard.id, shard.parents, shard.first) for shard in shards] == [
        ("shardId-1", (), "100"),
        ("shardId-2", ("shardId-1",), "200"),
        ("shardId-3", ("shardId-1",), "300"),
        ("shardId-4", ("shardId-2", "shardId-3"), "400"),
    ]
    assert await api.stream().has("shardId-4")
    assert not await api.stream().has("shardId-5")


@pytest.mark.parametrize("error", [refused("LimitExceededException"), refused("ExpiredNextTokenException")])
async def test_a_page_that_is_not_to_be_had_is_an_error(error: ServiceError) -> None:
    def answer(asked: Mapping[str, Any]) -> Any:
        if "NextToken" in asked:
            raise error
        return {"Shards": [shard(1)], "NextToken": "t"}

    api = FakeApi(ListShards=answer)
    with pytest.raises(ServiceError):
        await api.stream().shards()
    assert len(api.calls) == 2


async def test_the_stream_of_another_account_is_named_with_each_call() -> None:
    api = FakeApi(GetRecords=nothing)
    await api.stream().records("i")
    await api.stream({"StreamARN": ARN}).records("i")
    assert [asked for _, asked in api.calls] == [
        {"ShardIterator": "i", "Limit": 10_000},
        {"StreamARN": ARN, "ShardIterator": "i", "Limit": 10_000},
    ]


class Consumers:
    """The consumers of a stream, which need some seconds to become ACTIVE."""

    def __init__(self) -> None:
        self.ready_at: dict[str, float] = {}

    def describe(self, asked: Mapping[str, Any]) -> Any:
        name = asked.get("ConsumerName") or asked["ConsumerARN"].rpartition("/")[2]
        if name not in self.ready_at:
            raise refused("ResourceNotFoundException", "DescribeStreamConsumer")
        status = "ACTIVE" if anyio.current_time() >= self.ready_at[name] else "CREATING"
        return {"ConsumerDescription": {"ConsumerARN": f"{ARN}/consumer/{name}", "ConsumerStatus": status}}

    def register(self, asked: Mapping[str, Any]) -> Any:
        assert asked == {"StreamARN": ARN, "ConsumerName": asked["ConsumerName"]}
        self.ready_at[asked["ConsumerName"]] = anyio.current_time() + 7
        return {}

    def api(self, register: Callable[[Mapping[str, Any]], Any] | None = None) -> FakeApi:
        return FakeApi(DescribeStreamConsumer=self.describe, RegisterStreamConsumer=register or self.register)


async def test_a_consumer_is_registered_and_waited_for() -> None:
    consumers = Consumers()
    assert not await consumers.api().stream().has_consumer("board")
    assert await consumers.api().stream().consumer("board") == f"{ARN}/consumer/board"
    assert 7 <= anyio.current_time() < 9
    again = consumers.api()
    assert await again.stream().consumer("board") == f"{ARN}/consumer/board"
    assert [operation for operation, _ in again.calls] == ["DescribeStreamConsumer"]
    assert await again.stream().has_consumer(f"{ARN}/consumer/board")


async def test_another_worker_may_register_the_consumer_first() -> None:
    consumers = Consumers()

    def register(asked: Mapping[str, Any]) -> Any:
        consumers.register(asked)
        raise refused("ResourceInUseException", "RegisterStreamConsumer")

    assert await consumers.api(register).stream().consumer("board") == f"{ARN}/consumer/board"


async def test_a_consumer_that_cannot_be_had() -> None:
    consumers = Consumers()
    with pytest.raises(ServiceError, match="ResourceNotFoundException"):
        await consumers.api().stream().consumer(f"{ARN}/consumer/board")

    def register(asked: Mapping[str, Any]) -> Any:
        raise refused("LimitExceededException", "RegisterStreamConsumer")

    with pytest.raises(ServiceError, match="LimitExceededException"):
        await consumers.api(register).stream().consumer("board")

    def lost(asked: Mapping[str, Any]) -> Any:
        raise refused("AccessDeniedException", "DescribeStreamConsumer")

    with pytest.raises(ServiceError, match="AccessDenied"):
        await FakeApi(DescribeStreamConsumer=lost).stream().has_consumer("board")
    consumers.ready_at["board"] = 1e9
    with pytest.raises(TimeoutError, match="not ACTIVE"):
        await consumers.api().stream().consumer("board")


# ------------------------------------------------------------------------------------------------ shards


def shards(api: FakeApi, consumer: str | None = None) -> KinesisShards:
    how = Reading(aggregated=False, poll_interval=1.0, on_position_lost="fail", silence=30.0, clock=clock)
    return KinesisShards("kinesis://flights", api.stream(), how, consumer)


def at_end(date: str | None) -> Callable[[Mapping[str, Any]], Any]:
    """GetShardIterator, with the service's clock."""
    headers = {} if date is None else {"date": date}
    return lambda asked: {
        "ShardIterator": asked["ShardIteratorType"],
        "ResponseMetadata": {"HTTPHeaders": headers},
    }


def nothing(asked: Mapping[str, Any]) -> Any:
    return {"Records": [], "NextShardIterator": asked["ShardIterator"]}


def creation(start: StartingPosition) -> Creation:
    return Creation(ShardNode("shardId-1"), start)


async def test_shards_know_their_parents() -> None:
    found = await shards(FakeApi(ListShards=pages([shard(1), shard(2), shard(3, 1, 2)]))).discover()
    assert found[2] == ShardNode("shardId-3", ("shardId-1", "shardId-2"))


async def test_what_cannot_be_listed_is_a_source_error() -> None:
    def answer(asked: Mapping[str, Any]) -> Any:
        raise refused("AccessDeniedException", "ListShards")

    with pytest.raises(SourceError, match="allow the action ListShards"):
        await shards(FakeApi(ListShards=answer)).discover()


async def test_where_a_first_lease_begins() -> None:
    place = shards(FakeApi())
    assert await place.begin(creation(StartingPosition.TRIM_HORIZON), None) == Checkpoint(TRIM_HORIZON)
    at = Checkpoint(instant_position(1545084650.987))
    assert await place.begin(creation(StartingPosition.AT_TIMESTAMP), 1545084650.987) == at
    assert (await place.begin(creation(StartingPosition.AT_TIMESTAMP), None)).position < TRIM_HORIZON


@pytest.mark.parametrize(
    ("date", "instant"),
    [
        (None, EPOCH),
        ("Wed, 01 Jan 2025 00:00:00 GMT", EPOCH),
        ("Wed, 01 Jan 2025 00:00:30 GMT", EPOCH),
        ("Tue, 31 Dec 2024 23:59:30 GMT", EPOCH - 30),
    ],
)
async def test_latest_is_an_instant_that_the_service_has_seen(date: str | None, instant: float) -> None:
    place = shards(FakeApi(GetShardIterator=at_end(date)))
    checkpoint = await place.begin(creation(StartingPosition.LATEST), None)
    assert checkpoint == Checkpoint(instant_position(instant))


async def test_who_settled_latest_begins_exactly_there() -> None:
    api = FakeApi(GetShardIterator=at_end(None), GetRecords=nothing)
    place = shards(api)
    checkpoint = await place.begin(creation(StartingPosition.LATEST), None)
    reader = await place.open(Lease("shardId-1", checkpoint=checkpoint))
    assert isinstance(reader, PollingReader)
    await reader.read(1, 0.0)
    assert api.calls[-1][1]["ShardIterator"] == "LATEST"
    # Others, and a second time, by the instant.
    again = await place.open(Lease("shardId-1", checkpoint=checkpoint))
    await again.read(1, 0.0)
    assert api.calls[-1][1]["ShardIterator"] == "AT_TIMESTAMP"


async def test_a_lease_that_moved_meanwhile_is_read_from_its_checkpoint() -> None:
    api = FakeApi(GetShardIterator=at_end(None), GetRecords=nothing)
    place = shards(api)
    await place.begin(creation(StartingPosition.LATEST), None)
    reader = await place.open(Lease("shardId-1", checkpoint=Checkpoint(17 << 24 | 0xFFFFFF)))
    await reader.read(1, 0.0)
    assert api.calls[-1][1]["ShardIterator"] == "AFTER_SEQUENCE_NUMBER"


async def test_with_a_consumer_shards_are_pushed() -> None:
    reader = await shards(FakeApi(), f"{ARN}/consumer/board").open(Lease("shardId-1"))
    assert isinstance(reader, FanOutReader)
    assert reader.shape.to_event([]) == {"Records": []}
