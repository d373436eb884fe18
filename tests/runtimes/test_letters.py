"""Letters of sequences that were opened again: functions get what they got at first."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from streamfn.core.events import DynamoDbShape, EventRecord, EventShape, InvocationShape
from streamfn.core.outcomes import Failed, Outcome, Succeeded
from streamfn.core.policies import Ordering
from streamfn.core.records import Batch, Record, StreamRecord
from streamfn.functions import Context, FunctionSpec
from streamfn.runtimes import prepare_letter
from tests.core.letters_made import written
from tests.core.made import KAFKA, KINESIS, HeldKafkaRecord
from tests.core.test_dynamodb_shape import Change, change

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def payload_of(letter: bytes) -> Any:
    return orjson.loads(letter)["payload"]


async def called(handler: Any, shape: EventShape, record: Record, **options: Any) -> Outcome:
    """What a function answers to a letter of a record."""
    body = orjson.dumps(written(shape, record))
    event = EventRecord("1b2c", body, 9.0, key=record.key)
    spec = FunctionSpec("f", handler, **options)
    call = prepare_letter(spec, Ordering.NONE)
    deadline = asyncio.get_running_loop().time() + 10
    return await call(Batch([event], InvocationShape(payload_of)), Context(spec, deadline))


@pytest.mark.parametrize(
    ("shape", "record"),
    [
        (KINESIS, StreamRecord(7, b"\xff\x00", "k", 1700000000.25)),
        (KINESIS, StreamRecord(7, b"", None, 1700000000.25)),
        (KAFKA, HeldKafkaRecord(5, b"1", b"\xfekey", (("h", b"\xff"), ("h", b"")))),
        (KAFKA, HeldKafkaRecord(5, None, b"")),
        (KAFKA, HeldKafkaRecord(5, b"", None)),
    ],
)
async def test_a_batch_holds_the_record_as_it_was(shape: EventShape, record: Record) -> None:
    seen: list[Any] = []

    async def handler(batch: Batch) -> None:
        (r,) = batch
        seen.append((r.id, r.position, r.key, r.value, list(r.headers), r.arrived_at))
        seen.append(batch.to_event())

    assert isinstance(await called(handler, shape, record, batch=True), Succeeded)
    first, event = seen
    assert first == (
        record.id,
        record.position,
        record.key,
        record.value,
        list(record.headers),
        record.arrived_at,
    )
    assert event == shape.to_event([record])


async def test_a_change_of_a_table_is_its_own_value() -> None:
    shape = DynamoDbShape("arn:aws:dynamodb:us-west-2:1:table/T/stream/S", "shard-1", "us-west-2")
    record, seen = Change(change()), []

    async def handler(value: dict[str, Any]) -> None:
        seen.append(value["dynamodb"])

    assert isinstance(await called(handler, shape, record, each=dict), Succeeded)
    assert seen == [record.json()["dynamodb"]]


async def test_what_a_function_reports_or_raises_is_of_the_letter() -> None:
    record = StreamRecord(7, b"{}", "k", 1.0)

    async def fails(value: object) -> None:
        raise ValueError(value)

    async def gives_up(event: Any, context: Any) -> None:
        raise LookupError(event["Records"][0]["eventID"])

    reported = await called(fails, KINESIS, record, each=dict)
    assert isinstance(reported, Succeeded)
    assert reported.failed == frozenset({"1b2c"})
    assert reported.error is not None
    assert reported.error.type == "ValueError"
    raised = await called(gives_up, KINESIS, record)
    assert isinstance(raised, Failed)
    assert raised.type == "LookupError"


async def test_a_tombstone_is_none_for_a_model() -> None:
    seen: list[Any] = []

    async def handler(value: Any) -> None:
        seen.append(value)

    assert isinstance(await called(handler, KAFKA, HeldKafkaRecord(5, None, b"k"), each=dict), Succeeded)
    assert seen == [None]
