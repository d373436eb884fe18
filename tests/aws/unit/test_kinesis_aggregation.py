"""Records that producers pack into one: unpacked in order, and whatever is none stays as it is."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn_aws.kinesis.aggregation import BASE64_MAGIC, MAGIC, Part, unpacked
from tests.aws.unit.kinesis_packed import block, number, packed, sealed, varint

PARTS = st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=60)), min_size=1, max_size=12)


@given(PARTS)
def test_what_was_packed_comes_out(parts: list[tuple[str, bytes]]) -> None:
    assert unpacked(packed(parts)) == [Part(key, data) for key, data in parts]
    assert b64encode(packed(parts)).decode().startswith(BASE64_MAGIC)


@given(st.binary(max_size=200))
def test_what_is_no_aggregate_is_left_alone(data: bytes) -> None:
    assert unpacked(data) is None
    assert unpacked(MAGIC + data) is None


@given(st.binary(max_size=200))
def test_a_message_that_is_not_well_formed_neither_raises_nor_loops(message: bytes) -> None:
    assert unpacked(sealed(message)) is None or unpacked(sealed(message))


@given(PARTS, st.data())
def test_a_whole_that_was_damaged_is_not_taken_for_one(
    parts: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    whole = packed(parts)
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= data.draw(st.integers(1, 255))
    assert unpacked(bytes(damaged)) is None
    assert unpacked(whole[:place]) is None


@given(PARTS, st.data())
def test_a_message_that_was_cut_before_it_was_sealed(
    parts: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    message = packed(parts)[len(MAGIC) : -16]
    cut = unpacked(sealed(message[: data.draw(st.integers(0, len(message)))]))
    whole = [Part(key, data) for key, data in parts]
    assert cut is None or cut == whole[: len(cut)]


KEY = block(1, b"key")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", id="nothing in it"),
        pytest.param(KEY, id="no record"),
        pytest.param(KEY + block(3, block(3, b"a")), id="a record without a key"),
        pytest.param(KEY + block(3, number(1, 0)), id="a record without data"),
        pytest.param(KEY + block(3, number(1, 1) + block(3, b"a")), id="a key that is not there"),
        pytest.param(KEY + block(3, number(1, 2**63) + block(3, b"a")), id="a key far away"),
        pytest.param(KEY + block(3, block(1, b"0") + block(3, b"a")), id="a key's number as bytes"),
        pytest.param(KEY + block(3, number(1, 0) + number(3, 7)), id="data as a number"),
        pytest.param(number(1, 5) + block(3, number(1, 0) + block(3, b"a")), id="a key as a number"),
        pytest.param(block(1, b"\xff") + block(3, number(1, 0) + block(3, b"a")), id="a key that is no text"),
        pytest.param(varint(1 << 3 | 2) + varint(2**62) + b"a", id="a length beyond all bounds"),
        pytest.param(varint(1 << 3 | 2) + b"\xff" * 11, id="a length without an end"),
        pytest.param(varint(1 << 3 | 3), id="a group"),
        pytest.param(varint(9 << 3 | 1) + b"1234", id="eight bytes that are four"),
    ],
)
def test_a_sealed_message_that_says_nothing(message: bytes) -> None:
    assert unpacked(sealed(message)) is None


def test_fields_of_later_versions_are_passed_over() -> None:
    later = (
        varint(9 << 3 | 1) + b"12345678" + varint(10 << 3 | 5) + b"1234" + number(11, 2**40) + block(12, b"x")
    )
    message = later + KEY + later + block(3, later + number(1, 0) + later + block(3, b"a") + later)
    assert unpacked(sealed(message)) == [Part("key", b"a")]
