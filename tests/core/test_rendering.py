"""Ids out of random bytes."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.rendering import uuids


@given(st.integers(0, 20).flatmap(lambda count: st.binary(min_size=16 * count, max_size=16 * count)))
def test_sixteen_bytes_make_a_uuid_of_version_4(data: bytes) -> None:
    made = uuids(data)
    assert len(made) == len(data) // 16
    for place, text in enumerate(made):
        found = UUID(text)
        assert str(found) == text
        assert (found.version, found.variant) == (4, UUID(int=0, version=4).variant)
        # All but the six bits of version and variant, and two that go with them, are as given.
        assert found.bytes[:6] == data[16 * place : 16 * place + 6]
        assert found.bytes[9:] == data[16 * place + 9 : 16 * place + 16]


def test_no_two_are_alike_where_the_bytes_are_not() -> None:
    assert len(set(uuids(bytes(range(64))))) == 4
