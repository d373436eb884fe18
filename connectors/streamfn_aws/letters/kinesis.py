"""Fetches records back from a stream of Kinesis."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from streamfn.core.events import KinesisShape
from streamfn.errors import SourceError
from streamfn_aws.errors import ServiceError, reading
from streamfn_aws.kinesis.records import records_of
from streamfn_aws.kinesis.start import Start
from streamfn_aws.kinesis.stream import Stream
from streamfn_aws.letters.asking import Asked, patiently
from streamfn_aws.letters.naming import SOURCE, named, split_uri
from streamfn_aws.letters.ranges import range_of, records_between, said, tell_of_others
from streamfn_aws.options import Connection, ConnectionOptions
from streamfn_aws.positions import position_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_GONE = frozenset({"InvalidArgumentException", "ResourceNotFoundException"})
"""Of a stream that is there: it was made anew, or the shard is no more."""


class KinesisFetcher:
    """Fetches the records of a `KinesisBatchInfo` from their stream, named by its name or by its ARN.

    What grew older than the stream keeps it is not fetched, and what comes is the rest. Of a batch that was
    filtered, or that shared a shard with others at the same time, all records come that lie between its first
    and its last, which is told of in the log.

    `aggregated`: as the mapping has it. All parts come of what was packed into one record, whichever of them
    were in the batch.
    """

    def __init__(
        self, stream: str, *, aggregated: bool = False, **connection: Unpack[ConnectionOptions]
    ) -> None:
        self._resource = named(stream.partition("/consumer/")[0], "kinesis", SOURCE, "stream/")
        self._aggregated = aggregated
        self.name = f"kinesis://{self._resource.name}"
        self._asked = Asked(Connection.of(connection, self._resource.region), "kinesis", self.name)

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`kinesis://NAME` or the stream's ARN, with the options of the class as `?option=value`.

        Raises ConfigurationError naming the option and the fix.
        """
        place, given = split_uri(uri, SOURCE, {"aggregated": bool})
        return cls(place, **given)

    def __repr__(self) -> str:
        return f"<KinesisFetcher {self.name}>"

    async def fetch(self, info: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The event of the records that are still there, as the function is given them; None where none is.

        Raises SourceError where the stream cannot be read, or is not the one the records came from.
        """
        shard, (first, last) = said(info, "shardId", self.name), range_of(info, self.name)
        api = await self._asked.api()
        with reading(self.name):
            stream = await patiently(partial(Stream.found, api, self._stream_named))
            if stream.arn != said(info, "streamArn", self.name):
                raise SourceError(
                    f"{self.name} is {stream.arn}; the records were in {info['streamArn']}. "
                    "Fix: name that stream",
                    retryable=False,
                )
            wire = await self._between(stream, shard, first, last)
        tell_of_others(info, len(wire), f"{self.name}/{shard}")
        records = list(records_of(wire, aggregated=self._aggregated))
        return KinesisShape(stream.arn, shard, stream.region).to_event(records) if records else None

    async def close(self) -> None:
        """Lets connections go."""
        await self._asked.close()

    @property
    def _stream_named(self) -> Mapping[str, str]:
        resource = self._resource
        return {"StreamName": resource.name} if resource.arn is None else {"StreamARN": resource.arn}

    async def _between(self, stream: Stream, shard: str, first: str, last: str) -> list[Mapping[str, Any]]:
        start = Start(position_of(first, part=0), len(first))
        try:
            iterator = await patiently(partial(stream.iterator, shard, start))
        except ServiceError as error:
            if error.code in _GONE:
                return []
            raise
        return await records_between(
            stream.records, iterator, int(first), int(last), lambda record: record["SequenceNumber"]
        )
