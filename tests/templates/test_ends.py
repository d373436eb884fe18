"""Sources and destinations as templates name them."""

from __future__ import annotations

from typing import Any

import pytest

from streamfn.templates.ends import destination, lost_options, service, source_options

_HERE = "${AWS::Region}:${AWS::AccountId}"
_MSK = "arn:aws:kafka:us-east-1:1:cluster/c/1"


@pytest.mark.parametrize(
    ("source", "properties"),
    [
        ("arn:aws:sqs:us-east-1:1:q", {"EventSourceArn": "arn:aws:sqs:us-east-1:1:q"}),
        ("sqs://q", {"EventSourceArn": {"Fn::Sub": f"arn:${{AWS::Partition}}:sqs:{_HERE}:q"}}),
        ("kinesis://s", {"EventSourceArn": {"Fn::Sub": f"arn:${{AWS::Partition}}:kinesis:{_HERE}:stream/s"}}),
        (
            f"{_MSK}?topic=t",
            {
                "EventSourceArn": _MSK,
                "Topics": ["t"],
                "AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"},
            },
        ),
        (
            "kafka://user@a:9092,b:9092/t?acks=all",
            {
                "SelfManagedEventSource": {"Endpoints": {"KafkaBootstrapServers": ["a:9092", "b:9092"]}},
                "Topics": ["t"],
                "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"},
            },
        ),
        ("dynamodb://table", None),
        ("local:queue/q", None),
        ("sqs://no name", None),
        (object(), None),
    ],
)
def test_a_source(source: Any, properties: Any) -> None:
    assert source_options(source, "g") == properties


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("arn:aws:sns:us-east-1:1:t", "arn:aws:sns:us-east-1:1:t"),
        ("kafka://failed", "kafka://failed"),
        ("function:f", {"Fn::GetAtt": ["F", "Arn"]}),
        ("function:f:live", {"Fn::Sub": "${F.Arn}:live"}),
        ("function:g", None),
        ("s3://bucket/prefix", {"Fn::Sub": "arn:${AWS::Partition}:s3:::bucket"}),
        ("eventbridge://bus", {"Fn::Sub": f"arn:${{AWS::Partition}}:events:{_HERE}:event-bus/bus"}),
        ("log:", None),
        (object(), None),
    ],
)
def test_a_destination(target: Any, named: Any) -> None:
    assert destination(target, {"f": "F"}) == named


def test_what_is_lost_and_which_service_it_is() -> None:
    assert lost_options("sqs://q?endpoint_url=x&topic=t") == ["endpoint_url"]
    assert lost_options(object()) == []
    assert service({"Fn::Sub": f"arn:${{AWS::Partition}}:sns:{_HERE}:t"}) == "sns"
    assert service("log:") == ""
