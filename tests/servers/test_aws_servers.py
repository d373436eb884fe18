"""The servers for AWS tests work themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psutil
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from tests.servers import microburst
from tests.servers.aws import AwsServer, Ministack, run_ministack
from tests.servers.aws_process import LocalServer, ServerStartError, frozen, need_restart, request
from tests.servers.elasticmq import run_elasticmq
from tests.servers.kinesis_local import KinesisLocal, run_kinesis_local
from tests.servers.microburst import Microburst, run_microburst

# The first run of all fetches the servers.
pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def ministack() -> Iterator[Ministack]:
    with run_ministack() as running:
        yield running


@pytest.fixture(scope="module")
def reshards() -> Iterator[KinesisLocal]:
    with run_kinesis_local() as running:
        yield running


@pytest.fixture(scope="module")
def _proxy(ministack: Ministack) -> Iterator[Microburst]:
    with run_microburst(ministack.endpoint) as running:
        yield running


@pytest.fixture
def proxy(_proxy: Microburst) -> Microburst:
    _proxy.reset()
    return _proxy


RUNNERS: dict[str, Callable[[], AbstractContextManager[AwsServer]]] = {
    "ministack": run_ministack,
    "elasticmq": run_elasticmq,
    "kinesis-local": run_kinesis_local,
}


@pytest.fixture(scope="module", params=RUNNERS)
def server(request: pytest.FixtureRequest) -> Iterator[AwsServer]:
    with RUNNERS[request.param]() as running:
        yield running


# --- Every server --------------------------------------------------------------------


def need_process(server: LocalServer) -> None:
    """Skip the calling test unless the server is a process of this machine."""
    if server.way.kind != "process":
        pytest.skip(f"{server.name} is not a process of ours")


def listening(pid: int) -> list[str]:
    found = psutil.Process(pid).net_connections(kind="inet")
    return [c.laddr.ip.removeprefix("::ffff:") for c in found if c.status == psutil.CONN_LISTEN]


def test_it_listens_on_loopback_only(server: AwsServer) -> None:
    need_process(server)
    assert server.pid is not None
    assert set(listening(server.pid)) == {"127.0.0.1"}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_comes_back_at_its_address(server: AwsServer, how: str) -> None:
    need_restart(server)
    before = server.endpoint
    assert server.answers()
    getattr(server, how)()
    assert not server.running
    assert not server.answers()
    server.start()
    assert server.answers()
    assert server.endpoint == before


def test_a_frozen_one_takes_connections_and_answers_nothing(server: AwsServer) -> None:
    need_restart(server)
    with frozen(server):
        with pytest.raises(TimeoutError):
            request(server.endpoint, timeout=0.2)
        assert not server.answers(timeout=0.2)
        assert server.running
    assert server.answers(timeout=10)


def test_close_ends_the_process_even_frozen_and_leaves_nothing() -> None:
    with run_ministack() as second:
        need_process(second)
        pid, folder = second.pid, second.data_dir
        assert pid is not None
        assert folder.is_dir()
        second.freeze()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not folder.exists()
    second.close()
    with pytest.raises(RuntimeError, match="closed"):
        second.start()


def test_it_ends_with_a_process_that_is_killed() -> None:
    with run_ministack() as found:
        need_process(found)
    program = "from tests.servers.aws import run_ministack\n"
    program += "with run_ministack() as s: print(s.pid, s.data_dir, flush=True); input()"
    starter = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    with starter:
        assert starter.stdout is not None
        pid, folder = starter.stdout.readline().decode().split()
        server = psutil.Process(int(pid))
        starter.kill()
    assert psutil.wait_procs([server], timeout=20)[1] == []
    deadline = time.monotonic() + 20
    while Path(folder).exists() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert not Path(folder).exists()


def test_a_failed_start_shows_the_log_and_leaves_nothing(ministack: Ministack) -> None:
    need_process(ministack)

    class Broken(Ministack):
        def command(self) -> list[str]:
            return [str(self.way.program), "-c", "raise SystemExit('no such thing')"]

    broken = Broken(ministack.way)
    with pytest.raises(ServerStartError, match="ended with code 1 while starting.*\n.*no such thing"), broken:
        pass
    assert broken.pid is None
    assert not broken.data_dir.exists()


def test_it_takes_another_port_when_its_own_is_gone(ministack: Ministack) -> None:
    need_process(ministack)
    second = Ministack(ministack.way)
    second.port, second.endpoint = ministack.port, ministack.endpoint  # as if taken meanwhile
    with second:
        assert second.port != ministack.port
        assert second.answers()


# --- ministack -----------------------------------------------------------------------


@asynccontextmanager
async def queue(server: AwsServer, **attributes: str) -> AsyncIterator[tuple[Any, str]]:
    async with server.client("sqs", retries={"max_attempts": 0}) as sqs:
        name = server.unique() + (".fifo" if "FifoQueue" in attributes else "")
        created = await sqs.create_queue(QueueName=name, Attributes=attributes)
        yield sqs, created["QueueUrl"]


async def bodies(sqs: Any, url: str, **options: Any) -> list[str]:
    received = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, **options)
    return [message["Body"] for message in received.get("Messages", [])]


@pytest.mark.parametrize("service", ["sqs", "sns", "s3", "events", "kinesis", "dynamodb", "dynamodbstreams"])
async def test_ministack_answers_for_each_service(ministack: Ministack, service: str) -> None:
    listing = {
        "sqs": ("list_queues", "QueueUrls"),
        "sns": ("list_topics", "Topics"),
        "s3": ("list_buckets", "Buckets"),
        "events": ("list_event_buses", "EventBuses"),
        "kinesis": ("list_streams", "StreamNames"),
        "dynamodb": ("list_tables", "TableNames"),
        "dynamodbstreams": ("list_streams", "Streams"),
    }
    operation, key = listing[service]
    async with ministack.client(service) as client:
        assert isinstance((await getattr(client, operation)()).get(key, []), list)


async def test_ministack_keeps_messages_over_a_stop_and_loses_them_by_a_kill(ministack: Ministack) -> None:
    need_restart(ministack)
    async with queue(ministack) as (sqs, url):
        await sqs.send_message(QueueUrl=url, MessageBody="a")
    await anyio.to_thread.run_sync(ministack.stop)
    await anyio.to_thread.run_sync(ministack.start)
    async with ministack.client("sqs") as sqs:
        assert await bodies(sqs, url, VisibilityTimeout=0) == ["a"]
    await anyio.to_thread.run_sync(ministack.kill)
    await anyio.to_thread.run_sync(ministack.start)
    async with ministack.client("sqs") as sqs:
        assert url not in (await sqs.list_queues()).get("QueueUrls", [])


async def test_a_stop_does_not_wait_for_a_receive_that_waits(ministack: Ministack) -> None:
    need_restart(ministack)
    async with queue(ministack) as (sqs, url):

        async def receive() -> None:
            with pytest.raises((ClientError, ConnectionClosedError)):
                await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)

        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            await anyio.sleep(0.2)  # until the server has it: nothing tells
            began = anyio.current_time()
            await anyio.to_thread.run_sync(ministack.stop)
            assert anyio.current_time() - began < 10
        await anyio.to_thread.run_sync(ministack.start)


async def test_a_pushed_subscription_reaches_a_raw_client(ministack: Ministack) -> None:
    async with ministack.client("kinesis") as kinesis:
        stream = ministack.unique()
        await kinesis.create_stream(StreamName=stream, ShardCount=1)
        summary = (await kinesis.describe_stream_summary(StreamName=stream))["StreamDescriptionSummary"]
        consumer = await kinesis.register_stream_consumer(StreamARN=summary["StreamARN"], ConsumerName="c")
        subscribed = await kinesis.subscribe_to_shard(
            ConsumerARN=consumer["Consumer"]["ConsumerARN"],
            ShardId="shardId-000000000000",
            StartingPosition={"Type": "TRIM_HORIZON"},
        )
        await kinesis.put_record(StreamName=stream, Data=b"pushed", PartitionKey="k")
        pushed: list[bytes] = []
        with anyio.fail_after(20):
            async for event in subscribed["EventStream"]:
                pushed += [record["Data"] for record in event["SubscribeToShardEvent"]["Records"]]
                if pushed:
                    break
        subscribed["EventStream"].close()
        assert pushed == [b"pushed"]


# --- FIFO, resharding ----------------------------------------------------------------


@pytest.mark.parametrize("server", ["ministack", "elasticmq"], indirect=True)
async def test_a_group_is_locked_while_one_of_its_messages_is_in_flight(server: AwsServer) -> None:
    async with queue(server, FifoQueue="true", ContentBasedDeduplication="true") as (sqs, url):
        for body in ("a1", "a2", "b1"):
            await sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=body[0])
        first = (await sqs.receive_message(QueueUrl=url))["Messages"]
        assert [message["Body"] for message in first] == ["a1"]
        assert await bodies(sqs, url) == ["b1"]
        await sqs.delete_message(QueueUrl=url, ReceiptHandle=first[0]["ReceiptHandle"])
        assert await bodies(sqs, url) == ["a2"]


async def test_a_split_closes_the_parent_and_names_the_children(reshards: KinesisLocal) -> None:
    async with reshards.client("kinesis") as kinesis:
        stream = reshards.unique()
        await kinesis.create_stream(StreamName=stream, ShardCount=1)
        await active(kinesis, stream, 1)
        parent = "shardId-000000000000"
        await kinesis.put_record(StreamName=stream, Data=b"before", PartitionKey="k")
        await kinesis.split_shard(StreamName=stream, ShardToSplit=parent, NewStartingHashKey=str(2**127))
        await active(kinesis, stream, 2)
        latest = await kinesis.list_shards(StreamName=stream, ShardFilter={"Type": "AT_LATEST"})
        assert [shard["ParentShardId"] for shard in latest["Shards"]] == [parent, parent]
        start = {"StreamName": stream, "ShardId": parent, "ShardIteratorType": "TRIM_HORIZON"}
        iterator = (await kinesis.get_shard_iterator(**start))["ShardIterator"]
        read = await kinesis.get_records(ShardIterator=iterator)
        assert [record["Data"] for record in read["Records"]] == [b"before"]
        assert "NextShardIterator" not in read
        assert [s["ShardId"] for s in read["ChildShards"]] == [s["ShardId"] for s in latest["Shards"]]


async def active(kinesis: Any, stream: str, shards: int) -> None:
    with anyio.fail_after(20):
        while True:
            told = (await kinesis.describe_stream_summary(StreamName=stream))["StreamDescriptionSummary"]
            if told["StreamStatus"] == "ACTIVE" and told["OpenShardCount"] == shards:
                return
            await anyio.sleep(0.02)


# --- microburst ----------------------------------------------------------------------


async def test_without_rules_requests_pass(proxy: Microburst) -> None:
    async with queue(proxy) as (sqs, url):
        await sqs.send_message(QueueUrl=url, MessageBody="a")
        assert await bodies(sqs, url) == ["a"]
    assert proxy.fired() == []


@pytest.mark.parametrize(
    ("rule", "code", "status"),
    [
        (microburst.throttle, "RequestThrottled", 503),
        (microburst.unavailable, "ServiceUnavailable", 503),
        (partial(microburst.error, code="QueueDoesNotExist"), "QueueDoesNotExist", 400),
    ],
)
async def test_errors_of_sqs(proxy: Microburst, rule: Any, code: str, status: int) -> None:
    async with queue(proxy) as (sqs, url):
        proxy.rules(rule("sqs", "SendMessage", times=1))
        with pytest.raises(ClientError) as caught:
            await sqs.send_message(QueueUrl=url, MessageBody="a")
        assert caught.value.response["Error"]["Code"].endswith(code)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        await sqs.send_message(QueueUrl=url, MessageBody="b")
        assert await bodies(sqs, url) == ["b"]
    assert [event["operation"] for event in proxy.fired()] == ["SendMessage"]


@pytest.mark.parametrize(("rule", "arrived"), [(microburst.reset, []), (microburst.answer_lost, ["a"])])
async def test_broken_connections(proxy: Microburst, rule: Any, arrived: list[str]) -> None:
    async with queue(proxy) as (sqs, url):
        proxy.rules(rule("sqs", "SendMessage", times=1))
        with pytest.raises((ConnectionClosedError, HTTPClientError)):
            await sqs.send_message(QueueUrl=url, MessageBody="a")
        assert await bodies(sqs, url) == arrived
    assert len(proxy.fired("SendMessage")) == 1


async def test_latency(proxy: Microburst) -> None:
    async with queue(proxy) as (sqs, url):
        proxy.rules(microburst.latency("sqs", "SendMessage", 300))
        began = anyio.current_time()
        await sqs.send_message(QueueUrl=url, MessageBody="a")
        assert anyio.current_time() - began >= 0.3
    assert len(proxy.fired("SendMessage")) == 1


async def test_a_rule_for_one_queue_only(proxy: Microburst) -> None:
    async with queue(proxy) as (sqs, one), queue(proxy) as (_, other):
        proxy.rules(microburst.throttle("sqs", body=f"QueueUrl == '{one}'"))
        await sqs.send_message(QueueUrl=other, MessageBody="a")
        with pytest.raises(ClientError):
            await sqs.send_message(QueueUrl=one, MessageBody="a")
        proxy.reset()
        await sqs.send_message(QueueUrl=one, MessageBody="a")


@pytest.mark.parametrize(
    ("service", "operation", "options", "code"),
    [
        ("kinesis", "GetRecords", {"ShardIterator": "x"}, "ExpiredIteratorException"),
        ("kinesis", "GetRecords", {"ShardIterator": "x"}, "ProvisionedThroughputExceededException"),
        ("dynamodb", "GetItem", {"TableName": "any", "Key": {}}, "ConditionalCheckFailedException"),
        ("dynamodbstreams", "GetRecords", {"ShardIterator": "x"}, "TrimmedDataAccessException"),
        ("s3", "ListBuckets", {}, "SlowDown"),
        ("sns", "ListTopics", {}, "Throttled"),
        ("events", "ListEventBuses", {}, "ThrottlingException"),
    ],
)
async def test_errors_of_the_others(
    proxy: Microburst, service: str, operation: str, options: dict[str, Any], code: str
) -> None:
    proxy.rules(microburst.error(service, operation, code))
    async with proxy.client(service, retries={"max_attempts": 0}) as client:
        method = next(name for name in dir(client) if name.replace("_", "") == operation.lower())
        with pytest.raises(ClientError) as caught:
            await getattr(client, method)(**options)
    assert caught.value.response["Error"]["Code"] == code
    assert len(proxy.fired(operation)) == 1


@pytest.mark.parametrize("more", [{}, {"resets": True}, {"reset": True, "resource": "queue"}])
def test_what_would_never_fire_is_refused(proxy: Microburst, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a rule"):
        proxy.rules({"service": "sqs", **more})
