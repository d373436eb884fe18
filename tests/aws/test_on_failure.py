"""Records that an app gives up arrive at real destinations, word for word as AWS writes them."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from streamfn import App, Batch
from streamfn.cli import logs
from streamfn.cli import put as command
from streamfn.ports import Destination
from streamfn.testing.memory import MemoryStream
from tests.aws.destinations import (
    BucketEnd,
    BusEnd,
    End,
    FifoEnd,
    QueueEnd,
    StreamEnd,
    TopicEnd,
    data,
)
from tests.servers.aws import ACCOUNT, KEY, REGION, SECRET, AwsServer

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class Always:
    """A function that fails, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, batch: Batch) -> None:
        self.calls += 1
        raise ValueError("no")


async def give_up(destination: Destination, *values: bytes, retries: int = 0, **options: Any) -> int:
    """Sends records through an app whose function always fails; how often it was called."""
    stream, function = MemoryStream("readings"), Always()
    stream.put(values, key="sensor-1")
    app = App(name="shop")
    app.function(name="f", batch=True)(function)
    app.event_source_mapping(
        "f", stream, name="m", maximum_retry_attempts=retries, on_failure=destination, **options
    )
    async with app:
        await stream.wait_done()
    return function.calls


def assert_metadata(document: dict[str, Any], attempts: int, first: str, last: str, size: int) -> None:
    assert re.fullmatch(UUID, document["requestContext"].pop("requestId"))
    assert re.fullmatch(INSTANT, document.pop("timestamp"))
    batch = document.pop("KinesisBatchInfo")
    for name in ("approximateArrivalOfFirstRecord", "approximateArrivalOfLastRecord"):
        assert re.fullmatch(INSTANT, batch.pop(name))
    assert batch == {
        "shardId": "shard-0",
        "startSequenceNumber": first,
        "endSequenceNumber": last,
        "batchSize": size,
        "streamArn": batch["streamArn"],
    }
    arn = document["requestContext"].pop("functionArn")
    assert arn.endswith(":function:f")
    assert document == {
        "requestContext": {
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": attempts,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
    }


@pytest.mark.parametrize("kind", [QueueEnd, FifoEnd])
async def test_a_queue_gets_the_metadata(aws: AwsServer, kind: type[End]) -> None:
    async with kind(aws) as end:
        assert await give_up(end.destination(), b"12.5", retries=1, batch_size=1) == 2
        (message,) = await end.received()
        assert_metadata(json.loads(message.body), 2, "0", "0", 1)
        assert not message.headers


async def test_a_topic_gets_it_as_the_message_of_a_notification(aws: AwsServer) -> None:
    class Wrapped(TopicEnd):
        raw = False

    async with Wrapped(aws) as end:
        await give_up(end.destination(), b"1", b"2", b"3")
        (message,) = await end.received()
        wrapper = json.loads(message.body)
        assert (wrapper["Type"], wrapper["TopicArn"]) == ("Notification", end.arn)
        assert_metadata(json.loads(wrapper["Message"]), 1, "0", "2", 3)


async def test_a_bucket_gets_the_event_too_under_the_name_that_aws_gives(aws: AwsServer) -> None:
    async with BucketEnd(aws) as end:
        await give_up(end.destination(), b"12.5", batch_size=1)
        (found,) = await end.received()
        pattern = rf"aws/lambda/({UUID})/shard-0/(\d{{4}}/\d\d/\d\d)/(\S{{10}})T\d\d\.\d\d\.\d\d-{UUID}"
        matched = re.fullmatch(pattern, found.key or "")
        assert matched is not None, found.key
        assert matched[2].replace("/", "-") == matched[3]
        document = json.loads(found.body)
        event = json.loads(document.pop("payload"))
        assert [data(record["kinesis"]["data"]) for record in event["Records"]] == [b"12.5"]
        assert document.pop("responsePayload")["errorMessage"] == "no"
        assert_metadata(document, 1, "0", "0", 1)


@pytest.mark.parametrize("kind", [BusEnd, StreamEnd])
async def test_a_bus_and_a_stream_get_each_record(aws: AwsServer, kind: type[End]) -> None:
    async with kind(aws) as end:
        await give_up(end.destination(), b"1", b"2", b"3")
        if isinstance(end, BusEnd):
            documents = [event["detail"] for event in await end.events()]
            documents.sort(key=lambda document: document["KinesisBatchInfo"]["startSequenceNumber"])
        else:
            messages = await end.received()
            assert {message.key for message in messages} == {"sensor-1"}
            documents = [json.loads(message.body) for message in messages]
        assert [document["requestContext"]["condition"] for document in documents] == ["RetriesExhausted"] * 3
        shown = [document["payload"]["Records"][0]["kinesis"]["data"] for document in documents]
        assert list(map(data, shown)) == [b"1", b"2", b"3"]


@pytest.mark.parametrize(("kind", "fits"), [(QueueEnd, True), (TopicEnd, False)])
async def test_a_payload_goes_along_where_it_is_asked_for_and_fits(
    aws: AwsServer, kind: type[End], fits: bool
) -> None:
    async with kind(aws) as end:
        await give_up(end.destination(failure_format="payload"), b"x" * 200_000)
        (message,) = await end.received()
        document = json.loads(message.body)
        assert ("payload" in document, "responsePayload" in document) == (fits, fits)
        for name in ("payload", "responsePayload"):
            document.pop(name, None)
        assert_metadata(document, 1, "0", "0", 1)


async def test_what_is_too_large_for_a_stream_is_dropped_only_where_that_is_told(aws: AwsServer) -> None:
    """The record beside it arrives."""
    async with StreamEnd(aws) as end:
        stream = end.destination()
        await give_up(stream, b"x" * 900_000, b"small", when_destination_fails="drop")
        (message,) = await end.received()
        payload = json.loads(message.body)["payload"]
        assert data(payload["Records"][0]["kinesis"]["data"]) == b"small"


# --------------------------------------------------------------------------------------- streamfn put

URIS = {
    QueueEnd: "sqs://{}",
    TopicEnd: f"sns://{ACCOUNT}/{{}}",
    BucketEnd: "s3://{}",
    BusEnd: "eventbridge://{}",
    StreamEnd: "kinesis://{}",
}


@pytest.mark.parametrize("kind", URIS, ids=lambda kind: kind.__name__)
async def test_put_sends_a_file(
    aws: AwsServer,
    kind: type[End],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    monkeypatch.setattr(logs, "configure", lambda level: None)
    lines = [b'{"carrier":"%d","text":"x"}' % number for number in range(25)]
    file = tmp_path / "flights.jsonl"
    file.write_bytes(b"\n".join([*lines, b"7" if kind is BusEnd else b'{"oops']))
    async with kind(aws) as end:
        place = URIS[kind].format(end.place)
        options = argparse.Namespace(
            destination=f"{place}?endpoint_url={aws.endpoint}&region={REGION}",
            file=str(file),
            format=None,
            key="carrier",
            batch=500,
            state_dir=None,
        )
        assert await to_thread.run_sync(command.put, options) == 1
        said = capsys.readouterr().err.splitlines()
        assert said[0].startswith("streamfn: line 26: ")
        assert said[1].startswith("25 records in ")
        if isinstance(end, BusEnd):
            assert sorted(int(event["detail"]["carrier"]) for event in await end.events()) == list(range(25))
            return
        received = await end.received()
        assert sorted(message.body for message in received) == sorted(lines)
        if kind is not TopicEnd:  # ministack's topics pass no groups on to standard queues
            assert {message.key for message in received} == {str(number) for number in range(25)}
