"""What functions and patterns see of an asynchronous invocation: its payload and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.events import FRESH, EventRecord, EventShape, History, InvocationShape
from streamfn.core.rendering import loads
from tests.core.made import FAILURE

SHAPE = InvocationShape()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def event(value: bytes, history: History = FRESH) -> EventRecord:
    return EventRecord("7f2c", value, 1_700_000_000.0, history=history)


@given(json_values)
def test_a_function_and_a_pattern_see_the_payload(payload: object) -> None:
    record = event(json.dumps(payload).encode())
    assert SHAPE.to_event([record]) == SHAPE.filter_data(record, loads) == payload
    view = SHAPE.filter_view(record, payload)
    assert view == (payload if isinstance(payload, dict) else {})


def test_no_payload_is_null() -> None:
    record = event(b"")
    assert SHAPE.to_event([record]) is SHAPE.filter_data(record, loads) is None
    assert record.size == len("null")


@pytest.mark.parametrize("value", [b"{", b"NaN", b"\xff"])
def test_a_payload_that_is_no_json_is_told(value: bytes) -> None:
    with pytest.raises(ValueError, match="Expecting|NaN is not JSON|utf-8"):
        SHAPE.to_event([event(value)])


def test_an_event_is_delivered_alone() -> None:
    with pytest.raises(ValueError, match="too many"):
        SHAPE.to_event([event(b"1"), event(b"2")])


def test_it_is_read_as_the_reader_is_told() -> None:
    assert InvocationShape(lambda data: data.upper()).to_event([event(b"x")]) == b"X"


def test_what_it_has_of_a_shape() -> None:
    shape: EventShape = SHAPE
    assert shape.batch_info([event(b"1")]) == {}
    assert shape.record_id("7f2c") == "7f2c"
    assert shape.record_id(7) is None
    assert shape.filtering.paths == ()
    assert shape.filtering.placed({"a": 1}, None) == {"a": 1}


def test_an_event_answers_as_a_record() -> None:
    fresh = event(b'{"a":1}')
    assert (fresh.id, fresh.position, fresh.key, fresh.attempt) == ("7f2c", 0, None, 0)
    assert (fresh.size, fresh.json(), list(fresh.headers)) == (7, {"a": 1}, [])
    assert repr(fresh) == "<EventRecord 7f2c key=None>"
    failed = event(b"1", History(attempts=2, throttles=1, failure=FAILURE))
    assert failed.attempt == 2
    assert failed != event(b"1", failed.history)
