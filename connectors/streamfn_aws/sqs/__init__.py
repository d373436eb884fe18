"""SQS: queues as sources."""

from __future__ import annotations

from streamfn_aws.sqs.source import SqsQueue as SqsQueue
