"""What becomes of a message at each destination, what is refused unsent, and what URIs may say."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest

from streamfn.errors import ConfigurationError, SourceError
from streamfn.ports import FailureFormat, Message
from streamfn_aws.destinations import (
    EventBridgeDestination,
    KinesisDestination,
    S3Destination,
    SnsDestination,
    SqsDestination,
)
from streamfn_aws.destinations.destination import AwsDestination
from streamfn_aws.destinations.sending import Entry, Refused

# ------------------------------------------------------------------------------------------ entries


def entry_of(destination: AwsDestination, message: Message) -> Entry:
    return destination._entry(0, message)


def request_of(destination: AwsDestination, message: Message) -> Mapping[str, Any]:
    return entry_of(destination, message).request


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Message(b""), "there is no body"),
        (Message(b"\xff"), "not UTF-8"),
        (Message(b"a\x00b"), r"U\+0000"),
        (Message("\uffff".encode()), r"U\+FFFF"),
        (Message(b"x" * (2**20 + 1)), "1048577 bytes, above the 1048576"),
        (Message(b"x" * 2**20, None, (("a", b"1"),)), "1048584 bytes"),
        (Message(b"x", None, (("AWS.x", b"1"),)), "no legal name"),
        (Message(b"x", None, (("a..b", b"1"),)), "no legal name"),
        (Message(b"x", None, (("Ü", b"1"),)), "no legal name"),
        (Message(b"x", None, (("a" * 257, b"1"),)), "no legal name"),
        (Message(b"x", None, (("a", b"1"), ("a", b"2"))), "comes twice"),
        (Message(b"x", None, (("a", b""),)), "is empty"),
        (Message(b"x", None, tuple((f"n{i}", b"1") for i in range(11))), "11 headers, above 10"),
    ],
)
def test_what_sqs_would_not_take_is_refused_unsent(message: Message, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        entry_of(SqsDestination("q"), message)


def test_headers_are_attributes_of_their_type_and_count_as_size() -> None:
    entry = entry_of(SqsDestination("q"), Message(b"12", None, (("a", "é".encode()), ("b.c", b"\xff\x00"))))
    assert entry.request == {
        "Id": "0",
        "MessageBody": "12",
        "MessageAttributes": {
            "a": {"DataType": "String", "StringValue": "é"},
            "b.c": {"DataType": "Binary", "BinaryValue": b"\xff\x00"},
        },
    }
    assert entry.size == 2 + len("aString") + 2 + len("b.cBinary") + 2
    assert entry.lane is None


def test_a_key_is_a_group_and_what_is_no_legal_one_goes_as_its_digest() -> None:
    hashed = sha256("Zürich 東京".encode()).hexdigest()
    standard, fifo = SqsDestination("q"), SqsDestination("q.fifo")
    assert "MessageGroupId" not in request_of(standard, Message(b"x"))
    assert request_of(SqsDestination("q", group="g"), Message(b"x"))["MessageGroupId"] == "g"
    assert request_of(standard, Message(b"x", "k"))["MessageGroupId"] == "k"
    for key, group in (("k", "k"), ("Zürich 東京", hashed), (None, "streamfn")):
        entry = entry_of(fifo, Message(b"x", key))
        assert entry.request["MessageGroupId"] == group
        assert entry.request["MessageDeduplicationId"] == sha256(b"x").hexdigest()
        assert entry.lane == (key or "streamfn")
    assert request_of(fifo, Message(b"x", "\udcff"))["MessageGroupId"] == sha256(b"\xff").hexdigest()


def test_a_header_names_the_deduplication_id() -> None:
    request = request_of(SqsDestination("q.fifo"), Message(b"x", "k", (("MessageDeduplicationId", b"7"),)))
    assert request["MessageDeduplicationId"] == "7"
    assert "MessageAttributes" not in request


def test_an_on_failure_record_goes_to_a_topic_without_what_does_not_fit() -> None:
    sns = SnsDestination("t", max_message_size=1024)
    record = b'{"requestContext":{"condition":"RecordAgeExceeded"},"payload":"%s","version":"1.0"}' % (
        b"x" * 999
    )
    bare = '{"requestContext":{"condition":"RecordAgeExceeded"},"version":"1.0"}'
    assert request_of(sns, Message(record))["Message"] == bare
    assert request_of(sns, Message(record[:1000]))["Message"] == record[:1000].decode()
    for refused in (b"x" * 1025, record.replace(b"condition", b"anything")):
        with pytest.raises(Refused, match="above the 1024"):
            entry_of(sns, Message(refused))
    with pytest.raises(Refused, match="above the 1048576"):
        entry_of(SqsDestination("q"), Message(record.replace(b"x", b"x" * 1100)))


@pytest.mark.parametrize("body", [b"", b"1", b"[{}]", b'"{}"', b"{", b"\xff"])
def test_an_event_has_an_object_as_its_detail(body: bytes) -> None:
    with pytest.raises(Refused, match="no JSON object"):
        entry_of(EventBridgeDestination("b"), Message(body))


def test_an_event_counts_all_its_text() -> None:
    bus = EventBridgeDestination("b", source="sß", detail_type="dd")
    assert entry_of(bus, Message(b"{}")).size == 3 + 2 + 2
    assert entry_of(bus, Message(b'{"a":"%s"}' % (b"x" * (2**20 - 13)))).size == 2**20
    with pytest.raises(Refused, match="1048577 bytes"):
        entry_of(bus, Message(b'{"a":"%s"}' % (b"x" * (2**20 - 12))))


@pytest.mark.parametrize(
    ("key", "partition_key"),
    [
        ("k", "k"),
        ("é" * 256, "é" * 256),
        ("é" * 257, sha256(("é" * 257).encode()).hexdigest()),
        ("\udcff", sha256(b"\xff").hexdigest()),
    ],
)
def test_a_key_is_a_partition_key(key: str, partition_key: str) -> None:
    entry = entry_of(KinesisDestination("s"), Message(b"x", key))
    assert (entry.request["PartitionKey"], entry.lane) == (partition_key, partition_key)


def test_records_without_a_key_go_anywhere() -> None:
    stream = KinesisDestination("s")
    first, second, empty = (entry_of(stream, Message(b"", key)) for key in (None, None, ""))
    assert len({entry.request["PartitionKey"] for entry in (first, second, empty)}) == 3
    assert first.lane is second.lane is empty.lane is None


def test_the_key_counts_for_the_size_of_a_record() -> None:
    with pytest.raises(Refused, match="1048577 bytes"):
        entry_of(KinesisDestination("s"), Message(b"x" * (2**20 - 1), "é"))
    large = KinesisDestination("s", max_record_size=2 * 2**20)
    assert entry_of(large, Message(b"x" * (2**20 - 1), "é")).size == 2**20 + 1


def test_an_object_is_called_by_name_key_or_chance() -> None:
    bucket = S3Destination("b/failed/today")
    assert request_of(bucket, Message(b"", "k", name="n"))["Key"] == "failed/today/n"
    assert request_of(bucket, Message(b"", "k"))["Key"] == "failed/today/k"
    chance = request_of(S3Destination("b"), Message(b""))["Key"]
    assert len(chance) == 36
    for key, reason in (("é" * 513, "1026 bytes"), ("\udcff", "not UTF-8")):
        with pytest.raises(Refused, match=reason):
            entry_of(S3Destination("b"), Message(b"", key))


class Said:
    """An `Api` that keeps what is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []

    async def call(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        self.calls.append((operation, parameters))
        return {"Entries": [{}], "QueueUrl": "url"}


@pytest.mark.anyio
async def test_a_bucket_may_have_to_be_of_an_account() -> None:
    bucket, said = S3Destination("b", expected_bucket_owner="123456789012"), Said()
    await bucket._look(said, "b")  # type: ignore[arg-type]
    await bucket._post(said, "b", [entry_of(bucket, Message(b"x", "k"))])  # type: ignore[arg-type]
    owner = {"Bucket": "b", "ExpectedBucketOwner": "123456789012"}
    assert said.calls == [("HeadBucket", owner), ("PutObject", owner | {"Key": "k", "Body": b"x"})]


@pytest.mark.anyio
async def test_a_queue_of_another_account_is_asked_for_there() -> None:
    said = Said()
    for place in ("123456789012/q", "arn:aws:sqs:eu-west-1:123456789012:q"):
        assert await SqsDestination(place)._find(said) == "url"  # type: ignore[arg-type]
    asked = {"QueueName": "q", "QueueOwnerAWSAccountId": "123456789012"}
    assert said.calls == [("GetQueueUrl", asked)] * 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
async def test_a_topic_of_an_account_is_known_without_asking(region: str, partition: str) -> None:
    said = Said()
    said.region = region  # type: ignore[attr-defined]
    found = await SnsDestination("123456789012/t")._find(said)  # type: ignore[arg-type]
    assert (found, said.calls) == (f"arn:{partition}:sns:{region}:123456789012:t", [])


@pytest.mark.anyio
async def test_without_credentials_it_is_said_what_to_do() -> None:
    queue = SqsDestination("q", region="us-east-1")
    with pytest.raises(ConfigurationError, match="set AWS_ACCESS_KEY_ID"):
        await queue.check()
    with pytest.raises(SourceError, match="sqs://q: .*set AWS_ACCESS_KEY_ID") as sent:
        await queue.send([Message(b"x")])
    assert not sent.value.retryable
    await queue.close()


@pytest.mark.parametrize(
    ("code", "fate"),
    [
        ("ThrottlingException", "again"),
        ("InternalFailure", "again"),
        ("AccessDeniedException", "mend"),
        ("MalformedDetail", "refused"),
        ("NotAuthorizedForSourceException", "refused"),
    ],
)
@pytest.mark.anyio
async def test_what_an_event_bus_says_of_an_entry(code: str, fate: str) -> None:
    class Failing(Said):
        async def call(self, operation: str, parameters: Mapping[str, Any]) -> Any:
            return {"Entries": [{"EventId": "1"}, {"ErrorCode": code, "ErrorMessage": "so"}]}

    bus = EventBridgeDestination("b")
    faults = await bus._post(Failing(), "b", [Entry(index, {}, 1) for index in range(2)])  # type: ignore[arg-type]
    assert list(faults) == [1]
    assert faults[1].refused is (fate == "refused")
    assert (faults[1].error is not None) is (fate == "mend")


# --------------------------------------------------------------------------------------------- URIs

ARN = "arn:aws:{}:eu-west-1:123456789012:{}"


@pytest.mark.parametrize(
    ("kind", "uri", "name"),
    [
        (SqsDestination, "sqs://q?group=g&failure_format=payload&timeout=2", "sqs://q"),
        (SqsDestination, "sqs://123456789012/q.fifo", "sqs://q.fifo"),
        (SqsDestination, ARN.format("sqs", "q") + "?transport=botocore", "sqs://q"),
        (SnsDestination, "sns://123456789012/t?max_message_size=1048576", "sns://t"),
        (SnsDestination, ARN.format("sns", "t"), "sns://t"),
        (S3Destination, "s3://b", "s3://b"),
        (S3Destination, "s3://b/p/q/?expected_bucket_owner=123456789012", "s3://b/p/q"),
        (S3Destination, "s3://b/a%20b", "s3://b/a b"),
        (S3Destination, "s3://123456789012/p", "s3://123456789012/p"),
        (S3Destination, "arn:aws:s3:::b", "s3://b"),
        (EventBridgeDestination, "eventbridge://b?source=s&detail_type=A%20b", "eventbridge://b"),
        (EventBridgeDestination, "events://b", "eventbridge://b"),
        (EventBridgeDestination, ARN.format("events", "event-bus/b"), "eventbridge://b"),
        (KinesisDestination, "kinesis://s?max_record_size=2000000", "kinesis://s"),
        (KinesisDestination, ARN.format("kinesis", "stream/s"), "kinesis://s"),
    ],
)
def test_uris_and_arns(kind: type[AwsDestination], uri: str, name: str) -> None:
    destination = kind.from_uri(uri, {"state_dir": "ignored"})
    assert destination.name == name
    assert name in repr(destination)


def test_formats_are_as_on_aws_unless_another_is_asked_for() -> None:
    expected = {
        SqsDestination: FailureFormat.METADATA,
        SnsDestination: FailureFormat.METADATA,
        S3Destination: FailureFormat.PAYLOAD,
        EventBridgeDestination: FailureFormat.RECORD,
        KinesisDestination: FailureFormat.RECORD,
    }
    for kind, style in expected.items():
        assert kind("x").failure_format is style
    assert SqsDestination("q", failure_format="record").failure_format is FailureFormat.RECORD


@pytest.mark.parametrize(
    ("kind", "uri", "said"),
    [
        (SqsDestination, "sqs://q?grup=g", "did you mean group"),
        (SqsDestination, "sqs://q?group=", "group: must be text"),
        (SqsDestination, "sqs://q?failure_format=xml", "take one of metadata, payload, record"),
        (SqsDestination, "sqs://q?timeout=0", "timeout: must be a number from 0.1"),
        (SqsDestination, ARN.format("sns", "t"), "is no queue"),
        (SqsDestination, "sqs://a/b", "is no queue"),
        (SnsDestination, "sns://t?max_message_size=2000000", "from 1024 to 1.04858e"),
        (KinesisDestination, "kinesis://s?max_record_size=1", "from 1024"),
        (
            KinesisDestination,
            ARN.format("kinesis", "s"),
            "is no stream. Fix: write its name or arn:aws:kinesis:REGION:ACCOUNT:stream/NAME",
        ),
        (EventBridgeDestination, ARN.format("events", "rule/b"), "is no event bus"),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(kind: type[AwsDestination], uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        kind.from_uri(uri, {})
    assert said in str(error.value)
    assert "Fix: " in str(error.value)
