"""The records of asynchronous invocations, field by field, and what dead-letter queues get."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.delivery import Discard
from streamfn.core.envelopes import Invocation, without_payload
from streamfn.core.events import EventRecord, InvocationShape
from streamfn.core.invocations import (
    ERROR_CODE,
    PAYLOAD_LIMIT,
    attribute_type,
    dead_letter_headers,
    failure_of,
    failure_record,
    s3_key,
    success_record,
)
from streamfn.core.outcomes import Cause, Condition, Failed, Outcome, Refused, Succeeded, Throttled
from streamfn.core.records import Batch
from tests.core.made import FAILURE

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:resize"
CALL = Invocation(ARN, "7f2c", 1573755365.568)
EVENT = {"image": "a.png"}
BATCH = Batch([EventRecord("7f2c", orjson.dumps(EVENT), 1573755000.0)], InvocationShape())
NEVER_RAN = [Condition.ZERO_RESERVED_CONCURRENCY, Condition.EVENT_AGE_EXCEEDED]


def given_up(
    condition: Condition = Condition.RETRIES_EXHAUSTED,
    outcome: Outcome | None = FAILURE,
    attempts: int = 3,
) -> Discard:
    return Discard(BATCH, condition, attempts, outcome)


def exactly(shown: Any, expected: Any) -> None:
    """Equal, and keys in the same order all the way down."""
    assert json.dumps(shown, indent=1) == json.dumps(expected, indent=1)


# ------------------------------------------------------------------------------------ destinations


def test_a_success_is_told_with_what_went_in_and_what_came_out() -> None:
    exactly(
        success_record(CALL, 2, EVENT, {"ok": [True]}),
        {
            "version": "1.0",
            "timestamp": "2019-11-14T18:16:05.568Z",
            "requestContext": {
                "requestId": "7f2c",
                "functionArn": f"{ARN}:$LATEST",
                "condition": "Success",
                "approximateInvokeCount": 2,
            },
            "requestPayload": {"image": "a.png"},
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
            "responsePayload": {"ok": [True]},
        },
    )


def test_a_failure_is_told_with_its_error() -> None:
    exactly(
        failure_record(CALL, given_up(), EVENT),
        {
            "version": "1.0",
            "timestamp": "2019-11-14T18:16:05.568Z",
            "requestContext": {
                "requestId": "7f2c",
                "functionArn": f"{ARN}:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
            },
            "requestPayload": {"image": "a.png"},
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": "Unhandled",
            },
            "responsePayload": {
                "errorMessage": "no",
                "errorType": "ValueError",
                "requestId": "7f2c",
                "stackTrace": ["  File …"],
            },
        },
    )


def test_an_event_that_was_too_old_after_an_attempt_still_has_its_answer() -> None:
    record = failure_record(CALL, given_up(Condition.EVENT_AGE_EXCEEDED, attempts=1), EVENT)
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("EventAgeExceeded", 1)
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorMessage"] == "no"


@pytest.mark.parametrize("condition", NEVER_RAN)
def test_of_a_function_that_never_ran_there_is_no_response(condition: Condition) -> None:
    exactly(
        failure_record(CALL, given_up(condition, None, 0), EVENT),
        {
            "version": "1.0",
            "timestamp": "2019-11-14T18:16:05.568Z",
            "requestContext": {
                "requestId": "7f2c",
                "functionArn": f"{ARN}:$LATEST",
                "condition": condition.value,
                "approximateInvokeCount": 0,
            },
            "requestPayload": {"image": "a.png"},
        },
    )


def test_a_loop_that_was_stopped_says_so() -> None:
    record = failure_record(CALL, given_up(Condition.RECURSIVE_INVOCATION, None, 0), EVENT)
    assert record["requestContext"]["condition"] == "RecursiveInvocationException"
    assert "responseContext" not in record
    assert record["responsePayload"]["errorType"] == "RecursiveInvocationException"
    assert "16 times" in record["responsePayload"]["errorMessage"]


def test_a_failure_before_the_loop_was_stopped_goes_before_the_reason() -> None:
    record = failure_record(CALL, given_up(Condition.RECURSIVE_INVOCATION, FAILURE, 1), EVENT)
    assert record["responsePayload"]["errorType"] == "ValueError"


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.CRASH])
def test_what_ended_the_process_has_neither_request_id_nor_stack(cause: Cause) -> None:
    failed = Failed("Sandbox.Timedout", "Task timed out after 1.00 seconds", cause=cause)
    assert failure_record(CALL, given_up(outcome=failed), EVENT)["responsePayload"] == {
        "errorMessage": "Task timed out after 1.00 seconds",
        "errorType": "Sandbox.Timedout",
    }


def test_a_failure_that_a_function_reported_is_one_too() -> None:
    reported = Succeeded(failed=frozenset({"7f2c"}), error=FAILURE)
    assert failure_record(CALL, given_up(outcome=reported), EVENT) == failure_record(CALL, given_up(), EVENT)
    unexplained = failure_record(CALL, given_up(outcome=Succeeded(failed=frozenset({"7f2c"}))), EVENT)
    assert unexplained["responseContext"]["functionError"] == "Unhandled"
    assert "responsePayload" not in unexplained


@pytest.mark.parametrize(
    ("arn", "version", "shown", "executed"),
    [
        (ARN, "", f"{ARN}:$LATEST", "$LATEST"),
        (f"{ARN}:$LATEST", "", f"{ARN}:$LATEST", "$LATEST"),
        (f"{ARN}:7", "", f"{ARN}:7", "7"),
        (f"{ARN}:live", "7", f"{ARN}:live", "7"),
    ],
)
def test_a_function_is_named_with_its_qualifier(arn: str, version: str, shown: str, executed: str) -> None:
    call = Invocation(arn, "7f2c", 0.0, version)
    for record in (success_record(call, 1, None, None), failure_record(call, given_up(), None)):
        assert record["requestContext"]["functionArn"] == shown
        assert record["responseContext"]["executedVersion"] == executed


_any_text = st.text(st.characters())
"""Halves of surrogate pairs as well, of file names that are not UTF-8."""


@given(
    st.sampled_from(Condition),
    st.none()
    | st.builds(Failed, _any_text, _any_text, st.tuples(_any_text), cause=st.sampled_from(Cause))
    | st.builds(Succeeded, st.none(), st.just(frozenset({"7f2c"})), st.none() | st.just(FAILURE)),
    st.integers(0, 1000),
)
def test_whatever_ended_an_event_can_be_written_down(
    condition: Condition, outcome: Outcome | None, attempts: int
) -> None:
    """Were it not, its event could never be given up."""
    discard = given_up(condition, outcome, attempts)
    record = failure_record(CALL, discard, EVENT)
    assert orjson.loads(orjson.dumps(record))["requestPayload"] == EVENT
    ran = isinstance(outcome, Failed | Succeeded)
    assert ("responseContext" in record) is ran
    ((_, request_id), (_, status), (_, message)) = dead_letter_headers(CALL, discard)
    assert request_id == b"7f2c"
    assert re.fullmatch(rb"\d{3}", status)
    assert 1 <= len(message) <= 1024
    assert message.decode()


def test_what_does_not_fit_a_topic_goes_without_its_payloads() -> None:
    """Whether it failed or not: of a success AWS would lose the record."""
    large = {"x": "y" * 1000}
    for record in (success_record(CALL, 1, large, large), failure_record(CALL, given_up(), large)):
        bare = without_payload(orjson.dumps(record), 1000)
        assert bare is not None
        del record["requestPayload"], record["responsePayload"]
        exactly(json.loads(bare), record)


# ------------------------------------------------------------------------------- dead-letter queues


def test_a_dead_letter_queue_gets_request_id_code_and_message() -> None:
    assert dead_letter_headers(CALL, given_up()) == (
        ("RequestID", b"7f2c"),
        ("ErrorCode", b"200"),
        ("ErrorMessage", b"no"),
    )


@pytest.mark.parametrize(
    ("condition", "code", "said"),
    [
        (Condition.ZERO_RESERVED_CONCURRENCY, b"429", b"Rate Exceeded."),
        (Condition.EVENT_AGE_EXCEEDED, b"429", b"Rate Exceeded."),
        (Condition.RECURSIVE_INVOCATION, b"400", b"16 times"),
        (Condition.MAXIMUM_PAYLOAD_SIZE_EXCEEDED, b"413", b"larger"),
        (Condition.RETRIES_EXHAUSTED, b"200", b"reported"),
    ],
)
def test_without_an_error_the_code_is_what_callers_would_get(
    condition: Condition, code: bytes, said: bytes
) -> None:
    headers = dict(dead_letter_headers(CALL, given_up(condition, None, 0)))
    assert headers["ErrorCode"] == code
    assert said in headers["ErrorMessage"]


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("x" * 1025, b"x" * 1024),
        ("é" * 513, b"\xc3\xa9" * 512),
        ("x" + "é" * 512, b"x" + b"\xc3\xa9" * 511),
        ("a\ud800b", b"a?b"),
        ("", b"-"),
    ],
)
def test_a_message_is_its_first_kilobyte_in_whole_characters(message: str, kept: bytes) -> None:
    headers = dict(dead_letter_headers(CALL, given_up(outcome=Failed("E", message))))
    assert headers["ErrorMessage"] == kept


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        (ERROR_CODE, b"200", "Number"),
        (ERROR_CODE, b"9" * 38, "Number"),
        (ERROR_CODE, b"9" * 39, "String"),
        (ERROR_CODE, b"2OO", "String"),
        (ERROR_CODE, "²".encode(), "String"),
        (ERROR_CODE, b"200\n", "String"),
        (ERROR_CODE, b"", "String"),
        ("RequestID", b"200", "String"),
    ],
)
def test_of_attributes_the_error_code_alone_is_a_number(name: str, value: bytes, shown: str) -> None:
    assert attribute_type(name, value) == shown


# --------------------------------------------------------------------------------------- the others


def test_a_failure_is_found_in_whatever_outcome_has_one() -> None:
    assert failure_of(FAILURE) is failure_of(Succeeded(error=FAILURE)) is FAILURE
    for outcome in (None, Succeeded(), Throttled(), Refused(Condition.ZERO_RESERVED_CONCURRENCY)):
        assert failure_of(outcome) is None


def test_an_object_is_called_after_its_function_and_time() -> None:
    key = s3_key("resize", 1573755365.999, "0b1d")
    assert key == "aws/lambda/async/resize/2019/11/14/2019-11-14T18.16.05-0b1d"


def test_a_payload_is_a_mebibyte_at_most() -> None:
    assert PAYLOAD_LIMIT == 1_048_576
