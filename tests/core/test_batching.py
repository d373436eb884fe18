"""The laws of the batch window."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.batching import BatchWindow
from streamfn.core.policies import BatchPolicy
from streamfn.core.records import Record
from tests.core.made import Weighed, stream

policies = st.builds(
    BatchPolicy,
    batch_size=st.integers(1, 8),
    window=st.sampled_from([0.0, 0.5, 5.0]),
    payload_limit=st.integers(1, 3000),
)
chunks = st.lists(st.lists(st.integers(0, 4000), max_size=6), max_size=8)


def weighed(weights: Sequence[int], start: int) -> list[Record]:
    return [Weighed(start + i, b"", weight=weight) for i, weight in enumerate(weights)]


@given(policies, chunks, st.lists(st.sampled_from([0.0, 0.3, 6.0]), min_size=8, max_size=8), st.booleans())
def test_what_goes_in_comes_out_in_order_in_batches_within_their_limits(
    policy: BatchPolicy, weights: list[list[int]], pauses: list[float], finishes: bool
) -> None:
    window = BatchWindow(policy)
    now = 0.0
    given_in: list[Record] = []
    out: list[Record] = []

    def take() -> None:
        due_at = window.due_at
        batch = window.take(now)
        assert bool(batch) == (due_at is not None and due_at <= now)
        assert len(batch) <= policy.batch_size
        assert len(batch) <= 1 or sum(r.size for r in batch) <= policy.payload_limit
        out.extend(batch)
        assert len(window) == len(given_in) - len(out)
        assert window.bytes == sum(r.size for r in given_in[len(out) :])
        if finishes:
            window.finish(now)

    for chunk, pause in zip(weights, pauses, strict=False):
        records = weighed(chunk, len(given_in))
        given_in += records
        window.add(records, now)
        now += pause
        take()
    while (due_at := window.due_at) is not None:
        now = max(now, due_at)
        take()
    assert list(map(id, out)) == list(map(id, given_in))
    assert window.take(now + 1e9) == ()


@given(policies, st.lists(st.integers(0, 4000), max_size=8))
def test_clearing_gives_all_that_waits_and_leaves_nothing(policy: BatchPolicy, weights: list[int]) -> None:
    window = BatchWindow(policy)
    records = weighed(weights, 0)
    window.add(records, 0.0)
    taken = window.take(0.0)
    assert [*taken, *window.clear()] == records
    assert (len(window), window.bytes, window.due_at) == (0, 0, None)


def test_a_window_of_zero_sends_whatever_there_is() -> None:
    window = BatchWindow(BatchPolicy(batch_size=100))
    window.add(stream(3), 7.0)
    assert window.due_at == 7.0
    assert len(window.take(7.0)) == 3


def test_a_batch_closes_when_its_window_is_over_and_not_before() -> None:
    window = BatchWindow(BatchPolicy(batch_size=100, window=5.0))
    window.add(stream(1), 10.0)
    window.add(stream(1, start=1), 14.0)
    assert window.due_at == 15.0
    assert window.take(14.9) == ()
    assert len(window.take(15.0)) == 2


def test_the_window_starts_anew_when_the_batch_before_is_finished() -> None:
    window = BatchWindow(BatchPolicy(batch_size=1, window=5.0))
    window.add(stream(1), 0.0)
    assert window.take(0.0)
    window = BatchWindow(BatchPolicy(batch_size=2, window=5.0))
    window.add(stream(1), 1.0)
    window.finish(3.0)
    assert window.due_at == 8.0


def test_a_full_or_heavy_batch_does_not_wait_for_its_window() -> None:
    window = BatchWindow(BatchPolicy(batch_size=3, window=300.0))
    window.add(stream(4), 2.0)
    assert window.due_at == 2.0
    assert len(window.take(2.0)) == 3
    heavy = BatchWindow(BatchPolicy(batch_size=100, window=300.0, payload_limit=1000))
    heavy.add(weighed([600, 400], 0), 2.0)
    assert heavy.due_at == 2.0
    heavy.add(weighed([1], 2), 2.0)
    assert len(heavy.take(2.0)) == 2
    assert heavy.due_at == 302.0


def test_a_record_over_the_limit_is_a_batch_of_its_own() -> None:
    window = BatchWindow(BatchPolicy(batch_size=10, payload_limit=1000))
    window.add(weighed([10, 5000, 10], 0), 0.0)
    assert [len(window.take(0.0)) for _ in range(4)] == [1, 1, 1, 0]


def test_a_long_backlog_is_taken_in_order_though_what_was_taken_is_let_go_in_between() -> None:
    window = BatchWindow(BatchPolicy(batch_size=1000))
    records = stream(20_000)
    window.add(records, 0.0)
    out: list[Record] = []
    while batch := window.take(0.0):
        out.extend(batch)
        assert window.bytes == sum(r.size for r in records[len(out) :])
    assert out == records
