"""Queues and buckets as stores of dead letters on real servers: what is in a letter, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import structlog
from aiohttp import test_utils, web

from streamfn import App, Batch
from streamfn.core.letters import Form, Stored, read_letter
from streamfn.errors import ConfigurationError, SourceError
from streamfn.ports import LetterStore, Message
from streamfn.testing.conformance.reading import messages
from streamfn.testing.memory import MemoryStream
from streamfn_aws import S3Letters, SqsLetters
from streamfn_aws.letters import sqs
from tests.aws.destinations import TopicEnd
from tests.aws.letters import BucketLetters, FifoLetters, QueueLetters, access, nowhere
from tests.aws.test_on_failure import give_up
from tests.servers.aws import ACCOUNT, REGION, AwsServer, Ministack
from tests.servers.elasticmq import ElasticMQ
from tests.servers.microburst import Microburst, Rule, answer_lost, error, reset, throttle, unavailable
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(90)]

PATIENCE = 30.0


@asynccontextmanager
async def opened(store: LetterStore) -> AsyncIterator[LetterStore]:
    try:
        yield store
    finally:
        await store.close()


async def scanned(store: LetterStore) -> list[Stored]:
    with anyio.fail_after(PATIENCE):
        async with opened(store):
            return [letter async for letter in store.scan()]


@pytest.fixture
async def queue(aws: AwsServer) -> AsyncIterator[QueueLetters]:
    async with QueueLetters(aws) as end:
        yield end


@pytest.fixture
async def bucket(aws: AwsServer) -> AsyncIterator[BucketLetters]:
    async with BucketLetters(aws) as end:
        yield end


# ----------------------------------------------------------------------------------- what stands in a letter


@pytest.mark.parametrize("server", ["aws", "elasticmq"])
async def test_attributes_and_the_queue_it_came_from(server: str, request: pytest.FixtureRequest) -> None:
    """Moved by a redrive policy, as SQS does at the receive that is one too many."""
    running: Ministack | ElasticMQ = request.getfixturevalue(server)
    async with QueueLetters(running) as dead, QueueLetters(running) as source:
        policy = {
            "deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{dead.place}",
            "maxReceiveCount": 1,
        }
        await source.client.set_queue_attributes(
            QueueUrl=source.url,
            Attributes={"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": "0"},
        )
        began = source.now()
        await source.client.send_message(
            QueueUrl=source.url,
            MessageBody='{"item": "ink"}',
            MessageAttributes={
                "carrier": {"DataType": "String", "StringValue": "Zürich"},
                "count": {"DataType": "Number", "StringValue": "7"},
                "raw": {"DataType": "Binary", "BinaryValue": b"\xff\x00"},
            },
        )

        async def moved() -> bool:
            await source.client.receive_message(QueueUrl=source.url)
            return await dead.counts() == (1, 0)

        await until(moved)
        (letter,) = await scanned(dead.store())
    assert (letter.body, letter.key) == (b'{"item": "ink"}', None)
    assert dict(letter.headers) == {"carrier": "Zürich".encode(), "count": b"7", "raw": b"\xff\x00"}
    assert letter.stored_at is not None
    assert began - 2 <= letter.stored_at <= source.now() + 2
    read = read_letter(letter)
    assert (read.form, read.event) == (Form.MESSAGE, {"item": "ink"})
    assert read.source == letter.came_from == f"arn:aws:sqs:{REGION}:{ACCOUNT}:{source.place}"


async def test_the_group_of_a_message_is_its_key(aws: AwsServer) -> None:
    async with FifoLetters(aws) as end:
        await end.put([Message(b"1", "alice"), Message(b"2", "bob")])
        assert sorted((letter.key, letter.body) for letter in await scanned(end.store())) == [
            ("alice", b"1"),
            ("bob", b"2"),
        ]


class Wrapped(TopicEnd):
    raw = False


@pytest.mark.parametrize("kind", [TopicEnd, Wrapped])
async def test_an_on_failure_record_that_came_by_a_topic(aws: AwsServer, kind: type[TopicEnd]) -> None:
    """With raw delivery and without: it is the same."""
    async with kind(aws) as end:
        await give_up(end.destination(), b"1", b"2")
        (letter,) = await scanned(SqsLetters(f"{end.place}-out", wait_time_seconds=0, **access(aws.endpoint)))
    read = read_letter(letter)
    assert (read.form, read.condition, read.function) == (Form.BATCH, "RetryAttemptsExhausted", "f")
    assert read.batch_info is not None
    assert read.batch_info[1]["batchSize"] == 2


async def test_an_event_that_came_by_a_topic_with_attributes_of_a_dead_letter_queue(aws: AwsServer) -> None:
    async with Wrapped(aws) as end:
        await end.clients["sns"].publish(
            TopicArn=end.arn,
            Message='{"order": 7}',
            MessageAttributes={
                "RequestID": {"DataType": "String", "StringValue": "id-7"},
                "ErrorCode": {"DataType": "Number", "StringValue": "200"},
                "ErrorMessage": {"DataType": "String", "StringValue": "no ink"},
            },
        )
        (letter,) = await scanned(SqsLetters(f"{end.place}-out", wait_time_seconds=0, **access(aws.endpoint)))
    read = read_letter(letter)
    assert (read.form, read.event, read.request_id) == (Form.DEAD_LETTER_QUEUE, {"order": 7}, "id-7")
    assert (read.condition, read.error_message) == ("ErrorCode 200", "no ink")


async def test_a_notification_that_is_no_letter_keeps_its_envelope(aws: AwsServer) -> None:
    """The function of the queue it failed in knows it with the envelope only."""
    async with Wrapped(aws) as end:
        await end.clients["sns"].publish(TopicArn=end.arn, Message='{"order": 7}')
        (letter,) = await scanned(SqsLetters(f"{end.place}-out", wait_time_seconds=0, **access(aws.endpoint)))
    said = json.loads(letter.body)
    assert (said["Type"], said["Message"]) == ("Notification", '{"order": 7}')


async def test_objects_of_a_real_mapping_hold_the_event(aws: AwsServer, bucket: BucketLetters) -> None:
    """Below the prefix of the destination; and a folder of the console is no letter."""
    seen: list[Any] = []
    stream = MemoryStream("readings")
    stream.put([b"1", b"2"], key="sensor")
    app = App(name="shop")

    @app.function(name="f", batch=True)
    async def fail(batch: Batch) -> None:
        seen.append(batch.to_event())
        raise ValueError("no")

    place = f"s3://{bucket.place}/{bucket.prefix}?" + "&".join(
        f"{name}={value}" for name, value in access(aws.endpoint).items()
    )
    app.event_source_mapping("f", stream, name="m", maximum_retry_attempts=0, on_failure=place)
    began = bucket.now()
    async with app:
        await stream.wait_done()
    await bucket.client.put_object(Bucket=bucket.place, Key=f"{bucket.prefix}/folder/", Body=b"")
    store = S3Letters.from_uri(place, {})
    assert store.name == f"s3://{bucket.place}/{bucket.prefix}"
    (letter,) = await scanned(store)
    assert letter.id.startswith(f"{bucket.prefix}/aws/lambda/")
    assert letter.stored_at is not None
    assert began - 2 <= letter.stored_at <= bucket.now() + 2
    read = read_letter(letter)
    assert [read.event] == seen
    assert (read.error_type, read.error_message) == ("ValueError", "no")


# --------------------------------------------------------------------------------------------- in hand


async def test_a_scan_hides_letters_until_the_store_is_closed(queue: QueueLetters) -> None:
    await queue.put(messages(25))
    store = queue.store()
    assert len([letter async for letter in store.scan()]) == 25
    assert await queue.counts() == (0, 25)
    await store.close()
    assert await queue.counts() == (25, 0)


async def test_a_letter_that_comes_again_during_a_scan_is_seen_once(queue: QueueLetters) -> None:
    """Its visibility timeout is over; what is removed then is removed by its newest receipt."""
    await queue.put(messages(25))
    store = queue.store(visibility_timeout=1)
    found: list[Stored] = []
    async for letter in store.scan():
        if not found:
            await until(lambda: is_waiting(queue))
        found.append(letter)
    assert sorted(int(letter.body) for letter in found) == list(range(25))
    await store.remove(found)
    await store.close()
    assert await queue.counts() == (0, 0)


async def is_waiting(queue: QueueLetters) -> bool:
    return (await queue.counts())[0] > 0


async def test_a_scan_that_is_cut_off_loses_nothing(queue: QueueLetters) -> None:
    """Cut off while it waits for what is to come: which the server then hands to nobody."""
    store = queue.store(wait_time_seconds=20)
    async with anyio.create_task_group() as tasks:

        async def scan() -> None:
            async for letter in store.scan():
                raise AssertionError(letter)

        tasks.start_soon(scan)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await queue.put(messages(1))
    await store.close()
    assert len(await scanned(queue.store())) == 1


async def test_a_scan_ends_before_the_queue_has_too_many_in_flight(
    queue: QueueLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so. Those that are removed as they come do not count."""
    monkeypatch.setattr(sqs, "MOST", 30)
    await queue.put(messages(200))
    with structlog.testing.capture_logs() as logs:
        found = await scanned(queue.store())
    assert 30 <= len(found) <= 30 + 10 * 8
    (told,) = [entry for entry in logs if entry["event"] == "letters_not_seen"]
    assert (told["queue"], told["log_level"]) == (f"sqs://{queue.place}", "warning")
    with structlog.testing.capture_logs() as logs:
        async with opened(queue.store()) as store:
            count = 0
            async for letter in store.scan():
                await store.remove([letter])
                count += 1
    assert count == 200
    assert not logs


