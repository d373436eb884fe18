"""A table's stream on the wire: the calls that reading it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Self

from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn_aws.api import Api

MOST: Final = 1000
"""Records of one answer, at most. DynamoDB ends it at 1 MB before that."""
_DISABLED: Final = ("DISABLING", "DISABLED")


@dataclass(frozen=True, slots=True)
class StreamShard:
    """A shard as DescribeStream shows it."""

    id: str
    parents: tuple[str, ...] = ()
    first: str = ""
    """The sequence number it began with; empty where that is not known."""

    @classmethod
    def of(cls, shard: Mapping[str, Any]) -> Self:
        """From the answer's words."""
        parent = shard.get("ParentShardId")
        first = shard.get("SequenceNumberRange", {}).get("StartingSequenceNumber", "")
        return cls(shard["ShardId"], (parent,) if parent else (), first)


class Stream:
    """A stream that is there. All calls raise ServiceError and OSError."""

    def __init__(self, api: Api, arn: str) -> None:
        self._api = api
        self.arn = arn
        self.enabled = True
        """Whether records may come, by the last look at its shards."""

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]

    @property
    def table_arn(self) -> str:
        """Of its table, which had other streams before it was given this one."""
        return self.arn.partition("/stream/")[0]

    async def shards(self) -> Sequence[StreamShard]:
        """All shards that still have records or may get some, with those they came from."""
        page: dict[str, Any] = {"StreamArn": self.arn}
        shards: list[StreamShard] = []
        while True:
            answer = await self._api.call("DescribeStream", page)
            described = answer["StreamDescription"]
            self.enabled = described.get("StreamStatus") not in _DISABLED
            shards += map(StreamShard.of, described.get("Shards", ()))
            last = described.get("LastEvaluatedShardId")
            if not last:
                return shards
            page["ExclusiveStartShardId"] = last

    async def iterator(self, shard: str, start: Mapping[str, Any]) -> str:
        """An iterator; it lives for 15 minutes."""
        answer = await self._api.call("GetShardIterator", {"StreamArn": self.arn, "ShardId": shard, **start})
        iterator: str = answer["ShardIterator"]
        return iterator

    async def latest(self, shard: str, now: float) -> tuple[str, float]:
        """An iterator at the shard's end, and the instant that it stands for.

        By our clock, unless that is ahead of the service's.
        """
        answer = await self._api.call(
            "GetShardIterator",
            {"StreamArn": self.arn, "ShardId": shard, "ShardIteratorType": "LATEST"},
        )
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        if date is not None:
            now = min(now, parsedate_to_datetime(date).timestamp() + 1)
        return answer["ShardIterator"], now

    async def records(self, iterator: str) -> Mapping[str, Any]:
        """What GetRecords answers."""
        answer: Mapping[str, Any] = await self._api.call(
            "GetRecords", {"ShardIterator": iterator, "Limit": MOST}
        )
        return answer


async def stream_of(api: Api, table: str, name: str) -> str:
    """The ARN of the stream that a table has now, or had last.

    Raises ServiceError, OSError, and ConfigurationError where it never had one.
    """
    answer = await api.call("DescribeTable", {"TableName": table})
    arn = answer["Table"].get("LatestStreamArn")
    if not arn:
        raise no_stream(name)
    return str(arn)


def no_stream(name: str) -> ConfigurationError:
    """Nothing comes from a table whose stream is not enabled."""
    return ConfigurationError(
        f"{name}: the stream of the table is not enabled",
        field="Source",
        fix="enable it, with StreamViewType NEW_AND_OLD_IMAGES or what the function needs",
    )
