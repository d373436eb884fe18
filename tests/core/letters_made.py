"""What the tests of dead letters are made of: letters as streamfn writes them, read again."""

from __future__ import annotations

import json
from typing import Any

import orjson

from streamfn.core.delivery import Discard
from streamfn.core.envelopes import Invocation, record_document
from streamfn.core.events import EventRecord, EventShape, InvocationShape
from streamfn.core.invocations import failure_record
from streamfn.core.letters import Letter, Origin, Stored, letter, read_letter
from streamfn.core.outcomes import Condition, Outcome
from streamfn.core.records import Batch, Headers, Record
from tests.core.made import FAILURE

LAMBDA = "arn:aws:lambda:eu-west-1:123456789012:function:resize"
CALL = Invocation(LAMBDA, "7f2c", 1573755365.568)
ORIGIN = Origin("shop", "orders", "resize", "local:orders")
EVENT = {"image": "a.png"}
STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/readings"


def given_up(
    shape: EventShape,
    record: Record,
    outcome: Outcome | None = FAILURE,
    condition: Condition = Condition.RETRY_ATTEMPTS_EXHAUSTED,
) -> Discard:
    return Discard(Batch([record], shape), condition, 3, outcome)


def written(shape: EventShape, record: Record, outcome: Outcome | None = FAILURE) -> dict[str, Any]:
    """The letter of a record of a mapping."""
    discard = given_up(shape, record, outcome)
    document = record_document(discard, record, CALL)
    return letter(document, discard, record, ORIGIN, shard="shard-0", unique="0b1d")


def invoked(payload: Any = EVENT, headers: Headers = (), outcome: Outcome | None = FAILURE) -> dict[str, Any]:
    """The letter of an asynchronous invocation."""
    record = EventRecord("7f2c", orjson.dumps(payload), 1573755000.0, headers)
    discard = given_up(InvocationShape(), record, outcome, Condition.RETRIES_EXHAUSTED)
    document = failure_record(CALL, discard, payload)
    return letter(document, discard, record, ORIGIN, shard="", unique="0b1d")


def found(document: Any, **fields: Any) -> Letter:
    """What is read where the document was stored."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_letter(Stored("1", body, **fields))
