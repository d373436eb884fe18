"""An AWS to measure against, and what is put there."""

from __future__ import annotations

import asyncio
import base64
import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import orjson

from benchmarks.scenario import NotHere
from tests.servers.aws import KEY, MAIN, REGION, SECRET, AwsServer, Ministack, find_ministack
from tests.servers.aws_ways import Way
from tests.servers.elasticmq import ElasticMQ, find_elasticmq

_BODY = "x" * 1024

# ministack looks five times a second whether there is something to push. So seldom, that is all one measures.
_OFTEN = """
import asyncio
def often(things, *, timeout=None, wait=asyncio.wait, **how):
    return wait(things, timeout=0.001 if timeout == 0.2 else timeout, **how)
asyncio.wait = often
"""


class Pushing(Ministack):
    """ministack that pushes what was put within a millisecond."""

    def command(self) -> list[str]:
        return [str(self.way.program), "-c", _OFTEN + MAIN]


@functools.cache
def elasticmq() -> AwsServer:
    """An SQS that a backlog does not make slow, ended with this process. Raises NotHere."""
    return _started(ElasticMQ, find_elasticmq())


@functools.cache
def ministack() -> AwsServer:
    """A Kinesis and a DynamoDB, ended with this process. Raises NotHere."""
    return _started(Ministack, find_ministack())


@functools.cache
def pushing() -> AwsServer:
    """A Kinesis with enhanced fan-out, ended with this process. Raises NotHere."""
    way = find_ministack()
    if not isinstance(way, str) and way.kind != "process":
        raise NotHere("fan-out needs a ministack that is started here, for it has to push at once")
    return _started(Pushing, way)


def _started(kind: type[AwsServer], way: Way | str) -> AwsServer:
    if isinstance(way, str):
        raise NotHere(way)
    # The clients would read profiles, settings and proxies of the machine.
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    server = kind(way)
    server.start()
    return server


def options(endpoint: str) -> dict[str, Any]:
    """What a source is told of a server."""
    return {
        "endpoint_url": endpoint,
        "region": REGION,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
    }


async def new_queues(server: AwsServer, count: int) -> list[tuple[str, str]]:
    """The name and the address of so many queues, whose messages stay hidden for five minutes."""
    queues = []
    async with server.client("sqs") as sqs:
        for _ in range(count):
            name = server.unique("queue")
            made = await sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "300"})
            queues.append((name, made["QueueUrl"]))
    return queues


async def new_stream(server: AwsServer, shards: int) -> str:
    """The name of a stream."""
    name = server.unique("stream")
    async with server.client("kinesis") as kinesis:
        await kinesis.create_stream(StreamName=name, ShardCount=shards)
    return name


async def fill_queue(server: AwsServer, url: str, messages: int) -> None:
    """Puts so many messages of 1 KB."""
    sizes = (min(10, messages - first) for first in range(0, messages, 10))
    requests: Iterator[Mapping[str, Any]] = (
        {"QueueUrl": url, "Entries": [{"Id": str(index), "MessageBody": _BODY} for index in range(size)]}
        for size in sizes
    )
    await _post(server, "AmazonSQS.SendMessageBatch", "1.0", requests)


async def fill_stream(server: AwsServer, name: str, records: int) -> None:
    """Puts so many records of 1 KB, evenly over all shards."""
    data = base64.b64encode(_BODY.encode()).decode()
    requests: Iterator[Mapping[str, Any]] = (
        {
            "StreamName": name,
            "Records": [
                {"Data": data, "PartitionKey": str(number)}
                for number in range(first, min(first + 500, records))
            ],
        }
        for first in range(0, records, 500)
    )
    await _post(server, "Kinesis_20131202.PutRecords", "1.1", requests)


async def _post(server: AwsServer, target: str, version: str, requests: Iterator[Mapping[str, Any]]) -> None:
    """Unsigned and unchecked: a client of AWS's would take longer to put than the others to read."""
    headers = {"X-Amz-Target": target, "Content-Type": f"application/x-amz-json-{version}"}

    async def put(http: aiohttp.ClientSession) -> None:
        for request in requests:
            async with http.post(server.endpoint, data=orjson.dumps(request), headers=headers) as answer:
                said = orjson.loads(await answer.read())
                if answer.status != 200 or said.get("Failed") or said.get("FailedRecordCount"):
                    raise RuntimeError(f"{target}: {answer.status} {said}")

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(put(http))