@pytest.mark.parametrize("server", ["aws", "elasticmq"])
async def test_what_waits_behind_letters_of_its_group_is_told_of(
    server: str, request: pytest.FixtureRequest
) -> None:
    """SQS hands out no more of a group while some of it are in hand; removed as they come, all come."""
    async with FifoLetters(request.getfixturevalue(server)) as end:
        await end.put([Message(b"%d" % number, "group") for number in range(25)])
        with structlog.testing.capture_logs() as logs:
            found = await scanned(end.store())
        assert [int(letter.body) for letter in found] == list(range(10))
        (told,) = [entry for entry in logs if entry["event"] == "letters_not_seen"]
        assert "some 15 letters wait" in told["reason"]
        async with opened(end.store()) as store:
            came = []
            async for letter in store.scan():
                await store.remove([letter])
                came.append(int(letter.body))
        assert came == list(range(25))


async def test_many_objects_are_removed_at_once(bucket: BucketLetters) -> None:
    """More than one call takes; what is beside them stays."""
    await bucket.put(messages(1_100))
    async with opened(bucket.store()) as store:
        found = [letter async for letter in store.scan()]
        assert len(found) == 1_100
        await store.remove(found[:-1])
    assert await bucket.keys() == [found[-1].id, "other/object"]
    async with opened(bucket.store()) as store:
        assert await store.purge() == 1
    assert await bucket.keys() == ["other/object"]


