"""Which records the filters of a mapping let through: the tables of each source, and what AWS answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.events import DynamoDbShape, EventShape, FilterForm
from streamfn.core.filtering import DataKind, FilterCriteria, asked_kinds, filtering, kind_of_data
from streamfn.core.records import Record, StreamRecord
from streamfn.core.rendering import loads
from streamfn.errors import InvalidPattern
from tests.core.made import KAFKA, KINESIS, SQS, HeldKafkaRecord, message
from tests.core.test_dynamodb_shape import SHARD, STREAM, Change, change

DYNAMODB = DynamoDbShape(STREAM, SHARD, "us-west-2")


def fits(shape: EventShape, record: Record, *patterns: object) -> bool:
    make = filtering(patterns)
    assert make is not None
    return make(shape)(record)


def kinesis(data: bytes | None) -> Record:
    return StreamRecord(7, data, "sensor-1", 1_700_000_000.0)


# ------------------------------------------------------------- data and patterns of different kinds

A_JSON, A_TEXT, A_NUMBER, ALSO_JSON = b'{"kind": "a", "n": 1}', b"plain", b"12", b'[{"kind": "a"}]'
NOT_UTF8 = b"\xff\xfe"

SQS_TABLE = [
    # data, pattern for body, whether it goes through
    (A_JSON, {"kind": ["a"]}, True),
    (A_JSON, {"kind": ["b"]}, False),
    (ALSO_JSON, {"kind": ["a"]}, True),
    (A_JSON, ["plain"], False),
    (A_JSON, [{"exists": False}], False),
    (ALSO_JSON, [{"exists": False}], False),
    (b'["plain"]', ["plain"], False),
    (A_TEXT, ["plain"], True),
    (A_TEXT, ["other"], False),
    (A_TEXT, {"kind": ["a"]}, False),
    (A_TEXT, {"kind": [{"exists": False}]}, False),
    (A_NUMBER, ["12"], True),
    (A_NUMBER, [12], False),
    (A_NUMBER, {"kind": [{"exists": False}]}, False),
    (b"", [""], True),
    (NOT_UTF8, ["\ufffd\ufffd"], True),
]

KINESIS_TABLE = [
    (A_JSON, {"kind": ["a"]}, True),
    (A_JSON, {"kind": ["b"]}, False),
    (ALSO_JSON, {"kind": ["a"]}, True),
    (A_TEXT, {"kind": [{"exists": False}]}, False),
    (A_NUMBER, {"kind": [{"exists": False}]}, False),
    (NOT_UTF8, {"kind": [{"exists": False}]}, False),
    (None, {"kind": [{"exists": False}]}, False),
]

KAFKA_TABLE = [
    (A_JSON, {"kind": ["a"]}, True),
    (A_JSON, {"kind": ["b"]}, False),
    (A_JSON, ["plain"], True),
    (A_TEXT, ["plain"], True),
    (A_TEXT, ["other"], False),
    (A_TEXT, {"kind": ["a"]}, True),
    (A_NUMBER, ["12"], True),
    (NOT_UTF8, {"kind": ["a"]}, True),
    (NOT_UTF8, ["plain"], True),
    (None, [None], True),
    (None, ["plain"], False),
    (None, {"kind": ["a"]}, True),
]


@pytest.mark.parametrize(("data", "asked", "through"), SQS_TABLE)
def test_a_message_whose_body_is_of_another_kind_than_the_pattern_is_dropped(
    data: bytes, asked: object, through: bool
) -> None:
    assert fits(SQS, message("m", data), {"body": asked}) is through
    assert fits(SQS, message("m", data), {"body": asked, "messageId": ["m"]}) is through
    assert fits(SQS, message("m", data), {"body": asked, "messageId": ["n"]}) is False


@pytest.mark.parametrize("key", ["data", "kinesis.data"])
@pytest.mark.parametrize(("data", "asked", "through"), KINESIS_TABLE)
def test_data_of_a_stream_that_is_not_json_is_dropped(
    data: bytes | None, asked: object, through: bool, key: str
) -> None:
    assert fits(KINESIS, kinesis(data), {key: asked}) is through
    assert fits(KINESIS, kinesis(data), {key: asked, "partitionKey": ["sensor-1"]}) is through
    assert fits(KINESIS, kinesis(data), {key: asked, "partitionKey": ["sensor-2"]}) is False


@pytest.mark.parametrize(("data", "asked", "through"), KAFKA_TABLE)
def test_of_kafka_what_is_asked_of_data_of_another_kind_is_left_out(
    data: bytes | None, asked: object, through: bool
) -> None:
    record = HeldKafkaRecord(15, data)
    assert fits(KAFKA, record, {"value": asked}) is through
    assert fits(KAFKA, record, {"value": asked, "offset": [15]}) is through
    assert fits(KAFKA, record, {"value": asked, "offset": [16]}) is False


@pytest.mark.parametrize("data", [A_JSON, A_TEXT, NOT_UTF8])
def test_without_a_pattern_for_the_data_what_stands_around_it_decides(data: bytes) -> None:
    queued, stream, topic = message("m", data), kinesis(data), HeldKafkaRecord(15, data)
    assert fits(SQS, queued, {"eventSource": ["aws:sqs"], "attributes": {"SenderId": [{"exists": True}]}})
    assert not fits(SQS, queued, {"eventSource": ["aws:kinesis"]})
    assert fits(KINESIS, stream, {"partitionKey": [{"prefix": "sensor-"}]})
    assert fits(KINESIS, stream, {"kinesis": {"partitionKey": ["sensor-1"]}})
    assert not fits(KINESIS, stream, {"eventSourceARN": ["other"]})
    assert fits(KAFKA, topic, {"partition": [2], "topic": ["orders"]})
    assert not fits(KAFKA, topic, {"offset": [{"numeric": ["<", 15]}]})


def test_data_that_nobody_asks_for_is_not_read() -> None:
    def never(data: bytes) -> object:
        raise AssertionError("read")

    make = filtering([{"partitionKey": ["sensor-1"]}], None, never)
    assert make is not None
    assert make(KINESIS)(kinesis(A_JSON))


def test_each_way_through_or_is_judged_by_itself() -> None:
    either = {"$or": [{"body": {"kind": ["a"]}}, {"body": ["plain"]}, {"messageId": ["m"]}]}
    assert fits(SQS, message("n", A_JSON), either)
    assert fits(SQS, message("n", A_TEXT), either)
    assert fits(SQS, message("m", b"neither"), either)
    assert not fits(SQS, message("n", b"neither"), either)
    both = {"topic": ["orders"], "$or": [{"value": {"kind": ["b"]}}, {"offset": [16]}]}
    assert not fits(KAFKA, HeldKafkaRecord(15, A_JSON), both)
    assert fits(KAFKA, HeldKafkaRecord(15, A_TEXT), both)
    assert fits(KAFKA, HeldKafkaRecord(16, A_JSON), both)


def test_what_a_pattern_asks_of_both_kinds_at_once_no_message_has() -> None:
    both = '{"body": ["plain"], "body.kind": ["a"]}'
    assert not fits(SQS, message("m", A_JSON), both)
    assert not fits(SQS, message("m", A_TEXT), both)
    assert fits(KAFKA, HeldKafkaRecord(1, A_JSON), both.replace("body", "value"))
    assert not fits(KAFKA, HeldKafkaRecord(1, b"other"), both.replace("body", "value"))


# --------------------------------------------------------------------------------- recorded on AWS


def test_a_plain_body_does_not_fit_a_pattern_of_keys() -> None:
    """A16."""
    pattern = '{"body":{"my-key":["my-value"]}}'
    assert not fits(SQS, message("m", b"my-value"), pattern)
    assert fits(SQS, message("m", b'{"my-key": "my-value"}'), pattern)


def test_numbers_of_items_are_text_and_the_time_of_a_change_is_a_number() -> None:
    """A17."""
    record = Change(change())
    numeric: dict[str, Any] = {"dynamodb": {"NewImage": {"Id": {"N": [{"numeric": ["=", 101]}]}}}}
    assert not fits(DYNAMODB, record, numeric)
    assert fits(DYNAMODB, record, {"dynamodb": {"NewImage": {"Id": {"N": ["101"]}}}})
    assert fits(DYNAMODB, record, {"dynamodb": {"NewImage": {"Id": {"N": [{"prefix": "1"}]}}}})
    time = {"numeric": [">", 1693997154, "<", 1693997156]}
    assert fits(DYNAMODB, record, {"dynamodb": {"ApproximateCreationDateTime": [time]}})
    assert fits(DYNAMODB, record, {"eventName": ["INSERT"], "dynamodb": {"Keys": {"Id": {"N": ["101"]}}}})
    assert not fits(DYNAMODB, record, {"eventName": ["REMOVE"]})


def test_exists_sees_leaves_only() -> None:
    record = message("m", b'{"here": {"in": 1}}')
    assert fits(SQS, record, {"body": {"here": [{"exists": False}]}})
    assert not fits(SQS, record, {"body": {"here": [{"exists": True}]}})
    assert fits(SQS, record, {"body": {"here": {"in": [{"exists": True}]}}})


# ------------------------------------------------------------------------------------ many filters


def test_one_filter_of_many_is_enough() -> None:
    patterns = [{"body": {"kind": [letter]}} for letter in "bcdefghija"]
    assert fits(SQS, message("m", A_JSON), *patterns)
    assert not fits(SQS, message("m", A_JSON), *patterns[:-1])


@pytest.mark.parametrize("patterns", [1, 10])
def test_data_is_read_once_whatever_the_number_of_filters(patterns: int) -> None:
    reads = []

    def read(data: bytes) -> Any:
        reads.append(data)
        return loads(data)

    make = filtering([{"body": {"kind": [f"{n}"]}} for n in range(patterns)], None, read)
    assert make is not None
    assert not make(SQS)(message("m", A_JSON))
    assert reads == [A_JSON]


def test_with_a_predicate_as_well_both_have_to_take_a_record() -> None:
    asked: list[str] = []

    def second(record: Record) -> bool:
        asked.append(record.id)
        return record.id != "m"

    make = filtering([{"body": {"kind": ["a"]}}], second)
    assert make is not None
    takes = make(SQS)
    assert [takes(message(name, A_JSON)) for name in "mn"] == [False, True]
    assert not takes(message("o", A_TEXT))
    assert asked == ["m", "n"]


def test_nothing_to_filter_by_is_no_filter() -> None:
    assert filtering([]) is None
    alone = filtering([], lambda record: record.id == "m")
    assert alone is not None
    assert [alone(SQS)(message(name)) for name in "mn"] == [True, False]


def test_a_pattern_that_is_not_valid_is_refused_before_there_is_a_record() -> None:
    with pytest.raises(InvalidPattern):
        filtering(['{"body": "plain"}'])


def test_shards_of_one_source_share_what_was_compiled() -> None:
    class Counted(list[object]):
        looks = 0

        def __iter__(self) -> Iterator[object]:
            self.looks += 1
            return super().__iter__()

    patterns = Counted([{"data": {"kind": ["a"]}}])
    make = filtering(patterns)
    assert make is not None
    assert make(KINESIS)(kinesis(A_JSON))
    before = patterns.looks
    assert make(KINESIS)(kinesis(ALSO_JSON))
    assert patterns.looks == before


# -------------------------------------------------------------------------------- kinds, and properties


def test_a_pattern_says_for_which_kind_of_data_it_is() -> None:
    form = SQS.filtering
    assert asked_kinds({"messageId": ["m"]}, form) == set()
    assert asked_kinds({"body": ["a"], "messageId": ["m"]}, form) == {DataKind.TEXT}
    assert asked_kinds({"body.kind": ["a"]}, form) == {DataKind.JSON}
    assert asked_kinds({"bodyguard": ["a"]}, form) == set()
    assert asked_kinds({"$or": [{"body": ["a"]}, {"body": {"n": [1]}}]}, form) == {
        DataKind.TEXT,
        DataKind.JSON,
    }


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({}, DataKind.JSON),
        ([], DataKind.JSON),
        ("", DataKind.TEXT),
        (None, DataKind.TEXT),
        (b"", DataKind.BYTES),
    ],
)
def test_data_has_a_kind(data: object, kind: DataKind) -> None:
    assert kind_of_data(data) is kind
    criteria = FilterCriteria([{"value": {"a": [{"exists": False}]}}], SQS.filtering)
    assert (criteria.uses_data, criteria.uses_rest) == (False, True)
    criteria = FilterCriteria([{"body": {"a": [{"exists": False}]}}], SQS.filtering)
    assert (criteria.uses_data, criteria.uses_rest) == (True, False)
    assert criteria.test(data)({"body": data}) is (kind is DataKind.JSON)


bodies = st.one_of(
    st.binary(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", ""]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
)
values: st.SearchStrategy[list[Any]] = st.lists(
    st.sampled_from(
        ["a", "b", "", 1, None, True, {"exists": False}, {"exists": True}, {"anything-but": "a"}]
    ),
    min_size=1,
    max_size=2,
)


@st.composite
def patterns(draw: st.DrawFn, key: str) -> dict[str, Any]:
    data = draw(st.none() | values | st.dictionaries(st.sampled_from("ab"), values, min_size=1, max_size=2))
    around = draw(st.none() | st.sampled_from([["m"], ["n"]]))
    made = ({} if data is None else {key: data}) | ({} if around is None else {"messageId": around})
    return made or {"messageId": ["m"]}


def naive(pattern: dict[str, Any], form: FilterForm, data: object, view: dict[str, Any]) -> bool:
    """The table of a source, read as it stands there."""
    from streamfn.core.patterns import compile_rules

    (key,) = form.paths
    asked = pattern.get(key)
    if asked is None:
        return compile_rules(pattern)(view)
    same = isinstance(data, dict | list) if isinstance(asked, dict) else data is None or isinstance(data, str)
    if same:
        return compile_rules(pattern)(view)
    if not form.ignores_other_kinds:
        return False
    rest = {name: value for name, value in pattern.items() if name != key}
    return not rest or compile_rules(rest)(view)


@given(st.data())
@pytest.mark.parametrize(
    ("shape", "key", "make"),
    [
        (SQS, "body", lambda body: message("m", body)),
        (KAFKA, "value", lambda body: HeldKafkaRecord(15, body)),
    ],
    ids=["sqs", "kafka"],
)
def test_filters_do_what_the_table_says(
    shape: EventShape, key: str, make: Callable[[bytes], Record], data: st.DataObject
) -> None:
    given_patterns: Sequence[dict[str, Any]] = data.draw(st.lists(patterns(key), min_size=1, max_size=3))
    record = make(data.draw(bodies))
    decoded = shape.filter_data(record, loads)
    view = dict(shape.filter_view(record, decoded))
    expected = any(naive(pattern, shape.filtering, decoded, view) for pattern in given_patterns)
    assert fits(shape, record, *given_patterns) is expected
