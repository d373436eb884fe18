"""What the resources of a template are called: names, ARNs and other attributes, as AWS gives them. Pure.

A resource without a name of its own is called STACK-LOGICALID: what CloudFormation calls it, without the
chance part. The rules are those of the CloudFormation User Guide, "Return values" of each resource.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamfn.templates.language import OnlyAws, Scope
from streamfn.templates.parameters import text

LAMBDA: Final = "AWS::Lambda::"


class Published(str):
    """The version that an `AWS::Lambda::Version` of the template publishes: 1 in a new stack."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Stack:
    """Where a template is deployed to, as far as names tell."""

    name: str = "streamfn"
    region: str = "us-east-1"
    account: str = "000000000000"

    @property
    def partition(self) -> str:
        starts = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
        return next((name for start, name in starts.items() if self.region.startswith(start)), "aws")

    @property
    def suffix(self) -> str:
        return "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"

    def parameters(self) -> dict[str, Any]:
        """The pseudo parameters."""
        return {
            "AWS::Region": self.region,
            "AWS::AccountId": self.account,
            "AWS::StackName": self.name,
            "AWS::StackId": self.arn("cloudformation", f"stack/{self.name}/{self.name}"),
            "AWS::Partition": self.partition,
            "AWS::URLSuffix": self.suffix,
            "AWS::NotificationARNs": [],
        }

    def arn(self, service: str, name: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{name}"

    def arn_without_place(self, service: str, name: str) -> str:
        return f"arn:{self.partition}:{service}:::{name}"


class Resources:
    """The resources of a template by their logical names: `attribute` is what a Scope asks."""

    def __init__(self, resources: Mapping[str, Mapping[str, Any]], stack: Stack, scope: Scope) -> None:
        """`scope` evaluates the properties that names depend on; it need not know resources."""
        self._resources = resources
        self._stack = stack
        self._scope = Scope(scope.parameters, scope.mappings, scope.conditions, self.attribute)
        self._asking: list[str] = []

    @property
    def scope(self) -> Scope:
        """What expressions of these resources may speak of."""
        return self._scope

    def attribute(self, logical: str, attribute: str) -> Any:
        """An attribute, or what `Ref` gives. Raises KeyError for no resource, OnlyAws for what is unknown."""
        kind = text(self._resources[logical].get("Type"))
        known = _ATTRIBUTES.get(kind, {})
        work = known.get(attribute)
        if work is None and attribute == "Ref" and kind in _NAMES:
            return self.name(logical)
        if work is None:
            raise OnlyAws(
                f"only AWS knows what {logical}.{attribute} is", fix="take a parameter in its place"
            )
        return work(self, logical)

    def name(self, logical: str) -> str:
        """Its physical name."""
        resource = self._resources[logical]
        kind = text(resource.get("Type"))
        properties = resource.get("Properties") or {}
        given = self.property(logical, _NAMES[kind]) if kind in _NAMES else None
        if given:
            return text(given)
        name = f"{self._stack.name}-{logical}"
        if kind == "AWS::S3::Bucket":
            return name.lower()
        if kind == "AWS::Lambda::Function":
            return name[:64]
        fifo = "FifoQueue" if kind == "AWS::SQS::Queue" else "FifoTopic"
        is_fifo = kind in _FIFO and text(self._scope.value(properties.get(fifo, False))) == "true"
        return f"{name}.fifo" if is_fifo else name

    def property(self, logical: str, name: str) -> Any:
        """A property, evaluated; None where there is none."""
        properties = self._resources[logical].get("Properties") or {}
        if logical in self._asking:
            raise OnlyAws(f"the name of {logical} depends on itself")
        self._asking.append(logical)
        try:
            value = self._scope.value(properties.get(name))
        finally:
            self._asking.pop()
        return None if not isinstance(value, str | int | float | list | dict) else value

    def arn(self, service: str, logical: str, before: str = "") -> str:
        return self._stack.arn(service, before + self.name(logical))

    def plain_arn(self, service: str, logical: str) -> str:
        """Without region and account."""
        return self._stack.arn_without_place(service, self.name(logical))

    def role_arn(self, logical: str) -> str:
        return f"arn:{self._stack.partition}:iam::{self._stack.account}:role/{self.name(logical)}"

    def queue_url(self, logical: str) -> str:
        stack = self._stack
        return f"https://sqs.{stack.region}.{stack.suffix}/{stack.account}/{self.name(logical)}"

    def function_arn(self, logical: str, qualifier: Any) -> str:
        """Of the function that a version or an alias belongs to."""
        function = text(self.property(logical, "FunctionName"))
        whole = function if function.startswith("arn:") else self._stack.arn("lambda", f"function:{function}")
        return f"{whole}:{text(qualifier)}"


_Work = Callable[[Resources, str], Any]


def _arn(service: str, before: str = "") -> _Work:
    return lambda resources, logical: resources.arn(service, logical, before)


def _alias_arn(resources: Resources, logical: str) -> str:
    return resources.function_arn(logical, resources.property(logical, "Name"))


def _version_arn(resources: Resources, logical: str) -> str:
    return resources.function_arn(logical, 1)


def _layer_arn(resources: Resources, logical: str) -> str:
    return f"{resources.arn('lambda', logical, 'layer:')}:1"


def _cluster_arn(resources: Resources, logical: str) -> str:
    return f"{resources.arn('kafka', logical, 'cluster/')}/1"


def _consumer_arn(resources: Resources, logical: str) -> str:
    name = text(resources.property(logical, "ConsumerName"))
    return f"{text(resources.property(logical, 'StreamARN'))}/consumer/{name}:1"


def _log_group_arn(resources: Resources, logical: str) -> str:
    return f"{resources.arn('logs', logical, 'log-group:')}:*"


def _bucket_arn(resources: Resources, logical: str) -> str:
    return resources.plain_arn("s3", logical)


_NAMES: Final = {
    "AWS::DynamoDB::GlobalTable": "TableName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Events::EventBus": "Name",
    "AWS::Events::Rule": "Name",
    "AWS::IAM::Role": "RoleName",
    "AWS::Kinesis::Stream": "Name",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Lambda::LayerVersion": "LayerName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::MSK::Cluster": "ClusterName",
    "AWS::MSK::ServerlessCluster": "ClusterName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SSM::Parameter": "Name",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}
"""The property that names a resource."""

_FIFO: Final = ("AWS::SQS::Queue", "AWS::SNS::Topic")

# A table's own ARN stands for its newest stream, whose label nobody can know before.
_TABLE: Final[Mapping[str, _Work]] = {
    "Arn": _arn("dynamodb", "table/"),
    "StreamArn": _arn("dynamodb", "table/"),
}
_SECRET: Final = _arn("secretsmanager", "secret:")
_MACHINE: Final = _arn("states", "stateMachine:")

_ATTRIBUTES: Final[Mapping[str, Mapping[str, _Work]]] = {
    "AWS::DynamoDB::GlobalTable": _TABLE,
    "AWS::DynamoDB::Table": _TABLE,
    "AWS::Events::EventBus": {"Arn": _arn("events", "event-bus/"), "Name": Resources.name},
    "AWS::Events::Rule": {"Arn": _arn("events", "rule/")},
    "AWS::IAM::Role": {"Arn": Resources.role_arn},
    "AWS::Kinesis::Stream": {"Arn": _arn("kinesis", "stream/")},
    "AWS::Kinesis::StreamConsumer": dict.fromkeys(("Ref", "ConsumerARN"), _consumer_arn),
    "AWS::Lambda::Alias": {"Ref": _alias_arn, "AliasArn": _alias_arn},
    "AWS::Lambda::Function": {"Arn": _arn("lambda", "function:")},
    "AWS::Lambda::LayerVersion": {"Ref": _layer_arn, "LayerVersionArn": _layer_arn},
    "AWS::Lambda::Version": {
        "Ref": _version_arn,
        "FunctionArn": _version_arn,
        "Version": lambda _resources, _logical: Published("1"),
    },
    "AWS::Logs::LogGroup": {"Arn": _log_group_arn},
    "AWS::MSK::Cluster": dict.fromkeys(("Ref", "Arn"), _cluster_arn),
    "AWS::MSK::ServerlessCluster": dict.fromkeys(("Ref", "Arn"), _cluster_arn),
    "AWS::S3::Bucket": {"Arn": _bucket_arn},
    "AWS::SNS::Topic": {"Ref": _arn("sns"), "TopicArn": _arn("sns"), "TopicName": Resources.name},
    "AWS::SQS::Queue": {
        "Ref": Resources.queue_url,
        "Arn": _arn("sqs"),
        "QueueName": Resources.name,
        "QueueUrl": Resources.queue_url,
    },
    "AWS::SSM::Parameter": {"Value": lambda resources, logical: resources.property(logical, "Value")},
    "AWS::SecretsManager::Secret": {"Ref": _SECRET, "Id": _SECRET},
    "AWS::StepFunctions::StateMachine": {"Ref": _MACHINE, "Arn": _MACHINE},
}
"""What is known of each kind of resource. `Ref` is the physical name where nothing else is said."""
