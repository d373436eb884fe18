"""Counting letters."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streamfn.letters import Statistics
from tests.letters.made import AT, metadata, of_invocation, of_queue, of_stream, read

SOME = [
    read(of_stream(at=AT)),
    read(of_stream(at=AT + 3600)),
    read(of_queue()),
    read(of_invocation({})),
    read(metadata(1, 2)),
    read(b"plain"),
    replace(read(of_stream()), behind=3),
]


def counted(*letters: int) -> Statistics:
    statistics = Statistics()
    for number in letters:
        statistics.add(SOME[number])
    return statistics


def test_counts() -> None:
    assert counted(0, 1, 2, 5, 6).document() == {
        "letters": 5,
        "behind": 3,
        "oldest": "2023-11-14T22:13:20.000Z",
        "newest": "2023-11-14T23:13:20.000Z",
        "byError": [("ValueError", 4), (None, 1)],
        "byFunction": [("ship", 3), (None, 1), ("pack", 1)],
        "byMapping": [("ship-orders", 3), (None, 1), ("pack-parcels", 1)],
        "bySource": [("local:orders", 3), (None, 1), ("local:queue/parcels", 1)],
        "byHour": [(None, 1), ("2023-11-14T22Z", 3), ("2023-11-14T23Z", 1)],
    }


def test_nothing() -> None:
    assert counted().document()["letters"] == 0
    assert counted().document()["oldest"] is None


@given(st.lists(st.integers(0, len(SOME) - 1)))
def test_every_letter_is_counted_once_in_each_way(numbers: list[int]) -> None:
    statistics = counted(*numbers)
    ways = (
        statistics.by_error,
        statistics.by_function,
        statistics.by_mapping,
        statistics.by_source,
        statistics.by_hour,
    )
    assert [way.total() for way in ways] == [statistics.letters] * 5
    assert statistics.letters == len(numbers)
