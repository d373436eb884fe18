"""Where each letter goes, and what is sent there."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.letters import REDRIVES, Stored, read_letter
from streamfn.core.lineage import TRACE_HEADER
from streamfn.core.outcomes import Condition
from streamfn.letters import Order, writable
from streamfn.letters.targets import Dispatch, Fetch, Obstacle, Refusal, plan, records_of
from streamfn.ports import Message
from tests.letters.made import metadata, of_invocation, of_queue, of_stream, read

ONCE = (REDRIVES, b"1")
DEAD = {"RequestID": b"r", "ErrorCode": b"200", "ErrorMessage": b"no"}
TABLE = orjson.dumps(
    json.loads(metadata(1, 2))
    | {
        "payload": {
            "Records": [{"eventSource": "aws:dynamodb", "eventSourceARN": "arn:aws:dynamodb:e:1:table/t"}]
        }
    }
)


def sent(body: bytes, order: Order | None = None, **stored: Any) -> Dispatch:
    planned = plan(read(body, **stored), order or Order())
    assert isinstance(planned, Dispatch), planned
    return planned


def test_a_record_of_a_stream_goes_back_as_it_was() -> None:
    headers = (("a", b"\xff"), ("a", b"2"))
    assert sent(of_stream({"x": 1}, key="k\udcff", headers=headers)) == Dispatch(
        "local:orders", (Message(b'{"x":1}', "k\udcff", (*headers, ONCE)),)
    )


def test_a_message_of_a_queue_goes_back() -> None:
    assert sent(of_queue("text", headers=(("h", b"1"),))) == Dispatch(
        "local:queue/parcels", (Message(b"text", None, (("h", b"1"), ONCE)),)
    )


def test_an_invocation_goes_to_its_function_with_its_headers() -> None:
    body = of_invocation({"a": "é"}, headers=((TRACE_HEADER, b"Root=1"), ("x", b"y")))
    for to in (None, "source", "function"):
        assert sent(body, Order(to)) == Dispatch(
            "function:resize",
            (Message(b'{"a":"\\u00e9"}', None, ((TRACE_HEADER, b"Root=1"), ("x", b"y"), ONCE)),),
        )


@pytest.mark.parametrize(
    "payload", [None, [], 0, "text", {"Records": [{"eventSource": "aws:sqs", "body": "x"}]}]
)
def test_an_invocation_is_no_record_whatever_it_looks_like(payload: Any) -> None:
    planned = sent(of_invocation(payload), Order("local:elsewhere"))
    assert [json.loads(message.body) for message in planned.messages] == [payload]


def test_a_chain_that_was_stopped_begins_anew() -> None:
    body = of_invocation({}, headers=((TRACE_HEADER, b"Root=1"),), condition=Condition.RECURSIVE_INVOCATION)
    assert sent(body).messages[0].headers == (ONCE,)


def test_to_a_function_goes_the_whole_event_of_a_record() -> None:
    body = of_stream({"x": 1}, headers=((TRACE_HEADER, b"Root=1"), ("other", b"2")))
    planned = sent(body, Order("function"))
    assert planned.target == "function:ship"
    (message,) = planned.messages
    assert json.loads(message.body) == read(body).event
    assert message.headers == ((TRACE_HEADER, b"Root=1"), ONCE)
    assert sent(body, Order("function:other")).messages == planned.messages


def test_numbers_of_an_event_are_as_they_were() -> None:
    event = {"n": 123456789012345678901234567890, "f": 0.1}
    body = of_invocation({}).replace(
        b'"requestPayload":{}', b'"requestPayload":' + json.dumps(event).encode()
    )
    (message,) = sent(body).messages
    assert message.body == b'{"n":123456789012345678901234567890,"f":0.1}'


def test_records_go_to_the_function_where_their_source_takes_none() -> None:
    order = Order(writable=lambda place: not place.startswith("local:orders"))
    assert sent(of_stream(), order).target == "function:ship"
    assert sent(of_queue(), order).target == "local:queue/parcels"
    assert plan(read(of_stream()), Order("source", writable=lambda _: False)) == Obstacle(
        "cannot go back to local:orders: say --to function"
    )


def test_what_a_table_wrote_goes_to_the_function() -> None:
    assert sent(TABLE).target == "function:ship"
    assert isinstance(plan(read(TABLE), Order("source")), Obstacle)
    assert json.loads(sent(TABLE, Order("local:else")).messages[0].body) == read(TABLE).event


def test_an_event_of_no_records_is_sent_as_it_is() -> None:
    empty = {"eventSource": "aws:kafka", "bootstrapServers": "b:9092", "records": {}}
    body = orjson.dumps(json.loads(metadata(1, 2)) | {"payload": empty})
    assert sent(body).target == "function:ship"
    assert [json.loads(message.body) for message in sent(body, Order("local:x")).messages] == [empty]


def test_all_goes_to_one_place_where_one_is_named() -> None:
    for body in (of_stream(), of_queue(), of_invocation(1), b"plain"):
        assert sent(body, Order("local:fixed")).target == "local:fixed"


def test_a_plain_message_goes_back_to_its_queue_where_that_is_known() -> None:
    arn = "arn:aws:sqs:local:000000000000:orders"
    planned = sent(b"plain", key="k", headers=(("h", b"1"),), came_from=arn)
    assert planned == Dispatch("local:queue/orders", (Message(b"plain", "k", (("h", b"1"), ONCE)),))
    assert plan(read(b"plain"), Order()) == Obstacle("does not say where it came from: say --to URI")
    assert plan(read(b"plain"), Order("function")) == Obstacle(
        "does not say whose it is: say --to function:NAME"
    )
    assert plan(read(b"plain"), Order("function:f")) == Obstacle(
        "holds no event that is JSON, which is what a function takes"
    )
    assert sent(b' {"a": 1}', Order("function:f")).messages[0].body == b' {"a": 1}'


def test_a_message_of_a_dead_letter_queue_of_lambda_needs_its_function() -> None:
    dead = tuple(DEAD.items())
    assert plan(read(b'{"a":1}', headers=dead), Order()) == Obstacle(
        "does not say whose it is: say --to function:NAME"
    )
    assert sent(b'{"a":1}', Order("function:f"), headers=dead).messages[0].body == b'{"a":1}'


def test_what_holds_no_event_is_fetched() -> None:
    letter = read(metadata(5, 9))
    assert letter.batch_info is not None
    assert plan(letter, Order()) == Fetch("local:orders", letter.batch_info[1])
    nowhere = metadata(5, 9).replace(b"streamArn", b"streamName")
    assert isinstance(plan(read(nowhere), Order()), Obstacle)


def test_a_letter_that_goes_round_is_refused() -> None:
    def redriven(times: int) -> bytes:
        return of_stream(headers=((REDRIVES, str(times).encode()),))

    assert sent(redriven(2)).messages[0].headers == ((REDRIVES, b"3"),)
    assert plan(read(redriven(3)), Order()) == Refusal("was redriven 3 times already")
    assert plan(read(redriven(1)), Order(max_redrives=1)) == Refusal("was redriven once already")
    assert sent(redriven(3), Order(force=True)).messages[0].headers == ((REDRIVES, b"4"),)
    assert isinstance(plan(read(metadata(1, 2), headers=((REDRIVES, b"3"),)), Order()), Refusal)


def test_a_fifo_queue_takes_it_though_its_body_came_within_five_minutes() -> None:
    (message,) = sent(of_queue("x"), Order("local:queue/q.fifo?visibility_timeout=3")).messages
    assert dict(message.headers)["MessageDeduplicationId"] == b"1-0-0"
    again = sent(of_queue("x", headers=(("MessageDeduplicationId", b"old"), ONCE)), Order("sqs://q.fifo"))
    assert [value for name, value in again.messages[0].headers if name == "MessageDeduplicationId"] == [
        b"1-1-0"
    ]
    (longest,) = sent(of_queue("x"), Order("sqs://q.fifo"), letter_id="i" * 500).messages
    assert len(dict(longest.headers)["MessageDeduplicationId"]) == 128


def test_records_of_an_event() -> None:
    assert records_of(read(of_stream()).event) == 1
    assert records_of({"eventSource": "aws:kafka", "records": {"t-0": [1, 2], "t-1": [3]}}) == 3
    assert [records_of(other) for other in (None, {}, {"Records": 3}, [])] == [0, 0, 0, 0]


def test_sources_that_can_be_sent_to() -> None:
    assert writable("local:orders")
    assert writable("arn:aws:sqs:eu-west-1:1:q")
    assert not writable("dynamodb://table")
    assert not writable("arn:aws:dynamodb:eu-west-1:1:table/t/stream/x")
    assert not writable("resize")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
bodies = st.one_of(
    st.binary(max_size=50),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.builds(of_stream, st.text(st.characters(codec="utf-8"))),
    st.builds(of_queue, st.text(st.characters(codec="utf-8"))),
    st.builds(of_invocation, st.text(st.characters(codec="utf-8"))),
    st.builds(metadata, st.integers(0, 5), st.integers(5, 9)),
)
headers = st.lists(
    st.tuples(st.sampled_from([REDRIVES, "RequestID", "ErrorCode", "h"]), st.binary(max_size=4)), max_size=4
).map(tuple)
orders = st.builds(
    Order,
    st.sampled_from([None, "source", "function", "local:x", "local:queue/x.fifo", "function:f"]),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([lambda _: True, lambda _: False]),
)


@given(bodies, headers, orders)
def test_there_is_a_plan_for_everything(body: bytes, given_headers: Any, order: Order) -> None:
    letter = read_letter(Stored("1", body, "k", given_headers))
    planned = plan(letter, order)
    match planned:
        case Dispatch(target, messages):
            assert messages
            assert target == (order.uri or target)
            counts = {value for message in messages for name, value in message.headers if name == REDRIVES}
            assert counts == {str(letter.redrives + 1).encode()}
            assert order.force or letter.redrives < order.max_redrives
        case Refusal():
            assert not order.force
            assert letter.redrives >= order.max_redrives
        case Obstacle(reason):
            assert reason
        case Fetch(place):
            assert place
            assert not letter.holds_event
