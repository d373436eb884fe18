"""Messages for a function that takes its time: says when some have been done, and ends when all have."""

from __future__ import annotations

import sys

import checks
from checks import api, client, create, unique

COUNT = 60
CODE = """
import os, time, urllib.parse, urllib.request

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

def handler(event, context):
    for record in event["Records"]:
        asked = {"Action": "SendMessage", "Version": "2012-11-05", "MessageBody": record["body"]}
        _open(os.environ["TOLD"], urllib.parse.urlencode(asked).encode(), timeout=5).read()
        time.sleep(0.05)
"""

sqs = client("sqs")
told = sqs.create_queue(QueueName=unique("told"))["QueueUrl"]
jobs = sqs.create_queue(QueueName=unique("jobs"), Attributes={"VisibilityTimeout": "3"})["QueueUrl"]
source = sqs.get_queue_attributes(QueueUrl=jobs, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
name = create(CODE, Environment={"Variables": {"TOLD": told}}, Timeout=3)
api.create_event_source_mapping(
    FunctionName=name, EventSourceArn=source, BatchSize=5, ScalingConfig={"MaximumConcurrency": 2}
)
for number in range(COUNT):
    sqs.send_message(QueueUrl=jobs, MessageBody=str(number))

came: set[str] = set()


def have_come(count: int) -> bool:
    asked = sqs.receive_message(QueueUrl=told, MaxNumberOfMessages=10, VisibilityTimeout=300)
    came.update(message["Body"] for message in asked.get("Messages", []))
    return len(came) >= count


checks.until(lambda: have_come(5), 20)
checks.tell("some")
checks.until(lambda: have_come(COUNT), 40)
sys.exit(0 if came == {str(number) for number in range(COUNT)} else str(came))
