"""Scripted functions: what they do, what they remember, and both ways of calling them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from streamfn.core.events import EventShape, KafkaRecord, KafkaShape, KinesisShape, SqsShape
from streamfn.core.outcomes import failed_ids
from streamfn.core.records import Batch, Headers, QueueRecord, Record, StreamRecord
from streamfn.errors import TooManyRequests
from streamfn.runtimes.inline import is_async
from streamfn.testing.clock import EPOCH, virtual_backend
from streamfn.testing.functions import (
    Recorder,
    answers,
    fails,
    poison,
    reports,
    takes,
    throttles_until,
    waits_for,
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


class Kafka(KafkaRecord):
    topic, partition, timestamp_type = "orders", 0, "CREATE_TIME"
    timestamp = 0
    headers: Headers = ()

    def __init__(self, offset: int) -> None:
        self._offset = offset

    @property
    def offset(self) -> int:
        return self._offset

    @property
    def raw_key(self) -> bytes | None:
        return b"k"

    @property
    def value(self) -> bytes | None:
        return b'{"n": 1}'


SHAPES: dict[str, tuple[EventShape, Sequence[Record]]] = {
    "kinesis": (
        KinesisShape("arn", "shard-0", "local"),
        [StreamRecord(n, b'{"n": 1}', "k") for n in range(3)],
    ),
    "sqs": (SqsShape("arn", "local"), [QueueRecord(str(n), b'{"n": 1}', "k") for n in range(3)]),
    "kafka": (KafkaShape("orders", 0, "localhost:9092"), [Kafka(n) for n in range(3)]),  # type: ignore[abstract]
}


@pytest.fixture(params=SHAPES)
def batch(request: pytest.FixtureRequest) -> Batch:
    shape, records = SHAPES[request.param]
    return Batch(records, shape)


@pytest.fixture(params=["batch", "event"])
def argument(request: pytest.FixtureRequest, batch: Batch) -> Any:
    return batch if request.param == "batch" else batch.to_event()


def simple(*ids: int) -> Batch:
    return Batch([StreamRecord(n, b"") for n in ids], SHAPES["kinesis"][0])


async def test_records_are_seen_whichever_way_they_come(argument: Any) -> None:
    recorder = Recorder()
    assert await recorder(argument, "context") is None
    (call,) = recorder.calls
    assert (call.number, call.event, call.context) == (1, argument, "context")
    assert [(one.id, one.key, one.json()) for one in call.records] == [
        (str(n), "k", {"n": 1}) for n in range(3)
    ]
    assert recorder.batches == [["0", "1", "2"]]
    assert recorder.ids == recorder.done == ["0", "1", "2"]
    assert recorder.values == [b'{"n": 1}'] * 3


async def test_a_report_is_understood_whichever_way_it_comes(batch: Batch, argument: Any) -> None:
    function = reports("1", lambda record: record.id == "2")
    answer = await function(argument)
    assert failed_ids(answer, batch) == {"1", "2"}
    assert function.done == ["0"]


async def test_an_event_of_no_known_form_is_one_record() -> None:
    recorder = Recorder()
    await recorder({"any": "thing"})
    await recorder(b"raw")
    assert recorder.values == [b'{"any": "thing"}', b"raw"]


async def test_items_of_other_sources_are_seen() -> None:
    recorder = Recorder()
    await recorder({"Records": [{"dynamodb": {"SequenceNumber": "7", "Keys": {}}}, {"s3": {}}]})
    assert recorder.ids == ["7", ""]


async def test_fails_a_number_of_times() -> None:
    function = fails(times=2)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="planned"):
            await function(simple(1))
    assert await function(simple(1)) is None
    assert [call.error is None for call in function.calls] == [False, False, True]
    assert function.done == ["1"]


async def test_fails_always_and_with_what_is_given() -> None:
    function = fails(error=KeyError("mine"))
    for _ in range(5):
        with pytest.raises(KeyError, match="mine"):
            await function(simple(1))


async def test_takes_its_time_and_can_be_cut_off() -> None:
    function = takes(60)
    await function(simple(1))
    assert (function.calls[0].began_at, function.calls[0].ended_at) == (EPOCH, EPOCH + 60)
    with anyio.move_on_after(10):
        await function(simple(2))
    assert isinstance(function.calls[1].error, anyio.get_cancelled_exc_class())
    assert function.done == ["1"]


async def test_poison_spoils_its_batch() -> None:
    function = poison("5", lambda record: record.id == "7")
    await function(simple(1, 2))
    for ids in ((4, 5), (7,)):
        with pytest.raises(ValueError, match=f"record {ids[-1]} is poison"):
            await function(simple(*ids))


async def test_reports_of_a_record_may_end() -> None:
    function = reports("1", times=2)
    items = [{"itemIdentifier": "1"}]
    assert [await function(simple(1, 2)) for _ in range(3)] == [
        {"batchItemFailures": items},
        {"batchItemFailures": items},
        {"batchItemFailures": []},
    ]


async def test_throttles_until_a_time() -> None:
    function = throttles_until(EPOCH + 10, retry_after=3)
    with pytest.raises(TooManyRequests) as error:
        await function(simple(1))
    assert error.value.retry_after == 3
    await anyio.sleep(10)
    await function(simple(1))


async def test_answers_one_after_the_other() -> None:
    function = answers("first", "second")
    assert [await function(simple(1)) for _ in range(3)] == ["first", "second", "second"]


async def test_scripts_are_joined() -> None:
    function = Recorder(name="mine") | takes(5) | fails(times=1) | reports("1")
    with pytest.raises(RuntimeError):
        await function(simple(1))
    assert await function(simple(1)) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert function.calls[1].began_at == EPOCH + 5
    assert function.__name__ == "mine"


async def test_a_test_can_wait_for_invocations() -> None:
    gate = anyio.Event()
    function = waits_for(gate)
    async with anyio.create_task_group() as group:
        for n in range(3):
            group.start_soon(function, simple(n))
        await function.wait_calls(3)
        assert (function.running, function.peak) == (3, 3)
        gate.set()
        await function.wait_ended(3)
        await function.wait_done(3)
    assert function.running == 0


def test_it_counts_as_an_async_function() -> None:
    assert is_async(Recorder())
