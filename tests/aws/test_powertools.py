"""Functions written with Powertools for AWS Lambda run as they are: its data classes and models take our
events, and its batch processors drive partial failures.
"""

from __future__ import annotations

from base64 import b64decode
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
    async_process_partial_response,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes import (
    DynamoDBStreamEvent,
    KinesisStreamEvent,
    SQSEvent,
    event_source,
)
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import (
    DynamoDBRecord,
    DynamoDBRecordEventName,
)
from aws_lambda_powertools.utilities.data_classes.kinesis_stream_event import KinesisStreamRecord
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.parser.models import (
    DynamoDBStreamModel,
    KinesisDataStreamModel,
    SqsModel,
    SqsRecordModel,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

from streamfn import App
from streamfn.ports import Message
from tests.aws.kinesis_made import Producer, producer
from tests.aws.queues import SqsEnd, queue_end
from tests.servers.aws import KEY, REGION, SECRET, Ministack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(90)]

PARTIAL = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
SHARDS = {"StartingPosition": "TRIM_HORIZON"}


@pytest.fixture
async def queue(aws: Ministack) -> AsyncIterator[SqsEnd]:
    async with queue_end(aws) as end:
        yield end


@pytest.fixture
async def stream(aws: Ministack) -> AsyncIterator[Producer]:
    async with producer(aws) as stream:
        yield stream


@pytest.fixture
async def table(aws: Ministack) -> AsyncIterator[tuple[Any, str]]:
    """A client, and the name of a table that has a stream."""
    name = aws.unique("table")
    async with aws.client("dynamodb") as client:
        await client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        yield client, name


@pytest.fixture
def by_lease(aws: Ministack) -> Callable[[str], str]:
    """The URI of a stream or a table, its leases in the state directory."""
    options = {
        "endpoint_url": aws.endpoint,
        "region": REGION,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "leases": "sqlite",
        "poll_interval": 0.2,
    }
    return lambda place: f"{place}?{urlencode(options)}"


@asynccontextmanager
async def running(
    handler: Callable[..., Any],
    source: str,
    *,
    state: Path | str = ".streamfn",
    reserved: int | None = None,
    **options: Any,
) -> AsyncIterator[App]:
    app = App(name="powertools", state_dir=state)
    app.function(name="f", reserved_concurrency=reserved)(handler)
    app.event_source_mapping("f", source, **options)
    async with app:
        yield app


class Once:
    """Work on records, each named by a text. It fails the first time for the bad ones."""

    def __init__(self, *bad: str) -> None:
        self.bad = set(bad)
        self.order: list[str] = []
        self.done: list[str] = []

    def __call__(self, name: str) -> str:
        self.order.append(name)
        if name in self.bad:
            self.bad.remove(name)
            raise ValueError(name)
        self.done.append(name)
        return name

    @property
    def tries(self) -> Counter[str]:
        return Counter(self.order)


# -------------------------------------------------------------------------------------------------- events


async def gathered(source: str, count: int, **options: Any) -> dict[str, Any]:
    """One event of so many records, as a blocking handler got them."""
    records: list[dict[str, Any]] = []

    def handler(event: dict[str, Any], context: LambdaContext) -> None:
        records.extend(event["Records"])

    async with running(handler, source, **options):
        await until(lambda: len(records) >= count)
    return {"Records": records}


