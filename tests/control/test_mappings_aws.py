"""Event source mappings on a server that answers as AWS does: what is there, what is not, what is down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from streamfn.config import Endpoint
from tests.control.mapping_daemon import QUEUE, STREAM, Daemon, refused
from tests.servers.aws import KEY, SECRET, Ministack, run_ministack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-01-01T00:00:00.000"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    with run_ministack() as server:
        yield server


@pytest.fixture
async def daemon(tmp_path: Path, aws: Ministack) -> AsyncIterator[Daemon]:
    daemon = Daemon(tmp_path / "state")
    daemon.endpoint = Endpoint(url=aws.endpoint, access_key_id=KEY, secret_access_key=SECRET)
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        yield daemon
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("arn", "message"),
    [
        (
            QUEUE,
            "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
            "SQS Error Message: The specified queue does not exist.",
        ),
        (STREAM, f"Stream not found: {STREAM}"),
        (TABLE, f"Stream not found: {TABLE}"),
    ],
)
async def test_what_is_not_there_is_said_in_the_services_words(
    daemon: Daemon, arn: str, message: str
) -> None:
    found = await refused(daemon.create(arn, **({"StartingPosition": "LATEST"} if arn != QUEUE else {})))
    assert found == ("InvalidParameterValueException", 400, message)


async def test_a_queue_by_its_arn_is_read(daemon: Daemon, aws: Ministack) -> None:
    async with aws.client("sqs") as sqs:
        url = (await sqs.create_queue(QueueName=(name := aws.unique())))["QueueUrl"]
        await daemon.made(f"arn:aws:sqs:us-east-1:000000000000:{name}")
        await sqs.send_message(QueueUrl=url, MessageBody="a")
        await until(lambda: daemon.seen == ["a"])


async def test_what_comes_once_it_is_enabled_is_read(daemon: Daemon, aws: Ministack) -> None:
    async with aws.client("kinesis") as kinesis:
        await kinesis.create_stream(StreamName=(name := aws.unique()), ShardCount=1)
        await (kinesis.get_waiter("stream_exists")).wait(StreamName=name)
        arn = f"arn:aws:kinesis:us-east-1:000000000000:stream/{name}"
        await daemon.made(arn, StartingPosition="LATEST")
        await kinesis.put_record(StreamName=name, Data=b"a", PartitionKey="a")
        await until(lambda: len(daemon.seen) == 1)


async def test_a_server_that_is_down_is_no_missing_queue(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.endpoint = Endpoint(url="http://127.0.0.1:9", access_key_id=KEY, secret_access_key=SECRET)
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        code, _, message = await refused(daemon.create())
        assert code == "InvalidParameterValueException"
        assert f"{QUEUE} cannot be reached" in message
        tasks.cancel_scope.cancel()
