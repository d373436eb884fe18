"""Shards of a table's stream: listed in pages, closed every few hours, gone after a day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest

from streamfn.core.leasing import Creation, Lease, ShardNode
from streamfn.core.policies import StartingPosition
from streamfn.errors import PositionLost, ShardClosed, ShardLost, SourceError
from streamfn.leasing import LeasedShards
from streamfn.ports import Assigned, Checkpoint, StreamShard, Subscription
from streamfn.stores import MemoryLeaseStore
from streamfn.testing.clock import virtual_backend
from streamfn_aws.dynamodb.shards import DynamoDbShards, Reading
from streamfn_aws.dynamodb.stream import Stream, stream_of
from streamfn_aws.positions import instant_position, position_of
from tests.aws.unit.dynamodb_fakes import (
    ARN,
    BORN,
    SHARD,
    Script,
    change,
    described,
    fault,
    iterator,
    records,
)

LATEST = StartingPosition.LATEST
TRIM_HORIZON = StartingPosition.TRIM_HORIZON
GROUP = "group"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


def shards_of(api: Any, now: float = BORN + 100.5, **options: Any) -> DynamoDbShards:
    how = Reading(poll_interval=0.25, clock=lambda: now, **{"on_position_lost": "fail", **options})
    return DynamoDbShards("dynamodb://flights", Stream(api, ARN), how)


# ------------------------------------------------------------------------------------------------- one call


async def test_all_pages_of_shards_are_read() -> None:
    script = Script(
        DescribeStream=[
            described(("a", None), ("b", "a"), last="b"),
            described(("c", "a"), last="c"),
            described(("d", "gone")),
        ]
    )
    assert list(await shards_of(script).discover()) == [
        ShardNode("a"),
        ShardNode("b", ("a",)),
        ShardNode("c", ("a",)),
        ShardNode("d", ("gone",)),
    ]
    starts = [asked.get("ExclusiveStartShardId") for asked in script.asked("DescribeStream")]
    assert starts == [None, "b", "c"]


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (fault("LimitExceededException", "DescribeStream"), True),
        (ConnectionError("nobody answers"), True),
        (fault("AccessDeniedException", "DescribeStream"), False),
        (fault("ResourceNotFoundException", "DescribeStream"), False),
    ],
)
async def test_a_stream_that_cannot_be_listed_is_an_error(error: Exception, *, retryable: bool) -> None:
    with pytest.raises(SourceError, match="dynamodb://flights") as raised:
        await shards_of(Script(DescribeStream=[error])).discover()
    assert raised.value.retryable is retryable


async def test_latest_is_an_iterator_for_us_and_an_instant_for_others() -> None:
    script = Script(
        DescribeStream=[described((SHARD, None))],
        GetShardIterator=[iterator("end"), iterator("oldest")],
        GetRecords=[records(1), records(1, 99, 100, 101)],
    )
    shards = shards_of(script)
    begun = await shards.begin(Creation(ShardNode(SHARD), LATEST), None)
    assert begun == Checkpoint(instant_position(BORN + 100.5))

    reader = await shards.open(Lease(SHARD, checkpoint=begun))
    await reader.read(10, 1)
    assert script.asked("GetRecords")[0]["ShardIterator"] == "end"
    # Opened again it begins as others do: the iterator was used.
    again = await shards.open(Lease(SHARD, checkpoint=begun))
    assert [record.id for record in await again.read(10, 1)] == ["100", "101"]
    assert script.asked("GetRecords")[1]["ShardIterator"] == "oldest"


async def test_an_iterator_is_not_used_for_another_workers_lease() -> None:
    """Two workers may begin at once; the lease of one stands, and with it what it says."""
    script = Script(
        DescribeStream=[described((SHARD, None))],
        GetShardIterator=[iterator("end"), iterator("oldest")],
        GetRecords=[records(49, 50)],
    )
    shards = shards_of(script)
    await shards.begin(Creation(ShardNode(SHARD), LATEST), None)
    theirs = Lease(SHARD, checkpoint=Checkpoint(instant_position(BORN + 50)))
    reader = await shards.open(theirs)
    assert [record.id for record in await reader.read(10, 1)] == ["50"]


@pytest.mark.parametrize(("ahead", "settled"), [(-5.0, -5.0), (0.5, 0.5), (30.0, 1.0)])
async def test_a_clock_that_is_ahead_of_the_service_misses_nothing(ahead: float, settled: float) -> None:
    """1700000000 is 22:13:20 GMT; the header has whole seconds."""
    at = iterator("end", "Tue, 14 Nov 2023 22:13:20 GMT")
    script = Script(GetShardIterator=[at])
    begun = await shards_of(script, BORN + ahead).begin(Creation(ShardNode(SHARD), LATEST), None)
    assert begun == Checkpoint(instant_position(BORN + settled))


async def test_the_oldest_record_needs_no_call() -> None:
    script = Script()
    begun = await shards_of(script).begin(Creation(ShardNode(SHARD), TRIM_HORIZON), None)
    assert begun == Checkpoint(-1)
    assert script.calls == []


async def test_a_position_keeps_the_digits_of_its_stream() -> None:
    listed = described((SHARD, None))
    listed["StreamDescription"]["Shards"][0]["SequenceNumberRange"] = {"StartingSequenceNumber": "0000000001"}
    script = Script(DescribeStream=[listed], GetShardIterator=[iterator("first")], GetRecords=[records(2)])
    shards = shards_of(script)
    await shards.discover()
    await (await shards.open(Lease(SHARD, checkpoint=Checkpoint(position_of("1"))))).read(10, 1)
    assert script.asked("GetShardIterator")[0]["SequenceNumber"] == "0000000001"


async def test_a_stream_that_is_switched_off_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    off = described((SHARD, None), status="DISABLED")
    shards = shards_of(Script(DescribeStream=[described((SHARD, None)), off]))
    for _ in range(3):
        await shards.discover()
    assert capsys.readouterr().out.count("stream_disabled") == 1


async def test_the_stream_is_the_one_the_table_has_now() -> None:
    script = Script(DescribeTable=[{"Table": {"LatestStreamArn": ARN}}])
    assert await stream_of(script, "flights", "dynamodb://flights") == ARN  # type: ignore[arg-type]
    stream = Stream(script, ARN)  # type: ignore[arg-type]
    assert stream.region == "eu-central-1"
    assert stream.table_arn == "arn:aws:dynamodb:eu-central-1:123456789012:table/flights"


# ------------------------------------------------------------------------------------------------ a day long


class Rolling:
    """A stream whose shards roll: parents close and children open, and what is old is removed."""

    region = "eu-central-1"

    def __init__(self) -> None:
        self.shards: dict[str, str | None] = {}
        self.records: dict[str, list[int]] = {}
        self.closed: set[str] = set()

    def open(self, shard: str, parent: str | None = None) -> None:
        self.shards[shard], self.records[shard] = parent, []
        if parent is not None:
            self.closed.add(parent)

    def remove(self, shard: str) -> None:
        del self.shards[shard], self.records[shard]

    async def call(self, operation: str, parameters: Mapping[str, Any], *, patience: float = 10.0) -> Any:
        await anyio.sleep(0.001)
        match operation:
            case "DescribeStream":
                names = list(self.shards)
                last = parameters.get("ExclusiveStartShardId")
                first = names.index(last) + 1 if last else 0
                page = names[first : first + 2]
                return described(
                    *((name, self.shards[name]) for name in page),
                    last=page[-1] if first + 2 < len(names) else None,
                )
            case "GetShardIterator":
                shard, after = parameters["ShardId"], int(parameters.get("SequenceNumber", -1))
                if shard not in self.shards:
                    raise fault("ResourceNotFoundException", operation)
                if parameters["ShardIteratorType"] == "LATEST":
                    after = max(self.records[shard], default=-1)
                return iterator(f"{shard}/{after}")
            case "GetRecords":
                shard, _, after_text = parameters["ShardIterator"].partition("/")
                if shard not in self.shards:
                    raise fault("TrimmedDataAccessException", operation)
                found = [number for number in self.records[shard] if number > int(after_text)][:2]
                last_read = found[-1] if found else int(after_text)
                ended = shard in self.closed and not any(n > last_read for n in self.records[shard])
                more = None if ended else f"{shard}/{last_read}"
                return {"Records": [change(number) for number in found], "NextShardIterator": more}
            case _:
                raise AssertionError(operation)


class Worker:
    """Reads all shards it gets, and commits each record."""

    def __init__(
        self, stream: Rolling, store: MemoryLeaseStore, start: StartingPosition, **options: Any
    ) -> None:
        self.seen: list[tuple[str, int]] = []
        self.errors: list[SourceError] = []
        self._leased = LeasedShards(
            store, shards_of(stream, **options), Subscription(GROUP, start), lease_time=10, discover_every=5
        )
        self._scope = anyio.CancelScope()

    def leave(self) -> None:
        self._scope.cancel()

    async def run(self) -> None:
        with self._scope:
            async with self._leased.shards() as changes, anyio.create_task_group() as tasks:
                async for event in changes:
                    if isinstance(event, Assigned):
                        tasks.start_soon(self._work, event.shard)

    async def _work(self, shard: StreamShard) -> None:
        try:
            while True:
                for record in await shard.read(1, 5):
                    self.seen.append((shard.id, int(record.id)))
                    await shard.commit(Checkpoint(record.position))
        except (ShardClosed, ShardLost):
            pass
        except SourceError as error:
            self.errors.append(error)
        await shard.close()


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(120):
        while True:
            if condition():
                return
            await anyio.sleep(0.25)


async def until_left(store: MemoryLeaseStore, *keys: str) -> None:
    """Until these leases are all there are."""
    with anyio.fail_after(120):
        while True:
            if {lease.key for lease in await store.list(GROUP)} == set(keys):
                return
            await anyio.sleep(1)


async def test_children_are_read_after_their_parents() -> None:
    stream, store = Rolling(), MemoryLeaseStore()
    stream.open("a")
    stream.records["a"] = [1, 2, 3]
    stream.open("b", "a")
    stream.records["b"] = [10, 11]
    stream.open("c", "b")
    stream.records["c"] = [20]
    stream.open("other")
    stream.records["other"] = [5]
    worker = Worker(stream, store, TRIM_HORIZON)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run)
        await until(lambda: ("c", 20) in worker.seen)
        assert [seen for seen in worker.seen if seen[0] != "other"] == [
            ("a", 1),
            ("a", 2),
            ("a", 3),
            ("b", 10),
            ("b", 11),
            ("c", 20),
        ]
        # It rolls on while it is read, and what is a day old is removed.
        stream.open("d", "c")
        stream.records["d"] = [30]
        await until(lambda: ("d", 30) in worker.seen)
        stream.remove("a")
        stream.remove("b")
        await until_left(store, "c", "d", "other")
        worker.leave()
    assert not worker.errors


async def test_latest_reads_what_comes_and_all_of_its_children() -> None:
    stream, store = Rolling(), MemoryLeaseStore()
    stream.open("a")
    stream.records["a"] = [1, 2]
    stream.open("b", "a")
    stream.records["b"] = [10]
    worker = Worker(stream, store, LATEST)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run)
        await anyio.sleep(1)
        stream.records["b"] += [11]
        stream.open("c", "b")
        stream.records["c"] = [20]
        await until(lambda: ("c", 20) in worker.seen)
        worker.leave()
    assert worker.seen == [("b", 11), ("c", 20)]


async def test_another_worker_goes_on_from_the_instant() -> None:
    stream, store = Rolling(), MemoryLeaseStore()
    stream.open("a")
    stream.records["a"] = [1, 2]
    first, second = Worker(stream, store, LATEST), Worker(stream, store, LATEST)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        await anyio.sleep(1)
        first.leave()
        await anyio.sleep(1)
        stream.records["a"] += [200, 201]
        tasks.start_soon(second.run)
        await until(lambda: ("a", 201) in second.seen)
        second.leave()
    assert first.seen == []
    assert second.seen == [("a", 200), ("a", 201)]


async def test_after_a_day_away_it_says_what_may_be_lost() -> None:
    """The shard it was at is gone; whether records went with it nobody can tell any more."""
    stream, store = Rolling(), MemoryLeaseStore()
    stream.open("a")
    stream.records["a"] = [1]
    first = Worker(stream, store, TRIM_HORIZON)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        await until(lambda: first.seen == [("a", 1)])
        first.leave()
    stream.open("b", "a")
    stream.records["b"] = [10]
    stream.open("c", "b")
    stream.remove("a")

    careful = Worker(stream, store, TRIM_HORIZON)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(careful.run)
        await until(lambda: careful.errors and ("b", 10) in careful.seen)
        careful.leave()
    assert all(isinstance(error, PositionLost) for error in careful.errors)

    carefree = Worker(stream, store, TRIM_HORIZON, on_position_lost="trim_horizon")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(carefree.run)
        await until_left(store, "b", "c")
        carefree.leave()
    assert not carefree.errors
