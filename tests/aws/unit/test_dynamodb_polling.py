"""Polling a shard of a table's stream: positions, ends, faults and losses, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from streamfn.core.records import Record
from streamfn.errors import PositionLost, ShardClosed, SourceError
from streamfn.testing.clock import virtual_backend
from streamfn_aws.dynamodb.start import Start
from streamfn_aws.positions import instant_position, position_of
from tests.aws.unit.dynamodb_fakes import (
    ARN,
    BORN,
    SHARD,
    Script,
    described,
    fault,
    iterator,
    reader_of,
    records,
)

HERE = described((SHARD, None))
GONE = described(("shardId-00000001700000000000-00000000", None))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


def numbers(got: Sequence[Record]) -> list[int]:
    return [int(record.id) for record in got]


# --------------------------------------------------------------------------------------------- positions


@pytest.mark.parametrize(
    ("position", "asked"),
    [
        (-1, {"ShardIteratorType": "TRIM_HORIZON"}),
        (instant_position(BORN), {"ShardIteratorType": "TRIM_HORIZON"}),
        (position_of("41"), {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "41"}),
        (position_of("41", 0), {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "41"}),
    ],
)
async def test_reading_begins_after_the_checkpoint(position: int, asked: dict[str, str]) -> None:
    """Records have no parts: one that the KCL checkpointed with sub-sequence number 0 is done as a whole."""
    script = Script(GetShardIterator=[iterator("first")], GetRecords=[records(2000)])
    (record,) = await reader_of(script, position).read(10, 1)
    assert record.position == position_of("2000")
    assert script.asked("GetShardIterator") == [{"StreamArn": ARN, "ShardId": SHARD, **asked}]
    assert script.asked("GetRecords") == [{"ShardIterator": "first", "Limit": 1000}]


def test_numbers_with_zeros_before_keep_them() -> None:
    """Some servers compare them as text."""
    assert Start.of(position_of("0000000041"), digits=10).after == "0000000041"


async def test_an_iterator_at_the_end_is_used_as_it_is() -> None:
    """It is exact where the instant is not: by the service's clock the change came before that."""
    script = Script(GetRecords=[records(1), records(2)])
    reader = reader_of(script, instant_position(BORN + 500), iterator="kept")
    assert numbers(await reader.read(10, 1)) == [1]
    assert numbers(await reader.read(10, 1)) == [2]
    assert [asked["ShardIterator"] for asked in script.asked("GetRecords")] == ["kept", "next"]


async def test_what_came_before_the_instant_is_passed_over() -> None:
    """In the answer where it lies and in all before it; its own second is read whole."""
    script = Script(
        GetShardIterator=[iterator("first")],
        GetRecords=[records(0, 1, more="a"), records(2, 3, 4, more="b"), records(5, more="c")],
    )
    reader = reader_of(script, instant_position(BORN + 3.9))
    assert numbers(await reader.read(10, 1)) == [3, 4]
    assert numbers(await reader.read(10, 1)) == [5]


async def test_after_the_first_record_the_clock_does_not_matter() -> None:
    """A later record may have an earlier stamp."""
    late = records(7)
    late["Records"][0]["dynamodb"]["ApproximateCreationDateTime"] = BORN
    script = Script(GetShardIterator=[iterator("first")], GetRecords=[records(5), late])
    reader = reader_of(script, instant_position(BORN + 4))
    assert numbers(await reader.read(10, 1)) == [5]
    assert numbers(await reader.read(10, 1)) == [7]


async def test_a_limit_cuts_an_answer_into_reads() -> None:
    script = Script(GetShardIterator=[iterator("first")], GetRecords=[records(1, 2, 3, 4, 5)])
    reader = reader_of(script)
    assert [numbers(await reader.read(2, 1)) for _ in range(3)] == [[1, 2], [3, 4], [5]]
    assert len(script.asked("GetRecords")) == 1
    assert reader.lag is None


# --------------------------------------------------------------------------------------------------- pace


async def test_an_idle_shard_is_looked_at_four_times_a_second() -> None:
    script = Script(GetShardIterator=[iterator("first")], GetRecords=[records()])
    began = anyio.current_time()
    assert await reader_of(script).read(10, 10) == ()
    assert anyio.current_time() - began == pytest.approx(10)
    assert len(script.asked("GetRecords")) in (40, 41)