async def test_messages_with_attributes_of_all_kinds(queue: SqsEnd) -> None:
    await queue.create()
    await queue.sqs.send_message(
        QueueUrl=queue.url,
        MessageBody='{"n": 1}',
        MessageAttributes={
            "text": {"StringValue": "a", "DataType": "String"},
            "number": {"StringValue": "12.5", "DataType": "Number.float"},
            "picture": {"BinaryValue": b"\x89PNG", "DataType": "Binary.png"},
        },
        MessageSystemAttributes={"AWSTraceHeader": {"StringValue": "Root=1", "DataType": "String"}},
        MessageGroupId="fair",
    )
    event = await gathered(queue.uri(), 1)
    (record,) = SQSEvent(event).records
    assert (record.json_body, record.event_source, record.aws_region) == ({"n": 1}, "aws:sqs", REGION)
    assert record.event_source_arn == queue.arn
    assert record.attributes.approximate_receive_count == "1"
    assert (record.attributes.aws_trace_header, record.attributes.message_group_id) == ("Root=1", "fair")
    assert record.message_attributes["text"].string_value == "a"  # type: ignore[union-attr]
    assert record.message_attributes["number"].data_type == "Number.float"  # type: ignore[union-attr]
    assert record.message_attributes["picture"].binary_value == "iVBORw=="  # type: ignore[union-attr]
    (model,) = SqsModel.model_validate(event).Records
    assert model.attributes.AWSTraceHeader == "Root=1"
    assert model.messageAttributes["picture"].binaryValue == "iVBORw=="
    assert model.md5OfMessageAttributes == event["Records"][0]["md5OfMessageAttributes"]
    assert model.attributes.SentTimestamp.year > 2020


async def test_messages_of_a_fifo_queue(queue: SqsEnd) -> None:
    await queue.create(fifo=True)
    await queue.put(["a:1"], lambda body: body[0])
    event = await gathered(queue.uri(), 1)
    (record,) = SQSEvent(event).records
    assert record.attributes.message_group_id == "a"
    assert record.attributes.sequence_number
    assert record.attributes.message_deduplication_id
    (model,) = SqsModel.model_validate(event).Records
    assert (model.attributes.MessageGroupId, model.body) == ("a", "a:1")
    assert model.attributes.SequenceNumber == record.attributes.sequence_number


async def test_messages_of_a_dead_letter_queue(queue: SqsEnd) -> None:
    dead = await queue.another().create()
    await queue.create(VisibilityTimeout=1, dead=dead, max_receive_count=1)
    await queue.put(["poison"])

    def failing(event: Any, context: Any) -> None:
        raise ValueError("poison")

    async with running(failing, queue.uri()):
        await dead.counted(lambda waiting, hidden: waiting == 1)
    event = await gathered(dead.uri(), 1, MaximumBatchingWindowInSeconds=1)
    (record,) = SQSEvent(event).records
    assert record.attributes.dead_letter_queue_source_arn == queue.arn
    (model,) = SqsModel.model_validate(event).Records
    assert model.attributes.DeadLetterQueueSourceArn == queue.arn
    assert model.md5OfMessageAttributes is None


async def test_records_of_kinesis(stream: Producer, by_lease: Callable[[str], str], tmp_path: Path) -> None:
    await stream.create(1)
    await stream.put([Message(b'{"n": 1}', "sensor-1"), Message(b"\x00\xff", "sensor-2")])
    event = await gathered(by_lease(f"kinesis://{stream.name}"), 2, state=tmp_path, **SHARDS)
    first, second = KinesisStreamEvent(event).records
    assert (first.kinesis.data_as_json(), first.kinesis.partition_key) == ({"n": 1}, "sensor-1")
    assert second.kinesis.data_as_bytes() == b"\x00\xff"
    assert (first.event_source, first.event_name) == ("aws:kinesis", "aws:kinesis:record")
    assert first.event_source_arn.endswith(f":stream/{stream.name}")
    assert first.event_id.partition(":")[2] == first.kinesis.sequence_number
    models = KinesisDataStreamModel.model_validate(event).Records
    assert [model.kinesis.data for model in models] == [b'{"n": 1}', b"\x00\xff"]
    assert models[0].kinesis.approximateArrivalTimestamp == first.kinesis.approximate_arrival_timestamp > 1e9


