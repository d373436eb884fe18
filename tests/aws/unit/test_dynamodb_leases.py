"""Leases in a table whose server is slow, throttles, refuses or loses answers; and where leases are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamfn.core.leasing import Creation, ShardNode, request
from streamfn.errors import ConfigurationError, SourceError
from streamfn.leasing import ShardReader
from streamfn.ports import Assigned, Checkpoint, Lease, StreamShard, Subscription
from streamfn.testing.clock import virtual_backend
from streamfn_aws.errors import ServiceError
from streamfn_aws.lease_table import LeaseTable
from streamfn_aws.leased import LeaseOptions, leased_shards
from streamfn_aws.options import Connection
from tests.aws.unit.dynamodb_fakes import Script, fault, reader_of, records

LEASE = Lease("shard", "worker", 3)
THROTTLED = fault("ProvisionedThroughputExceededException", "UpdateItem")
MISSING = fault("ResourceNotFoundException", "PutItem")
CHANGED = fault("ConditionalCheckFailedException", "UpdateItem")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


def table_of(script: Script, table: str | None = "leases") -> LeaseTable:
    return LeaseTable(script, "kinesis://flights", table=table)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ throttles


async def test_a_throttled_renewal_is_tried_again() -> None:
    script = Script(UpdateItem=[THROTTLED, THROTTLED, {}])
    began = anyio.current_time()
    assert await table_of(script).update("group", LEASE, LEASE.moved("worker"))
    assert anyio.current_time() - began < 0.2
    first, *others = script.asked("UpdateItem")
    assert others == [first, first]


async def test_throttles_without_end_are_an_error_within_two_seconds() -> None:
    script = Script(UpdateItem=[THROTTLED], Scan=[THROTTLED])
    began = anyio.current_time()
    with pytest.raises(SourceError, match="lease table leases") as error:
        await table_of(script).update("group", LEASE, LEASE.moved("worker"))
    assert error.value.retryable
    assert 0.7 <= anyio.current_time() - began <= 2
    with pytest.raises(SourceError) as error:
        await table_of(script).list("group")
    assert error.value.retryable


@pytest.mark.parametrize(
    ("operation", "act"),
    [
        ("UpdateItem", lambda store: store.update("group", LEASE, LEASE.moved("worker"))),
        ("UpdateItem", lambda store: store.create("group", request("shard", "worker"))),
        ("DeleteItem", lambda store: store.delete("group", LEASE)),
        ("PutItem", lambda store: store.create("group", LEASE)),
    ],
)
async def test_a_write_is_one_call_on_a_condition(operation: str, act: Any) -> None:
    script = Script(**{operation: [{}]})
    assert await act(table_of(script)) is True
    ((name, asked),) = script.calls
    assert (name, asked["TableName"]) == (operation, "leases")
    assert asked["ConditionExpression"]
    script = Script(**{operation: [CHANGED]})
    assert await act(table_of(script)) is False
    assert len(script.calls) == 1


@pytest.mark.parametrize("error", [ConnectionError("nobody answers"), TimeoutError("no answer")])
async def test_no_answer_is_the_callers_to_find_out(error: OSError) -> None:
    with pytest.raises(OSError, match="answer"):
        await table_of(Script(UpdateItem=[error])).update("group", LEASE, LEASE.moved("worker"))


# ----------------------------------------------------------------------------------------------- the table


async def test_a_table_that_is_not_there_has_no_leases() -> None:
    script = Script(Scan=[MISSING], UpdateItem=[MISSING], DeleteItem=[MISSING])
    store = table_of(script)
    assert list(await store.list("group")) == []
    assert not await store.update("group", LEASE, LEASE.moved("worker"))
    assert not await store.delete("group", LEASE)
    assert not await store.create("group", request("shard", "worker"))


async def test_the_first_lease_makes_the_table_and_waits_for_it() -> None:
    active = {"Table": {"TableStatus": "ACTIVE"}}
    script = Script(
        PutItem=[MISSING, {}],
        CreateTable=[{}],
        DescribeTable=[MISSING, {"Table": {"TableStatus": "CREATING"}}, active],
    )
    assert await table_of(script).create("group", LEASE)
    assert [name for name, _ in script.calls] == [
        "PutItem",
        "CreateTable",
        "DescribeTable",
        "DescribeTable",
        "DescribeTable",
        "PutItem",
    ]
    assert script.asked("CreateTable") == [
        {
            "TableName": "leases",
            "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
        }
    ]


async def test_another_worker_may_be_making_the_table() -> None:
    script = Script(
        PutItem=[MISSING, CHANGED],
        CreateTable=[fault("ResourceInUseException", "CreateTable")],
        DescribeTable=[{"Table": {"TableStatus": "ACTIVE"}}],
    )
    assert not await table_of(script).create("group", LEASE)


async def test_a_table_that_is_never_active_is_an_error() -> None:
    script = Script(
        PutItem=[MISSING], CreateTable=[{}], DescribeTable=[{"Table": {"TableStatus": "CREATING"}}]
    )
    with pytest.raises(SourceError, match="not active") as error:
        await table_of(script).create("group", LEASE)
    assert error.value.retryable


@pytest.mark.parametrize(
    ("answers", "kind", "said"),
    [
        (
            {"CreateTable": [fault("AccessDeniedException", "CreateTable")]},
            ConfigurationError,
            "dynamodb:CreateTable",
        ),
        ({"CreateTable": [fault("InternalServerError", "CreateTable", 500)]}, SourceError, "CreateTable"),
        (
            {"CreateTable": [{}], "DescribeTable": [fault("AccessDeniedException", "DescribeTable")]},
            SourceError,
            "DescribeTable in the policy",
        ),
    ],
)
async def test_a_table_that_cannot_be_made_names_the_fix(
    answers: dict[str, Sequence[Any]], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        await table_of(Script(PutItem=[MISSING], **answers)).create("group", LEASE)


@pytest.mark.parametrize("operation", ["Scan", "UpdateItem"])
async def test_a_denied_call_names_the_action(operation: str) -> None:
    denied = ServiceError(operation, "AccessDeniedException", "not authorized", 400)
    store = table_of(Script(**{operation: [denied]}))
    with pytest.raises(SourceError, match=f"{operation} in the policy") as error:
        await (store.list("group") if operation == "Scan" else store.update("group", LEASE, LEASE.moved("w")))
    assert not error.value.retryable


async def test_items_of_other_kinds_are_passed_over() -> None:
    """Version 3 of the library keeps its leader and its workers' load there."""
    item = {"leaseKey": {"S": "shard"}, "leaseCounter": {"N": "1"}, "checkpoint": {"S": "TRIM_HORIZON"}}
    page = [{"leaseKey": {"S": "Leader"}, "entityType": {"S": "LEADER"}}, item]
    script = Script(Scan=[{"Items": page}])
    assert list(await table_of(script).list("group")) == [Lease("shard", None, 1)]
    assert script.asked("Scan") == [{"TableName": "leases", "ConsistentRead": True}]


