"""Who reads which shard: what each worker of a group does about what it sees of the leases. Pure.

Workers share nothing but a table of leases, changed by compare-and-set on each lease's counter. Whoever moves
the counter has the shard, so a commit of one who lost it fails. A lease whose counter an observer has not
seen move for the lease time is free; each judges by its own clock, and no two clocks are ever compared.

A worker that has less than its share does not grab: it *asks*, with a row of its own beside the lease. The
owner sees it at its next look, finishes what is in flight and lets go, and the asker takes the lease then.
An owner that is dead does not answer, and its lease runs out.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from zlib import crc32

from streamfn.core.policies import StartingPosition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a shard is done."""

    position: int
    """All records up to and including it are done. -1 before the first."""
    note: str = ""
    """Text kept beside the position, for the next owner: up to `StreamShard.note_limit` characters."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to read one shard, and how far it was read. Whoever moves the counter has the right."""

    key: str
    owner: str | None = None
    counter: int = 0
    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint(-1))
    parents: tuple[str, ...] = ()
    ended: bool = False
    """All its records are done; its children may be read."""

    def moved(
        self, owner: str | None, *, checkpoint: Checkpoint | None = None, ended: bool | None = None
    ) -> Lease:
        """The same lease one step on."""
        return replace(
            self,
            owner=owner,
            counter=self.counter + 1,
            checkpoint=self.checkpoint if checkpoint is None else checkpoint,
            ended=self.ended if ended is None else ended,
        )


_ASK = "ask:"


def request(key: str, worker: str, counter: int = 0) -> Lease:
    """The row by which a worker asks for a shard that another has. There is one a shard at most.

    A worker never gives a counter twice: who sees the same again takes the row for one that nobody renewed.
    """
    return Lease(_ASK + key, owner=worker, counter=counter)


def requested(lease: Lease) -> str | None:
    """The shard that a row asks for; None for an ordinary lease."""
    return lease.key.removeprefix(_ASK) if lease.key.startswith(_ASK) else None


# ------------------------------------------------------------------------------------------- shard trees


@dataclass(frozen=True, slots=True)
class ShardNode:
    """A shard as its source lists it, with the shards it came from."""

    id: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Creation:
    """A lease that is missing, and where its shard is to be read from."""

    shard: ShardNode
    start: StartingPosition


def plan_creations(
    shards: Sequence[ShardNode], leases: Iterable[Lease], starting: StartingPosition
) -> tuple[Creation, ...]:
    """The leases to create for the shards a source lists, parents before their children.

    TRIM_HORIZON reads every shard there is from its beginning, AT_TIMESTAMP every shard from that time on.
    LATEST reads what is written from now on: the shards that nothing came from yet, from their ends. A shard
    that came from one the group knows is read from its beginning, so that nothing falls between the two.
    """
    known = {lease.key for lease in leases}
    tree = {shard.id: shard for shard in shards}
    split = {parent for shard in shards for parent in shard.parents}
    covered: dict[str, bool] = {}
    creations: list[Creation] = []
    for shard in _parents_first(tree):
        inherits = any(parent in known or covered.get(parent, False) for parent in shard.parents)
        covered[shard.id] = inherits or shard.id in known
        if shard.id in known:
            continue
        if starting is StartingPosition.LATEST:
            if inherits:
                creations.append(Creation(shard, StartingPosition.TRIM_HORIZON))
            elif shard.id not in split:
                creations.append(Creation(shard, starting))
        else:
            creations.append(Creation(shard, starting))
    return tuple(creations)


def _parents_first(tree: Mapping[str, ShardNode]) -> list[ShardNode]:
    order: dict[str, ShardNode] = {}
    waiting = [(shard, False) for shard in reversed(list(tree.values()))]
    seen: set[str] = set()
    while waiting:
        shard, parents_done = waiting.pop()
        if parents_done:
            order[shard.id] = shard
        elif shard.id not in seen:
            seen.add(shard.id)
            waiting.append((shard, True))
            waiting.extend((tree[parent], False) for parent in shard.parents if parent in tree)
    return list(order.values())


# ------------------------------------------------------------------------------------------- lease plans


