"""Which properties of which resources are used, which mean nothing here, and what is said of all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class NotHonoured:
    """Something that a template asks for and does not get."""

    where: str
    """File and line."""
    resource: str
    """Its logical name."""
    property: str
    """Empty: the resource as a whole."""
    sentence: str

    def __str__(self) -> str:
        name = f"{self.resource}.{self.property}" if self.property else self.resource
        return f"{self.where}: {name}: {self.sentence}"


USED: Final = ""
"""It is honoured, or means nothing where no AWS is."""
UNKNOWN: Final = "This property is not honoured."

_NETWORK: Final = "The function uses the network of this machine."
_VARIABLES: Final = "Stored variables are encrypted with streamfn's own key."
_LEFT_OUT: Final = "This is not supported: the mapping is left out."

_FUNCTION: Final = {
    "Architectures": "The function runs on the architecture of this machine.",
    "CapacityProviderConfig": "The function runs on this machine.",
    "Code": USED,
    "CodeSigningConfigArn": "Signatures of code are not looked at.",
    "DeadLetterConfig": USED,
    "Description": USED,
    "DurableConfig": "Durable functions are not supported: it runs as any other.",
    "Environment": USED,
    "EphemeralStorage": USED,
    "FileSystemConfigs": "No file system is mounted.",
    "FunctionName": USED,
    "FunctionScalingConfig": "The function runs on this machine.",
    "Handler": USED,
    "ImageConfig": USED,
    "KmsKeyArn": _VARIABLES,
    "Layers": USED,
    "LoggingConfig": USED,
    "MemorySize": USED,
    "PackageType": USED,
    "PublishToLatestPublished": "Versions are published where an alias needs them.",
    "RecursiveLoop": "Loops of functions are stopped in any case.",
    "ReservedConcurrentExecutions": USED,
    "Role": USED,
    "Runtime": USED,
    "RuntimeManagementConfig": "The runtime is the interpreter of this machine.",
    "SnapStart": "Environments are initialised anew, not restored.",
    "Tags": USED,
    "TenancyConfig": "Tenants share environments.",
    "Timeout": USED,
    "TracingConfig": USED,
    "VpcConfig": _NETWORK,
}
LEAVES_OUT: Final = {
    "TumblingWindowInSeconds": "Tumbling windows are not supported: the mapping is left out.",
    "DocumentDBEventSourceConfig": "DocumentDB is no source here: the mapping is left out.",
    "Queues": "Amazon MQ is no source here: the mapping is left out.",
}
"""Properties of mappings without which functions would see other events, or none."""
_MAPPING: Final = {
    "AmazonManagedKafkaEventSourceConfig": USED,
    "BatchSize": USED,
    "BisectBatchOnFunctionError": USED,
    "DestinationConfig": USED,
    "Enabled": USED,
    "EventSourceArn": USED,
    "FilterCriteria": USED,
    "FunctionName": USED,
    "FunctionResponseTypes": USED,
    "KmsKeyArn": USED,
    "LoggingConfig": "Logs of mappings are those of streamfn.",
    "MaximumBatchingWindowInSeconds": USED,
    "MaximumRecordAgeInSeconds": USED,
    "MaximumRetryAttempts": USED,
    "MetricsConfig": USED,
    "ParallelizationFactor": USED,
    "ProvisionedPollerConfig": USED,
    "ScalingConfig": USED,
    "SelfManagedEventSource": USED,
    "SelfManagedKafkaEventSourceConfig": USED,
    "SourceAccessConfigurations": USED,
    "StartingPosition": USED,
    "StartingPositionTimestamp": USED,
    "Tags": USED,
    "Topics": USED,
} | dict.fromkeys(LEAVES_OUT, USED)

PROPERTIES: Final[Mapping[str, Mapping[str, str]]] = {
    "AWS::Lambda::Alias": {
        "Description": USED,
        "FunctionName": USED,
        "FunctionVersion": USED,
        "Name": USED,
        "ProvisionedConcurrencyConfig": USED,
        "RoutingConfig": USED,
    },
    "AWS::Lambda::EventInvokeConfig": {
        "DestinationConfig": USED,
        "FunctionName": USED,
        "MaximumEventAgeInSeconds": USED,
        "MaximumRetryAttempts": USED,
        "Qualifier": USED,
    },
    "AWS::Lambda::EventSourceMapping": _MAPPING,
    "AWS::Lambda::Function": _FUNCTION,
    "AWS::Lambda::LayerVersion": {
        "CompatibleArchitectures": USED,
        "CompatibleRuntimes": USED,
        "Content": USED,
        "Description": USED,
        "LayerName": USED,
        "LicenseInfo": USED,
    },
    "AWS::Lambda::Version": {
        "CodeSha256": "The code is not compared.",
        "Description": USED,
        "FunctionName": USED,
        "ProvisionedConcurrencyConfig": "Give the alias its provisioned concurrency.",
        "RuntimePolicy": "The runtime is the interpreter of this machine.",
    },
    "AWS::SQS::Queue": {
        "ContentBasedDeduplication": USED,
        "DelaySeconds": USED,
        "FifoQueue": USED,
        "KmsMasterKeyId": USED,
        "MessageRetentionPeriod": USED,
        "QueueName": USED,
        "RedrivePolicy": USED,
        "SqsManagedSseEnabled": USED,
        "Tags": USED,
        "VisibilityTimeout": USED,
    },
    "AWS::Kinesis::Stream": {
        "Name": USED,
        "RetentionPeriodHours": USED,
        "ShardCount": USED,
        "StreamEncryption": USED,
        "StreamModeDetails": USED,
        "Tags": USED,
    },
}
"""Of the resources that are looked at. A property that is not here is told of as `UNKNOWN`."""

HARMLESS: Final = (
    "AWS::ApplicationAutoScaling::",
    "AWS::CDK::Metadata",
    "AWS::CloudFormation::WaitConditionHandle",
    "AWS::CloudWatch::",
    "AWS::CodeDeploy::",
    "AWS::EC2::",
    "AWS::IAM::",
    "AWS::KMS::",
    "AWS::Lambda::Permission",
    "AWS::Lambda::LayerVersionPermission",
    "AWS::Logs::LogGroup",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
)
"""Kinds of resources that mean nothing where no AWS is, by how they begin."""

BUILDING: Final = ("BuildMethod", "Dockerfile")
"""Metadata of SAM that say how code is built."""
NOT_BUILT: Final = "Nothing is built here: `sam build` does it, and writes a template that runs."

_NOT_MADE: Final = "is not created: what has this name in the place that the endpoints say is used."
SENTENCES: Final[Mapping[str, str]] = {
    "AWS::ApiGateway": "No API is served: call the function by Lambda's own API.",
    "AWS::DynamoDB::": f"The table {_NOT_MADE}",
    "AWS::Events::EventBus": f"The event bus {_NOT_MADE}",
    "AWS::Events::Rule": "Rules do not invoke functions.",
    # Registered when the mapping starts.
    "AWS::Kinesis::StreamConsumer": USED,
    "AWS::Kinesis::Stream": f"On a server the stream {_NOT_MADE}",
    "AWS::Lambda::Url": "No function URL is served: call the function by Lambda's own API.",
    "AWS::MSK::": f"The cluster {_NOT_MADE}",
    "AWS::S3::Bucket": f"The bucket {_NOT_MADE}",
    "AWS::SNS::Subscription": "Topics do not invoke functions, and no subscription is made.",
    "AWS::SNS::Topic": f"The topic {_NOT_MADE}",
    "AWS::SQS::Queue": f"On a server the queue {_NOT_MADE}",
    "AWS::Scheduler::": "Schedules do not invoke functions.",
    "AWS::SecretsManager::": "The secret is not created.",
}
"""What is said of resources as a whole, by how their kinds begin."""

EVENTS: Final[Mapping[str, str]] = {
    "AlexaSkill": "Alexa does not invoke the function.",
    "Api": "No API is served: call the function by Lambda's own API.",
    "CloudWatchEvent": "Rules do not invoke functions.",
    "CloudWatchLogs": "Logs do not invoke functions.",
    "Cognito": "Cognito does not invoke the function.",
    "EventBridgeRule": "Rules do not invoke functions.",
    "HttpApi": "No API is served: call the function by Lambda's own API.",
    "IoTRule": "Rules do not invoke functions.",
    "S3": "Buckets do not invoke functions.",
    "SNS": "Topics do not invoke functions.",
    "Schedule": "Schedules do not invoke functions.",
    "ScheduleV2": "Schedules do not invoke functions.",
}
"""SAM's kinds of events that are no sources here."""


def of_resource(kind: str) -> str:
    """What is said of a resource as a whole; empty: nothing."""
    if kind.startswith(HARMLESS):
        return ""
    said = next((sentence for start, sentence in SENTENCES.items() if kind.startswith(start)), None)
    if said is not None:
        return said
    return "" if kind in PROPERTIES else f"{kind} is not created."