async def test_full_answers_follow_each_other_at_once() -> None:
    full = [records(*range(first, first + 1000)) for first in range(0, 5000, 1000)]
    script = Script(GetShardIterator=[iterator("first")], GetRecords=[*full, records()])
    reader = reader_of(script)
    began = anyio.current_time()
    for _ in range(5):
        assert len(await reader.read(1000, 1)) == 1000
    assert anyio.current_time() - began < 0.05


async def test_answers_that_were_not_full_leave_time_for_more() -> None:
    script = Script(GetShardIterator=[iterator("first")], GetRecords=[records(1), records(2), records()])
    reader = reader_of(script)
    began = anyio.current_time()
    assert numbers(await reader.read(10, 1)) == [1]
    assert numbers(await reader.read(10, 1)) == [2]
    assert anyio.current_time() - began == pytest.approx(0.1)


# --------------------------------------------------------------------------------------------------- ends


async def test_a_closed_shard_ends_when_all_was_read() -> None:
    script = Script(GetShardIterator=[iterator("first")], GetRecords=[records(1, 2, more=None)])
    reader = reader_of(script)
    assert numbers(await reader.read(10, 1)) == [1, 2]
    for _ in range(2):
        with pytest.raises(ShardClosed):
            await reader.read(10, 1)
    assert len(script.asked("GetRecords")) == 1
    await reader.close()


async def test_the_end_may_be_an_answer_with_null() -> None:
    script = Script(
        GetShardIterator=[iterator("first")], GetRecords=[{"Records": [], "NextShardIterator": None}]
    )
    with pytest.raises(ShardClosed):
        await reader_of(script).read(10, 1)


# ------------------------------------------------------------------------------------------------- faults


async def test_an_expired_iterator_is_replaced_where_reading_was() -> None:
    script = Script(
        GetShardIterator=[iterator("first"), iterator("second")],
        GetRecords=[records(1, 2), fault("ExpiredIteratorException"), records(3)],
    )
    reader = reader_of(script)
    assert numbers(await reader.read(10, 1)) == [1, 2]
    assert numbers(await reader.read(10, 1)) == [3]
    assert script.asked("GetShardIterator")[1] == {
        "StreamArn": ARN,
        "ShardId": SHARD,
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
        "SequenceNumber": "2",
    }


async def test_an_expired_iterator_at_the_end_is_replaced_by_the_instant() -> None:
    script = Script(
        GetShardIterator=[iterator("second")],
        GetRecords=[fault("ExpiredIteratorException"), records(1, 2, 9)],
    )
    assert numbers(await reader_of(script, instant_position(BORN + 2), iterator="kept").read(10, 1)) == [2, 9]


@pytest.mark.parametrize(
    "error",
    [
        fault("LimitExceededException"),
        fault("ProvisionedThroughputExceededException"),
        fault("ThrottlingException"),
        fault("InternalServerError", status=500),
        ConnectionError("nobody answers"),
    ],
)
async def test_what_passes_is_waited_for(error: Exception) -> None:
    script = Script(GetShardIterator=[error, iterator("first")], GetRecords=[error, error, records(1)])
    reader = reader_of(script)
    began = anyio.current_time()
    assert numbers(await reader.read(10, 30)) == [1]
    assert 0.7 <= anyio.current_time() - began <= 10


async def test_pauses_grow_while_nothing_answers() -> None:
    script = Script(GetShardIterator=[iterator("first")], GetRecords=[fault("ThrottlingException")])
    assert await reader_of(script).read(10, 60) == ()
    assert 10 <= len(script.asked("GetRecords")) <= 30


async def test_what_only_a_person_can_mend_is_raised() -> None:
    script = Script(GetShardIterator=[fault("AccessDeniedException", "GetShardIterator")])
    with pytest.raises(SourceError, match="GetShardIterator in the policy") as error:
        await reader_of(script).read(10, 1)
    assert not error.value.retryable


async def test_an_iterator_that_means_nothing_any_more_is_replaced() -> None:
    """DynamoDB Local: `Invalid ShardId in ShardIterator`, for a shard that is there."""
    script = Script(
        GetShardIterator=[iterator("first"), iterator("second")],
        GetRecords=[fault("ResourceNotFoundException"), records(1)],
        DescribeStream=[HERE],
    )
    assert numbers(await reader_of(script).read(10, 1)) == [1]


# ------------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("position", [position_of("5"), instant_position(BORN)])
async def test_records_that_were_removed_unread_are_not_passed_over(position: int) -> None:
    script = Script(GetShardIterator=[fault("TrimmedDataAccessException")])
    with pytest.raises(PositionLost, match="on_position_lost") as error:
        await reader_of(script, position).read(10, 1)
    assert not error.value.retryable


