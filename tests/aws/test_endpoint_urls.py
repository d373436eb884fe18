"""`AWS_ENDPOINT_URL` and its kin, which the SDKs know: honoured by sources and destinations alike."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from streamfn.ports import Message
from streamfn_aws import KinesisStream, S3Destination, SnsDestination, SqsDestination, SqsQueue
from streamfn_aws.api import Api
from streamfn_aws.options import Connection
from tests.aws.queues import SqsEnd
from tests.servers.aws import KEY, REGION, SECRET, Ministack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

NOWHERE = "http://127.0.0.1:1"

VARIABLES = {
    "sqs": "SQS",
    "kinesis": "KINESIS",
    "dynamodb": "DYNAMODB",
    "dynamodbstreams": "DYNAMODB_STREAMS",
    "sns": "SNS",
    "s3": "S3",
    "events": "EVENTBRIDGE",
    "lambda": "LAMBDA",
    "secretsmanager": "SECRETS_MANAGER",
}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


async def endpoint_of(service: str, **options: Any) -> str:
    async with Api.shared(Connection.of(options), service) as api:
        return api.endpoint


@pytest.mark.parametrize(("service", "variable"), VARIABLES.items())
async def test_each_service_has_its_own(service: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert await endpoint_of(service) == "http://127.0.0.1:1"
    monkeypatch.setenv(f"AWS_ENDPOINT_URL_{variable}", "http://127.0.0.1:2")
    assert await endpoint_of(service) == "http://127.0.0.1:2"
    # What is said of the source goes first.
    assert await endpoint_of(service, endpoint_url="http://127.0.0.1:3") == "http://127.0.0.1:3"
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert "amazonaws.com" in await endpoint_of(service)


async def test_records_go_and_come_by_it(aws: Ministack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", aws.endpoint)
    async with AsyncExitStack() as resources:
        end = await SqsEnd(aws, await resources.enter_async_context(aws.client("sqs"))).create()
        destination = SqsDestination(end.arn)
        resources.push_async_callback(destination.close)
        assert not await destination.send([Message(b"1")])
        shard = await resources.enter_async_context(SqsQueue.from_uri(end.arn, {}).open())
        (record,) = await shard.read(1, 10.0)
        assert record.value == b"1"
        await shard.ack([record])


async def test_one_for_all_services(aws: Ministack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    name = aws.unique("all")
    async with aws.client("s3") as s3, aws.client("kinesis") as kinesis, aws.client("sns") as sns:
        await s3.create_bucket(Bucket=name)
        await kinesis.create_stream(StreamName=name, ShardCount=1)
        topic = (await sns.create_topic(Name=name))["TopicArn"]
    for end in (S3Destination(name), SnsDestination(topic), KinesisStream(name)):
        await end.check()
