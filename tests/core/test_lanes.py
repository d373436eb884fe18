"""The laws of lanes, of shards and of keys."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamfn.core.delivery import Decision, decide
from streamfn.core.lanes import KeyLanes, Lanes, ShardLanes, lane_of, lanes_for
from streamfn.core.outcomes import Outcome, Succeeded, Throttled
from streamfn.core.policies import Backoff, BatchPolicy, DeliveryPolicy, Ordering
from streamfn.core.records import Batch, Record
from tests.core.made import FAILURE, KINESIS, Weighed, batch_of, drive, ids, keys, stream, streams

LIMIT = 3000
weights = st.sampled_from([1, 500, 1400, LIMIT, LIMIT + 1])
pauses = st.sampled_from([0.0, 0.5, 1.0, 30.0])


class Delivering(RuleBasedStateMachine):
    """Records come, batches are taken, and each ends in any way `decide` knows, in any order."""

    ordering: Ordering

    @initialize(
        factor=st.integers(1, 3),
        size=st.integers(1, 5),
        window=st.sampled_from([0.0, 1.0]),
        bisect=st.booleans(),
        first=st.sampled_from([0.0, 1.0]),
        drains=st.booleans(),
    )
    def begin(self, factor: int, size: int, window: float, bisect: bool, first: float, drains: bool) -> None:
        self.factor = factor
        self.batching = BatchPolicy(size, window, LIMIT)
        self.policy = DeliveryPolicy(
            self.ordering,
            bisect_batch_on_function_error=bisect,
            maximum_retry_attempts=2,
            backoff=Backoff(first),
        )
        self.lanes = lanes_for(self.ordering, factor, self.batching, KINESIS)
        self.now = 0.0
        self.position = 0
        self.unresolved: dict[Hashable, list[Record]] = {}
        """By lane, in order: what must be delivered."""
        self.in_flight: list[Batch] = []
        self.again: set[int] = set()
        """Positions of what was delivered before: the weight of those that wait does not count them."""
        self.drains = drains

    def lane(self, record: Record) -> Hashable:
        if self.ordering is Ordering.SHARD:
            return lane_of(record, self.factor)
        if self.ordering is Ordering.KEY and record.key is not None:
            return record.key
        return record.position, "alone"

    def made(self, given_keys: list[str | None], weight: int) -> list[Record]:
        records: list[Record] = []
        for key in given_keys:
            records.append(Weighed(self.position, b"", key, weight=weight))
            self.position += 1
        for record in records:
            self.unresolved.setdefault(self.lane(record), []).append(record)
        return records

    def held_lanes(self) -> set[Hashable]:
        return {self.lane(record) for batch in self.in_flight for record in batch}

    @rule(given_keys=st.lists(keys, max_size=6), weight=weights)
    def add(self, given_keys: list[str | None], weight: int) -> None:
        self.lanes.add(self.made(given_keys, weight), self.now)

    @rule(given_keys=st.lists(keys, min_size=1, max_size=3), weight=weights, wait=pauses)
    def hold(self, given_keys: list[str | None], weight: int, wait: float) -> None:
        """A batch of an earlier owner: with shares of a shard it has records of one."""
        if self.ordering is Ordering.SHARD:
            given_keys = given_keys[:1] * len(given_keys)
            lane = lane_of(Weighed(0, b"", given_keys[0]), self.factor)
            if self.unresolved.get(lane):
                return  # It is held before what comes after it is read.
        records = self.made(given_keys, weight)
        self.again |= {record.position for record in records}
        self.lanes.hold(batch_of(records, attempt=1), self.now + wait)

    @rule(seconds=pauses)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        due_at = self.lanes.due_at
        batch = self.lanes.take(self.now)
        assert (batch is not None) == (due_at is not None and due_at <= self.now)
        if batch is not None:
            self.taken(batch)

    @precondition(lambda self: self.lanes.due_at is not None)
    @rule()
    def take_when_it_is_due(self) -> None:
        due_at = self.lanes.due_at
        assert due_at is not None
        if due_at > self.now:
            assert self.lanes.take(self.now) is None
            self.now = due_at
        batch = self.lanes.take(self.now)
        assert batch is not None, "it was due"
        self.taken(batch)

    def taken(self, batch: Batch) -> None:
        assert len(batch)
        lanes = {self.lane(record) for record in batch}
        assert lanes.isdisjoint(self.held_lanes()), "a lane is in flight twice"
        for lane in lanes:
            mine = [record for record in batch if self.lane(record) == lane]
            assert list(map(id, mine)) == list(map(id, self.unresolved[lane][: len(mine)])), "out of order"
        if self.again.isdisjoint(record.position for record in batch):
            assert len(batch) <= self.batching.batch_size
            assert len(batch) == 1 or sum(record.size for record in batch) <= LIMIT
            assert batch.attempt == 0
        self.again |= {record.position for record in batch}
        self.in_flight.append(batch)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), kind=st.sampled_from(["done", "failed", "throttled", "partly"]))
    def end(self, data: st.DataObject, kind: str) -> None:
        batch = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        names = {data.draw(st.sampled_from(ids(batch.records)))} if kind == "partly" else set()
        outcome: Outcome = Succeeded(failed=frozenset(names))
        if kind == "failed":
            outcome = FAILURE
        elif kind == "throttled":
            outcome = Throttled(0.5)
        self.settle(batch, decide(batch, outcome, self.policy, self.now))

    def settle(self, batch: Batch, decision: Decision) -> None:
        resolved = [*decision.done, *(record for discard in decision.discard for record in discard.batch)]
        for record in resolved:
            self.unresolved[self.lane(record)].remove(record)
        if decision.retry:
            self.lanes.retry(batch, decision.retry, self.now, decision.delay)
        else:
            self.lanes.finish(batch, self.now)

    @invariant()
    def nothing_is_lost(self) -> None:
        flying = [record for batch in self.in_flight for record in batch]
        left = [record for lane in self.unresolved.values() for record in lane]
        assert len(self.lanes) == len(left) - len(flying)
        assert self.lanes.bytes >= sum(record.size for record in left if record.position not in self.again)

    @invariant()
    def what_is_due_at_no_time_is_not_given(self) -> None:
        if self.lanes.due_at is None:
            assert self.lanes.take(self.now + 1e9) is None

    def teardown(self) -> None:
        """Whatever happened, all that waits is given back, or is delivered in a bounded number of batches."""
        if self.drains:
            self.drain()
        for batch in self.in_flight:
            self.settle(batch, Decision(done=batch.records))
        self.in_flight.clear()
        for _ in range(len(self.lanes)):
            if self.lanes.due_at is not None:
                self.take_when_it_is_due()
                batch = self.in_flight.pop()
                self.settle(batch, Decision(done=batch.records))
        assert len(self.lanes) == 0
        assert self.lanes.bytes == 0
        assert not any(self.unresolved.values())

    def drain(self) -> None:
        flying = {id(record) for batch in self.in_flight for record in batch}
        waiting = list(map(id, self.lanes.clear()))
        expected = [id(r) for lane in self.unresolved.values() for r in lane if id(r) not in flying]
        assert sorted(waiting) == sorted(expected)
        assert self.lanes.due_at is None
        for lane in self.unresolved.values():
            lane[:] = [record for record in lane if id(record) in flying]


class DeliveringByShard(Delivering):
    ordering = Ordering.SHARD


class DeliveringByKey(Delivering):
    ordering = Ordering.KEY


class DeliveringWithoutOrder(Delivering):
    ordering = Ordering.NONE


for machine in (DeliveringByShard, DeliveringByKey, DeliveringWithoutOrder):
    machine.TestCase.settings = settings(stateful_step_count=30)
TestShardLanes = DeliveringByShard.TestCase
TestKeyLanes = DeliveringByKey.TestCase
TestLanesWithoutOrder = DeliveringWithoutOrder.TestCase


@given(st.text(st.characters(), max_size=8), st.integers(1, 10), st.integers())
def test_the_same_key_is_always_in_the_same_share(key: str, factor: int, position: int) -> None:
    share = lane_of(Weighed(position, b"", key), factor)
    assert share == lane_of(Weighed(0, b"other", key), factor)
    assert 0 <= share < factor


def test_a_key_of_undecodable_bytes_has_a_share_and_no_key_has_the_first() -> None:
    assert lane_of(Weighed(0, b"", b"\xff\xfe".decode("utf-8", "surrogateescape")), 10) in range(10)
    assert lane_of(Weighed(0, b""), 10) == 0


def take_all(lanes: Lanes, now: float) -> list[Batch]:
    batches: list[Batch] = []
    while (batch := lanes.take(now)) is not None:
        batches.append(batch)
    return batches


def test_one_key_that_fails_stops_no_other() -> None:
    lanes = KeyLanes(BatchPolicy(2), KINESIS)
    lanes.add([*stream(2, key="bad"), *stream(4, start=2, key="good")], 0.0)
    bad, good = take_all(lanes, 0.0)
    lanes.retry(bad, (bad,), 0.0, 60.0)
    lanes.finish(good, 1.0)
    (more,) = take_all(lanes, 1.0)
    assert ids(more.records) == ["4", "5"]
    assert lanes.due_at == 60.0


def test_a_key_that_is_done_goes_on_while_another_of_its_batch_is_retried() -> None:
    lanes = KeyLanes(BatchPolicy(10), KINESIS)
    lanes.add([*stream(1, key="bad"), *stream(1, start=1, key="good")], 0.0)
    (both,) = take_all(lanes, 0.0)
    lanes.add(stream(1, start=2, key="good"), 0.0)
    lanes.retry(both, (batch_of(both[:1]),), 0.0, 60.0)
    (more,) = take_all(lanes, 0.0)
    assert ids(more.records) == ["2"]


def test_records_without_a_key_wait_for_nobody() -> None:
    lanes = KeyLanes(BatchPolicy(2), KINESIS)
    lanes.add(stream(6), 0.0)
    assert [len(batch) for batch in take_all(lanes, 0.0)] == [2, 2, 2]


@pytest.mark.parametrize("ordering", [Ordering.KEY, Ordering.SHARD])
def test_a_busy_lane_starves_nobody_though_only_one_batch_is_in_flight(ordering: Ordering) -> None:
    lanes = lanes_for(ordering, 4, BatchPolicy(10), KINESIS)
    shares = {key: lane_of(stream(1, key=key)[0], 4) for key in "abcdefgh"}
    other = next(key for key, share in shares.items() if share != shares["a"])
    for busy, quiet in (("a", other), (other, "a")):
        lanes.add(stream(30, key=busy), 0.0)
        lanes.add(stream(1, start=1000, key=quiet), 0.0)
        served: set[str] = set()
        for turn in range(3):
            lanes.add(stream(10, start=100 * turn, key=busy), 0.0)
            batch = lanes.take(0.0)
            assert batch is not None
            lanes.finish(batch, 0.0)
            served.update(ids(batch.records))
        assert "1000" in served
        lanes.clear()


def test_the_weight_of_closed_keys_does_not_cut_the_window_of_others_short() -> None:
    lanes = KeyLanes(BatchPolicy(10, window=5.0, payload_limit=LIMIT), KINESIS)
    lanes.add([Weighed(0, b"", "hot", weight=LIMIT)], 0.0)
    (flying,) = take_all(lanes, 0.0)
    lanes.add([Weighed(1, b"", "hot", weight=LIMIT)], 1.0)
    lanes.add([Weighed(2, b"", "cold", weight=10)], 2.0)
    assert lanes.due_at == 7.0
    lanes.finish(flying, 3.0)
    assert lanes.due_at == 2.0


def test_batches_that_are_held_for_one_key_go_one_after_the_other() -> None:
    first, second = stream(1, key="k"), stream(1, start=1, key="k")
    lanes = KeyLanes(BatchPolicy(10), KINESIS)
    lanes.hold(batch_of(first, attempt=3), 1.0)
    lanes.hold(batch_of(second, attempt=2), 0.0)
    lanes.add(stream(1, start=2, key="k"), 0.0)
    assert len(lanes) == 3
    assert lanes.due_at == 1.0
    seen = []
    while lanes.due_at is not None:
        (batch,) = take_all(lanes, 5.0)
        seen.append((ids(batch.records), batch.attempt))
        lanes.finish(batch, 5.0)
    assert seen == [(["0"], 3), (["1"], 2), (["2"], 0)]


def test_each_held_batch_of_a_shard_waits_for_its_own_instant() -> None:
    lanes = ShardLanes(1, BatchPolicy(10), KINESIS)
    lanes.hold(batch_of(stream(1)), 10.0)
    lanes.hold(batch_of(stream(1, start=1)), 5.0)
    assert lanes.take(9.9) is None
    batch = lanes.take(10.0)
    assert batch is not None
    lanes.finish(batch, 10.0)
    assert lanes.due_at == 5.0


def test_clearing_gives_back_the_second_half_of_what_is_in_flight() -> None:
    lanes = KeyLanes(BatchPolicy(4), KINESIS)
    lanes.add(stream(4, key="k"), 0.0)
    (whole,) = take_all(lanes, 0.0)
    halves = (batch_of(whole[:2]), batch_of(whole[2:]))
    lanes.retry(whole, halves, 0.0, 0.0)
    assert take_all(lanes, 0.0) == [halves[0]]
    assert len(lanes) == 2
    assert ids(lanes.clear()) == ["2", "3"]
    lanes.finish(halves[0], 0.0)
    assert lanes.due_at is None
    assert len(lanes) == 0


@given(streams(20), st.data(), st.sampled_from(Ordering), st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_with_any_failures_each_record_is_done_or_given_up_once_and_each_lane_in_order(
    records: list[Record], data: st.DataObject, ordering: Ordering, factor: int, size: int, bisect: bool
) -> None:
    policy = DeliveryPolicy(
        ordering,
        report_batch_item_failures=True,
        bisect_batch_on_function_error=bisect,
        maximum_retry_attempts=2,
    )

    def function(batch: Batch) -> Outcome:
        match data.draw(st.integers(0, 3)):
            case 0:
                return FAILURE
            case 1:
                return Succeeded(failed=frozenset({data.draw(st.sampled_from(ids(batch.records)))}))
            case _:
                return Succeeded()

    run = drive(records, function, policy, batch_size=size, factor=factor, payload_limit=LIMIT)
    ends = [*run.done, *(record for discard in run.discards for record in discard.batch)]
    assert sorted(map(id, ends)) == sorted(map(id, records))

    def lane(record: Record) -> Hashable:
        if ordering is Ordering.SHARD:
            return lane_of(record, factor)
        return record.key if ordering is Ordering.KEY and record.key is not None else id(record)

    for name in {lane(record) for record in records}:
        mine = [record.position for record in run.done if lane(record) == name]
        assert mine == sorted(mine)


def test_a_batch_of_keys_takes_what_fits_and_leaves_the_rest_in_order() -> None:
    lanes = KeyLanes(BatchPolicy(4, payload_limit=LIMIT), KINESIS)
    made = [("a", 1000), ("a", LIMIT + 1), ("b", 1500), ("c", 1600), ("c", 100), ("d", 1), ("d", 1), ("d", 1)]
    lanes.add([Weighed(i, b"", key, weight=weight) for i, (key, weight) in enumerate(made)], 0.0)
    seen = []
    while (batch := lanes.take(0.0)) is not None:
        seen.append(ids(batch.records))
        lanes.finish(batch, 0.0)
    assert seen == [["0"], ["2"], ["3", "4", "5", "6"], ["1"], ["7"]]
    assert (len(lanes), lanes.bytes) == (0, 0)


def test_a_held_batch_that_finds_its_keys_waiting_or_in_flight_goes_behind_them() -> None:
    lanes = KeyLanes(BatchPolicy(1), KINESIS)
    lanes.add(stream(2, key="k"), 0.0)
    (first,) = take_all(lanes, 0.0)
    lanes.hold(batch_of(stream(1, start=2, key="k"), attempt=5), 0.0)
    assert lanes.take(0.0) is None
    lanes.finish(first, 0.0)
    (second,) = take_all(lanes, 0.0)
    lanes.finish(second, 0.0)
    (third,) = take_all(lanes, 0.0)
    assert [ids(batch.records) for batch in (first, second, third)] == [["0"], ["1"], ["2"]]


def test_the_window_of_a_lane_starts_anew_when_its_batch_is_finished() -> None:
    lanes = ShardLanes(1, BatchPolicy(2, window=5.0), KINESIS)
    lanes.add(stream(2), 0.0)
    (batch,) = take_all(lanes, 0.0)
    lanes.add(stream(1, start=2), 1.0)
    lanes.finish(batch, 4.0)
    assert lanes.due_at == 9.0
