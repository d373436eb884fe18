"""A shard by polling, in virtual time: how often it is asked, and what is made of each answer."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from streamfn.errors import PositionLost, ShardClosed, SourceError
from streamfn.testing.clock import EPOCH, virtual_backend
from streamfn_aws.kinesis.polling import PollingReader
from streamfn_aws.positions import TRIM_HORIZON, instant_position, position_of
from tests.aws.unit.kinesis_fakes import SHAPE, FakeStream, intake, refused, wire

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


def reader(fake: FakeStream, position: int = TRIM_HORIZON, **options: Any) -> PollingReader:
    return PollingReader(fake.stream, SHAPE, intake(position, **options))


def some(*numbers: int, behind: int = 0, **more: Any) -> dict[str, Any]:
    return {"Records": [wire(number) for number in numbers], "MillisBehindLatest": behind, **more}


async def ids(reader: PollingReader, limit: int = 100, wait: float = 60.0) -> list[str]:
    return [record.id for record in await reader.read(limit, wait)]


async def test_an_idle_shard_is_looked_at_once_a_second() -> None:
    fake = FakeStream()
    assert await ids(reader(fake), wait=3.5) == []
    assert fake.times == [0.0, 1.0, 2.0, 3.0]
    assert anyio.current_time() == 3.5


async def test_a_busy_shard_is_asked_five_times_a_second() -> None:
    fake = FakeStream(some(1001), some(1002, behind=10), some(behind=10), some(1003))
    shard = reader(fake)
    assert [await ids(shard) for _ in range(3)] == [["1001"], ["1002"], ["1003"]]
    assert fake.times == [0.0, 0.2, 0.4, 0.6]
    # After an answer with records once more at once, then it is idle.
    assert await ids(shard, wait=2.0) == []
    assert fake.times[4:] == [0.8, 1.8]


async def test_a_slow_answer_is_not_waited_for_twice() -> None:
    fake = FakeStream(some(1001), some(1002))
    fake.latency = 0.7
    shard = reader(fake)
    assert [await ids(shard), await ids(shard)] == [["1001"], ["1002"]]
    assert fake.times == [0.0, 0.7]


async def test_one_answer_is_handed_out_in_portions() -> None:
    fake = FakeStream(some(*range(1001, 1008)), some(1008))
    shard = reader(fake)
    assert [len(await shard.read(3, 0.0)) for _ in range(3)] == [3, 3, 1]
    assert len(fake.calls) == 1
    assert await ids(shard) == ["1008"]


async def test_the_lag_is_known_at_the_end_only() -> None:
    fake = FakeStream(some(1001, 1002, behind=5000), some(1003, 1004, 1005))
    shard = reader(fake)
    assert (shard.lag, shard.iterator_age) == (None, None)
    await shard.read(100, 60.0)
    assert (shard.lag, shard.iterator_age) == (None, 5.0)
    await shard.read(1, 60.0)
    assert (shard.lag, shard.iterator_age) == (None, 0.0)
    await shard.read(100, 60.0)
    assert shard.lag == 0


@pytest.mark.parametrize("at", [0.0, 0.05, 0.1, 0.3])
async def test_a_cancelled_read_repeats_the_call(at: float) -> None:
    fake = FakeStream(some(1001))
    fake.latency = 0.2
    shard = reader(fake)
    with anyio.move_on_after(at):
        assert await ids(shard) == ["1001"]
        assert at == 0.3
        return
    assert await ids(shard) == ["1001"]
    assert {iterator for _, iterator in fake.calls} == {"iterator-1"}


async def test_a_read_ends_in_time_while_the_service_is_silent() -> None:
    fake = FakeStream(some(1001))
    fake.latency = 5.0
    shard = reader(fake)
    assert await ids(shard, wait=1.0) == []
    assert anyio.current_time() == 1.0
    assert await ids(shard, wait=0.0) == []
    assert anyio.current_time() == 1.25
    assert await ids(shard) == ["1001"]


async def test_throttling_slows_down_and_is_no_error() -> None:
    throttled = refused("ProvisionedThroughputExceededException")
    fake = FakeStream(*[throttled] * 6, some(1001), throttled, some(1002))
    shard = reader(fake)
    assert await ids(shard) == ["1001"]
    pauses = [after - before for before, after in zip(fake.times, fake.times[1:], strict=False)]
    for pause, most in zip(pauses, (0.5, 1.0, 2.0, 4.0, 5.0, 5.0), strict=True):
        assert most / 2 <= round(pause, 3) <= most
    # Then it begins anew.
    assert await ids(shard) == ["1002"]
    assert fake.times[-1] - fake.times[-2] <= 0.5


@pytest.mark.parametrize(
    "error", [refused("InternalFailure", status=500), OSError("connection reset"), TimeoutError("no answer")]
)
async def test_a_service_that_is_away_is_asked_again(error: Exception) -> None:
    shard = reader(FakeStream(error, error, some(1001)))
    assert await ids(shard) == ["1001"]


async def test_an_iterator_that_died_is_replaced_where_reading_was() -> None:
    fake = FakeStream(some(1001, 1002), refused("ExpiredIteratorException"), some(1003))
    shard = reader(fake)
    assert await ids(shard, 1) == ["1001"]
    assert await ids(shard, 1) == ["1002"]
    assert await ids(shard, 1) == ["1003"]
    assert [start.position for start in fake.starts] == [TRIM_HORIZON, position_of("1002")]
    assert fake.times == [0.0, 0.2, 0.4]


async def test_an_iterator_that_is_none_of_the_stream_is_replaced() -> None:
    fake = FakeStream(some(1001), refused("InvalidArgumentException"), some(1002))
    shard = reader(fake)
    assert [await ids(shard), await ids(shard)] == [["1001"], ["1002"]]
    assert [start.position for start in fake.starts] == [TRIM_HORIZON, position_of("1001")]


async def test_iterators_that_all_die_are_not_asked_for_without_end() -> None:
    fake = FakeStream(*[refused("ExpiredIteratorException")] * 100)
    assert await ids(reader(fake), wait=60.0) == []
    assert len(fake.calls) < 30


async def test_an_iterator_of_before_is_used_first() -> None:
    fake = FakeStream(refused("ExpiredIteratorException"), some(1001))
    at = instant_position(EPOCH)
    shard = PollingReader(fake.stream, SHAPE, intake(at), iterator="at the end")
    assert await ids(shard) == ["1001"]
    assert fake.calls[0][1] == "at the end"
    assert [start.position for start in fake.starts] == [at]


@pytest.mark.parametrize("end", [{"NextShardIterator": None}, {}])
async def test_a_shard_ends_after_its_last_record(end: dict[str, Any]) -> None:
    class Ending(FakeStream):
        async def records(self, iterator: str) -> Any:
            answer = dict(await super().records(iterator))
            if not self.steps:
                del answer["NextShardIterator"]
                answer |= end
            return answer

    shard = reader(Ending(some(1001), some(1002, 1003)))
    assert [await ids(shard, 1) for _ in range(3)] == [["1001"], ["1002"], ["1003"]]
    for _ in range(2):
        with pytest.raises(ShardClosed):
            await shard.read(1, 60.0)


async def test_a_shard_that_is_gone_is_a_lost_position() -> None:
    fake = FakeStream(some(1001), refused("ResourceNotFoundException"))
    fake.shards = []
    shard = reader(fake)
    assert await ids(shard) == ["1001"]
    with pytest.raises(PositionLost, match="gone") as error:
        await shard.read(1, 60.0)
    assert not error.value.retryable


@pytest.mark.parametrize("how", ["trim_horizon", "latest"])
async def test_a_shard_that_is_gone_ends_where_that_was_asked_for(how: str) -> None:
    fake = FakeStream(refused("ResourceNotFoundException"))
    fake.shards = []
    with pytest.raises(ShardClosed):
        await reader(fake, on_position_lost=how).read(1, 60.0)


@pytest.mark.parametrize(
    "code", ["ResourceNotFoundException", "AccessDeniedException", "KMSDisabledException"]
)
async def test_what_only_people_can_mend_is_an_error(code: str) -> None:
    with pytest.raises(SourceError, match=code):
        await reader(FakeStream(refused(code))).read(1, 60.0)


async def test_a_position_that_kinesis_does_not_know() -> None:
    fake = FakeStream()
    fake.iterators.append(refused("InvalidArgumentException", "GetShardIterator"))
    with pytest.raises(PositionLost, match=r"knows the position no more.*Fix"):
        await reader(fake, position_of("1500")).read(1, 60.0)


@pytest.mark.parametrize("how", ["trim_horizon", "latest"])
async def test_a_lost_position_is_left_where_that_was_asked_for(how: str) -> None:
    fake = FakeStream(some(2000))
    fake.iterators.append(refused("InvalidArgumentException", "GetShardIterator"))
    assert await ids(reader(fake, position_of("1500"), on_position_lost=how)) == ["2000"]
    instead = TRIM_HORIZON if how == "trim_horizon" else instant_position(EPOCH)
    assert [start.position for start in fake.starts] == [position_of("1500"), instead]


async def test_a_stream_that_was_made_anew_is_a_lost_position() -> None:
    with pytest.raises(PositionLost, match="made anew"):
        intake(position_of("999"))
    assert intake(position_of("1000")).start.position == position_of("1000")
    assert intake(position_of("999"), on_position_lost="trim_horizon").start.position == TRIM_HORIZON


async def test_an_instant_that_has_not_come_yet_is_waited_for() -> None:
    fake = FakeStream(some(1001, 1002))
    fake.steps[0]["Records"][1]["ApproximateArrivalTimestamp"] = EPOCH + 1.5
    fake.iterators.extend([refused("InvalidArgumentException", "GetShardIterator")] * 2)
    at = instant_position(EPOCH + 1)
    assert await ids(reader(fake, at)) == ["1002"]
    assert [start.position for start in fake.starts] == [at] * 3


async def test_an_instant_of_long_ago_that_is_refused_is_an_error() -> None:
    fake = FakeStream()
    fake.iterators.append(refused("InvalidArgumentException", "GetShardIterator"))
    with pytest.raises(SourceError, match="InvalidArgumentException"):
        await reader(fake, instant_position(EPOCH - 3600)).read(1, 60.0)