async def test_an_object_that_goes_during_a_scan_is_no_letter(bucket: BucketLetters) -> None:
    await bucket.put(messages(40))
    found: list[Any] = []
    async with opened(bucket.store()) as store:
        async for letter in store.scan():
            if not found:
                await bucket.client.delete_object(Bucket=bucket.place, Key=f"{bucket.prefix}/{40:08}")
            found.append(int(letter.body))
    assert found == list(range(39))


LISTED = """<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>one</Key><Size>1</Size>
<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"""
DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


async def test_a_bucket_of_another_account_is_left_alone() -> None:
    """Every call says whose it has to be. The server here is ours, for the others do not look at that."""
    asked: list[tuple[str, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.method, request.headers.get("x-amz-expected-bucket-owner")))
        is_listing = "list-type" in request.query
        return web.Response(status=200 if is_listing else 403, text=LISTED if is_listing else DENIED)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with test_utils.TestServer(app) as server:
        store = S3Letters("b", expected_bucket_owner="111111111111", **access(str(server.make_url("/"))))
        for act in (lambda: scanned(store), store.purge, lambda: store.remove([Stored("one", b"")])):
            with pytest.raises(SourceError, match="AccessDenied"):
                await act()
        await store.close()
    assert {method for method, _ in asked} == {"GET", "POST"}
    assert {owner for _, owner in asked} == {"111111111111"}
    assert len(asked) == 5


