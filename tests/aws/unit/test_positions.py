"""Sequence numbers as positions: they grow as the shard does, and come back as they were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn_aws.positions import (
    LAST_PART,
    TRIM_HORIZON,
    instant_of,
    instant_position,
    part_of,
    position_of,
    sequence_number,
)

numbers = st.integers(0, 2**186)
parts = st.integers(0, LAST_PART)


@given(numbers, parts)
def test_a_position_holds_number_and_part(number: int, part: int) -> None:
    position = position_of(str(number), part)
    assert (sequence_number(position), part_of(position)) == (str(number), part)
    assert instant_of(position) is None


@given(numbers, parts, numbers, parts)
def test_positions_grow_as_numbers_and_then_parts_do(
    number: int, part: int, other: int, other_part: int
) -> None:
    before = position_of(str(number), part) < position_of(str(other), other_part)
    assert before == ((number, part) < (other, other_part))


@given(numbers, parts)
def test_being_done_with_a_whole_record_is_being_done_with_all_its_parts(number: int, part: int) -> None:
    whole = position_of(str(number))
    assert position_of(str(number), part) <= whole < position_of(str(number + 1), 0)


def test_a_number_of_kinesis_fits_with_all_its_digits() -> None:
    number = "49590338271490256608559692538361571095921575989136588898"
    assert sequence_number(position_of(number)) == number
    assert part_of(position_of(number)) == LAST_PART


@given(st.floats(0, 4e9))
def test_an_instant_is_kept_to_the_millisecond_and_never_later(at: float) -> None:
    position = instant_position(at)
    found = instant_of(position)
    assert position < TRIM_HORIZON
    assert found is not None
    # Two milliseconds after 1970 at the earliest: -1 is the oldest record.
    assert found <= max(at, 0.002)
    assert at - found < 0.001001


@pytest.mark.parametrize("position", [TRIM_HORIZON, 0, position_of("0")])
def test_what_is_no_instant(position: int) -> None:
    assert instant_of(position) is None
