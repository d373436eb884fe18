"""What becomes of what is given up: sequences by key, dead letters, and messages of queues."""

from __future__ import annotations

import pytest

from streamfn.config import DYNAMODB, FIFO, KAFKA, QUEUE, STREAM, Kind
from tests.config.test_kinds import load, refused, unsupported


def test_a_queue_is_not_sequenced_and_gives_up_by_receives() -> None:
    for kind in (QUEUE, FIFO):
        instead = f"a {kind.name} does not take it: remove it"
        assert refused(kind, sequenced=True, sequenced_limit=5) == [
            unsupported("Sequenced", instead),
            unsupported("SequencedLimit", instead),
        ]
        assert refused(kind, dead_letters=True) == [
            "DeadLetters: goes with MaximumReceiveCount: else the queue's own redrive policy takes what "
            "fails. Fix: set MaximumReceiveCount, or remove it"
        ]
        assert refused(kind, maximum_receive_count=3, dead_letters=False) == [
            "MaximumReceiveCount: needs dead letters: what is given up is kept there. "
            "Fix: set dead_letters: true, or remove it"
        ]
        for letters in (None, True, "log:"):
            load(maximum_receive_count=3, dead_letters=letters).check(kind)


@pytest.mark.parametrize("kind", [STREAM, DYNAMODB, KAFKA], ids=lambda kind: kind.name)
def test_sequences_are_kept_by_key(kind: Kind) -> None:
    for letters in (None, True, "log:"):
        load(ordering="key", sequenced=True, sequenced_limit=5, dead_letters=letters).check(kind)
    for options in ({}, {"ordering": "shard"}, {"ordering": "none"}):
        assert refused(kind, sequenced=True, **options) == [
            "Sequenced: goes with ordering key only: records are parked by their key. "
            "Fix: set ordering: key, or remove it"
        ]


def test_a_sequence_needs_a_dead_letter_to_wait_for() -> None:
    assert refused(STREAM, ordering="key", sequenced=True, dead_letters=False) == [
        "Sequenced: needs dead letters: what is parked is released after the redrive of one. "
        "Fix: set dead_letters: true, or remove it"
    ]


def test_a_limit_of_sequences_needs_them() -> None:
    assert refused(KAFKA, sequenced_limit=5) == [
        "SequencedLimit: goes with sequenced only. Fix: set sequenced: true, or remove it"
    ]
    load(sequenced_limit=100_000).check(KAFKA)
