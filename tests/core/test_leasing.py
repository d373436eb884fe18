"""Leases: who reads what. Convergence, safety under any interleaving, and shard trees."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.leasing import (
    Checkpoint,
    Creation,
    Lease,
    LeasePlan,
    LeaseView,
    ShardNode,
    plan_creations,
    plan_leases,
    request,
    requested,
)
from streamfn.core.policies import StartingPosition

LEASE_TIME = 30.0
TRIM_HORIZON, LATEST, AT_TIMESTAMP = StartingPosition


class Table:
    """A lease store as plain data."""

    def __init__(self, leases: list[Lease]) -> None:
        self.rows = {lease.key: lease for lease in leases}

    def create(self, lease: Lease) -> bool:
        return self.rows.setdefault(lease.key, lease) is lease

    def update(self, lease: Lease, new: Lease) -> bool:
        stands = lease.key in self.rows and self.rows[lease.key].counter == lease.counter
        if stands:
            self.rows[lease.key] = new
        return stands

    def delete(self, lease: Lease) -> bool:
        stands = lease.key in self.rows and self.rows[lease.key].counter == lease.counter
        if stands:
            del self.rows[lease.key]
        return stands

    def shares(self) -> Counter[str | None]:
        return Counter(
            lease.owner for lease in self.rows.values() if requested(lease) is None and not lease.ended
        )


class Member:
    """A worker that follows its plans at once, on its own clock."""

    def __init__(self, name: str, table: Table, clock: float = 0.0) -> None:
        self.name = name
        self.table = table
        self.clock = clock
        self.view = LeaseView(LEASE_TIME)
        self.held: dict[str, Lease] = {}
        self.plan = LeasePlan()

    def look(self) -> LeasePlan:
        self.view = self.view.observe(self.table.rows.values(), self.clock, held=self.held)
        self.plan = plan_leases(self.view, self.name, self.clock)
        return self.plan

    def act(self) -> None:
        for lease in self.plan.take:
            if self.table.update(lease, lease.moved(self.name)):
                self.held[lease.key] = lease.moved(self.name)
        for lease in self.plan.steal:
            self.table.create(request(lease.key, self.name))
        for row in self.plan.renew:
            self.table.update(row, row.moved(self.name))
        for row in self.plan.delete:
            self.table.delete(row)
        for lease in self.plan.release:
            self.change(lease.key, owner=None)

    def change(self, key: str, *, owner: str | None, position: int | None = None) -> bool:
        """A commit, a renewal or a release, fenced by the counter we believe in."""
        lease = self.held[key]
        new = lease.moved(owner, checkpoint=None if position is None else Checkpoint(position))
        done = self.table.update(lease, new)
        if done and owner is not None:
            self.held[key] = new
        else:
            del self.held[key]
        return done

    def renew(self) -> None:
        for key in tuple(self.held):
            self.change(key, owner=self.name)

    def round(self, seconds: float) -> None:
        self.clock += seconds
        self.renew()
        self.look()
        self.act()


def free(count: int) -> list[Lease]:
    return [Lease(f"shard-{number}") for number in range(count)]


@given(
    owners=st.lists(st.sampled_from(["w0", "w1", "w2", "w3", "dead", None]), max_size=12),
    workers=st.integers(1, 5),
    offsets=st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_shares_come_to_differ_by_at_most_one(owners, workers, offsets, order):
    table = Table([Lease(f"shard-{number}", owner) for number, owner in enumerate(owners)])
    members = [Member(f"w{number}", table, offsets[number]) for number in range(workers)]
    for _ in range(len(owners) * 2 + 16):
        for member in order.sample(members, workers):
            member.round(5.0)
    shares = table.shares()
    counts = [shares[member.name] for member in members]
    assert sum(counts) == len(owners)
    assert max(counts) - min(counts) <= 1
    assert all(requested(row) is None for row in table.rows.values())


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["look", "act", "wait", "wait", "commit", "forget"]),
            st.integers(0, 3),
        ),
        max_size=120,
    )
)
def test_of_two_who_believe_to_own_a_shard_only_one_commits(steps):
    """Looks and acts interleave, clocks run as they like: workers act on what they saw long ago."""
    table = Table(free(4))
    members = [Member(f"w{number}", table) for number in range(3)]
    committed: dict[str, list[int]] = {key: [-1] for key in table.rows}
    succeeded: Counter[tuple[str, int]] = Counter()
    reading: dict[tuple[str, str], int] = {}
    for who, action, what in steps:
        member = members[who]
        key = f"shard-{what}"
        match action:
            case "look":
                member.look()
            case "act":
                before = set(member.held)
                member.act()
                for taken in set(member.held) - before:
                    reading[member.name, taken] = member.held[taken].checkpoint.position
                member.plan = LeasePlan()
            case "wait":
                member.clock += LEASE_TIME * 0.7
            case "forget":
                member.held.pop(key, None)
            case "commit" if key in member.held:
                counter = member.held[key].counter
                position = reading[member.name, key] + 1
                if member.change(key, owner=member.name, position=position):
                    reading[member.name, key] = position
                    committed[key].append(position)
                    succeeded[key, counter] += 1
    assert all(count == 1 for count in succeeded.values())
    for key, positions in committed.items():
        # Every owner began where the last commit stood: nothing was skipped, nothing committed twice.
        assert positions == list(range(-1, len(positions) - 1))
        assert table.rows[key].checkpoint.position == positions[-1]


@given(
    edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12),
    ends=st.permutations(range(8)),
    trimmed=st.sets(st.integers(0, 7)),
)
def test_children_wait_for_all_their_parents(edges, ends, trimmed):
    parents: dict[int, set[int]] = {number: set() for number in range(8)}
    for a, b in edges:
        if a != b:
            parents[max(a, b)].add(min(a, b))
    nodes = [ShardNode(f"{n}", tuple(f"{p}" for p in sorted(parents[n]))) for n in range(8)]
    table = Table([])
    for creation in plan_creations(nodes, (), TRIM_HORIZON):
        # Created one by one: at any moment a lease's parents have theirs.
        assert all(parent in table.rows for parent in creation.shard.parents)
        assert table.create(Lease(creation.shard.id, parents=creation.shard.parents))
    known = [node for node in nodes if int(node.id) not in trimmed]
    member = Member("w", table)
    member.view = member.view.observe(table.rows.values(), 0.0, shards=known)
    ended: set[int] = set()
    for number in ends:
        for lease in member.look().take:
            assert all(int(parent) in ended | trimmed for parent in lease.parents)
        member.act()
        lease = table.rows.get(f"{number}")
        if lease is not None and lease.owner == "w":
            table.rows[f"{number}"] = replace(lease.moved(None), ended=True)
            del member.held[f"{number}"]
            ended.add(number)
    for _ in range(9):
        for lease in member.look().take:
            assert all(int(parent) in ended | trimmed for parent in lease.parents)
        member.act()
        for key, lease in table.rows.items():
            if lease.owner == "w":
                table.rows[key] = replace(lease.moved(None), ended=True)
                del member.held[key]
                ended.add(int(key))
    assert all(lease.ended for lease in table.rows.values())


def test_a_lease_expires_by_the_observers_own_clock_and_not_before():
    dead = Lease("a", "dead", counter=7)
    view = LeaseView(LEASE_TIME).observe([dead], now=1000.0)
    assert plan_leases(view, "me", 1000.0).take == ()
    view = view.observe([dead], now=1030.0)
    assert plan_leases(view, "me", 1030.0).take == ()
    view = view.observe([dead], now=1030.1)
    assert plan_leases(view, "me", 1030.1).take == (dead,)
    alive = dead.moved("dead")
    view = view.observe([alive], now=1030.2)
    assert plan_leases(view, "me", 1030.2).take == ()


def test_what_is_ours_in_the_table_and_not_in_hand_is_taken_again():
    ours = Lease("a", "me", counter=3)
    view = LeaseView(LEASE_TIME).observe([ours], now=0.0)
    assert plan_leases(view, "me", 0.0).take == (ours,)
    assert plan_leases(view.observe([ours], 0.0, held={"a"}), "me", 0.0).take == ()
    assert plan_leases(view.observe([ours], 0.0, declined={"a"}), "me", 0.0).take == ()


def test_one_lease_a_round_is_asked_for_and_its_owner_lets_go():
    leases = [Lease(f"{number}", "other", counter=1) for number in range(4)]
    view = LeaseView(LEASE_TIME).observe(leases, 0.0)
    (wanted,) = plan_leases(view, "me", 0.0).steal
    asked = request(wanted.key, "me")
    theirs = LeaseView(LEASE_TIME).observe([*leases, asked], 0.0, held={lease.key for lease in leases})
    assert plan_leases(theirs, "other", 0.0).release == (wanted,)
    ours = view.observe([*leases, asked], 1.0)
    plan = plan_leases(ours, "me", 1.0)
    assert plan.renew == (asked,)
    assert plan.take == ()
    assert len(plan.steal) == 1
    assert plan.steal != (wanted,)


def test_what_was_asked_for_is_kept_for_who_asked_until_the_request_expires():
    leases = [Lease("a", None, counter=5), Lease("b", "other", counter=1)]
    asked = request("a", "asker")
    view = LeaseView(LEASE_TIME).observe([*leases, asked], 0.0, held={"b"})
    assert plan_leases(view, "other", 0.0).take == ()
    assert plan_leases(view, "asker", 0.0).take == (leases[0],)
    late = view.observe([*leases, asked], 31.0, held={"b"})
    plan = plan_leases(late, "other", 31.0)
    assert plan.take == (leases[0],)
    assert plan.delete == (asked,)


def test_an_answered_request_is_deleted():
    taken = Lease("a", "asker", counter=6)
    asked = request("a", "asker")
    view = LeaseView(LEASE_TIME).observe([taken, asked, request("gone", "asker")], 0.0, held={"a"})
    assert set(plan_leases(view, "asker", 0.0).delete) == {asked, request("gone", "asker")}


def test_an_ended_lease_is_deleted_when_its_shard_is_gone_and_its_children_are_known():
    parent = Lease("parent", counter=9, ended=True)
    child = ShardNode("child", ("parent",))
    view = LeaseView(LEASE_TIME).observe([parent], 0.0)
    assert plan_leases(view, "me", 0.0).delete == ()
    listed = view.observe([parent], 0.0, shards=[ShardNode("parent"), child])
    assert plan_leases(listed, "me", 0.0).delete == ()
    unknown_child = view.observe([parent], 0.0, shards=[child, ShardNode("stranger")])
    assert plan_leases(unknown_child, "me", 0.0).delete == ()
    done = view.observe([parent, Lease("child", parents=("parent",))], 0.0, shards=[child])
    assert plan_leases(done, "me", 0.0).delete == (parent,)


TREE = [
    ShardNode("a"),
    ShardNode("b", ("a",)),
    ShardNode("c", ("a",)),
    ShardNode("d", ("b", "c")),
    ShardNode("x"),
]


def created(creations: tuple[Creation, ...]) -> dict[str, StartingPosition]:
    return {creation.shard.id: creation.start for creation in creations}


def test_trim_horizon_reads_all_shards_parents_first():
    creations = plan_creations(list(reversed(TREE)), (), TRIM_HORIZON)
    assert created(creations) == dict.fromkeys("abcdx", TRIM_HORIZON)
    order = [creation.shard.id for creation in creations]
    assert order.index("a") < order.index("b") < order.index("d")


def test_at_timestamp_reads_all_shards_from_that_time():
    assert created(plan_creations(TREE, (), AT_TIMESTAMP)) == dict.fromkeys("abcdx", AT_TIMESTAMP)


def test_latest_reads_the_open_shards_from_their_ends():
    assert created(plan_creations(TREE, (), LATEST)) == {"d": LATEST, "x": LATEST}


def test_what_came_from_a_known_shard_is_read_from_its_beginning():
    known = [Lease("d"), Lease("x")]
    later = [*TREE, ShardNode("e", ("d",)), ShardNode("f", ("e",)), ShardNode("y")]
    assert created(plan_creations(later, known, LATEST)) == {
        "e": TRIM_HORIZON,
        "f": TRIM_HORIZON,
        "y": LATEST,
    }


def test_a_parent_that_retention_removed_holds_nobody_back():
    orphan = Lease("child", parents=("removed", "unread"))
    unread = Lease("unread", counter=2)
    view = LeaseView(LEASE_TIME).observe([orphan, unread], 0.0, shards=[ShardNode("child")])
    assert orphan in plan_leases(view, "me", 0.0).take


def test_a_lease_that_is_younger_than_the_list_of_shards_is_not_of_a_shard_that_is_gone():
    """Another worker listed the shards later: the new one has ended, or its child waits for it."""
    old = ShardNode("old")
    view = LeaseView(LEASE_TIME).observe([Lease("old")], 0.0, shards=[old])
    ended = Lease("new", counter=9, parents=("old",), ended=True)
    assert plan_leases(view.observe([Lease("old"), ended], 1.0), "me", 1.0).delete == ()
    parent, child = Lease("new"), Lease("newer", parents=("new",))
    take = plan_leases(view.observe([Lease("old"), parent, child], 1.0), "me", 1.0).take
    assert {lease.key for lease in take} == {"old", "new"}


def test_the_next_look_that_pays_is_when_the_first_of_the_others_leases_would_run_out():
    mine, theirs, free = Lease("mine", "me"), Lease("theirs", "them"), Lease("free")
    view = LeaseView(LEASE_TIME).observe([mine], 0.0).observe([mine, theirs, free], 5.0, held={"mine"})
    assert view.next_expiry(5.0) == 35.0
    assert view.next_expiry(35.1) == math.inf
    assert view.observe([mine, theirs.moved("them"), free], 20.0, held={"mine"}).next_expiry(20.0) == 50.0


def test_a_request_names_its_shard():
    assert requested(request("shard-1", "me")) == "shard-1"
    assert requested(Lease("shard-1")) is None


def test_what_a_dead_owner_had_is_taken_at_once() -> None:
    theirs = Lease("a", owner="them", counter=3)
    view = LeaseView(LEASE_TIME).observe([theirs], now=0.0)
    assert plan_leases(view, "me", 0.0).take == ()
    assert plan_leases(view.observe([theirs], 0.0, dead={"them"}), "me", 0.0).take == (theirs,)
