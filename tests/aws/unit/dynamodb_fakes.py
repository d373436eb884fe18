"""DynamoDB by script: what it answers to each call, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamfn.core.events import DynamoDbShape
from streamfn_aws.dynamodb.polling import PollingReader
from streamfn_aws.dynamodb.start import Start
from streamfn_aws.dynamodb.stream import Stream
from streamfn_aws.errors import ServiceError

ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table/flights/stream/2026-01-01T00:00:00.000"
SHARD = "shardId-00000001693997155000-0a1b2c3d"
BORN = 1700000000
"""When the first record was written, in epoch seconds."""


class Script:
    """An API that answers what it was told, call by call, and remembers what it was asked."""

    region = "eu-central-1"

    def __init__(self, **answers: Sequence[Any]) -> None:
        """By operation; the last answer is given again and again."""
        self.answers = {operation: list(given) for operation, given in answers.items()}
        self.calls: list[tuple[str, Mapping[str, Any]]] = []

    async def call(self, operation: str, parameters: Mapping[str, Any], *, patience: float = 10.0) -> Any:
        self.calls.append((operation, dict(parameters)))
        left = self.answers[operation]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def asked(self, operation: str) -> list[Mapping[str, Any]]:
        return [parameters for name, parameters in self.calls if name == operation]


def fault(code: str, operation: str = "GetRecords", status: int = 400) -> ServiceError:
    return ServiceError(operation, code, "said by the script", status)


def change(number: int, created: float | None = None) -> dict[str, Any]:
    """A record, one a second."""
    return {
        "eventID": f"{number:032x}",
        "eventName": "INSERT",
        "dynamodb": {
            "ApproximateCreationDateTime": BORN + number if created is None else created,
            "Keys": {"id": {"N": str(number)}},
            "SequenceNumber": str(number),
            "SizeBytes": 3,
            "StreamViewType": "KEYS_ONLY",
        },
    }


def records(*numbers: int, more: str | None = "next") -> dict[str, Any]:
    """An answer of GetRecords; without more to come the shard has ended."""
    answer: dict[str, Any] = {"Records": [change(number) for number in numbers]}
    return answer if more is None else {**answer, "NextShardIterator": more}


def iterator(name: str, date: str | None = None) -> dict[str, Any]:
    headers = {} if date is None else {"date": date}
    return {"ShardIterator": name, "ResponseMetadata": {"HTTPHeaders": headers}}


def described(*shards: tuple[str, str | None], last: str | None = None, status: str = "ENABLED") -> Any:
    """An answer of DescribeStream: shards and their parents."""
    description: dict[str, Any] = {
        "StreamStatus": status,
        "Shards": [
            {"ShardId": shard, **({"ParentShardId": parent} if parent else {})} for shard, parent in shards
        ],
    }
    if last is not None:
        description["LastEvaluatedShardId"] = last
    return {"StreamDescription": description}


def reader_of(
    script: Script,
    position: int = -1,
    *,
    iterator: str | None = None,
    on_position_lost: str = "fail",
    now: float = BORN + 1000.0,
) -> PollingReader:
    return PollingReader(
        Stream(script, ARN),  # type: ignore[arg-type]
        DynamoDbShape(ARN, SHARD, "eu-central-1"),
        SHARD,
        Start.of(position),
        place=f"dynamodb://flights/{SHARD}",
        poll_interval=0.25,
        on_position_lost=on_position_lost,
        clock=lambda: now,
        iterator=iterator,
    )