# --------------------------------------------------------------------------------------------- trouble


def through(burst: Microburst) -> dict[str, Any]:
    return {"endpoint_url": burst.endpoint}


@pytest.mark.parametrize(
    "rule",
    [
        throttle("sqs", "ReceiveMessage", times=4),
        unavailable("sqs", "ReceiveMessage", times=4),
        reset("sqs", "ReceiveMessage", times=2),
        throttle("sqs", "GetQueueUrl", times=2),
        throttle("sqs", "ChangeMessageVisibilityBatch", times=2),
        unavailable("sqs", "DeleteMessageBatch", times=4),
        answer_lost("sqs", "DeleteMessageBatch", times=1),
    ],
    ids=lambda rule: f"{rule['operation']}-{next(iter(set(rule) - {'service', 'operation', 'times'}))}",
)
async def test_a_queue_that_is_busy_is_asked_again(
    queue: QueueLetters, burst: Microburst, rule: Rule
) -> None:
    await queue.put(messages(25))
    burst.rules(rule)
    async with opened(queue.store(**through(burst))) as store:
        found = [letter async for letter in store.scan()]
        assert sorted(int(letter.body) for letter in found) == list(range(25))
        await store.remove(found[:20])
    assert await queue.counts() == (5, 0)
    assert burst.fired(rule["operation"])


@pytest.mark.parametrize(
    "rule",
    [
        error("s3", "ListObjectsV2", "SlowDown", 503, times=2),
        error("s3", "GetObject", "InternalError", 500, times=4),
        reset("s3", "GetObject", times=2),
        error("s3", "DeleteObjects", "SlowDown", 503, times=2),
    ],
    ids=lambda rule: f"{rule['operation']}",
)
async def test_a_bucket_that_is_busy_is_asked_again(
    bucket: BucketLetters, burst: Microburst, rule: Rule
) -> None:
    await bucket.put(messages(25))
    burst.rules(rule)
    async with opened(bucket.store(**through(burst))) as store:
        found = [letter async for letter in store.scan()]
        assert [int(letter.body) for letter in found] == list(range(25))
        await store.remove(found[:20])
    assert len(await bucket.keys()) == 5 + 1
    assert burst.fired(rule["operation"])


async def test_a_queue_that_was_just_purged_is_not_purged_again(
    queue: QueueLetters, burst: Microburst
) -> None:
    burst.rules(error("sqs", "PurgeQueue", "AWS.SimpleQueueService.PurgeQueueInProgress", 403))
    async with opened(queue.store(**through(burst))) as store:
        with pytest.raises(SourceError, match=r"less than 60 seconds ago.* Fix: try again in a minute"):
            await store.purge()


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ReceiveMessage", "PurgeQueue"])
async def test_what_is_not_allowed_is_said(queue: QueueLetters, burst: Microburst, operation: str) -> None:
    """And nothing is gone."""
    await queue.put(messages(3))
    burst.rules(error("sqs", operation, "AccessDenied", 403, times=99))
    async with opened(queue.store(**through(burst))) as store:
        with pytest.raises(SourceError, match=f"sqs://{queue.place}.*AccessDenied"):
            if operation == "PurgeQueue":
                await store.purge()
            await store.remove([letter async for letter in store.scan()])
    assert len(await scanned(queue.store())) == 3