@dataclass(frozen=True, slots=True)
class LeaseView:
    """What one worker sees of its group, and since when."""

    lease_time: float
    leases: Mapping[str, Lease] = field(default_factory=dict)
    since: Mapping[str, float] = field(default_factory=dict)
    """When this worker first saw each counter as it is now, by its own clock."""
    shards: Mapping[str, ShardNode] | None = None
    """What the source had when it was asked last; None before that."""
    gone: frozenset[str] = frozenset()
    """Leases whose shards it had no more. A lease that appeared after it was asked is none of these."""
    held: frozenset[str] = frozenset()
    """Shards this worker is reading or giving back."""
    declined: frozenset[str] = frozenset()
    """Shards this worker does not want now."""
    dead: frozenset[str] = frozenset()
    """Owners known to be no more: their leases need not be waited for."""

    def observe(
        self,
        leases: Iterable[Lease],
        now: float,
        *,
        shards: Iterable[ShardNode] | None = None,
        held: Collection[str] = (),
        declined: Collection[str] = (),
        dead: Collection[str] = (),
    ) -> LeaseView:
        """The view after one more look at the table. `shards` is what the source had later than that;
        without it, nothing is known but what was known before.
        """
        rows = {lease.key: lease for lease in leases}
        since = {key: now if self._moved(lease) else self.since[key] for key, lease in rows.items()}
        known, gone = self.shards, self.gone & rows.keys()
        if shards is not None:
            known = {shard.id: shard for shard in shards}
            gone = frozenset(rows.keys() - known.keys())
        return LeaseView(
            self.lease_time,
            rows,
            since,
            known,
            gone,
            frozenset(held),
            frozenset(declined),
            frozenset(dead),
        )

    def expired(self, lease: Lease, now: float) -> bool:
        """Whether nobody moved its counter for the lease time, or its owner is known to be dead."""
        return lease.owner in self.dead or now - self.since[lease.key] > self.lease_time

    def next_expiry(self, now: float) -> float:
        """When the first of the leases that others have would be free, if nobody moved its counter."""
        ends = (
            since + self.lease_time
            for key, since in self.since.items()
            if key not in self.held and self.leases[key].owner is not None
        )
        return min((end for end in ends if end >= now), default=math.inf)

    def may_start(self, lease: Lease) -> bool:
        """Whether all that its shard came from is done: ended, never to be read, or removed by retention."""
        return all(self._is_over(parent) for parent in lease.parents)

    def is_forgotten(self, lease: Lease) -> bool:
        """Whether it ended, its shard is gone, and no shard came from it that is still without a lease."""
        if not lease.ended or self.shards is None or lease.key not in self.gone:
            return False
        return all(lease.key not in shard.parents or key in self.leases for key, shard in self.shards.items())

    def _moved(self, lease: Lease) -> bool:
        before = self.leases.get(lease.key)
        return before is None or (before.owner, before.counter) != (lease.owner, lease.counter)

    def _is_over(self, key: str) -> bool:
        lease = self.leases.get(key)
        return lease is None or lease.ended or key in self.gone


@dataclass(frozen=True, slots=True)
class LeasePlan:
    """What one worker does next. What it has and does not release it renews; that goes without saying."""

    take: tuple[Lease, ...] = ()
    """Nobody's: to be owned, by compare-and-set."""
    steal: tuple[Lease, ...] = ()
    """Another's: to be asked for. One at most."""
    release: tuple[Lease, ...] = ()
    """Ours, and another asks for it: to be finished and let go."""
    renew: tuple[Lease, ...] = ()
    """Requests of ours that still wait."""
    delete: tuple[Lease, ...] = ()
    """Rows that say nothing any more: requests answered or given up, ended leases of shards that are gone."""


def plan_leases(view: LeaseView, me: str, now: float) -> LeasePlan:
    """What `me` does about what it sees. Where all follow it, shares come to differ by at most one."""
    requests: dict[str, Lease] = {}
    live: dict[str, Lease] = {}
    """What can be read: not ended, and all parents done."""
    for row in view.leases.values():
        asked = requested(row)
        if asked is not None:
            requests[asked] = row
        elif not row.ended and view.may_start(row):
            live[row.key] = row
    holders = {
        key: lease.owner
        for key, lease in live.items()
        if lease.owner is not None and (lease.owner == me or not view.expired(lease, now))
    }
    askers = {
        key: row.owner
        for key, row in requests.items()
        if key in live
        and row.owner is not None
        and row.owner != holders.get(key)
        and not view.expired(row, now)
    }
    # What is asked for counts as its asker's already: or all would ask for more while the owner finishes.
    shares = Counter({**holders, **askers}.values())
    shares.setdefault(me, 0)
    order = sorted(live, key=lambda key: crc32(f"{me} {key}".encode()))
    take = _to_take(view, me, order, holders, askers, shares)
    steal = () if take else _to_ask_for(order, me, holders, requests, shares)
    return LeasePlan(
        take=tuple(live[key] for key in take),
        steal=tuple(live[key] for key in steal),
        release=tuple(
            live[key] for key in order if holders.get(key) == me and key in view.held and key in askers
        ),
        renew=tuple(requests[key] for key in order if askers.get(key) == me and key not in take),
        delete=(
            *(row for key, row in requests.items() if key not in askers),
            *(lease for lease in view.leases.values() if view.is_forgotten(lease)),
        ),
    )


def _to_take(
    view: LeaseView,
    me: str,
    order: Sequence[str],
    holders: Mapping[str, str],
    askers: Mapping[str, str],
    shares: Counter[str],
) -> list[str]:
    """What was asked for and is free now, what is ours and not held, and free ones up to an even share.

    Each worker goes through them in an order of its own, so that two seldom reach for the same one.
    """
    wanted = [key for key in order if key not in view.held and key not in view.declined]
    ours = [key for key in wanted if holders.get(key) == me or (key not in holders and askers.get(key) == me)]
    free = [key for key in wanted if key not in holders and key not in askers]
    even = -(-len(order) // len(shares))
    return ours + free[: max(0, even - shares[me])]


def _to_ask_for(
    order: Sequence[str],
    me: str,
    holders: Mapping[str, str],
    requests: Mapping[str, Lease],
    shares: Counter[str],
) -> list[str]:
    """One of the busiest worker's, if it has two more than we have: less would only move the excess."""
    busiest, most = max(shares.items(), key=lambda share: (share[1], share[0]))
    if most - shares[me] < 2:
        return []
    return [key for key in order if holders.get(key) == busiest and key not in requests][:1]