async def test_changes_of_dynamodb(
    table: tuple[Any, str], by_lease: Callable[[str], str], tmp_path: Path
) -> None:
    client, name = table
    key = {"id": {"S": "LX1"}}
    many = {
        "seats": {"N": "180"},
        "crew": {"SS": ["a", "b"]},
        "raw": {"B": b"\x00\xff"},
        "late": {"BOOL": True},
    }
    await client.put_item(TableName=name, Item={**key, **many})
    await client.put_item(TableName=name, Item={**key, "gate": {"M": {"n": {"L": [{"NULL": True}]}}}})
    await client.delete_item(TableName=name, Key=key)
    event = await gathered(by_lease(f"dynamodb://{name}"), 3, state=tmp_path, **SHARDS)
    records = list(DynamoDBStreamEvent(event).records)
    assert [record.event_name for record in records] == [
        DynamoDBRecordEventName.INSERT,
        DynamoDBRecordEventName.MODIFY,
        DynamoDBRecordEventName.REMOVE,
    ]
    images = [record.dynamodb for record in records if record.dynamodb is not None]
    assert images[0].keys == {"id": "LX1"}
    assert images[0].new_image["seats"] == 180
    assert images[0].new_image["crew"] == {"a", "b"}
    assert images[0].new_image["late"] is True
    assert images[1].new_image["gate"] == {"n": [None]}
    assert images[2].old_image == images[1].new_image
    models = DynamoDBStreamModel.model_validate(event).Records
    assert [model.eventName for model in models] == ["INSERT", "MODIFY", "REMOVE"]
    assert models[0].dynamodb.NewImage["seats"] == 180  # type: ignore[index, call-overload]
    assert models[2].dynamodb.NewImage is None
    assert {model.dynamodb.StreamViewType for model in models} == {"NEW_AND_OLD_IMAGES"}
    assert models[0].eventSourceARN == event["Records"][0]["eventSourceARN"]
    assert b64decode(event["Records"][0]["dynamodb"]["NewImage"]["raw"]["B"]) == b"\x00\xff"


# ------------------------------------------------------------------------------------------------- batches


async def test_failed_messages_come_again_and_no_others(queue: SqsEnd) -> None:
    """As its guide writes it: one processor, made when the module is loaded."""
    await queue.create(VisibilityTimeout=1)
    work = Once("3", "7")
    processor = BatchProcessor(event_type=EventType.SQS)

    def record_handler(record: SQSRecord) -> None:
        work(record.body)

    def handler(event: dict[str, Any], context: LambdaContext) -> Any:
        return process_partial_response(
            event=event, record_handler=record_handler, processor=processor, context=context
        )

    await queue.put([str(n) for n in range(10)])
    async with running(handler, queue.uri(), reserved=1, **PARTIAL):
        await queue.empty()
    assert work.tries == Counter([str(n) for n in range(10)] + ["3", "7"])
    assert sorted(work.done) == [str(n) for n in range(10)]


async def test_messages_as_models_with_a_decorated_handler(queue: SqsEnd) -> None:
    await queue.create(VisibilityTimeout=1)
    work = Once("1")
    processor = BatchProcessor(event_type=EventType.SQS, model=SqsRecordModel)

    def record_handler(record: SqsRecordModel, lambda_context: LambdaContext) -> None:
        assert lambda_context.get_remaining_time_in_millis() > 0
        work(str(record.body))

    @event_source(data_class=SQSEvent)  # type: ignore[untyped-decorator]
    def handler(event: SQSEvent, context: LambdaContext) -> Any:
        return process_partial_response(
            event=event.raw_event, record_handler=record_handler, processor=processor, context=context
        )

    await queue.put(["0", "1", "2"])
    async with running(handler, queue.uri(), reserved=1, **PARTIAL):
        await queue.empty()
    assert work.tries == Counter({"0": 1, "1": 2, "2": 1})


async def test_when_all_fail_the_processor_raises_and_all_come_again(queue: SqsEnd) -> None:
    await queue.create(VisibilityTimeout=1)
    work = Once("0", "1")

    def handler(event: dict[str, Any], context: LambdaContext) -> Any:
        return process_partial_response(
            event=event,
            record_handler=lambda record: work(record.body),
            processor=BatchProcessor(event_type=EventType.SQS),
            context=context,
        )

    await queue.put(["0", "1"])
    async with running(handler, queue.uri(), **PARTIAL) as app:
        await queue.empty()
        counters = app.statuses()[0].counters
    assert work.tries == Counter({"0": 2, "1": 2})
    assert counters["InvokeErrorCount"] > 0


