"""Records that a real mapping gave up are fetched back by what a queue says of them, on real servers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from anyio import to_thread

from streamfn import App
from streamfn.core.letters import Form, Letter, read_letter
from streamfn.errors import SourceError
from streamfn.ports import LetterFetcher, Message
from streamfn.testing.conformance.reading import messages
from streamfn_aws import DynamoDbFetcher, KinesisFetcher, KinesisStream, SqsDestination
from streamfn_kafka import KafkaFetcher
from tests.aws.kinesis_made import Producer
from tests.aws.letters import KinesisRecords, QueueLetters, TableRecords, access
from tests.aws.unit.kinesis_packed import packed
from tests.kafka.cluster import Cluster
from tests.servers.aws import AwsServer, Ministack
from tests.servers.kafka import run_kafka
from tests.servers.kinesis_local import KinesisLocal
from tests.servers.microburst import Microburst, error, throttle
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]


async def given_up(
    source: Any, queue: QueueLetters, count: int, **options: Any
) -> tuple[list[Any], list[Letter]]:
    """What a function saw that always fails, and the letters in the queue, when there are so many."""
    seen: list[Any] = []
    app = App(name=queue.server.unique("shop"))

    @app.function(name="f")
    async def fail(event: Any, context: Any) -> None:
        seen.append(json.loads(json.dumps(event)))
        raise ValueError("no")

    destination = SqsDestination(queue.place, **access(queue.server.endpoint))
    app.event_source_mapping(
        "f", source, name="m", maximum_retry_attempts=0, on_failure=destination, **options
    )

    async def all_there() -> bool:
        return await queue.counts() == (count, 0)

    async with app:
        await until(all_there)
    store = queue.store()
    found = [read_letter(stored) async for stored in store.scan()]
    await store.close()
    return seen, found


async def fetched(fetcher: LetterFetcher, letter: Letter) -> Mapping[str, Any] | None:
    assert (letter.form, letter.event) == (Form.BATCH, None)
    assert letter.batch_info is not None
    try:
        with anyio.fail_after(30):
            return await fetcher.fetch(letter.batch_info[1])
    finally:
        await fetcher.close()


@pytest.fixture
async def queue(aws: AwsServer) -> AsyncIterator[QueueLetters]:
    async with QueueLetters(aws) as end:
        yield end


@pytest.fixture
async def stream(aws: AwsServer, tmp_path: Path) -> AsyncIterator[KinesisRecords]:
    records = KinesisRecords(aws, tmp_path)
    async with aws.client("kinesis") as records.client:
        await records.create()
        yield records


@pytest.fixture
async def table(aws: AwsServer, tmp_path: Path) -> AsyncIterator[TableRecords]:
    records = TableRecords(aws, tmp_path)
    async with aws.client("dynamodb") as records.client:
        await records.create()
        yield records


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with run_kafka() as server:
        yield Cluster(server)


# ---------------------------------------------------------------------------------------------- given up


async def test_records_of_a_stream(stream: KinesisRecords, queue: QueueLetters) -> None:
    """Each of the batches alone, by the name that its letter gives the source."""
    await stream.write([Message(b"%d" % number, f"Zürich {number}") for number in range(10)])
    seen, letters = await given_up(stream.source(), queue, 4, batch_size=3)
    for letter in letters:
        assert (letter.source or "").startswith("arn:aws:kinesis:")
        options = "&".join(f"{name}={value}" for name, value in access(stream.server.endpoint).items())
        fetcher = KinesisFetcher.from_uri(f"{letter.source}?{options}", {})
        event = await fetched(fetcher, letter)
        assert event in seen
        seen.remove(event)
    assert not seen


async def test_changes_of_a_table(table: TableRecords, queue: QueueLetters) -> None:
    await table.write(messages(7))
    seen, letters = await given_up(table.source(), queue, 2, batch_size=4)
    for letter in letters:
        options = "&".join(f"{name}={value}" for name, value in access(table.server.endpoint).items())
        event = await fetched(DynamoDbFetcher.from_uri(f"{letter.source}?{options}", {}), letter)
        assert event in seen
        seen.remove(event)
    assert not seen


async def test_records_of_a_topic(cluster: Cluster, queue: QueueLetters) -> None:
    topic = await cluster.topic(2)
    for partition in range(2):
        await cluster.put(topic, range(5), partition=partition, key="key")
    seen, letters = await given_up(cluster.source(topic), queue, 4, batch_size=3)
    for letter in letters:
        event = await fetched(KafkaFetcher.from_uri(letter.source or "", {}), letter)
        assert event in seen
        seen.remove(event)
    assert not seen


async def test_parts_of_packed_records(stream: KinesisRecords, queue: QueueLetters) -> None:
    values: Sequence[bytes] = [packed([("a", b"1"), ("b", b"2")]), b"plain", packed([("c", b"3")])]
    await stream.write([Message(value) for value in values])
    source = KinesisStream(stream.place, aggregated=True, poll_interval=0.2, **stream.options())
    seen, (letter,) = await given_up(source, queue, 1, batch_size=10)
    fetcher = KinesisFetcher(stream.place, aggregated=True, **access(stream.server.endpoint))
    assert [await fetched(fetcher, letter)] == seen
    assert len(seen[0]["Records"]) == 4


async def test_records_that_were_filtered_come_too_and_that_is_said(
    stream: KinesisRecords, queue: QueueLetters
) -> None:
    """Which were in the batch no on-failure record says."""
    await stream.write([Message(b'{"n":%d}' % number) for number in (1, 2, 3)])
    patterns = {"Filters": [{"Pattern": '{"data": {"n": [1, 3]}}'}]}
    seen, (letter,) = await given_up(stream.source(), queue, 1, batch_size=10, filter_criteria=patterns)
    with structlog.testing.capture_logs() as logs:
        event = await fetched(stream.fetcher(), letter)
    assert event is not None
    assert [item for item in event["Records"] if item in seen[0]["Records"]] == seen[0]["Records"]
    (told,) = [entry for entry in logs if entry["event"] == "fetched_more_than_the_batch"]
    assert (told["batch"], told["found"]) == (2, 3)


# --------------------------------------------------------------------------------------------------- gone


async def test_a_shard_that_is_gone_has_nothing(stream: KinesisRecords) -> None:
    """As this server's shards are, records and all, when they are split."""
    _, info = await stream.put(messages(2))
    await Producer(stream.client, stream.place).split(0)
    assert await stream.fetcher().fetch(info) is None