async def test_what_cannot_be_deleted_from_a_bucket_is_said(bucket: BucketLetters, burst: Microburst) -> None:
    await bucket.put(messages(3))
    burst.rules(error("s3", "DeleteObjects", "AccessDenied", 403, times=99))
    async with opened(bucket.store(**through(burst))) as store:
        with pytest.raises(SourceError, match=r"AccessDenied.* Fix: allow the action DeleteObjects"):
            await store.remove([letter async for letter in store.scan()])
        with pytest.raises(SourceError, match=r"AccessDenied"):
            await store.purge()
    assert len(await scanned(bucket.store())) == 3


async def test_what_is_not_there_is_said(aws: AwsServer) -> None:
    stores: list[Callable[..., LetterStore]] = [SqsLetters, S3Letters]
    for make in stores:
        store = make("nobody-made-this", **access(aws.endpoint))
        with pytest.raises(SourceError, match=r"nobody-made-this.* Fix: create it") as said:
            await scanned(store)
        assert not said.value.retryable


async def test_without_credentials_it_says_what_is_needed(aws: AwsServer) -> None:
    store = SqsLetters("q", endpoint_url=aws.endpoint, region=REGION)
    with pytest.raises(SourceError, match=r"no credentials.* Fix: set AWS_ACCESS_KEY_ID"):
        await scanned(store)


async def test_a_server_that_goes_leaves_letters_hidden_and_that_is_said(own_aws: Ministack) -> None:
    async with QueueLetters(own_aws) as end:
        await end.put(messages(3))
        store = end.store()
        assert len([letter async for letter in store.scan()]) == 3
        await anyio.to_thread.run_sync(own_aws.kill)
        try:
            with structlog.testing.capture_logs() as logs, anyio.fail_after(PATIENCE):
                await store.close()
        finally:
            await anyio.to_thread.run_sync(own_aws.start)
        (told,) = [entry for entry in logs if entry["event"] == "letters_stay_hidden"]
        assert (told["queue"], told["seconds"], told["log_level"]) == (store.name, 600, "warning")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqs://", "names nothing"),
        ("sqs://a/b", "names nothing of sqs"),
        ("arn:aws:sns:us-east-1:1:q", "names nothing of sqs"),
        ("sqs://q?visibility_timeout=0", "visibility_timeout: must be a number from 1 to 43200"),
        ("sqs://q?wait_time_seconds=21", "wait_time_seconds: must be"),
        ("sqs://q?visibility=3", "visibility: there is no such option"),
        ("sqs://me:hunter2@q", "no user or password"),
        ("arn:aws:sqs:us-east-1:1:q?region=eu-west-1", "not the region of the ARN"),
    ],
)
def test_what_is_refused_of_queues(uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        SqsLetters.from_uri(uri, {})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://", "names nothing"),
        ("s3://b?expected_bucket_owner=", "expected_bucket_owner: must be text"),
        ("s3://b?owner=1", "owner: there is no such option"),
        ("arn:aws:s3:::", "is no ARN"),
    ],
)
def test_what_is_refused_of_buckets(uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        S3Letters.from_uri(uri, {})


def test_names_and_arns() -> None:
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q.fifo"
    for uri in ("sqs://q.fifo", f"sqs://{ACCOUNT}/q.fifo", arn, f"{arn}?endpoint_url={nowhere()}"):
        assert SqsLetters.from_uri(uri, {}).name == "sqs://q.fifo"
    for uri, name in (
        ("s3://b", "s3://b"),
        ("s3://b/", "s3://b"),
        ("s3://b/a/b%20c/", "s3://b/a/b c"),
        ("arn:aws:s3:::b", "s3://b"),
        ("arn:aws:s3:::b/a", "s3://b/a"),
        ("s3://123456789012/a", "s3://123456789012/a"),
    ):
        assert S3Letters.from_uri(uri, {}).name == name
