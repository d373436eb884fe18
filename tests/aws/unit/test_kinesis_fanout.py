"""A shard by enhanced fan-out, in virtual time: subscriptions end, break off and fall silent."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from streamfn.errors import PositionLost, ShardClosed, SourceError
from streamfn.testing.clock import EPOCH, virtual_backend
from streamfn_aws.kinesis.fanout import FanOutReader
from streamfn_aws.positions import TRIM_HORIZON, instant_position, position_of
from tests.aws.unit.kinesis_fakes import SHAPE, FakeEvents, FakeStream, event, intake, refused, wire

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


def reader(fake: FakeStream, position: int = TRIM_HORIZON, **options: Any) -> FanOutReader:
    return FanOutReader(fake.stream, SHAPE, intake(position, **options), "arn:consumer", silence=30.0)


def some(*numbers: int, **more: Any) -> tuple[str, Any]:
    return event([wire(number) for number in numbers], str(numbers[-1]), **more)


async def ids(reader: FanOutReader, limit: int = 100, wait: float = 60.0) -> list[str]:
    return [record.id for record in await reader.read(limit, wait)]


async def test_records_come_as_they_are_pushed() -> None:
    fake = FakeStream(
        FakeEvents(("initial-response", {}), event(), 0.5, some(1001, 1002, 1003), 0.25, some(1004))
    )
    shard = reader(fake)
    assert await ids(shard, 2) == ["1001", "1002"]
    assert (anyio.current_time(), shard.lag, shard.iterator_age) == (0.5, None, 0.0)
    assert await ids(shard, 2) == ["1003"]
    assert shard.lag == 0
    assert await ids(shard, 2) == ["1004"]
    assert (anyio.current_time(), len(fake.calls)) == (0.75, 1)


async def test_a_read_ends_within_its_wait() -> None:
    shard = reader(FakeStream(FakeEvents(2.0, some(1001))))
    assert await ids(shard, wait=0.0) == []
    assert await ids(shard, wait=1.5) == []
    assert anyio.current_time() == 1.5
    # The fake begins its waiting anew, as no connection would.
    assert await ids(shard) == ["1001"]


async def test_a_cancelled_read_loses_nothing() -> None:
    fake = FakeStream(FakeEvents(0.1, some(1001), some(1002)))
    shard = reader(fake)
    with anyio.move_on_after(0.05):
        await shard.read(100, 60.0)
    assert await ids(shard) == ["1001"]
    assert await ids(shard) == ["1002"]
    assert len(fake.calls) == 1


async def test_a_subscription_may_be_cut_off_while_it_begins() -> None:
    fake = FakeStream(FakeEvents(some(1001)))
    fake.latency = 1.0
    shard = reader(fake)
    assert await ids(shard, wait=0.5) == []
    assert await ids(shard) == ["1001"]
    assert fake.times == [0.0, 0.5]


async def test_the_next_subscription_goes_on_where_one_ended() -> None:
    ended = FakeEvents(event(), 29.0, some(1001), event(continuation="1010"), None)
    fake = FakeStream(ended, FakeEvents(some(1011)))
    shard = reader(fake)
    assert await ids(shard) == ["1001"]
    assert await ids(shard) == ["1011"]
    assert [start.position for start in fake.starts] == [TRIM_HORIZON, position_of("1010")]
    assert ended.closed


@pytest.mark.parametrize(
    "error",
    [
        OSError("connection reset"),
        refused("InternalFailureException", "SubscribeToShard", 500),
        refused("ResourceInUseException", "SubscribeToShard"),
    ],
)
async def test_a_subscription_that_breaks_off_is_replaced(error: Exception) -> None:
    broken = FakeEvents(some(1001), error)
    fake = FakeStream(broken, FakeEvents(some(1002)))
    shard = reader(fake)
    assert [await ids(shard), await ids(shard)] == [["1001"], ["1002"]]
    assert broken.closed
    assert fake.starts[1].position == position_of("1001")


async def test_the_old_subscription_is_waited_for() -> None:
    in_use = refused("ResourceInUseException", "SubscribeToShard")
    fake = FakeStream(in_use, in_use, in_use, FakeEvents(some(1001)))
    assert await ids(reader(fake)) == ["1001"]
    pauses = [after - before for before, after in zip(fake.times, fake.times[1:], strict=False)]
    assert all(0.2 <= pause <= 2.0 for pause in pauses)


async def test_a_read_does_not_wait_for_a_subscription_that_is_due_later() -> None:
    fake = FakeStream(*[refused("LimitExceededException", "SubscribeToShard")] * 4, FakeEvents(some(1001)))
    shard = reader(fake)
    # Of the pauses the fourth is two seconds at least.
    while len(fake.calls) < 4:
        assert await ids(shard, wait=0.1) == []
    assert await ids(shard, wait=1.5) == []
    assert len(fake.calls) == 4
    assert await ids(shard) == ["1001"]


async def test_what_the_consumer_may_not_do_is_an_error() -> None:
    with pytest.raises(SourceError, match="KMSDisabledException"):
        await reader(FakeStream(refused("KMSDisabledException", "SubscribeToShard"))).read(1, 60.0)


async def test_a_shard_that_is_gone_ends_where_that_was_asked_for() -> None:
    fake = FakeStream(refused("ResourceNotFoundException", "SubscribeToShard"))
    fake.shards = []
    with pytest.raises(ShardClosed):
        await reader(fake, on_position_lost="latest").read(1, 60.0)


async def test_a_service_that_throttles_or_is_away_is_asked_again() -> None:
    fake = FakeStream(
        refused("LimitExceededException", "SubscribeToShard"),
        OSError("connection refused"),
        refused("InternalFailure", "SubscribeToShard", 500),
        FakeEvents(some(1001)),
    )
    assert await ids(reader(fake)) == ["1001"]


async def test_a_subscription_that_is_silent_is_replaced() -> None:
    silent = FakeEvents(event())
    fake = FakeStream(silent, FakeEvents(some(1001)))
    shard = reader(fake)
    # In many short reads as well as in a long one.
    while anyio.current_time() < 29.0:
        assert await ids(shard, wait=1.0) == []
    assert not silent.closed
    assert await ids(shard) == ["1001"]
    assert silent.closed
    assert 30.0 <= anyio.current_time() <= 31.0


async def test_time_in_which_nobody_read_is_no_silence() -> None:
    fake = FakeStream(FakeEvents(event(), 5.0, some(1001)))
    shard = reader(fake)
    assert await ids(shard, wait=1.0) == []
    await anyio.sleep(3600)
    assert await ids(shard) == ["1001"]
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    "last",
    [
        some(1002, 1003, ChildShards=[{"ShardId": "shardId-000000000001"}]),
        event([wire(1002), wire(1003)], None),
    ],
)
async def test_a_shard_ends_after_its_last_record(last: tuple[str, Any]) -> None:
    events = FakeEvents(some(1001), last)
    shard = reader(FakeStream(events))
    assert [await ids(shard, 1) for _ in range(3)] == [["1001"], ["1002"], ["1003"]]
    for _ in range(2):
        with pytest.raises(ShardClosed):
            await shard.read(1, 60.0)
    assert events.closed


async def test_a_shard_that_is_gone_is_a_lost_position() -> None:
    fake = FakeStream(refused("ResourceNotFoundException", "SubscribeToShard"))
    fake.shards = []
    with pytest.raises(PositionLost, match="gone"):
        await reader(fake).read(1, 60.0)


async def test_a_consumer_that_is_not_known_everywhere_yet() -> None:
    missing = refused("ResourceNotFoundException", "SubscribeToShard")
    assert await ids(reader(FakeStream(*[missing] * 5, FakeEvents(some(1001))))) == ["1001"]


async def test_a_consumer_that_is_gone_is_an_error() -> None:
    fake = FakeStream(*[refused("ResourceNotFoundException", "SubscribeToShard")] * 6)
    with pytest.raises(SourceError, match="Fix") as error:
        await reader(fake).read(1, 60.0)
    assert not error.value.retryable


async def test_what_only_people_can_mend_is_an_error() -> None:
    with pytest.raises(SourceError, match="policy"):
        await reader(FakeStream(refused("AccessDeniedException", "SubscribeToShard"))).read(1, 60.0)


async def test_a_position_that_kinesis_does_not_know() -> None:
    refusal = refused("InvalidArgumentException", "SubscribeToShard")
    with pytest.raises(PositionLost):
        await reader(FakeStream(refusal), position_of("1500")).read(1, 60.0)
    fake = FakeStream(refusal, FakeEvents(some(2000)))
    assert await ids(reader(fake, position_of("1500"), on_position_lost="trim_horizon")) == ["2000"]
    assert fake.starts[-1].position == TRIM_HORIZON


async def test_an_instant_that_has_not_come_yet_is_waited_for() -> None:
    at = instant_position(EPOCH - 1)
    fake = FakeStream(refused("InvalidArgumentException", "SubscribeToShard"), FakeEvents(some(1001)))
    assert await ids(reader(fake, at)) == ["1001"]
    assert [start.position for start in fake.starts] == [at, at]


async def test_closing_ends_the_subscription() -> None:
    events = FakeEvents(some(1001))
    shard = reader(FakeStream(events))
    await shard.close()
    assert await ids(shard) == ["1001"]
    await shard.close()
    await shard.close()
    assert events.closed
