"""Leases as items, and items as leases. Pure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.errors import ConfigurationError
from streamfn.ports import Checkpoint, Lease
from streamfn_aws import lease_rows as rows
from streamfn_aws.lease_table import table_name, table_of
from streamfn_aws.positions import LAST_PART, instant_position, position_of

NOW = rows.Starting(now=1800000000.0)
OURS = rows.Belonging("group", "kinesis://flights")

positions = st.one_of(
    st.integers(-1, 2**210),
    st.integers(-(2**50), -2),
    st.builds(position_of, st.integers(0, 2**186).map(str), st.integers(0, LAST_PART)),
)
leases = st.builds(
    Lease,
    key=st.text(min_size=1),
    owner=st.none() | st.text(min_size=1),
    counter=st.integers(0, 2**63 - 1),
    checkpoint=st.builds(Checkpoint, positions, st.text()),
    parents=st.lists(st.text(min_size=1), max_size=2, unique=True).map(lambda names: tuple(sorted(names))),
    ended=st.booleans(),
)


def kcl(checkpoint: str, part: int | None = 0, **more: Any) -> rows.Item:
    item: rows.Item = {
        "leaseKey": {"S": "shardId-1"},
        "leaseCounter": {"N": "7"},
        "checkpoint": {"S": checkpoint},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        **more,
    }
    return item if part is None else {**item, "checkpointSubSequenceNumber": {"N": str(part)}}


def updated(item: rows.Item, change: rows.Change) -> rows.Item:
    """What DynamoDB makes of an update."""
    result = {name: value for name, value in item.items() if name not in change.removes}
    for name, value in change.adds.items():
        result[name] = {"N": str(int(result[name]["N"]) + int(value["N"]))}
    return {**result, **change.sets}


@given(leases)
def test_a_lease_comes_back_from_its_item(lease: Lease) -> None:
    item = rows.item_of(lease, OURS)
    assert rows.is_lease(item)
    assert rows.lease_of(item, NOW) == lease
    OURS.check(item, "table")


@given(leases, leases)
def test_an_update_makes_the_one_of_the_other(lease: Lease, new: Lease) -> None:
    change = rows.change(lease, new, OURS)
    made = updated(rows.item_of(lease, OURS), change)
    expected = Lease(lease.key, new.owner, new.counter, new.checkpoint, new.parents, new.ended)
    assert rows.lease_of(made, NOW) == expected
    parameters = change.parameters()
    names = set(parameters["ExpressionAttributeValues"])
    said = parameters["UpdateExpression"] + parameters["ConditionExpression"]
    assert all(name in said for name in names)
    assert parameters["ConditionExpression"] == "leaseCounter = :before"
    assert parameters["ExpressionAttributeValues"][":before"] == {"N": str(lease.counter)}


def test_a_renewal_writes_the_counter_and_nothing_else() -> None:
    lease = Lease("s", "worker", 3, Checkpoint(position_of("100"), "note"), ("parent",))
    assert rows.change(lease, lease.moved("worker"), OURS).parameters() == {
        "UpdateExpression": "SET leaseCounter = :leaseCounter",
        "ConditionExpression": "leaseCounter = :before",
        "ExpressionAttributeValues": {":leaseCounter": {"N": "4"}, ":before": {"N": "3"}},
    }


@pytest.mark.parametrize(
    ("position", "word", "part"),
    [
        (-1, "TRIM_HORIZON", 0),
        (instant_position(1700000000.25), "TRIM_HORIZON", 0),
        (
            position_of("495903382714902566085596925383615710959"),
            "495903382714902566085596925383615710959",
            LAST_PART,
        ),
        (position_of("100", 0), "100", 0),
        (position_of("100", 17), "100", 17),
    ],
)
def test_the_library_reads_a_place_before_which_all_is_done(position: int, word: str, part: int) -> None:
    """Of an instant it knows nothing, so it begins with the oldest record: older ones come, none is lost."""
    item = rows.item_of(Lease("s", checkpoint=Checkpoint(position)), OURS)
    assert item["checkpoint"] == {"S": word}
    assert item["checkpointSubSequenceNumber"] == {"N": str(part)}


@pytest.mark.parametrize(
    ("item", "position"),
    [
        (kcl("TRIM_HORIZON"), -1),
        (kcl("LATEST"), instant_position(NOW.now)),
        (kcl("AT_TIMESTAMP"), -1),
        (kcl("SHARD_END"), -1),
        (kcl("100"), position_of("100", 0)),
        (kcl("100", 5), position_of("100", 5)),
        (kcl("100", None), position_of("100", 0)),
        (kcl("100", 2**40), position_of("100")),
    ],
)
def test_what_the_library_wrote_is_a_position(item: rows.Item, position: int) -> None:
    assert rows.lease_of(item, NOW).checkpoint == Checkpoint(position)


def test_at_timestamp_begins_where_the_mapping_says() -> None:
    starting = rows.Starting(NOW.now, at=1700000000.0)
    assert rows.lease_of(kcl("AT_TIMESTAMP"), starting).checkpoint.position == instant_position(1700000000.0)


def test_the_instant_of_latest_is_written_with_the_first_update() -> None:
    """Else it would mean another one to the next who looks."""
    item = kcl("LATEST")
    lease = rows.lease_of(item, NOW)
    made = updated(item, rows.change(lease, lease.moved("worker"), OURS))
    assert rows.lease_of(made, rows.Starting(NOW.now + 99)) == lease.moved("worker")


@given(positions, st.text(min_size=1), st.integers(0, 2**186), st.integers(0, LAST_PART))
def test_a_checkpoint_of_the_library_is_the_later_word(
    before: int, note: str, number: int, part: int
) -> None:
    """Our columns stay in the item when it writes its own, and do not count any more."""
    item = rows.item_of(Lease("s", checkpoint=Checkpoint(before, note)), OURS)
    item["checkpoint"], item["checkpointSubSequenceNumber"] = {"S": str(number)}, {"N": str(part)}
    theirs = position_of(str(number), part)
    expected = Checkpoint(before, note) if theirs == before else Checkpoint(theirs)
    assert rows.lease_of(item, NOW).checkpoint == expected


def test_an_end_keeps_where_it_was() -> None:
    ended = Lease("s", None, 4, Checkpoint(position_of("100"), "n"), ended=True)
    item = rows.item_of(ended, OURS)
    assert (item["checkpoint"], item["checkpointSubSequenceNumber"]) == ({"S": "SHARD_END"}, {"N": "0"})
    assert rows.lease_of(item, NOW) == ended


def test_owners_are_counted_as_the_library_counts_them() -> None:
    """ownerSwitchesSinceCheckpoint: one more with each change of hands, none after a checkpoint."""
    item = kcl("100", leaseOwner={"S": "java"}, checkpointOwner={"S": "java"}, pendingCheckpoint={"S": "101"})
    lease = rows.lease_of(item, NOW)
    taken = lease.moved("worker")
    item = updated(item, rows.change(lease, taken, OURS))
    assert item["ownerSwitchesSinceCheckpoint"] == {"N": "1"}
    assert "checkpointOwner" not in item
    free = taken.moved(None)
    item = updated(item, rows.change(taken, free, OURS))
    assert "leaseOwner" not in item
    again = free.moved("worker")
    item = updated(item, rows.change(free, again, OURS))
    assert item["ownerSwitchesSinceCheckpoint"] == {"N": "1"}
    item = updated(
        item, rows.change(again, again.moved("worker", checkpoint=Checkpoint(position_of("200"))), OURS)
    )
    assert item["ownerSwitchesSinceCheckpoint"] == {"N": "0"}
    assert "pendingCheckpoint" not in item


def test_columns_of_others_stay() -> None:
    item = kcl(
        "100", childShardIds={"SS": ["a", "b"]}, throughputKBps={"N": "1.5"}, startingHashKey={"S": "0"}
    )
    lease = rows.lease_of(item, NOW)
    new = lease.moved("worker", checkpoint=Checkpoint(position_of("200")), ended=True)
    made = updated(item, rows.change(lease, new, OURS))
    for name in ("childShardIds", "throughputKBps", "startingHashKey"):
        assert made[name] == item[name]


@pytest.mark.parametrize("kind", ["LEADER", "STREAM", "WORKER_METRIC_STATS", "TABLE_MIGRATION"])
def test_items_of_other_kinds_are_no_leases(kind: str) -> None:
    assert not rows.is_lease(kcl("100", entityType={"S": kind}))
    assert not rows.is_lease({"leaseKey": {"S": "Leader"}, "ownerName": {"S": "w"}})
    assert rows.is_lease(kcl("100", entityType={"S": "LEASE"}))


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (kcl("1", streamfnGroup={"S": "another"}), "another"),
        (kcl("1", streamfnStream={"S": "kinesis://another"}), "kinesis://another"),
        (kcl("1", streamName={"S": "1234:flights:1"}), "several streams"),
    ],
)
def test_a_table_of_others_is_refused(item: rows.Item, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        OURS.check(item, "the-table")
    assert error.value.field == "lease_table"
    assert error.value.fix


def test_a_table_of_the_library_is_taken_over() -> None:
    item = kcl("1")
    OURS.check(item, "table")
    lease = rows.lease_of(item, NOW)
    item = updated(item, rows.change(lease, lease.moved("worker"), OURS))
    with pytest.raises(ConfigurationError, match="belongs to the group group"):
        rows.Belonging("another", OURS.stream).check(item, "table")


@pytest.mark.parametrize("word", ["", "OLDEST", "-5", "²"])
def test_a_checkpoint_that_is_none_is_an_error(word: str) -> None:
    with pytest.raises(ConfigurationError, match="shardId-1") as error:
        rows.lease_of(kcl(word), NOW)
    assert error.value.field == "lease_table"


@given(st.text(min_size=1))
def test_each_group_has_a_table(group: str) -> None:
    name = table_of(group)
    assert table_name(name) == name
    if name != group:
        assert table_of(group + "!") != name


@pytest.mark.parametrize("name", ["", "ab", "a" * 256, "a b c", "leases/1", "Zürich"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        table_name(name)
    assert error.value.field == "lease_table"
