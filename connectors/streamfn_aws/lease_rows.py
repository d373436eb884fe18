"""Leases as items of a DynamoDB table, in the columns of the Kinesis Client Library 2 and 3. Pure.

A fleet can change from that library to streamfn and back on one table: each reads what the other wrote.
Columns of our own begin with `streamfn`; all others that stand in an item stay as they are.

A record that is done whole has the highest sub-sequence number we know, and the library, which goes on behind
the pair of both numbers, skips all of it. It writes 0 for a record that was not aggregated, which we cannot
tell from the first part of one that was: so its last record may come once more, and none is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamfn.core.leasing import request, requested
from streamfn.errors import ConfigurationError
from streamfn.ports import Checkpoint, Lease
from streamfn_aws.positions import (
    LAST_PART,
    TRIM_HORIZON,
    instant_position,
    part_of,
    position_of,
    sequence_number,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Item = dict[str, dict[str, Any]]

KEY: Final = "leaseKey"
_OWNER: Final = "leaseOwner"
_COUNTER: Final = "leaseCounter"
_CHECKPOINT: Final = "checkpoint"
_PART: Final = "checkpointSubSequenceNumber"
_SWITCHES: Final = "ownerSwitchesSinceCheckpoint"
_PARENTS: Final = "parentShardId"
_HANDED_BY: Final = "checkpointOwner"
"""Who still finishes what another owns already: of version 3."""
_PENDING: Final = ("pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState")
_KIND: Final = "entityType"
"""Version 3 may keep items of other kinds in the same table."""
_SEVERAL: Final = "streamName"
"""In the tables of those who read several streams at once."""

_GROUP: Final = "streamfnGroup"
_STREAM: Final = "streamfnStream"
_POSITION: Final = "streamfnPosition"
"""As text: it has more digits than a number of DynamoDB."""
_NOTE: Final = "streamfnNote"
_ASKED_BY: Final = "streamfnAskedBy"
"""Who asks for the shard. No item of its own: the library would take that for a lease."""
_ASK_COUNTER: Final = "streamfnAskCounter"


@dataclass(frozen=True, slots=True)
class Belonging:
    """Whose table it is."""

    group: str
    stream: str

    def check(self, item: Item, table: str) -> None:
        """Raises ConfigurationError where an item is not of this group and stream."""
        group, stream = _text(item, _GROUP) or self.group, _text(item, _STREAM) or self.stream
        if _SEVERAL in item:
            problem = f"{table} has leases of several streams"
        elif group != self.group:
            problem = f"{table} belongs to the group {group}, not to {self.group}"
        elif stream != self.stream:
            problem = f"{table} has the leases of {stream}, not of {self.stream}"
        else:
            return
        raise ConfigurationError(problem, field="lease_table", fix="give each mapping a table of its own")


@dataclass(frozen=True, slots=True)
class Starting:
    """What the words LATEST and AT_TIMESTAMP mean in an item that the library wrote: they stand for an
    instant that is not in it.
    """

    now: float
    """Epoch seconds. LATEST begins here, as it would with the library."""
    at: float | None = None
    """The mapping's own timestamp; without one reading begins with the oldest record."""


