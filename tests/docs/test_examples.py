"""The examples say what they print, and this is what they print."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.servers.aws import KEY, REGION, SECRET, Ministack, run_ministack
from tests.servers.kafka import create_topic, run_kafka

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def ending(name: str) -> tuple[list[str], list[str]]:
    """Commands and expected lines of the comment that an example ends with."""
    said = []
    for line in reversed((EXAMPLES / name).read_text(encoding="utf-8").splitlines()):
        if not line.startswith("# "):
            break
        said.insert(0, line.removeprefix("# "))
    commands = [line.removeprefix("$ ") for line in said if line.startswith("$ ")]
    return commands, [line for line in said if not line.startswith("$ ")]


def environment(**more: str) -> Mapping[str, str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    here = os.pathsep.join((str(ROOT), str(ROOT / "connectors")))
    return os.environ | {"PATH": path, "PYTHONPATH": here, "PYTHONUNBUFFERED": "1"} | more


@contextmanager
def running(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], *, stop: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """A program, told to stop if it would not by itself: its exit code must be 0."""
    errors = folder / "stderr"
    with errors.open("w") as log:
        program = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert program.stdout is not None
    try:
        yield program
        if stop:
            program.send_signal(signal.SIGTERM)
        assert program.wait() == 0, errors.read_text()
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def printed(program: subprocess.Popen[str], count: int) -> list[str]:
    assert program.stdout is not None
    return [program.stdout.readline().rstrip("\n") for _ in range(count)]


@contextmanager
def started(name: str, folder: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """An example, run by the commands it ends with."""
    commands, _ = ending(name)
    shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    environ = environment(**variables)
    for command in commands[:-1]:
        subprocess.run(["sh", "-c", command], cwd=folder, env=environ, check=True, capture_output=True)
    last = commands[-1].split() if commands else [sys.executable, f"examples/{name}"]
    with running(last, folder, environ, stop=last[0] == "streamfn") as program:
        yield program


@pytest.mark.parametrize("name", ["quickstart.py", "local_queue.py"])
def test_an_example_prints_what_it_says(name: str, tmp_path: Path) -> None:
    _, expected = ending(name)
    with started(name, tmp_path) as program:
        assert printed(program, len(expected)) == expected


def test_embedded_in_aiohttp(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = environment(PORT=str(port), STATE_DIR=str(tmp_path / "state"))
    with running([sys.executable, str(EXAMPLES / "embed_aiohttp.py")], tmp_path, environ) as program:
        status, answer = posted(f"http://127.0.0.1:{port}/orders", b'{"item": "tea"}')
        assert status == 202
        assert UUID(json.loads(answer)["requestId"]).version == 4
        # Its log lines go to standard output too: structlog is as it comes.
        assert program.stdout is not None
        assert next(line for line in program.stdout if "packing tea" in line) == "packing tea\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as health:
            assert health.read() == b'{"pack:$LATEST": "Enabled"}'
    _, expected = ending("embed_aiohttp.py")
    assert expected == ["packing tea"]


def posted(url: str, body: bytes) -> tuple[int, str]:
    """Asks until somebody listens; pytest's timeout is the end of it."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    while True:
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise


@pytest.mark.integration
@pytest.mark.timeout(120)
def test_kafka(tmp_path: Path) -> None:
    with run_kafka() as server:
        address = server.bootstrap
        for topic in ("readings", "readings-failed"):
            asyncio.run(create_topic(address, topic))
        _, expected = ending("kafka.py")
        with started("kafka.py", tmp_path, KAFKA=f"kafka://{address}") as program:
            assert printed(program, len(expected)) == expected
            letter = asyncio.run(one_record(address, "readings-failed"))
        assert letter["requestContext"]["condition"] == "RetriesExhausted"
        assert letter["requestContext"]["approximateInvokeCount"] == 3


async def one_record(address: str, topic: str) -> dict[str, Any]:
    from aiokafka import AIOKafkaConsumer

    async with AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        record = await consumer.getone()
    return dict(json.loads(record.value))


@pytest.fixture
def aws() -> Iterator[Ministack]:
    with run_ministack() as server:
        yield server


def to(server: Ministack) -> Mapping[str, str]:
    """The variables by which the SDK finds it."""
    return {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@pytest.mark.integration
@pytest.mark.timeout(120)
def test_sqs_fifo(aws: Ministack, tmp_path: Path) -> None:
    async def make_queues() -> None:
        async with aws.client("sqs") as sqs:
            fifo = {"FifoQueue": "true"}
            dead = await sqs.create_queue(QueueName="transfers-dead.fifo", Attributes=fifo)
            known = await sqs.get_queue_attributes(QueueUrl=dead["QueueUrl"], AttributeNames=["QueueArn"])
            redrive = {"deadLetterTargetArn": known["Attributes"]["QueueArn"], "maxReceiveCount": 2}
            attributes = {**fifo, "RedrivePolicy": json.dumps(redrive)}
            await sqs.create_queue(QueueName="transfers.fifo", Attributes=attributes)

    asyncio.run(make_queues())
    _, expected = ending("sqs_fifo.py")
    with started("sqs_fifo.py", tmp_path, **to(aws)) as program:
        assert printed(program, len(expected)) == expected


@pytest.mark.integration
@pytest.mark.timeout(120)
def test_kinesis(aws: Ministack, tmp_path: Path) -> None:
    async def make_stream() -> None:
        async with aws.client("kinesis") as kinesis, aws.client("sqs") as sqs:
            await kinesis.create_stream(StreamName="readings", ShardCount=2)
            await sqs.create_queue(QueueName="readings-failed")

    asyncio.run(make_stream())
    _, expected = ending("kinesis.py")
    with started("kinesis.py", tmp_path, **to(aws)) as program:
        assert printed(program, len(expected)) == expected
        letter = asyncio.run(one_message(aws, "readings-failed"))
    assert letter["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert letter["requestContext"]["approximateInvokeCount"] == 2
    assert letter["KinesisBatchInfo"]["batchSize"] == 1


async def one_message(server: Ministack, queue: str) -> dict[str, Any]:
    async with server.client("sqs") as sqs:
        url = (await sqs.get_queue_url(QueueName=queue))["QueueUrl"]
        while True:  # pytest's timeout is the end of it
            answer = await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10)
            for message in answer.get("Messages", ()):
                return dict(json.loads(message["Body"]))


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_is_short_and_says_what_it_prints(example: str) -> None:
    text = (EXAMPLES / example).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert text.startswith('"""')
    assert ending(example)[1]
    assert not re.search(r"\bsleep\((?!0\.005)", text)
