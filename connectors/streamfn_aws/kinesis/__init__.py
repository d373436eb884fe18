"""Kinesis streams as sources: by polling, or by enhanced fan-out."""

from streamfn_aws.kinesis.source import KinesisStream as KinesisStream
