"""Streams of DynamoDB tables as sources."""

from streamfn_aws.dynamodb.source import DynamoDbStream as DynamoDbStream
