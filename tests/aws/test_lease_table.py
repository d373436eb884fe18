"""Leases in DynamoDB, on a real server: the suite, fleets of workers, and tables that the KCL wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import anyio
import pytest

from streamfn.core.leasing import request
from streamfn.errors import ConfigurationError, SourceError
from streamfn.ports import Checkpoint, Lease, LeaseStore
from streamfn.testing.conformance import LeaseStoreFeatures, LeaseStoreHarness, LeaseStoreSuite
from streamfn_aws.api import Api
from streamfn_aws.lease_table import LeaseTable
from streamfn_aws.options import Connection
from streamfn_aws.positions import LAST_PART, instant_position, position_of
from tests.leasing import fleet
from tests.servers.aws import KEY, SECRET, Ministack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SEQUENCE = "49590338271490256608559692538361571095921575989136588898"
STREAM = "kinesis://flights"


def connection_of(server: Ministack, **options: Any) -> Connection:
    given = {
        "endpoint_url": server.endpoint,
        "region": server.region,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
    }
    return Connection(**{**given, **options})


@pytest.fixture
async def api(aws: Ministack) -> AsyncIterator[Api]:
    async with Api.shared(connection_of(aws), "dynamodb") as shared:
        yield shared


@pytest.fixture
def table(aws: Ministack) -> str:
    return aws.unique("leases")


class Apart:
    """A store whose groups no other test has."""

    def __init__(self, store: LeaseStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    async def list(self, group: str) -> Sequence[Lease]:
        return await self._store.list(self._prefix + group)

    async def create(self, group: str, lease: Lease) -> bool:
        return await self._store.create(self._prefix + group, lease)

    async def update(self, group: str, lease: Lease, new: Lease) -> bool:
        return await self._store.update(self._prefix + group, lease, new)

    async def delete(self, group: str, lease: Lease) -> bool:
        return await self._store.delete(self._prefix + group, lease)


class Harness(LeaseStoreHarness):
    def __init__(self, api: Api, prefix: str) -> None:
        self._api = api
        self._prefix = prefix

    def store(self) -> LeaseStore:
        return Apart(LeaseTable(self._api, STREAM), self._prefix)

    async def reopen(self) -> None:
        """Each store is a new one, and all that it knows is in the table."""


class TestLeaseTable(LeaseStoreSuite):
    features: ClassVar[LeaseStoreFeatures] = LeaseStoreFeatures(note=65_536)

    @pytest.fixture
    def harness(self, api: Api, aws: Ministack) -> LeaseStoreHarness:
        return Harness(api, aws.unique("group-"))


# -------------------------------------------------------------------------------------------------- fleets


async def test_workers_share(api: Api, table: str) -> None:
    await fleet.workers_share(LeaseTable(api, STREAM, table=table), 5, 9, lease_time=6.0)


async def test_a_dead_worker_is_replaced(api: Api, table: str) -> None:
    await fleet.a_dead_worker_is_replaced(LeaseTable(api, STREAM, table=table), 5, 9, lease_time=6.0)


async def test_a_worker_that_lost_a_lease_commits_nothing(api: Api, table: str) -> None:
    await fleet.a_worker_that_lost_a_lease_commits_nothing(
        LeaseTable(api, STREAM, table=table), lease_time=6.0
    )


async def test_children_follow_their_parents(api: Api, table: str) -> None:
    await fleet.children_follow_their_parents(LeaseTable(api, STREAM, table=table), 2, lease_time=3.0)


@pytest.mark.slow
async def test_workers_come_and_go(api: Api, table: str) -> None:
    store = LeaseTable(api, STREAM, table=table)
    await fleet.workers_come_and_go(store, 1, 4, 6, steps=12, lease_time=3.0)


# ----------------------------------------------------------------------------------- tables of the library


async def make_table(api: Api, table: str, key: str = "leaseKey") -> None:
    await api.call(
        "CreateTable",
        {
            "TableName": table,
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
        },
    )


async def item(api: Api, table: str, key: str) -> dict[str, Any]:
    answer = await api.call(
        "GetItem", {"TableName": table, "Key": {"leaseKey": {"S": key}}, "ConsistentRead": True}
    )
    found: dict[str, Any] = answer.get("Item", {})
    return found


def kcl_item(key: str, checkpoint: str, part: int = 0, **more: Any) -> dict[str, Any]:
    """As version 2 writes it."""
    return {
        "leaseKey": {"S": key},
        "leaseOwner": {"S": "ip-10-0-0-7"},
        "leaseCounter": {"N": "41"},
        "ownerSwitchesSinceCheckpoint": {"N": "2"},
        "checkpoint": {"S": checkpoint},
        "checkpointSubSequenceNumber": {"N": str(part)},
        "childShardIds": {"SS": ["shardId-8", "shardId-9"]},
        **more,
    }


async def test_a_table_of_the_library_goes_on_here(api: Api, table: str) -> None:
    await make_table(api, table)
    rows = [
        kcl_item("oldest", "TRIM_HORIZON"),
        kcl_item("newest", "LATEST"),
        kcl_item("since", "AT_TIMESTAMP"),
        kcl_item("ended", "SHARD_END"),
        kcl_item("inside", SEQUENCE, 3, parentShardId={"SS": ["p-2", "p-1"]}),
    ]
    for row in rows:
        await api.call("PutItem", {"TableName": table, "Item": row})
    store = LeaseTable(api, STREAM, table=table, starting_at=1700000000.0, clock=lambda: 1800000000.0)
    leases = {lease.key: lease for lease in await store.list("group")}
    assert {key: lease.checkpoint.position for key, lease in leases.items()} == {
        "oldest": -1,
        "newest": instant_position(1800000000.0),
        "since": instant_position(1700000000.0),
        "ended": -1,
        "inside": position_of(SEQUENCE, 3),
    }
    assert [key for key, lease in leases.items() if lease.ended] == ["ended"]
    assert leases["inside"] == Lease(
        "inside", "ip-10-0-0-7", 41, Checkpoint(position_of(SEQUENCE, 3)), ("p-1", "p-2")
    )

    # Whoever takes a shard that began at LATEST writes down when that was.
    assert await store.update("group", leases["newest"], leases["newest"].moved("worker"))
    later = LeaseTable(api, STREAM, table=table, clock=lambda: 1800000999.0)
    seen = {lease.key: lease for lease in await later.list("group")}
    assert seen["newest"] == leases["newest"].moved("worker")


async def test_what_is_written_here_goes_on_in_the_library(api: Api, table: str) -> None:
    store = LeaseTable(api, STREAM, table=table)
    lease = Lease("shardId-1", parents=("shardId-0",))
    assert await store.create("group", lease)
    belongs = {"streamfnGroup": {"S": "group"}, "streamfnStream": {"S": STREAM}}
    assert await item(api, table, "shardId-1") == {
        "leaseKey": {"S": "shardId-1"},
        "leaseCounter": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "checkpoint": {"S": "TRIM_HORIZON"},
        "checkpointSubSequenceNumber": {"N": "0"},
        "parentShardId": {"SS": ["shardId-0"]},
        "streamfnPosition": {"S": "-1"},
        **belongs,
    }

    taken = lease.moved("worker")
    done = taken.moved("worker", checkpoint=Checkpoint(position_of(SEQUENCE), "a note"))
    assert await store.update("group", lease, taken)
    assert await store.update("group", taken, done)
    assert await item(api, table, "shardId-1") == {
        "leaseKey": {"S": "shardId-1"},
        "leaseOwner": {"S": "worker"},
        "leaseCounter": {"N": "2"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "checkpoint": {"S": SEQUENCE},
        "checkpointSubSequenceNumber": {"N": str(LAST_PART)},
        "parentShardId": {"SS": ["shardId-0"]},
        "streamfnPosition": {"S": str(position_of(SEQUENCE))},
        "streamfnNote": {"S": "a note"},
        **belongs,
    }

    ended = done.moved(None, ended=True)
    assert await store.update("group", done, ended)
    row = await item(api, table, "shardId-1")
    assert (row["checkpoint"], row["checkpointSubSequenceNumber"]) == ({"S": "SHARD_END"}, {"N": "0"})
    assert "leaseOwner" not in row
    assert list(await store.list("group")) == [ended]


async def test_the_library_takes_it_and_gives_it_back(api: Api, table: str) -> None:
    store = LeaseTable(api, STREAM, table=table)
    ours = Lease("s", "worker", 5, Checkpoint(position_of("100"), "about record 101"))
    assert await store.create("group", ours)
    # It takes the lease and writes a checkpoint: it knows nothing of the note, which is no longer true.
    await api.call(
        "UpdateItem",
        {
            "TableName": table,
            "Key": {"leaseKey": {"S": "s"}},
            "UpdateExpression": "SET leaseOwner = :o, leaseCounter = :c, checkpoint = :p, "
            "checkpointSubSequenceNumber = :z, ownerSwitchesSinceCheckpoint = :z, pendingCheckpoint = :p, "
            "checkpointOwner = :o",
            "ExpressionAttributeValues": {
                ":o": {"S": "java"},
                ":c": {"N": "9"},
                ":p": {"S": "120"},
                ":z": {"N": "0"},
            },
        },
    )
    (theirs,) = await store.list("group")
    assert theirs == Lease("s", "java", 9, Checkpoint(position_of("120", 0)))

    again = theirs.moved("worker")
    assert await store.update("group", theirs, again)
    row = await item(api, table, "s")
    assert row["ownerSwitchesSinceCheckpoint"] == {"N": "1"}
    assert "checkpointOwner" not in row
    committed = again.moved("worker", checkpoint=Checkpoint(position_of("121")))
    assert await store.update("group", again, committed)
    row = await item(api, table, "s")
    assert row["ownerSwitchesSinceCheckpoint"] == {"N": "0"}
    assert not {"pendingCheckpoint", "streamfnNote"} & row.keys()
    assert list(await store.list("group")) == [committed]


async def test_a_request_is_no_item_of_its_own(api: Api, table: str) -> None:
    store = LeaseTable(api, STREAM, table=table)
    lease, ask = Lease("shard", "worker-1", 3), request("shard", "worker-2")
    assert not await store.create("group", ask)
    assert await store.create("group", lease)
    assert await store.create("group", ask)
    assert not await store.create("group", request("shard", "worker-3"))
    assert list(await store.list("group")) == [lease, ask]
    scan = await api.call("Scan", {"TableName": table, "ConsistentRead": True})
    assert [found["leaseKey"] for found in scan["Items"]] == [{"S": "shard"}]

    # Each goes by its own counter.
    assert await store.update("group", lease, lease.moved("worker-1"))
    assert await store.update("group", ask, ask.moved("worker-2"))
    assert not await store.update("group", ask, ask.moved("worker-2"))
    assert not await store.delete("group", ask)
    assert await store.delete("group", ask.moved("worker-2"))
    assert list(await store.list("group")) == [lease.moved("worker-1")]
    assert not await store.delete("group", ask.moved("worker-2"))


async def test_all_pages_are_read(api: Api, table: str) -> None:
    """An answer ends at 1 MB."""
    store = LeaseTable(api, STREAM, table=table)
    leases = [Lease(f"shard-{number:02}", checkpoint=Checkpoint(1, "n" * 65_536)) for number in range(40)]
    for lease in leases:
        assert await store.create("group", lease)
    assert sorted(await store.list("group"), key=lambda lease: lease.key) == leases


async def test_two_workers_make_one_table(aws: Ministack, api: Api, table: str) -> None:
    made: list[bool] = []

    async def create(number: int) -> None:
        made.append(await LeaseTable(api, STREAM, table=table).create("group", Lease(f"shard-{number}")))

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(create, number)
    assert made == [True] * 5
    assert len(await LeaseTable(api, STREAM, table=table).list("group")) == 5


async def test_a_group_whose_name_is_no_table_has_one(api: Api, aws: Ministack) -> None:
    group = aws.unique("app/") + ":flights in Zürich"
    store = LeaseTable(api, STREAM)
    assert await store.create(group, Lease("shard"))
    assert list(await store.list(group)) == [Lease("shard")]
    assert list(await store.list(group.replace(":", "/"))) == []


@pytest.mark.parametrize(
    ("group", "stream", "said"),
    [("another", STREAM, "group"), ("group", "kinesis://another", "kinesis://another")],
)
async def test_a_table_is_not_shared(api: Api, table: str, group: str, stream: str, said: str) -> None:
    assert await LeaseTable(api, STREAM, table=table).create("group", Lease("shard"))
    with pytest.raises(ConfigurationError, match=said) as error:
        await LeaseTable(api, stream, table=table).list(group)
    assert error.value.field == "lease_table"
    assert table in error.value.problem


async def test_a_table_of_something_else_is_refused(api: Api, table: str) -> None:
    await make_table(api, table, key="id")
    store = LeaseTable(api, STREAM, table=table)
    with pytest.raises(ConfigurationError, match="leaseKey") as error:
        await store.create("group", Lease("shard"))
    assert error.value.field == "lease_table"


async def test_no_answer_is_an_error_to_try_again(table: str, aws: Ministack) -> None:
    async with Api.shared(connection_of(aws, endpoint_url="http://127.0.0.1:1"), "dynamodb") as nobody:
        store = LeaseTable(nobody, STREAM, table=table)
        with pytest.raises((SourceError, OSError)) as error:
            await store.list("group")
    assert getattr(error.value, "retryable", True)


async def test_a_renewal_leaves_the_checkpoint_alone(api: Api, table: str) -> None:
    """What was not changed is not written: a renewal cannot undo anything."""
    store = LeaseTable(api, STREAM, table=table)
    lease = Lease("shard", "worker", 1, Checkpoint(position_of("7"), "note"), ("parent",))
    assert await store.create("group", lease)
    assert await store.update("group", lease, lease.moved("worker"))
    assert list(await store.list("group")) == [replace(lease, counter=2)]
