"""Sources and destinations on the way out: those of the embedded broker, and what AWS writes its own way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamfn.config import EventInvokeConfig, EventSourceMapping, FunctionConfig
from streamfn.templates import load
from streamfn.templates.exporting import exported
from tests.templates.test_exporting import FORMS, Form, again, back, by_name

EXAMPLE = Path(__file__).parents[2] / "examples" / "sam" / "template.yaml"
FUNCTION = FunctionConfig.load(
    {"InlineCode": "def handler(event, context): pass", "Handler": "index.handler", "Runtime": "python3.12"}
)


def everywhere(_arn: str) -> bool:
    return True


@pytest.mark.parametrize("form", FORMS)
def test_a_template_with_embedded_queues_comes_back(tmp_path: Path, form: Form) -> None:
    first = load(EXAMPLE).localised(everywhere)
    second = again(first, form, tmp_path).localised(everywhere)
    assert second.mappings == first.mappings
    assert second.event_invoke_configs == first.event_invoke_configs
    assert [told.sentence for told in second.not_honoured if "server" in told.sentence] == []


@pytest.mark.parametrize("form", FORMS)
def test_embedded_queues_and_streams_become_resources(tmp_path: Path, form: Form) -> None:
    queue = (
        "local:queue/orders.fifo?visibility_timeout=1.5&delay=2&retention=60&content_based_deduplication=true"
        "&max_receive_count=3&dead_letter=dead.fifo"
    )
    mappings = [
        EventSourceMapping.load({"FunctionName": "f", "Source": queue, "OnFailure": "local:queue/lost"}),
        EventSourceMapping.load({"FunctionName": "f", "Source": "local:clicks?shards=2&retention=90000"}),
        EventSourceMapping.load(
            {"FunctionName": "f", "Source": "local:stream/clicks?x=1&shards=a", "Name": "again"}
        ),
    ]
    config = EventInvokeConfig.load(
        {"FunctionName": "f", "OnSuccess": "local:clicks", "DeadLetterQueue": "local:queue/lost"}
    )
    done = exported(form, {"f": FUNCTION}, mappings, [config])
    assert done.left_out == (
        "mapping again: x of its source is left out",
        "mapping again: shards of its source is left out",
        "asynchronous invocation of f: its destination local:clicks has no ARN",
    )
    resources = done.template["Resources"]
    assert resources["OrdersQueue"] == {
        "Type": "AWS::SQS::Queue",
        "Properties": {
            "QueueName": "orders.fifo",
            "FifoQueue": True,
            "VisibilityTimeout": 2,
            "DelaySeconds": 2,
            "MessageRetentionPeriod": 60,
            "ContentBasedDeduplication": True,
            "RedrivePolicy": {
                "deadLetterTargetArn": {"Fn::GetAtt": ["DeadQueue", "Arn"]},
                "maxReceiveCount": 3,
            },
        },
    }
    assert resources["DeadQueue"]["Properties"] == {"QueueName": "dead.fifo", "FifoQueue": True}
    assert resources["ClicksStream"] == {
        "Type": "AWS::Kinesis::Stream",
        "Properties": {"Name": "clicks", "ShardCount": 2, "RetentionPeriodHours": 25},
    }
    assert "ScalingConfig" not in json.dumps(resources)
    template = back(done, tmp_path).localised(everywhere)
    sources = [str(mapping.source).partition("?")[0] for mapping in template.mappings]
    assert sources == ["local:queue/orders.fifo", "local:stream/clicks", "local:stream/clicks"]
    assert [mapping.on_failure for mapping in template.mappings] == ["local:queue/lost", None, None]
    assert template.event_invoke_configs[0].dead_letter_queue == "local:queue/lost"
    policies = json.dumps(done.template)
    assert "AWSLambdaSQSQueueExecutionRole" in policies
    assert "AWSLambdaKinesisExecutionRole" in policies


STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks"
CLUSTER = "arn:aws:kafka:us-east-1:000000000000:cluster/c/1"


@pytest.mark.parametrize(
    ("source", "on_failure"),
    [
        (f"{STREAM}?consumer=fast", None),
        (f"{CLUSTER}?topic=orders", f"{CLUSTER}?topic=dead"),
        ("kafka://a:9092,b:9092/orders", "kafka://a:9092,b:9092/dead"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_consumers_and_topics_for_failures_come_back(
    tmp_path: Path, form: Form, source: str, on_failure: str | None
) -> None:
    mapping = EventSourceMapping.load({"FunctionName": "f", "Source": source, "OnFailure": on_failure})
    done = exported(form, {"f": FUNCTION}, [mapping], ())
    assert done.left_out == ()
    (found,) = back(done, tmp_path).mappings
    assert by_name([found]) == by_name([mapping])


@pytest.mark.parametrize("form", FORMS)
def test_code_in_s3_comes_back(tmp_path: Path, form: Form) -> None:
    options = {"Handler": "a.b", "Runtime": "python3.12", "Layers": ["s3://code/l.zip"]}
    functions = {
        "plain": FunctionConfig.load({"CodeUri": "s3://code/a/b.zip", **options}),
        "version": FunctionConfig.load({"CodeUri": "s3://code/b.zip?versionId=a%3D1", **options}),
    }
    done = exported(form, functions, (), ())
    assert done.left_out == ()
    assert back(done, tmp_path).functions == functions
