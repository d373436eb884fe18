"""AWS for streamfn: SQS, Kinesis and DynamoDB Streams as sources; SQS, SNS, S3, EventBridge and Kinesis as
destinations; SQS and S3 as stores of dead letters; functions on Lambda; code in S3, and
secrets of Secrets Manager.

sqs://queue?region=eu-central-1&endpoint_url=http://127.0.0.1:4566, or the ARN of the queue
"""

from __future__ import annotations

from streamfn_aws.destinations import EventBridgeDestination as EventBridgeDestination
from streamfn_aws.destinations import KinesisDestination as KinesisDestination
from streamfn_aws.destinations import S3Destination as S3Destination
from streamfn_aws.destinations import SnsDestination as SnsDestination
from streamfn_aws.destinations import SqsDestination as SqsDestination
from streamfn_aws.dynamodb import DynamoDbStream as DynamoDbStream
from streamfn_aws.keys import KmsKey as KmsKey
from streamfn_aws.kinesis import KinesisStream as KinesisStream
from streamfn_aws.letters import DynamoDbFetcher as DynamoDbFetcher
from streamfn_aws.letters import KinesisFetcher as KinesisFetcher
from streamfn_aws.letters import S3Letters as S3Letters
from streamfn_aws.letters import SqsLetters as SqsLetters
from streamfn_aws.objects import AwsSecret as AwsSecret
from streamfn_aws.objects import S3Bucket as S3Bucket
from streamfn_aws.runtime import LambdaRuntime as LambdaRuntime
from streamfn_aws.sqs import SqsQueue as SqsQueue
