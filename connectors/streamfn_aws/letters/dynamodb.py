"""Fetches records back from the stream of a DynamoDB table."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from streamfn.core.events import DynamoDbShape
from streamfn.errors import SourceError
from streamfn_aws.dynamodb.records import ChangeRecord
from streamfn_aws.dynamodb.start import Start
from streamfn_aws.dynamodb.stream import Stream
from streamfn_aws.errors import ServiceError, reading
from streamfn_aws.letters.asking import Asked, patiently
from streamfn_aws.letters.naming import SOURCE, named, split_uri
from streamfn_aws.letters.ranges import range_of, records_between, said, tell_of_others
from streamfn_aws.options import Connection, ConnectionOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


class DynamoDbFetcher:
    """Fetches the records of a `DDBStreamBatchInfo`, from a table named by its name or ARN, or by the ARN of
    its stream.

    Records are read from the very stream they were in, which has them for 24 hours, also when the table has
    another one by now, or none. What is older is not fetched, and what comes is the rest. Of a batch that was
    filtered, or that shared a shard with others at the same time, all records come that lie between its first
    and its last, which is told of in the log.
    """

    def __init__(self, table: str, **connection: Unpack[ConnectionOptions]) -> None:
        place = table.partition("/stream/")[0]
        self._resource = named(place, "dynamodb", SOURCE, "table/")
        self.name = f"dynamodb://{self._resource.name}"
        self._asked = Asked(Connection.of(connection, self._resource.region), "dynamodbstreams", self.name)

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`dynamodb://TABLE`, or the ARN of the table or of its stream, with the options of the class as
        `?option=value`.

        Raises ConfigurationError naming the option and the fix.
        """
        place, given = split_uri(uri, SOURCE, {})
        return cls(place, **given)

    def __repr__(self) -> str:
        return f"<DynamoDbFetcher {self.name}>"

    async def fetch(self, info: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The event of the records that are still there, as the function is given them; None where none is.

        Raises SourceError where the stream cannot be read, or is of another table.
        """
        shard, (first, last) = said(info, "shardId", self.name), range_of(info, self.name)
        arn = said(info, "streamArn", self.name)
        self._compare(arn)
        with reading(self.name):
            stream = Stream(await self._asked.api(), arn)
            try:
                wire = await self._between(stream, shard, first, last)
            except ServiceError as error:
                # A stream goes with its last record, and a shard before that.
                if not error.missing:
                    raise
                return None
        tell_of_others(info, len(wire), f"{self.name}/{shard}")
        records = [ChangeRecord(change) for change in wire]
        return DynamoDbShape(arn, shard, stream.region).to_event(records) if records else None

    async def close(self) -> None:
        """Lets connections go."""
        await self._asked.close()

    def _compare(self, arn: str) -> None:
        table = arn.partition("/stream/")[0]
        ours = self._resource
        if table != ours.arn if ours.arn else not table.endswith(f":table/{ours.name}"):
            raise SourceError(
                f"{self.name}: the records were in {arn}. Fix: name that stream", retryable=False
            )

    async def _between(self, stream: Stream, shard: str, first: str, last: str) -> list[Mapping[str, Any]]:
        at = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": first}
        try:
            return await self._from(stream, shard, at, first, last)
        except ServiceError as error:
            if error.code != "TrimmedDataAccessException":
                raise
        return await self._from(stream, shard, Start().iterator, first, last)

    async def _from(
        self, stream: Stream, shard: str, start: Mapping[str, Any], first: str, last: str
    ) -> list[Mapping[str, Any]]:
        iterator = await patiently(partial(stream.iterator, shard, start))
        return await records_between(stream.records, iterator, int(first), int(last), _number_of)


def _number_of(change: Mapping[str, Any]) -> str:
    number: str = change["dynamodb"]["SequenceNumber"]
    return number
