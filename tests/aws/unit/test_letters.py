"""Messages as dead letters, and records between two sequence numbers: what no server gives on demand."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest

from streamfn.errors import SourceError
from streamfn.testing.clock import virtual_backend
from streamfn_aws import DynamoDbFetcher, KinesisFetcher
from streamfn_aws.letters.notifications import stored_of
from streamfn_aws.letters.ranges import range_of, records_between, said
from streamfn_aws.sqs.records import ReceivedMessage

pytestmark = pytest.mark.anyio

RECORD = json.dumps({"requestContext": {"condition": "RetryAttemptsExhausted"}, "version": "1.0"})
QUEUE = "arn:aws:sqs:us-east-1:123456789012:orders"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


def received(body: str, **attributes: str) -> ReceivedMessage:
    return ReceivedMessage(
        {
            "MessageId": "id-1",
            "ReceiptHandle": "receipt",
            "Body": body,
            "Attributes": {"SentTimestamp": "1700000000123", "ApproximateReceiveCount": "1", **attributes},
            "MessageAttributes": {"own": {"DataType": "String", "StringValue": "x"}},
        }
    )


def envelope(message: object, **more: Any) -> str:
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "22b80b92",
            "TopicArn": "arn:aws:sns:us-east-1:123456789012:failures",
            "Message": message,
            **more,
        }
    )


# ------------------------------------------------------------------------------------------ notifications


def test_the_envelope_is_taken_off_a_letter() -> None:
    letter = stored_of(received(envelope(RECORD)))
    assert (letter.body, letter.id, letter.receipt) == (RECORD.encode(), "id-1", "receipt")
    assert (letter.stored_at, letter.headers) == (1700000000.123, (("own", b"x"),))


def test_attributes_of_the_envelope_are_the_headers() -> None:
    attributes = {
        "RequestID": {"Type": "String", "Value": "id"},
        "ErrorCode": {"Type": "Number", "Value": "200"},
        "raw": {"Type": "Binary", "Value": b64encode(b"\xff").decode()},
    }
    letter = stored_of(received(envelope('{"a": 1}', MessageAttributes=attributes)))
    assert letter.body == b'{"a": 1}'
    assert letter.headers == (("RequestID", b"id"), ("ErrorCode", b"200"), ("raw", b"\xff"))


@pytest.mark.parametrize(
    "body",
    [
        RECORD,
        envelope('{"a": 1}'),
        envelope("no JSON"),
        envelope(7),
        envelope(None),
        envelope(RECORD, Type="UnsubscribeConfirmation"),
        envelope(RECORD, TopicArn=None),
        envelope(RECORD, MessageAttributes={"a": 3}),
        envelope(RECORD, MessageAttributes={"a": {"Type": "Binary", "Value": "no base64"}}),
        '"Notification"',
        '["Notification"]',
        '{"Type": "Notification"}',
        '{"Type": "Notification", "half',
    ],
)
def test_all_else_stays_as_it_is(body: str) -> None:
    letter = stored_of(received(body))
    assert (letter.body, letter.headers) == (body.encode(), (("own", b"x"),))


def test_what_failed_in_a_queue_stays_as_that_queue_had_it() -> None:
    letter = stored_of(received(envelope(RECORD), DeadLetterQueueSourceArn=QUEUE))
    assert (letter.body, letter.came_from) == (envelope(RECORD).encode(), QUEUE)


# ------------------------------------------------------------------------------------------------- ranges


class Answers:
    """A shard that answers as it is told, and gives no record twice."""

    def __init__(self, *answers: Mapping[str, Any], ends: bool = False) -> None:
        self.answers = list(answers)
        self.ends = ends
        self.asked = 0

    async def __call__(self, iterator: str) -> Mapping[str, Any]:
        assert iterator == str(self.asked)
        self.asked += 1
        answer = dict(self.answers.pop(0)) if self.answers else {"Records": []}
        if self.answers or not self.ends:
            answer["NextShardIterator"] = str(self.asked)
        return answer

    async def between(self, first: int, last: int) -> list[int]:
        wire = await records_between(self, "0", first, last, lambda record: record["n"])
        return [int(record["n"]) for record in wire]


def answer(*numbers: int, behind: int | None = None) -> dict[str, Any]:
    more = {} if behind is None else {"MillisBehindLatest": behind}
    return {"Records": [{"n": f"{number:030}"} for number in numbers], **more}


async def test_what_lies_between_comes_and_no_more_is_asked() -> None:
    shard = Answers(answer(3, 5, 6), answer(8, 9), answer(10))
    assert await shard.between(5, 9) == [5, 6, 8, 9]
    assert shard.asked == 2


async def test_of_what_was_trimmed_the_rest_comes() -> None:
    assert await Answers(answer(7, 9, 12)).between(5, 9) == [7, 9]
    assert await Answers(answer(12, 13)).between(5, 9) == []


async def test_the_end_may_be_missing() -> None:
    shard = Answers(answer(5, 6), answer(12))
    assert await shard.between(5, 9) == [5, 6]


async def test_answers_without_records_are_no_end_of_a_shard() -> None:
    empty = [answer(behind=1000)] * 40
    assert await Answers(*empty, answer(5, 9, behind=0)).between(5, 9) == [5, 9]
    assert await Answers(*[answer()] * 20, answer(5), *[answer()] * 20, answer(9)).between(5, 9) == [5, 9]


async def test_it_ends_where_nothing_more_is_to_come() -> None:
    shard = Answers(answer(5, behind=10), answer(behind=0))
    assert await shard.between(5, 9) == [5]
    assert shard.asked == 2
    silent = Answers(answer(5))
    assert await silent.between(5, 9) == [5]
    assert silent.asked == 26
    closed = Answers(answer(5), answer(), ends=True)
    assert await closed.between(5, 9) == [5]
    assert closed.asked == 2


def test_what_does_not_say_enough_is_refused() -> None:
    with pytest.raises(SourceError, match="x: the on-failure record does not say its shardId"):
        said({"shardId": 3}, "shardId", "x")
    with pytest.raises(SourceError, match="endSequenceNumber"):
        range_of({"startSequenceNumber": "1"}, "x")
    with pytest.raises(SourceError, match="1 to y are no sequence numbers"):
        range_of({"startSequenceNumber": "1", "endSequenceNumber": "y"}, "x")


# -------------------------------------------------------------------------------------------------- names


def test_names_of_streams_and_tables() -> None:
    stream, table = "arn:aws:kinesis:us-east-1:1:stream/s", "arn:aws:dynamodb:us-east-1:1:table/tab"
    for uri in ("kinesis://s?aggregated=true", stream, f"{stream}/consumer/c:1", f"{stream}?profile=p"):
        assert KinesisFetcher.from_uri(uri, {"state_dir": "x"}).name == "kinesis://s"
    for uri in ("dynamodb://tab", table, f"{table}/stream/2026-01-01T00:00:00.000"):
        assert DynamoDbFetcher.from_uri(uri, {}).name == "dynamodb://tab"
