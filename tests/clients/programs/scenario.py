"""A system made with boto3 alone, on AWS's queues, streams and topics: records flow, fail, bisect and end up
where failures go.
"""

from __future__ import annotations

import json
from typing import Any

import checks
from checks import api, client, create, refused, unique, until

sqs, sns, kinesis, s3 = client("sqs"), client("sns"), client("kinesis"), client("s3")

# What it has done it tells a queue, as any program that speaks SQS's query protocol.
TELLS = """
import base64, json, os, urllib.parse, urllib.request

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

def tell(text):
    asked = {"Action": "SendMessage", "Version": "2012-11-05", "MessageBody": text}
    request = urllib.request.Request(os.environ["TOLD"], urllib.parse.urlencode(asked).encode())
    with _open(request, timeout=5) as answer:
        answer.read()
"""
OF_RECORDS = (
    TELLS
    + """
def handler(event, context):
    values = [base64.b64decode(record["kinesis"]["data"]).decode() for record in event["Records"]]
    if "poison" in values:
        raise ValueError("poison")
    for value in values:
        tell(value)
"""
)
OF_MESSAGES = (
    TELLS
    + """
def handler(event, context):
    failed = []
    for record in event["Records"]:
        if record["body"] == "bad":
            failed.append({"itemIdentifier": record["messageId"]})
        else:
            tell(record["body"])
    return {"batchItemFailures": failed}
"""
)
OF_EVENTS = """
def handler(event, context):
    if event.get("fail"):
        raise ValueError("as told")
    return {"did": event}
"""


class Queue:
    """A queue, and what has come of it so far."""

    def __init__(self, **attributes: str) -> None:
        self.url = sqs.create_queue(QueueName=unique("queue"), Attributes=attributes)["QueueUrl"]
        asked = sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self.arn = asked["Attributes"]["QueueArn"]
        self.came: list[dict[str, Any]] = []

    def bodies(self) -> list[str]:
        """All that has come, in order; asks once more."""
        asked = {"MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
        for message in sqs.receive_message(QueueUrl=self.url, **asked).get("Messages", []):
            self.came.append(message)
            sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in self.came]


def enabled(mapping: Any) -> Any:
    def found() -> Any:
        answer = api.get_event_source_mapping(UUID=mapping["UUID"])
        return answer if answer["State"] == "Enabled" else None

    return until(found)


def away(mapping: Any) -> None:
    api.delete_event_source_mapping(UUID=mapping["UUID"])

    def gone() -> bool:
        try:
            api.get_event_source_mapping(UUID=mapping["UUID"])
        except api.exceptions.ResourceNotFoundException:
            return True
        return False

    until(gone)


def check_records_of_a_stream_are_bisected_until_one_is_left() -> None:
    told, failed = Queue(), Queue()
    topic = sns.create_topic(Name=unique("failed"))["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=failed.arn)
    stream = unique("orders")
    kinesis.create_stream(StreamName=stream, ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 0.1})
    source = kinesis.describe_stream(StreamName=stream)["StreamDescription"]["StreamARN"]
    values = ["a", "b", "c", "d", "poison", "e", "f", "g"]
    sent = [
        kinesis.put_record(StreamName=stream, Data=value.encode(), PartitionKey="k")["SequenceNumber"]
        for value in values
    ]
    name = create(OF_RECORDS, Environment={"Variables": {"TOLD": told.url}}, Timeout=10)
    mapping = api.create_event_source_mapping(
        FunctionName=name,
        EventSourceArn=source,
        StartingPosition="TRIM_HORIZON",
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": topic}},
    )
    enabled(mapping)
    (letter,) = until(failed.bodies, 30)
    record = json.loads(json.loads(letter)["Message"])
    assert record["requestContext"]["condition"] == "RetryAttemptsExhausted", record
    assert record["requestContext"]["functionArn"] == checks.arn("function", name)
    batch = record["KinesisBatchInfo"]
    assert (batch["batchSize"], batch["startSequenceNumber"]) == (1, sent[4]), batch
    assert batch["streamArn"] == source
    until(lambda: set(told.bodies()) == {*values} - {"poison"}, 20)
    assert told.bodies() == [value for value in values if value != "poison"]
    found = api.get_event_source_mapping(UUID=mapping["UUID"])
    assert found["LastProcessingResult"] == "OK", found
    away(mapping)


def check_messages_that_fail_go_to_the_dead_letter_queue() -> None:
    told, dead = Queue(), Queue()
    redrive = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 2})
    jobs = Queue(VisibilityTimeout="2", RedrivePolicy=redrive)
    name = create(OF_MESSAGES, Environment={"Variables": {"TOLD": told.url}}, Timeout=2)
    mapping = api.create_event_source_mapping(
        FunctionName=name,
        EventSourceArn=jobs.arn,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        FilterCriteria={"Filters": [{"Pattern": json.dumps({"body": [{"anything-but": ["ignored"]}]})}]},
    )
    enabled(mapping)
    for body in ("one", "bad", "ignored", "two"):
        sqs.send_message(QueueUrl=jobs.url, MessageBody=body)
    until(lambda: set(told.bodies()) == {"one", "two"})
    until(lambda: dead.bodies() == ["bad"])
    assert "ignored" not in told.bodies()
    away(mapping)