async def test_without_a_name_the_table_has_the_groups() -> None:
    script = Script(Scan=[{"Items": []}])
    await table_of(script, None).list("app.flights")
    await table_of(script, None).list("app/flights")
    plain, legal = (asked["TableName"] for asked in script.asked("Scan"))
    assert plain == "app.flights"
    assert legal.startswith("app-flights-")


# ---------------------------------------------------------------------------------------- where they are kept


class TwoShards:
    """A source that is read by script."""

    async def discover(self) -> Sequence[ShardNode]:
        return [ShardNode("a"), ShardNode("b")]

    async def begin(self, creation: Creation, at: float | None) -> Checkpoint:
        return Checkpoint(-1)

    async def open(self, lease: Lease) -> ShardReader:
        return reader_of(Script(GetShardIterator=[{"ShardIterator": "i"}], GetRecords=[records()]))


def options(tmp_path: Path, leases: str) -> LeaseOptions:
    return LeaseOptions.of({"leases": leases, "state_dir": tmp_path, "lease_time": 5, "lease_table": None})


async def positions(
    chosen: LeaseOptions, group: str, commit: int | None = None, stream: str = "s"
) -> dict[str, int]:
    """What each shard's checkpoint is to a reader, who may commit."""
    found: dict[str, StreamShard] = {}
    async with leased_shards(
        chosen, Connection(), TwoShards(), Subscription(group), stream=stream
    ) as changes:
        while len(found) < 2:
            event = await anext(changes)
            assert isinstance(event, Assigned)
            found[event.shard.id] = event.shard
        for shard in found.values():
            assert shard.commit_interval == chosen.checkpoint_interval
            assert shard.note_limit == 65_536
            if commit is not None:
                await shard.commit(Checkpoint(commit))
            await shard.close()
    return {key: shard.checkpoint.position for key, shard in found.items()}


class TestInRealTime:
    """A file's threads know no other."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_leases_in_a_file_are_there_again(self, tmp_path: Path) -> None:
        kept = options(tmp_path, "sqlite")
        assert await positions(kept, "group", commit=7) == {"a": -1, "b": -1}
        assert (tmp_path / "leases.db").exists()
        assert await positions(kept, "group") == {"a": 7, "b": 7}

    async def test_groups_and_streams_share_the_file_and_nothing_else(self, tmp_path: Path) -> None:
        kept = options(tmp_path, "sqlite")
        seen: list[dict[str, int]] = []

        async def read(group: str, stream: str, commit: int) -> None:
            seen.append(await positions(kept, group, commit, stream))

        async with anyio.create_task_group() as tasks:
            for number, (group, stream) in enumerate([("one", "s"), ("two", "s"), ("one", "t")]):
                tasks.start_soon(read, group, stream, number)
        assert seen == [{"a": -1, "b": -1}] * 3
        assert await positions(kept, "two") == {"a": 1, "b": 1}


async def test_leases_in_memory_are_there_while_the_loop_is(tmp_path: Path) -> None:
    kept = options(tmp_path, "memory")
    assert await positions(kept, "group", commit=7) == {"a": -1, "b": -1}
    assert await positions(kept, "group") == {"a": 7, "b": 7}
    assert await positions(kept, "another") == {"a": -1, "b": -1}
    assert not list(tmp_path.iterdir())


async def test_leases_of_one_loop_are_not_anothers(tmp_path: Path) -> None:
    """As the test before, whose loop is gone."""
    assert await positions(options(tmp_path, "memory"), "group") == {"a": -1, "b": -1}


def test_options_have_their_defaults() -> None:
    assert LeaseOptions.of({"poll_interval": 3, "lease_table": None}) == LeaseOptions(
        leases="dynamodb",
        lease_table=None,
        lease_time=30.0,
        checkpoint_interval=1.0,
        state_dir=Path(".streamfn"),
    )
    assert LeaseOptions.of({"state_dir": "here"}).state_dir == Path("here")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"leases": "redis"}, "leases"),
        ({"lease_table": "a"}, "lease_table"),
        ({"lease_table": 7}, "lease_table"),
        ({"lease_table": "leases", "leases": "sqlite"}, "lease_table"),
        ({"lease_time": 0.5}, "lease_time"),
        ({"lease_time": "long"}, "lease_time"),
        ({"checkpoint_interval": -1}, "checkpoint_interval"),
    ],
)
def test_options_that_are_wrong_are_refused(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        LeaseOptions.of(given)
    assert error.value.field == field
