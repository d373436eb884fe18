"""The laws of the checkpoint tracker, and of the note beside the checkpoint."""

from __future__ import annotations

import zlib
from base64 import b64encode
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamfn.core.checkpoints import CheckpointTracker, Held, Progress
from streamfn.core.records import Record, StreamRecord
from tests.core.made import stream


class Tracking(RuleBasedStateMachine):
    """Records are read in chunks and resolved in any order; the model is a set."""

    @initialize(start=st.sampled_from([-1, 0, 41, -1_700_000_000_000, 2**210]))
    def begin(self, start: int) -> None:
        self.start = start
        self.tracker = CheckpointTracker(start)
        self.tracked: list[Record] = []
        self.resolved: set[int] = set()

    @property
    def open(self) -> list[Record]:
        return [record for record in self.tracked if record.position not in self.resolved]

    def resolve(self, records: list[Record]) -> None:
        self.tracker.resolve(records)
        self.resolved.update(record.position for record in records)

    @rule(gaps=st.lists(st.sampled_from([1, 1, 2, 3, 2**24, 2**210]), max_size=12), as_tuple=st.booleans())
    def track(self, gaps: list[int], as_tuple: bool) -> None:
        position = self.tracked[-1].position if self.tracked else self.start
        records: list[Record] = []
        for gap in gaps:
            position += gap
            records.append(StreamRecord(position, b""))
        self.tracker.track(tuple(records) if as_tuple else records)
        self.tracked += records

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def resolve_a_run(self, data: st.DataObject) -> None:
        left = self.open
        first = data.draw(st.integers(0, len(left) - 1))
        last = data.draw(st.integers(first, len(left) - 1))
        self.resolve(left[first : last + 1])

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def resolve_the_first_ones(self, data: st.DataObject) -> None:
        self.resolve(self.open[: data.draw(st.integers(1, len(self.open)))])

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def resolve_some_in_any_order(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.open), unique_by=id))
        self.resolve(data.draw(st.permutations(chosen)))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def resolve_by_key_the_first_one_first(self, data: st.DataObject) -> None:
        """As a batch of many keys comes back: first and last stand as in the chunk, those between do not."""
        left = self.open
        between = data.draw(st.lists(st.sampled_from(left), unique_by=id))
        last = data.draw(st.sampled_from(left))
        ends = (left[0], last)
        middle = [record for record in between if record not in ends]
        self.resolve([left[0], *middle, *([last] if last is not left[0] else [])])

    @invariant()
    def the_checkpoint_never_passes_an_unresolved_record_and_is_as_far_as_it_can_be(self) -> None:
        left = self.open
        below = [r.position for r in self.tracked if not left or r.position < left[0].position]
        assert self.tracker.committable == (below[-1] if below else self.start)
        assert self.tracker.unresolved == len(left)

    @invariant()
    def what_is_resolved_ahead_is_told_exactly(self) -> None:
        ranges = list(self.tracker.resolved_ahead())
        told = {r.position for r in self.tracked for first, last in ranges if first <= r.position <= last}
        assert told == {position for position in self.resolved if position > self.tracker.committable}
        assert all(first <= last for first, last in ranges)
        assert all(a[1] < b[0] for a, b in pairwise(ranges))


Tracking.TestCase.settings = settings(stateful_step_count=25)
TestTracking = Tracking.TestCase


def test_a_batch_whose_ends_stand_as_in_the_chunk_resolves_only_its_own_records() -> None:
    chunk, later = stream(4), stream(2, start=10)
    tracker = CheckpointTracker(-1)
    tracker.track(chunk)
    tracker.track(later)
    tracker.resolve([chunk[0], *later, chunk[3]])
    assert tracker.committable == 0
    assert tracker.unresolved == 2
    assert list(tracker.resolved_ahead()) == [(3, 3), (10, 11)]


def test_records_that_are_filtered_out_in_the_middle_are_passed_with_the_others() -> None:
    records = stream(6)
    tracker = CheckpointTracker(-1)
    tracker.track(records)
    tracker.resolve(records[2:4])
    assert (tracker.committable, list(tracker.resolved_ahead())) == (-1, [(2, 3)])
    tracker.resolve([records[0], records[1], records[4]])
    assert tracker.committable == 4
    tracker.resolve(records[5:])
    assert (tracker.committable, tracker.unresolved, list(tracker.resolved_ahead())) == (5, 0, [])


positions = st.one_of(st.integers(-1, 2**63), st.integers(-(2**41), -2), st.integers(2**180, 2**210))
gaps = st.one_of(st.integers(1, 10**6), st.integers(2**60, 2**210))