@dataclass(slots=True)
class Change:
    """An update of one item, on a condition."""

    condition: str
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    adds: dict[str, dict[str, Any]] = field(default_factory=dict)
    removes: list[str] = field(default_factory=list)
    expects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Values in the condition."""

    def parameters(self) -> dict[str, Any]:
        """As UpdateItem wants it."""
        clauses = []
        if self.sets:
            clauses.append("SET " + ", ".join(f"{name} = :{name}" for name in self.sets))
        if self.adds:
            clauses.append("ADD " + ", ".join(f"{name} :{name}" for name in self.adds))
        if self.removes:
            clauses.append("REMOVE " + ", ".join(self.removes))
        values = {f":{name}": value for name, value in {**self.sets, **self.adds, **self.expects}.items()}
        return {
            "UpdateExpression": " ".join(clauses),
            "ConditionExpression": self.condition,
            **({"ExpressionAttributeValues": values} if values else {}),
        }


# -------------------------------------------------------------------------------------------------- leases


def is_lease(item: Item) -> bool:
    """Whether it is one, and nothing else that the library keeps there."""
    return _COUNTER in item and _text(item, _KIND) in (None, "LEASE")


def item_of(lease: Lease, belonging: Belonging) -> Item:
    """The item of a new lease."""
    item: Item = {
        KEY: {"S": lease.key},
        _COUNTER: _number(lease.counter),
        _SWITCHES: _number(0),
        _GROUP: {"S": belonging.group},
        _STREAM: {"S": belonging.stream},
        **_columns(lease),
    }
    if lease.owner is not None:
        item[_OWNER] = {"S": lease.owner}
    if lease.parents:
        item[_PARENTS] = {"SS": sorted(lease.parents)}
    return item


def lease_of(item: Item, starting: Starting) -> Lease:
    """The lease in an item, whoever wrote it. Raises ConfigurationError where it is none."""
    return Lease(
        item[KEY]["S"],
        _text(item, _OWNER),
        int(item[_COUNTER]["N"]),
        _checkpoint(item, starting),
        tuple(sorted(item.get(_PARENTS, {}).get("SS", ()))),
        _text(item, _CHECKPOINT) == "SHARD_END",
    )


def change(lease: Lease, new: Lease, belonging: Belonging) -> Change:
    """What makes `new` of `lease`, where its counter still stands. Only what is different is written."""
    counter = {_COUNTER: _number(new.counter)}
    result = Change(f"{_COUNTER} = :before", counter, expects={"before": _number(lease.counter)})
    if new.owner != lease.owner:
        _hand_over(result, lease, new, belonging)
    # An instant may have been read from a word (`Starting`), which means another one at each look.
    if (new.checkpoint, new.ended) != (
        lease.checkpoint,
        lease.ended,
    ) or new.checkpoint.position < TRIM_HORIZON:
        columns = _columns(new)
        result.sets.update(columns)
        result.adds.clear()
        result.sets[_SWITCHES] = _number(0)
        result.removes.extend(name for name in (*_PENDING, _NOTE) if name not in columns)
    if new.parents != lease.parents and new.parents:
        result.sets[_PARENTS] = {"SS": sorted(new.parents)}
    elif new.parents != lease.parents:
        result.removes.append(_PARENTS)
    return result


def stands(lease: Lease) -> dict[str, Any]:
    """The condition that a lease was not changed."""
    return {
        "ConditionExpression": f"{_COUNTER} = :before",
        "ExpressionAttributeValues": {":before": _number(lease.counter)},
    }


def _hand_over(result: Change, lease: Lease, new: Lease, belonging: Belonging) -> None:
    result.sets[_GROUP], result.sets[_STREAM] = {"S": belonging.group}, {"S": belonging.stream}
    result.removes.append(_HANDED_BY)
    if new.owner is None:
        result.removes.append(_OWNER)
        return
    result.sets[_OWNER] = {"S": new.owner}
    if lease.owner is not None:
        result.adds[_SWITCHES] = _number(1)


# ------------------------------------------------------------------------------------------------- requests


def request_of(item: Item) -> Lease | None:
    """The row by which somebody asks for the item's shard."""
    asker = _text(item, _ASKED_BY)
    if asker is None:
        return None
    row = request(item[KEY]["S"], asker)
    return Lease(row.key, asker, int(item[_ASK_COUNTER]["N"]))


def item_key(lease: Lease) -> str:
    """The key of the item that a lease or a request stands in."""
    asked = requested(lease)
    return lease.key if asked is None else asked


def ask(row: Lease) -> Change:
    """Enters a request, where there is none and the lease is there."""
    return Change(f"attribute_exists({KEY}) AND attribute_not_exists({_ASKED_BY})", _asking(row))


def ask_on(row: Lease, new: Lease) -> Change:
    """Moves a request."""
    return Change(f"{_ASK_COUNTER} = :before", _asking(new), expects={"before": _number(row.counter)})


def ask_no_more(row: Lease) -> Change:
    """Takes a request back."""
    return Change(
        f"{_ASK_COUNTER} = :before",
        removes=[_ASKED_BY, _ASK_COUNTER],
        expects={"before": _number(row.counter)},
    )


def _asking(row: Lease) -> dict[str, dict[str, Any]]:
    return {_ASKED_BY: {"S": row.owner}, _ASK_COUNTER: _number(row.counter)}


# ---------------------------------------------------------------------------------------------- checkpoints


def _columns(lease: Lease) -> Item:
    word, part = _place(lease.checkpoint.position)
    columns: Item = {
        _CHECKPOINT: {"S": "SHARD_END" if lease.ended else word},
        _PART: _number(0 if lease.ended else part),
        _POSITION: {"S": str(lease.checkpoint.position)},
    }
    if lease.checkpoint.note:
        columns[_NOTE] = {"S": lease.checkpoint.note}
    return columns


def _place(position: int) -> tuple[str, int]:
    """What the library reads. Of an instant it knows nothing: from the oldest record on, none is lost."""
    if position <= TRIM_HORIZON:
        return "TRIM_HORIZON", 0
    return sequence_number(position), part_of(position)


def _checkpoint(item: Item, starting: Starting) -> Checkpoint:
    word, part = _text(item, _CHECKPOINT) or "", int(item.get(_PART, {}).get("N", 0))
    ours = _text(item, _POSITION)
    # Our own columns count as long as the library has not moved its own.
    if ours is not None and (word == "SHARD_END" or _place(int(ours)) == (word, part)):
        return Checkpoint(int(ours), _text(item, _NOTE) or "")
    if word.isascii() and word.isdigit():
        return Checkpoint(position_of(word, min(part, LAST_PART)))
    if word == "LATEST":
        return Checkpoint(instant_position(starting.now))
    if word == "AT_TIMESTAMP" and starting.at is not None:
        return Checkpoint(instant_position(starting.at))
    if word in ("TRIM_HORIZON", "AT_TIMESTAMP", "SHARD_END"):
        return Checkpoint(TRIM_HORIZON)
    raise ConfigurationError(
        f"the lease {item[KEY]['S']} has the checkpoint {word!r}",
        field="lease_table",
        fix="name a table of leases",
    )


def _text(item: Mapping[str, Mapping[str, Any]], name: str) -> str | None:
    value = item.get(name, {}).get("S")
    return None if value is None else str(value)


def _number(value: int) -> dict[str, Any]:
    return {"N": str(value)}
