"""What a partial batch response says, source by source, and what an error looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.outcomes import Cause, Failed, InvalidResponse, failed_ids
from streamfn.core.records import Batch
from tests.core.made import KAFKA, KINESIS, MSK, SQS, HeldKafkaRecord, anything, message, reported, stream

SEQUENCE = "49590338271490256608559692538361571095921575989136588898"
SOURCES: dict[str, tuple[Batch, Any, Any]] = {
    "kinesis": (Batch(stream(3, start=int(SEQUENCE)), KINESIS), SEQUENCE, str(int(SEQUENCE) + 2)),
    "sqs": (Batch([message("m-1"), message("m-2"), message("m-3")], SQS), "m-1", "m-3"),
    "kafka": (
        Batch([HeldKafkaRecord(15), HeldKafkaRecord(16), HeldKafkaRecord(20)], KAFKA),
        {"partition": "orders-2", "offset": 15},
        {"partition": "orders-2", "offset": 20},
    ),
    "msk": (
        Batch([HeldKafkaRecord(0), HeldKafkaRecord(7)], MSK),
        {"partition": "orders-2", "offset": 0},
        {"offset": 7, "partition": "orders-2"},
    ),
}
every_source = pytest.mark.parametrize("source", SOURCES)


@every_source
@pytest.mark.parametrize(
    "answer",
    [None, "", [], (), {}, {"batchItemFailures": []}, {"batchItemFailures": None}, {"x": 1}],
    ids=repr,
)
def test_these_answers_are_success(source: str, answer: object) -> None:
    batch, _, _ = SOURCES[source]
    assert failed_ids(answer, batch) == frozenset()


@every_source
@pytest.mark.parametrize(
    "answer",
    [
        reported(""),
        reported(None),
        reported(123),
        reported("nobody"),
        reported({}),
        {"batchItemFailures": [{"foo": "bar"}]},
        {"batchItemFailures": [{"foo": None}]},
        {"batchItemFailures": [None]},
        {"batchItemFailures": ["0"]},
        {"batchItemFailures": "0"},
        {"batchItemFailures": {"itemIdentifier": "0"}},
        {"batchItemFailures": 1},
        "not json",
        [1],
        0,
        False,
        b"",
        1.5,
    ],
    ids=repr,
)
def test_these_answers_fail_the_whole_batch(source: str, answer: object) -> None:
    batch, _, _ = SOURCES[source]
    with pytest.raises(InvalidResponse):
        failed_ids(answer, batch)


@every_source
def test_one_unknown_identifier_among_known_ones_fails_the_whole_batch(source: str) -> None:
    batch, first, last = SOURCES[source]
    with pytest.raises(InvalidResponse):
        failed_ids(reported(first, "nobody", last), batch)


@every_source
def test_known_identifiers_are_told_once_each(source: str) -> None:
    batch, first, last = SOURCES[source]
    assert failed_ids(reported(last, first, last), batch) == {batch[0].id, batch[len(batch) - 1].id}


@pytest.mark.parametrize(
    "identifier",
    [
        {"partition": "orders-1", "offset": 15},
        {"partition": "other-2", "offset": 15},
        {"partition": "orders-2", "offset": "15"},
        {"partition": "orders-2", "offset": 15.0},
        {"partition": "orders-2", "offset": True},
        {"partition": "orders-2", "offset": -1},
        {"partition": "orders-2", "offset": 2**63},
        {"partition": "orders-2", "offset": 17},
        {"partition": "orders-2"},
        {"offset": 15},
        {"partition": ["orders-2"], "offset": 15},
        "15",
        "orders-2:15",
        15,
        ["orders-2", 15],
    ],
    ids=repr,
)
def test_a_kafka_identifier_is_a_partition_and_an_offset_of_this_batch_and_nothing_else(
    identifier: object,
) -> None:
    batch, _, _ = SOURCES["kafka"]
    with pytest.raises(InvalidResponse):
        failed_ids(reported(identifier), batch)


@given(st.sampled_from(sorted(SOURCES)), st.lists(anything, max_size=3), anything)
def test_any_answer_is_success_or_names_records_or_is_invalid(
    source: str, names: list[object], answer: object
) -> None:
    batch, first, _ = SOURCES[source]
    known = {record.id for record in batch}
    for each in (answer, reported(*names), reported(first, *names)):
        try:
            assert failed_ids(each, batch) <= known
        except InvalidResponse as error:
            assert len(str(error)) < 300  # noqa: PT017


def test_an_error_is_answered_as_lambda_does() -> None:
    failed = Failed("ValueError", "no", ('  File "f.py", line 1',))
    assert failed.payload("7f") == {
        "errorMessage": "no",
        "errorType": "ValueError",
        "requestId": "7f",
        "stackTrace": ['  File "f.py", line 1'],
    }


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.CRASH])
def test_the_end_of_an_environment_has_neither_stack_nor_request_id(cause: Cause) -> None:
    failed = Failed("Sandbox.Timedout", "RequestId: 7f Error: Task timed out after 1.00 seconds", cause=cause)
    assert sorted(failed.payload("7f")) == ["errorMessage", "errorType"]


def test_an_error_of_half_a_surrogate_pair_can_be_written() -> None:
    payload = Failed("E\udcff", "no such file: \udcff", ('  File "\udcff.py"',)).payload("7f")
    assert json.dumps(payload, ensure_ascii=False).encode()


def test_error_json_that_a_runtime_wrote_stays_as_it_was() -> None:
    written = {"errorType": "E", "errorMessage": "m", "trace": ["a"]}
    error = Failed("E", "m", document=written)
    assert error.payload("id-1") == written
    assert error.payload("id-1") is not written