@st.composite
def notes(draw: st.DrawFn) -> tuple[int, Progress]:
    """A position, and what is to be said beside it."""
    position = draw(positions)
    held = st.builds(
        Held,
        gaps.map(lambda ahead: position + ahead),
        st.integers(1, 10_000),
        st.integers(0, 10**6),
    )
    ranges = []
    end = position
    lengths = st.one_of(st.integers(0, 10**4), gaps)
    for gap, length in draw(st.lists(st.tuples(gaps, lengths), max_size=30)):
        ranges.append((end + gap, end + gap + length))
        end += gap + length
    batches = tuple(draw(st.lists(held, max_size=10)))
    delivering = draw(st.booleans()) and bool(batches)
    progress = Progress(draw(st.booleans()), delivering, draw(st.integers(0, 300)), batches, tuple(ranges))
    return position, progress


@given(notes())
def test_a_note_is_read_as_it_was_written(note: tuple[int, Progress]) -> None:
    position, progress = note
    text = progress.encode(position, 10**6)
    assert text is not None
    assert text.isascii()
    assert Progress.decode(text, position) == progress


@given(notes(), st.integers(0, 200))
def test_a_note_keeps_to_its_limit_and_gives_up_nothing_but_held_batches(
    note: tuple[int, Progress], limit: int
) -> None:
    position, progress = note
    text = progress.encode(position, limit)
    bare = Progress(progress.running, False, progress.crashes, (), progress.done)
    if text is None:
        assert len(bare.encode(position, 10**6) or "") > limit
    else:
        assert len(text) <= limit
        assert Progress.decode(text, position) in (progress, bare)


@given(notes(), st.data())
def test_a_damaged_note_is_told_from_a_sound_one(note: tuple[int, Progress], data: st.DataObject) -> None:
    position, progress = note
    text = progress.encode(position, 10**6) or ""
    at = data.draw(st.integers(5, len(text) - 1))
    cut = data.draw(st.booleans())
    damaged = text[:at] if cut else text[:at] + data.draw(st.characters()) + text[at + 1 :]
    read = None
    with suppress(ValueError):
        read = Progress.decode(damaged, position)
    # The last bits of base64 carry nothing, so a change there does no harm.
    assert read in (None, progress)


@given(st.text().filter(lambda text: not text.startswith("sfn1 ")))
def test_text_of_another_writer_says_nothing(text: str) -> None:
    assert Progress.decode(text, 5) == Progress()


@pytest.mark.parametrize(
    "numbers",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\x00\x01",
        b"\x00\x00\x02\x01\x01\x01",
        b"\x00\x00\x00\x05",
        b"\x00\x00\x00\x80",
    ],
    ids=lambda numbers: numbers.hex() or "none",
)
def test_numbers_that_do_not_add_up_are_damage_even_where_the_checksum_holds(numbers: bytes) -> None:
    with pytest.raises(ValueError, match="commit metadata at 7 is damaged"):
        Progress.decode("sfn1 z " + b64encode(zlib.compress(numbers)).decode(), 7)


def test_a_shard_that_begins_at_an_instant_goes_on_at_positions_of_any_width() -> None:
    tracker = CheckpointTracker(-1_700_000_000_000)
    records: list[Record] = [StreamRecord(2**210 + (number << 90), b"") for number in range(4)]
    tracker.track(records)
    tracker.resolve(records[2:3])
    assert tracker.committable == -1_700_000_000_000
    done = tuple(tracker.resolved_ahead())
    assert done == ((records[2].position, records[2].position),)
    text = Progress(running=True, done=done).encode(tracker.committable, 4096)
    assert text is not None
    assert Progress.decode(text, tracker.committable).done == done
    tracker.resolve(records[:2])
    assert tracker.committable == records[2].position
    tracker.resolve(records[3:])
    assert (tracker.committable, tracker.unresolved) == (records[3].position, 0)


def test_the_plain_cases_are_plain_words() -> None:
    assert Progress().encode(3, 100) == "sfn1 clean"
    assert Progress(running=True).encode(3, 100) == "sfn1 running"
    assert Progress.decode("sfn1 running", 3) == Progress(running=True)
    assert Progress(running=True).encode(3, len("sfn1 running")) == "sfn1 running"
    assert Progress(running=True).encode(3, 4) is None


def test_a_note_tells_held_batches_and_what_is_done_ahead() -> None:
    progress = Progress(
        running=True, delivering=True, crashes=2, held=(Held(9, 3, 4),), done=((11, 11), (14, 300))
    )
    text = progress.encode(7, 200)
    assert text is not None
    assert Progress.decode(text, 7) == progress
    assert progress.encode(7, len(text)) == text
    short = progress.encode(7, len(text) - 1)
    assert short is not None
    assert Progress.decode(short, 7) == Progress(True, False, 2, (), progress.done)
    assert progress.encode(7, 10) is None