async def test_after_a_loss_it_goes_on_with_the_oldest() -> None:
    script = Script(
        GetShardIterator=[fault("TrimmedDataAccessException"), iterator("oldest")], GetRecords=[records(9)]
    )
    reader = reader_of(script, position_of("5"), on_position_lost="trim_horizon")
    assert numbers(await reader.read(10, 1)) == [9]
    assert script.asked("GetShardIterator")[1]["ShardIteratorType"] == "TRIM_HORIZON"


async def test_after_a_loss_it_goes_on_with_the_next_to_come() -> None:
    """By an iterator at the end, and by the instant should that die."""
    script = Script(
        GetShardIterator=[iterator("a"), iterator("end"), iterator("oldest")],
        GetRecords=[
            fault("TrimmedDataAccessException"),
            fault("ExpiredIteratorException"),
            records(998, 999, 1000, 1001),
        ],
    )
    reader = reader_of(script, position_of("5"), on_position_lost="latest", now=BORN + 1000.5)
    assert numbers(await reader.read(10, 1)) == [1000, 1001]
    kinds = [asked["ShardIteratorType"] for asked in script.asked("GetShardIterator")]
    assert kinds == ["AFTER_SEQUENCE_NUMBER", "LATEST", "TRIM_HORIZON"]


async def test_a_loss_that_cannot_be_got_over_yet_is_an_error_to_try_again() -> None:
    script = Script(GetShardIterator=[fault("TrimmedDataAccessException"), ConnectionError("nobody answers")])
    with pytest.raises(SourceError, match="nobody answers") as error:
        await reader_of(script, position_of("5"), on_position_lost="latest").read(10, 1)
    assert error.value.retryable


async def test_the_oldest_record_is_whichever_it_is_now() -> None:
    script = Script(
        GetShardIterator=[iterator("old"), iterator("new")],
        GetRecords=[fault("TrimmedDataAccessException"), records(9)],
    )
    assert numbers(await reader_of(script).read(10, 1)) == [9]


@pytest.mark.parametrize("position", [position_of("5"), instant_position(BORN)])
async def test_a_shard_that_is_gone_took_records_with_it(position: int) -> None:
    def script() -> Script:
        return Script(GetShardIterator=[fault("ResourceNotFoundException")], DescribeStream=[GONE])

    with pytest.raises(PositionLost, match="gone"):
        await reader_of(script(), position).read(10, 1)
    for policy in ("trim_horizon", "latest"):
        with pytest.raises(ShardClosed):
            await reader_of(script(), position, on_position_lost=policy).read(10, 1)


async def test_a_shard_that_went_before_it_was_begun_has_no_oldest_record() -> None:
    script = Script(GetShardIterator=[fault("ResourceNotFoundException")], DescribeStream=[GONE])
    with pytest.raises(ShardClosed):
        await reader_of(script).read(10, 1)


async def test_a_stream_that_is_gone_is_not_a_shard_that_is() -> None:
    script = Script(
        GetShardIterator=[fault("ResourceNotFoundException")],
        DescribeStream=[fault("ResourceNotFoundException", "DescribeStream")],
    )
    with pytest.raises(SourceError, match="DescribeStream") as error:
        await reader_of(script).read(10, 1)
    assert not error.value.retryable
    assert not isinstance(error.value, PositionLost)


# ------------------------------------------------------------------------------------------- cancellation


async def test_a_read_that_is_cut_off_is_made_again() -> None:
    class Slow(Script):
        async def call(self, operation: str, parameters: Any, *, patience: float = 10.0) -> Any:
            answer = await super().call(operation, parameters, patience=patience)
            if operation == "GetRecords" and len(self.asked("GetRecords")) == 1:
                await anyio.sleep(5)
            return answer

    script = Slow(GetShardIterator=[iterator("first")], GetRecords=[records(1), records(1)])
    reader = reader_of(script)
    with anyio.move_on_after(0.5):
        await reader.read(10, 60)
    assert numbers(await reader.read(10, 1)) == [1]
    assert [asked["ShardIterator"] for asked in script.asked("GetRecords")] == ["first", "first"]


async def test_a_short_wait_leaves_time_for_a_call() -> None:
    script = Script(GetShardIterator=[iterator("first")], GetRecords=[records(1)])
    assert numbers(await reader_of(script).read(10, 0)) == [1]
