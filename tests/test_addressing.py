"""Where ARNs lead, and with what: the endpoint map, as plans use it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamfn import App, planning
from streamfn.addressing import (
    arn_of,
    resolve_destination,
    resolve_name,
    resolve_source,
    same_cluster,
    without_access,
)
from streamfn.config import ConfigurationErrors, EventInvokeConfig, EventSourceMapping, Settings, endpoints_of
from streamfn.config.errors import problems
from streamfn.core.policies import Backoff
from streamfn.errors import ConfigurationError
from streamfn.functions import FunctionSpec
from streamfn.local import LocalDestination, LocalEvents, LocalQueue, LocalStream
from streamfn.planning import Setting
from streamfn.ports import Message, Subscription
from tests.waiting import PATIENCE

SQS = "arn:aws:sqs:eu-west-1:123456789012:orders"
KINESIS = "arn:aws:kinesis:eu-west-1:123456789012:stream/flights"
MSK = "arn:aws:kafka:eu-west-1:123456789012:cluster/orders/7f1e-1"

ENTRIES: list[dict[str, Any]] = [
    {"service": "kinesis", "region": "eu-west-1", "url": "local:"},
    {"service": "sqs", "name": "*.fifo", "url": "local:"},
    {
        "service": "sqs",
        "url": "http://127.0.0.1:4566",
        "access_key_id": "env:KEY",
        "secret_access_key": "env:SECRET",
    },
    {
        "service": "kafka",
        "name": "orders/*",
        "url": "a:9092,b:9092",
        "sasl_username": "me",
        "sasl_password": "p&w",
    },
    {"service": "kafka", "name": "10.0.*", "url": "c:9092"},
    {"service": "s3", "region": "eu-west-1", "url": "http://127.0.0.1:4566"},
]
MAP = endpoints_of(ENTRIES)


async def handler(event: object, context: object) -> None: ...


def setting(folder: Path, entries: Sequence[Any] = ENTRIES, **given: Any) -> Setting:
    functions = {"f": FunctionSpec("f", handler, 3.0), "g": FunctionSpec("g", handler, 3.0)}
    return Setting("app", folder, lambda: 1e9, functions, endpoints=endpoints_of(entries), **given)


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        (SQS, "orders"),
        (KINESIS, "flights"),
        (f"{KINESIS}/consumer/c:1", "flights"),
        ("arn:aws:dynamodb:eu-west-1:1:table/t/stream/2024-01-01T00:00:00.000", "t"),
        (MSK, "orders"),
        ("arn:aws:s3:::bucket/prefix", "bucket"),
        ("arn:aws:lambda:eu-west-1:1:function:f:live", "f"),
        ("arn:aws:events:eu-west-1:1:event-bus/default", "default"),
    ],
)
def test_the_name_in_an_arn(arn: str, name: str) -> None:
    found = arn_of(f"{arn}?x=y")
    assert found is not None
    assert (found.name, found.text) == (name, arn)


@pytest.mark.parametrize(
    ("uri", "resolved"),
    [
        (
            SQS,
            f"{SQS}?access_key_id=env:KEY&secret_access_key=env:SECRET&endpoint_url=http://127.0.0.1:4566",
        ),
        (f"{SQS}.fifo?wait_time_seconds=1", f"local:queue/orders.fifo?event_source_arn={SQS}.fifo"),
        (KINESIS, f"local:flights?event_source_arn={KINESIS}"),
        (f"{KINESIS}/consumer/c:1", f"local:flights?event_source_arn={KINESIS}/consumer/c:1"),
        (
            f"{MSK}?topic=t",
            f"kafka://a:9092,b:9092/t?sasl_username=me&sasl_password=p%26w&event_source_arn={MSK}",
        ),
        ("kafka://10.0.0.1:9092/t?client_id=x", "kafka://c:9092/t?client_id=x"),
        ("kafka://other:9092/t", "kafka://other:9092/t"),
        ("arn:aws:dynamodb:eu-west-1:1:table/t", "arn:aws:dynamodb:eu-west-1:1:table/t"),
        ("local:x", "local:x"),
    ],
)
def test_where_a_source_is(uri: str, resolved: str) -> None:
    assert resolve_source(uri, MAP) == resolved


@pytest.mark.parametrize(
    ("uri", "resolved"),
    [
        (KINESIS, "local:flights"),
        (f"{SQS}?endpoint_url=http://own:1&access_key_id=a&secret_access_key=b", None),
        ("arn:aws:lambda:eu-west-1:1:function:f:live", "function:f:live"),
        ("arn:aws:s3:::bucket", "arn:aws:s3:::bucket?endpoint_url=http://127.0.0.1:4566&region=eu-west-1"),
        (f"{MSK}?topic=dead", "kafka://a:9092,b:9092/dead?sasl_username=me&sasl_password=p%26w"),
        ("arn:aws:sns:eu-west-1:1:t", "arn:aws:sns:eu-west-1:1:t"),
    ],
)
def test_where_a_destination_is(uri: str, resolved: str | None) -> None:
    found = resolve_destination(uri, MAP)
    if resolved is None:
        # What is written with the ARN goes first.
        assert "endpoint_url=http://own:1" in found
        assert "env:KEY" not in found
    else:
        assert found == resolved


def test_a_bucket_is_known_by_its_name() -> None:
    assert resolve_name("s3", "code", MAP) == "s3://code?endpoint_url=http://127.0.0.1:4566&region=eu-west-1"
    assert resolve_name("secretsmanager", "s", MAP) == "secretsmanager://s"


def test_an_msk_cluster_that_no_entry_knows_is_refused(tmp_path: Path) -> None:
    mapping = EventSourceMapping.load({"FunctionName": "f", "EventSourceArn": MSK, "Topics": ["t"]})
    assert (mapping.source, mapping.name) == (f"{MSK}?topic=t", "f-t")
    with pytest.raises(
        ConfigurationError, match="add {service: kafka, name: orders, url: 'HOST:9092'}"
    ) as caught:
        planning.source_of(setting(tmp_path, []), mapping)
    assert caught.value.field == "EventSourceArn"


def test_an_msk_cluster_needs_a_topic() -> None:
    with pytest.raises(ConfigurationError, match="Topics: .* names a cluster and no topic"):
        resolve_source(MSK, MAP)


def test_failures_go_to_a_topic_of_the_same_cluster() -> None:
    def mapping(topic: str) -> EventSourceMapping:
        body = {"FunctionName": "f", "EventSourceArn": MSK, "Topics": ["t"]}
        return EventSourceMapping.load(body | {"OnFailure": f"kafka://{topic}"})

    assert mapping("dead").on_failure == f"{MSK}?topic=dead"
    with pytest.raises(ConfigurationErrors, match="is the topic that the mapping reads"):
        mapping("t")


def test_topics_are_of_one_cluster_by_any_broker() -> None:
    assert same_cluster("kafka://a:1,b:1/x?y=z", "kafka://b:1/q")
    assert not same_cluster("kafka://a:1/x", "kafka://b:1/x")
    assert not same_cluster("local:x", "local:x")
    assert without_access("kafka://a:1/x?sasl_password=p&ssl_cafile=f&fetch_max_wait=1") == (
        "kafka://a:1/x?fetch_max_wait=1"
    )


@pytest.mark.parametrize(
    ("uri", "resolved"),
    [
        ("sqs://orders", "sqs://orders?endpoint_url=http://eu:1&region=eu-west-1"),
        # What a URI says of its region picks the entry.
        ("sqs://orders?region=us-east-1", "sqs://orders?endpoint_url=http://rest:1&region=us-east-1"),
        ("sqs://123456789012/orders?region=ap-east-1", None),
        ("sqs:orders?endpoint_url=http://own:1", "sqs:orders?endpoint_url=http://own:1&region=eu-west-1"),
        ("sns://123456789012/topic", "sns://123456789012/topic?profile=other"),
        ("kinesis://flights?consumer=c", "local:flights"),
        ("kinesis://clicks", "kinesis://clicks?endpoint_url=http://rest:1"),
        ("sqs://kept.fifo?wait_time_seconds=1", "local:queue/kept.fifo"),
        ("s3://code/dead/letters", "s3://code/dead/letters?endpoint_url=http://store:1"),
        # Words of ARNs are names elsewhere.
        ("s3://stream/code", "s3://stream/code?endpoint_url=http://rest:1"),
        ("dynamodb://table", "dynamodb://table?endpoint_url=http://table:1"),
        ("eventbridge://bus", "eventbridge://bus?endpoint_url=http://events:1"),
        ("events://bus", "events://bus?endpoint_url=http://events:1"),
        ("local:orders", "local:orders"),
        ("log:", "log:"),
        ("file:sqs://orders", "file:sqs://orders"),
    ],
)
def test_names_are_found_as_arns_are(uri: str, resolved: str | None) -> None:
    entries = endpoints_of(
        [
            {"service": "sqs", "name": "kept.*", "url": "local:"},
            {"service": "kinesis", "name": "flights", "url": "local:"},
            {"service": "sqs", "region": "eu-west-1", "url": "http://eu:1"},
            {"service": "sqs", "region": "ap-east-1", "account": 210987654321, "url": "http://other:1"},
            {"account": 123456789012, "service": "sns", "profile": "other"},
            {"service": "s3", "name": "code", "url": "http://store:1"},
            {"service": "s3", "name": "code/*", "url": "http://wrong:1"},
            {"service": "dynamodb", "name": "table", "url": "http://table:1"},
            {"service": "events", "url": "http://events:1"},
            {"url": "http://rest:1"},
        ]
    )
    wanted = f"{uri}&endpoint_url=http://rest:1" if resolved is None else resolved
    for resolve in (resolve_source, resolve_destination):
        place, _, query = resolve(uri, entries).partition("?")
        assert (place, set(query.split("&"))) == (
            wanted.partition("?")[0],
            set(wanted.partition("?")[2].split("&")),
        )


def test_a_name_leads_an_app_where_its_arn_does(tmp_path: Path) -> None:
    here = setting(tmp_path, [{"url": "local:"}])
    source, kind = planning.source_of(
        here, EventSourceMapping.load({"function": "f", "source": "sqs://orders.fifo"})
    )
    assert isinstance(source, LocalQueue)
    assert kind.name == "FIFO queue"
    assert isinstance(planning.destination_of(here, "kinesis://flights"), LocalDestination)


async def test_the_function_sees_the_arn_of_a_queue_that_the_broker_stands_in_for(tmp_path: Path) -> None:
    arn = f"{SQS}.fifo"
    mapping = EventSourceMapping.load({"function": "f", "source": arn})
    source, kind = planning.source_of(setting(tmp_path), mapping)
    assert isinstance(source, LocalQueue)
    assert kind.name == "FIFO queue"
    destination = planning.destination_of(setting(tmp_path), arn)
    assert isinstance(destination, LocalDestination)
    await destination.send([Message(b"1", key="g")])
    async with source.open() as shard:
        records = await shard.read(10, 5.0)
        event = shard.shape.to_event(records)
    await destination.close()
    (record,) = event["Records"]
    assert (record["eventSourceARN"], record["awsRegion"], record["body"]) == (arn, "eu-west-1", "1")


async def test_the_function_sees_the_arn_of_a_stream_that_the_broker_stands_in_for(tmp_path: Path) -> None:
    mapping = EventSourceMapping.load({"function": "f", "source": KINESIS})
    source, _ = planning.source_of(setting(tmp_path), mapping)
    assert isinstance(source, LocalStream)
    destination = planning.destination_of(setting(tmp_path), KINESIS)
    assert destination is not None
    await destination.send([Message(b"1", key="k")])
    seen: list[Any] = []
    async with source.shards(Subscription("g")) as changes:
        async for change in changes:
            records = await change.shard.read(10, 0.0)  # type: ignore[union-attr]
            if records:
                seen += change.shard.shape.to_event(records)["Records"]  # type: ignore[union-attr]
                break
    await destination.close()
    assert [(one["eventSourceARN"], one["awsRegion"]) for one in seen] == [(KINESIS, "eu-west-1")]


def test_the_arn_of_a_function_is_that_function_here(tmp_path: Path) -> None:
    found = planning.destination_of(setting(tmp_path), "arn:aws:lambda:eu-west-1:123456789012:function:g")
    assert found is not None
    assert found.name == "function:g"
    with pytest.raises(ConfigurationError, match="Function does not exist"):
        planning.destination_of(setting(tmp_path), "arn:aws:lambda:eu-west-1:123456789012:function:other")


async def test_an_app_reads_and_sends_by_arn(tmp_path: Path) -> None:
    stream = f"{KINESIS}-2"
    settings = {"stream.retry_backoff.first": 0, "async": {"first_retry_delay": 0}}
    app = App(state_dir=tmp_path, endpoints=[{"url": "local:"}], settings=settings)
    got, failed = asyncio.Event(), asyncio.Event()
    seen: list[Any] = []

    @app.function
    async def reads(event: Any, context: object) -> None:
        seen.append(event["Records"][0]["eventSourceARN"])
        if seen[-1] == stream:
            raise ValueError("no")
        got.set()

    @app.function
    async def takes(event: Any, context: object) -> None:
        seen.append(event["KinesisBatchInfo"]["streamArn"])
        failed.set()

    app.event_source_mapping("reads", SQS)
    to = "arn:aws:lambda:eu-west-1:123456789012:function:takes"
    app.event_source_mapping("reads", stream, maximum_retry_attempts=1, on_failure=to)
    async with app:
        for arn in (SQS, stream):
            destination = app.destination_of(arn)
            assert destination is not None
            await destination.send([Message(b"1", key="k")])
            await destination.close()
        async with asyncio.timeout(PATIENCE):
            await got.wait()
            await failed.wait()
    assert sorted(seen) == sorted([SQS, stream, stream, stream])


# ------------------------------------------------------------------------------------------------ settings


def test_settings_are_the_delays_of_plans(tmp_path: Path) -> None:
    given = Settings.parse(
        [
            "async.first_retry_delay=1",
            "async.maximum_event_age=5",
            "stream.retry_backoff.first=0.1",
            "throttling.first=0.2",
            "kafka.batching_window=0",
        ]
    )
    here = setting(tmp_path, settings=given)
    plan = planning.mapping_plan(here, EventSourceMapping.load({"function": "f", "source": "local:s"}))
    assert plan.delivery.backoff == Backoff(0.1, 2.0, 60.0)
    assert plan.delivery.throttle_backoff == Backoff(0.2, 2.0, 300.0)
    events = LocalEvents(tmp_path, clock=lambda: 1e9).source("f")
    plan = planning.event_plan(here, EventInvokeConfig.load({"function": "f"}), None, events)
    assert [plan.delivery.backoff.delay(n) for n in (1, 2, 3)] == [1.0, 120.0, 120.0]
    assert plan.delivery.maximum_record_age == 5.0
    kafka = EventSourceMapping.load({"function": "f", "source": "kafka://a:9092/t"})
    assert kafka.batch_policy(planning.source_of(here, kafka)[1]).window == 0.0


def test_what_a_mapping_says_goes_before_settings(tmp_path: Path) -> None:
    here = setting(
        tmp_path, settings=Settings.parse(["async.first_retry_delay=1", "stream.retry_backoff.first=9"])
    )
    mapping = EventSourceMapping.load({"function": "f", "source": "local:s", "RetryBackoff": {"First": 1}})
    assert planning.mapping_plan(here, mapping).delivery.backoff == Backoff()
    config = EventInvokeConfig.load({"function": "f", "RetryDelays": [60], "MaximumEventAgeInSeconds": 60})
    plan = planning.event_plan(here, config, None, LocalEvents(tmp_path, clock=lambda: 1e9).source("f"))
    assert (plan.delivery.backoff.delay(1), plan.delivery.maximum_record_age) == (60.0, 60.0)


def test_without_settings_plans_are_as_ever(tmp_path: Path) -> None:
    here = setting(tmp_path)
    mapping = EventSourceMapping.load({"function": "f", "source": "local:s"})
    _, kind = planning.source_of(here, mapping)
    assert planning.mapping_plan(here, mapping).delivery == mapping.delivery_policy(kind)
    config = EventInvokeConfig.load({"function": "f"})
    plan = planning.event_plan(here, config, None, LocalEvents(tmp_path, clock=lambda: 1e9).source("f"))
    assert plan.delivery == config.delivery_policy()


def test_options_of_sources_come_from_settings(tmp_path: Path) -> None:
    here = setting(
        tmp_path, settings=Settings.parse(["sqs.wait_time=1", "kinesis.poll_interval=0.25"]), entries=[]
    )
    queue, _ = planning.source_of(here, EventSourceMapping.load({"function": "f", "source": SQS}))
    stream, _ = planning.source_of(here, EventSourceMapping.load({"function": "f", "source": KINESIS}))
    own, _ = planning.source_of(
        here, EventSourceMapping.load({"function": "f", "source": f"{SQS}?wait_time_seconds=7"})
    )
    assert [source._wait_time for source in (queue, own)] == [1, 7]  # type: ignore[union-attr]
    assert stream._how.poll_interval == 0.25  # type: ignore[union-attr]


def test_a_problem_has_its_place() -> None:
    with pytest.raises(ConfigurationErrors) as caught:
        EventSourceMapping.load({"function": "f", "EventSourceArn": MSK}, "app.py:7")
    assert [error.where for error in problems(caught.value)] == ["app.py:7"]