def check_events_reach_their_destinations() -> None:
    succeeded, failed, dead = Queue(), Queue(), Queue()
    bucket = unique("failed")
    s3.create_bucket(Bucket=bucket)
    name = create(OF_EVENTS, Publish=True, DeadLetterConfig={"TargetArn": dead.arn})
    put = api.put_function_event_invoke_config
    to = {"OnSuccess": {"Destination": succeeded.arn}, "OnFailure": {"Destination": failed.arn}}
    put(FunctionName=name, MaximumRetryAttempts=0, DestinationConfig=to)
    to = {"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}}
    put(FunctionName=name, Qualifier="1", MaximumRetryAttempts=0, DestinationConfig=to)
    said = api.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"n": 1}')
    (body,) = until(succeeded.bodies)
    record = json.loads(body)
    assert record["responsePayload"] == {"did": {"n": 1}}, record
    assert record["requestContext"]["condition"] == "Success"
    assert record["requestContext"]["requestId"] == said["ResponseMetadata"]["RequestId"]
    assert record["requestContext"]["functionArn"] == f"{checks.arn('function', name)}:$LATEST"

    said = api.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"fail": 1}')
    (body,) = until(failed.bodies)
    record = json.loads(body)
    assert record["requestContext"]["condition"] == "RetriesExhausted", record
    assert record["requestContext"]["approximateInvokeCount"] == 1
    assert record["responsePayload"]["errorMessage"] == "as told"
    (body,) = until(dead.bodies)
    assert json.loads(body) == {"fail": 1}
    attributes = {key: each["StringValue"] for key, each in dead.came[0]["MessageAttributes"].items()}
    assert attributes["RequestID"] == said["ResponseMetadata"]["RequestId"]
    assert (attributes["ErrorCode"], attributes["ErrorMessage"]) == ("200", "as told")

    api.invoke(FunctionName=name, Qualifier="1", InvocationType="Event", Payload=b'{"fail": 2}')
    (written,) = until(lambda: s3.list_objects_v2(Bucket=bucket).get("Contents"))
    assert written["Key"].startswith(f"aws/lambda/async/{name}/"), written
    record = json.loads(s3.get_object(Bucket=bucket, Key=written["Key"])["Body"].read())
    assert record["requestPayload"] == {"fail": 2}


def check_a_function_is_the_destination_of_another() -> None:
    told = Queue()
    last = create(TELLS + "\ndef handler(event, context):\n    tell(json.dumps(event['responsePayload']))\n",
        Environment={"Variables": {"TOLD": told.url}},
    )  # fmt: skip
    first = create(OF_EVENTS)
    api.put_function_event_invoke_config(
        FunctionName=first,
        DestinationConfig={"OnSuccess": {"Destination": checks.arn("function", last)}},
    )
    api.invoke(FunctionName=first, InvocationType="Event", Payload=b'{"n": 2}')
    assert until(told.bodies) == ['{"did": {"n": 2}}']


def check_code_of_a_bucket() -> None:
    bucket = unique("code")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a/b.zip", Body=checks.zipped(OF_EVENTS))
    name = create(Code={"S3Bucket": bucket, "S3Key": "a/b.zip"})
    assert json.loads(api.invoke(FunctionName=name, Payload=b'{"n": 3}')["Payload"].read()) == {
        "did": {"n": 3}
    }
    with refused("InvalidParameterValueException", status=400):
        create(Code={"S3Bucket": bucket, "S3Key": "nothing.zip"})


def check_sources_that_are_not_there() -> None:
    name = create(OF_EVENTS)
    with refused(
        "InvalidParameterValueException",
        "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS "
        "Error Message: The specified queue does not exist.",
        400,
    ):
        api.create_event_source_mapping(FunctionName=name, EventSourceArn=checks.arn("", "nothing", "sqs"))
    for source in (
        checks.arn("stream/nothing", "", "kinesis"),
        checks.arn("table/nothing/stream/2026-01-01T00:00:00.000", "", "dynamodb"),
    ):
        with refused("InvalidParameterValueException", f"Stream not found: {source}", 400):
            api.create_event_source_mapping(
                FunctionName=name, EventSourceArn=source, StartingPosition="TRIM_HORIZON"
            )


def check_a_mapping_follows_its_alias() -> None:
    told, jobs = Queue(), Queue()
    code = "def handler(event, context):\n    tell({!r})\n"
    variables = {"Variables": {"TOLD": told.url}}
    name = create(TELLS + code.format("old"), Environment=variables, Publish=True)
    api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    mapping = api.create_event_source_mapping(
        FunctionName=f"{name}:live", EventSourceArn=jobs.arn, BatchSize=1
    )
    enabled(mapping)
    sqs.send_message(QueueUrl=jobs.url, MessageBody="x")
    until(lambda: told.bodies() == ["old"])
    api.update_function_code(
        FunctionName=name, ZipFile=checks.zipped(TELLS + code.format("new")), Publish=True
    )
    checks.updated(name)
    sqs.send_message(QueueUrl=jobs.url, MessageBody="x")
    until(lambda: told.bodies() == ["old", "old"])
    api.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    sqs.send_message(QueueUrl=jobs.url, MessageBody="x")
    until(lambda: told.bodies() == ["old", "old", "new"])
    away(mapping)


checks.run(globals())
