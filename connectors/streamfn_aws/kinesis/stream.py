"""A stream on the wire: the calls that reading it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from streamfn_aws.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from streamfn_aws.api import Api
    from streamfn_aws.eventstream import EventStream
    from streamfn_aws.kinesis.start import Start

_MOST: Final = 10_000
"""Records of one answer, at most. Kinesis ends it at 10 MB before that."""
_PAGE: Final = 1000
_ACTIVE_WITHIN: Final = 60.0
"""Seconds that a new consumer may take to become ACTIVE; on AWS it is some ten."""


@dataclass(frozen=True, slots=True)
class StreamShard:
    """A shard as ListShards shows it."""

    id: str
    parents: tuple[str, ...] = ()
    first: str = ""
    """The sequence number it began with; empty where that is not known."""

    @classmethod
    def of(cls, shard: Mapping[str, Any]) -> Self:
        """From the answer's words."""
        parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
        first = shard.get("SequenceNumberRange", {}).get("StartingSequenceNumber", "")
        return cls(shard["ShardId"], tuple(parent for parent in parents if parent), first)


class Stream:
    """A stream that is there. All calls raise ServiceError and OSError."""

    def __init__(self, api: Api, named: Mapping[str, str], summary: Mapping[str, Any]) -> None:
        self._api = api
        self._named = named
        self.arn: str = summary["StreamARN"]
        self.status: str = summary["StreamStatus"]

    @classmethod
    async def found(cls, api: Api, named: Mapping[str, str]) -> Self:
        """The stream of that `StreamName` or `StreamARN`."""
        answer = await api.call("DescribeStreamSummary", named)
        return cls(api, named, answer["StreamDescriptionSummary"])

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]

    async def shards(self) -> Sequence[StreamShard]:
        """All shards that still have records or may get some, and those they came from while they are kept.

        Without a filter: an old shard without records is still some other's parent.
        """
        answer = await self._api.call("ListShards", {**self._named, "MaxResults": _PAGE})
        shards = list(answer["Shards"])
        while token := answer.get("NextToken"):
            answer = await self._next_page(token)
            shards += answer["Shards"]
        return [StreamShard.of(shard) for shard in shards]

    async def has(self, shard: str) -> bool:
        """Whether the shard is still there."""
        return any(other.id == shard for other in await self.shards())

    async def iterator(self, shard: str, start: Start) -> str:
        """An iterator; it lives for five minutes."""
        place = {**self._named, "ShardId": shard, **start.iterator}
        answer = await self._api.call("GetShardIterator", place)
        iterator: str = answer["ShardIterator"]
        return iterator

    async def latest(self, shard: str, now: float) -> tuple[str, float]:
        """An iterator at the shard's end, and the instant that it stands for.

        By our clock, unless that is ahead of the service's.
        """
        place = {**self._named, "ShardId": shard, "ShardIteratorType": "LATEST"}
        answer = await self._api.call("GetShardIterator", place)
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        if date is not None:
            second = parsedate_to_datetime(date).timestamp()
            now = now if now < second + 1 else second
        return answer["ShardIterator"], now

    async def records(self, iterator: str) -> Mapping[str, Any]:
        """What GetRecords answers."""
        # The stream of another account is named with each call.
        place = self._named if "StreamARN" in self._named else {}
        answer: Mapping[str, Any] = await self._api.call(
            "GetRecords", {**place, "ShardIterator": iterator, "Limit": _MOST}
        )
        return answer

    def subscribed(self, consumer: str, shard: str, start: Start) -> AbstractAsyncContextManager[EventStream]:
        """The events of SubscribeToShard."""
        return self._api.stream(
            "SubscribeToShard",
            {"ConsumerARN": consumer, "ShardId": shard, "StartingPosition": start.subscription},
        )

    async def consumer(self, named: str) -> str:
        """The ARN of a consumer for enhanced fan-out, when it is ACTIVE. One that is named by name is
        registered if need be.
        """
        place = {"ConsumerARN": named} if named.startswith("arn:") else None
        try:
            return await self._active(place or {"StreamARN": self.arn, "ConsumerName": named})
        except ServiceError as error:
            if place or not error.missing:
                raise
        try:
            await self._api.call("RegisterStreamConsumer", {"StreamARN": self.arn, "ConsumerName": named})
        except ServiceError as error:
            # Another worker was quicker.
            if error.code != "ResourceInUseException":
                raise
        return await self._active({"StreamARN": self.arn, "ConsumerName": named})

    async def has_consumer(self, named: str) -> bool:
        """Whether a consumer of that name or ARN is there."""
        by_arn = named.startswith("arn:")
        try:
            await self._api.call(
                "DescribeStreamConsumer",
                {"ConsumerARN": named} if by_arn else {"StreamARN": self.arn, "ConsumerName": named},
            )
        except ServiceError as error:
            if not error.missing:
                raise
            return False
        return True

    async def _active(self, place: Mapping[str, str]) -> str:
        with anyio.move_on_after(_ACTIVE_WITHIN):
            while True:
                answer = await self._api.call("DescribeStreamConsumer", place)
                consumer = answer["ConsumerDescription"]
                if consumer["ConsumerStatus"] == "ACTIVE":
                    arn: str = consumer["ConsumerARN"]
                    return arn
                await anyio.sleep(1.0)
        raise TimeoutError(f"the consumer was not ACTIVE within {_ACTIVE_WITHIN:g} s")

    async def _next_page(self, token: str) -> Any:
        try:
            return await self._api.call("ListShards", {"NextToken": token})
        except ServiceError as error:
            # AWS takes no name beside a token, which says it all; some servers need it.
            if error.transient or error.code == "ExpiredNextTokenException":
                raise
            return await self._api.call("ListShards", {**self._named, "NextToken": token})
