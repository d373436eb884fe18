"""Queues, topics, buckets, buses and streams of AWS as destinations."""

from streamfn_aws.destinations.eventbridge import EventBridgeDestination as EventBridgeDestination
from streamfn_aws.destinations.kinesis import KinesisDestination as KinesisDestination
from streamfn_aws.destinations.s3 import S3Destination as S3Destination
from streamfn_aws.destinations.sns import SnsDestination as SnsDestination
from streamfn_aws.destinations.sqs import SqsDestination as SqsDestination
