"""Event shapes: what a function sees of one source's records, name for name as on AWS. Pure.

Records of local streams are shown as Kinesis records and messages of local queues as SQS messages, so that
handlers written for Lambda run as they are.
"""

from __future__ import annotations

from streamfn.core.events.dynamodb import DYNAMODB_FILTERING as DYNAMODB_FILTERING
from streamfn.core.events.dynamodb import DynamoDbRecord as DynamoDbRecord
from streamfn.core.events.dynamodb import DynamoDbShape as DynamoDbShape
from streamfn.core.events.invocation import FRESH as FRESH
from streamfn.core.events.invocation import EventRecord as EventRecord
from streamfn.core.events.invocation import History as History
from streamfn.core.events.invocation import InvocationShape as InvocationShape
from streamfn.core.events.kafka import KAFKA_FILTERING as KAFKA_FILTERING
from streamfn.core.events.kafka import KafkaRecord as KafkaRecord
from streamfn.core.events.kafka import KafkaShape as KafkaShape
from streamfn.core.events.kinesis import KINESIS_FILTERING as KINESIS_FILTERING
from streamfn.core.events.kinesis import KinesisShape as KinesisShape
from streamfn.core.events.shape import EventShape as EventShape
from streamfn.core.events.shape import FilterForm as FilterForm
from streamfn.core.events.sqs import SQS_FILTERING as SQS_FILTERING
from streamfn.core.events.sqs import SqsMessage as SqsMessage
from streamfn.core.events.sqs import SqsShape as SqsShape