async def test_a_stream_that_was_made_anew_has_nothing(kinesis_local: KinesisLocal, tmp_path: Path) -> None:
    """And other records at its beginning; one that is not there is no answer.

    Here a stream's numbers begin with the second that it was made in.
    """
    records = KinesisRecords(kinesis_local, tmp_path)
    fetcher = records.fetcher()
    async with kinesis_local.client("kinesis") as records.client:
        await records.create()
        _, info = await records.put(messages(2))
        made = records.now()
        await records.client.delete_stream(StreamName=records.place)
        await until(lambda: is_gone(records))
        with pytest.raises(SourceError, match=r"ResourceNotFoundException.* Fix: create it"):
            await fetcher.fetch(info)
        await until(lambda: records.now() > made + 1)
        await records.create()
        await records.write(messages(5))
        assert await fetcher.fetch(info) is None
        await records.client.delete_stream(StreamName=records.place)
    await fetcher.close()


async def is_gone(records: KinesisRecords) -> bool:
    return records.place not in (await records.client.list_streams())["StreamNames"]


async def test_a_closed_shard_is_read_to_its_end(kinesis_local: KinesisLocal, tmp_path: Path) -> None:
    records = KinesisRecords(kinesis_local, tmp_path)
    async with kinesis_local.client("kinesis") as records.client:
        await records.create()
        event, info = await records.put(messages(3))
        producer = Producer(records.client, records.place)
        await producer.split(0)
        fetcher = records.fetcher()
        assert await fetcher.fetch(info) == event
        beyond = {**info, "endSequenceNumber": str(int(info["endSequenceNumber"]) * 10)}
        longer = await fetcher.fetch(beyond)
        assert longer is not None
        assert longer["Records"][:3] == event["Records"]
        await fetcher.close()
        await producer.delete()


async def test_changes_that_were_trimmed(own_aws: Ministack, tmp_path: Path) -> None:
    """This server keeps none over a restart, but the stream: others are in their place then."""
    table = TableRecords(own_aws, tmp_path)
    async with own_aws.client("dynamodb") as table.client:
        await table.create()
        event, info = await table.put(messages(3))
        assert await table.fetcher().fetch(info) == event
    await to_thread.run_sync(own_aws.stop)
    await to_thread.run_sync(own_aws.start)
    async with own_aws.client("dynamodb") as table.client:
        fetcher = table.fetcher()
        assert await fetcher.fetch(info) is None
        await table.write(messages(2))
        assert await fetcher.fetch(info) is None
        await fetcher.close()


async def test_changes_whose_first_was_trimmed(table: TableRecords, burst: Microburst) -> None:
    """DynamoDB refuses the number then; what there is still is read from the oldest on."""
    event, info = await table.put(messages(3))
    burst.rules(error("dynamodbstreams", "GetShardIterator", "TrimmedDataAccessException", 400, times=1))
    fetcher = DynamoDbFetcher(table.place, **access(burst.endpoint))
    assert await fetcher.fetch(info) == event
    await fetcher.close()
    assert burst.fired("GetShardIterator")


async def test_the_stream_that_a_table_had_before_is_read(table: TableRecords) -> None:
    event, info = await table.put(messages(2))
    await table.client.update_table(TableName=table.place, StreamSpecification={"StreamEnabled": False})
    fetcher = table.fetcher()
    assert await fetcher.fetch(info) == event
    other = {**info, "streamArn": info["streamArn"][:-1] + "x"}
    assert await fetcher.fetch(other) is None
    await fetcher.close()


# ------------------------------------------------------------------------------------------------ trouble


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("kinesis", "GetRecords"),
        ("kinesis", "GetShardIterator"),
        ("kinesis", "DescribeStreamSummary"),
    ],
)
async def test_a_stream_that_is_busy_is_asked_again(
    stream: KinesisRecords, burst: Microburst, service: str, operation: str
) -> None:
    event, info = await stream.put(messages(2))
    burst.rules(throttle(service, operation, times=3))
    fetcher = KinesisFetcher(stream.place, **access(burst.endpoint))
    assert await fetcher.fetch(info) == event
    await fetcher.close()
    assert burst.fired(operation)


async def test_the_records_of_another_stream_are_not_taken_for_those(
    stream: KinesisRecords, table: TableRecords
) -> None:
    _, info = await stream.put(messages(1))
    other = {**info, "streamArn": info["streamArn"] + "-other"}
    fetcher = stream.fetcher()
    with pytest.raises(SourceError, match=r"the records were in arn:.*-other. Fix: name that stream"):
        await fetcher.fetch(other)
    await fetcher.close()
    _, info = await table.put(messages(1))
    another = DynamoDbFetcher("another", **access(table.server.endpoint))
    with pytest.raises(SourceError, match=r"dynamodb://another: the records were in .*Fix: name that stream"):
        await another.fetch(info)
    await another.close()