async def test_messages_side_by_side(queue: SqsEnd) -> None:
    """The asynchronous processor brings an event loop of its own, on the function's thread."""
    await queue.create(VisibilityTimeout=1)
    work = Once("2")

    async def record_handler(record: SQSRecord) -> None:
        work(record.body)

    def handler(event: dict[str, Any], context: LambdaContext) -> Any:
        return async_process_partial_response(
            event=event,
            record_handler=record_handler,
            processor=AsyncBatchProcessor(event_type=EventType.SQS),
            context=context,
        )

    await queue.put([str(n) for n in range(10)])
    async with running(handler, queue.uri(), **PARTIAL):
        await queue.empty()
    assert work.tries == Counter([str(n) for n in range(10)] + ["2"])


@pytest.mark.parametrize("skip_group_on_error", [False, True])
async def test_a_fifo_group_stops_at_its_first_failure(queue: SqsEnd, skip_group_on_error: bool) -> None:
    await queue.create(fifo=True, VisibilityTimeout=1)
    work = Once("a:1")
    events: list[list[str]] = []

    def handler(event: dict[str, Any], context: LambdaContext) -> Any:
        events.append([record["body"] for record in event["Records"]])
        return process_partial_response(
            event=event,
            record_handler=lambda record: work(record.body),
            processor=SqsFifoPartialProcessor(skip_group_on_error=skip_group_on_error),
            context=context,
        )

    await queue.put([f"{group}:{n}" for n in range(4) for group in "ab"], lambda body: body[0])
    async with running(handler, queue.uri(), **PARTIAL):
        await queue.empty()
    done = defaultdict(list)
    for body in work.done:
        done[body[0]].append(body)
    # Nothing was done twice, nothing before what it follows.
    assert dict(done) == {group: [f"{group}:{n}" for n in range(4)] for group in "ab"}
    assert work.tries["a:1"] == 2
    delivered = Counter(body for bodies in events for body in bodies)
    if skip_group_on_error:
        assert all(delivered[f"b:{n}"] == 1 for n in range(4))


async def test_a_failed_record_of_kinesis_comes_again_with_those_after_it(
    stream: Producer, by_lease: Callable[[str], str], tmp_path: Path
) -> None:
    await stream.create(1)
    work = Once("3")
    events: list[int] = []

    def record_handler(record: KinesisStreamRecord) -> None:
        work(record.kinesis.data_as_text())

    def handler(event: dict[str, Any], context: LambdaContext) -> Any:
        events.append(len(event["Records"]))
        return process_partial_response(
            event=event,
            record_handler=record_handler,
            processor=BatchProcessor(event_type=EventType.KinesisDataStreams),
            context=context,
        )

    await stream.put([Message(str(n).encode(), "k") for n in range(6)])
    source = by_lease(f"kinesis://{stream.name}")
    async with running(handler, source, state=tmp_path, **SHARDS, **PARTIAL):
        await until(lambda: "5" in work.done and "3" in work.done)
    # The processor goes on after a failure; the shard does from there.
    assert work.order == ["0", "1", "2", "3", "4", "5", "3", "4", "5"]
    assert events == [6, 3]


async def test_a_failed_change_of_dynamodb_comes_again_with_those_after_it(
    table: tuple[Any, str], by_lease: Callable[[str], str], tmp_path: Path
) -> None:
    client, name = table
    work = Once("1")

    def record_handler(record: DynamoDBRecord) -> None:
        assert record.dynamodb is not None
        work(record.dynamodb.keys["id"])

    def handler(event: dict[str, Any], context: LambdaContext) -> Any:
        return process_partial_response(
            event=event,
            record_handler=record_handler,
            processor=BatchProcessor(event_type=EventType.DynamoDBStreams),
            context=context,
        )

    for n in range(3):
        await client.put_item(TableName=name, Item={"id": {"S": str(n)}})
    source = by_lease(f"dynamodb://{name}")
    async with running(handler, source, state=tmp_path, **SHARDS, **PARTIAL):
        await until(lambda: "1" in work.done)
    assert work.order == ["0", "1", "2", "1", "2"]
