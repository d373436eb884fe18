"""The stream of a DynamoDB table as a source: its shards are shared by lease."""

from __future__ import annotations

import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, Unpack

from streamfn.core.policies import StartingPosition
from streamfn.errors import ConfigurationError, SourceError
from streamfn.options import one_of, unknown, within
from streamfn_aws.api import Api
from streamfn_aws.dynamodb.shards import DynamoDbShards, Reading
from streamfn_aws.dynamodb.stream import Stream, no_stream, stream_of
from streamfn_aws.errors import checking, reading
from streamfn_aws.leased import LEASE_TYPES, LeasedOptions, LeaseOptions, leased_shards, of_the_app
from streamfn_aws.options import (
    Connection,
    Resource,
    arn_of,
    connection_options,
    other_options,
    parsed_uri,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from streamfn.ports import Assigned, Clock, Revoked, Subscription

_TYPES: Mapping[str, type] = {**LEASE_TYPES, "poll_interval": float, "on_position_lost": str}
_NAME = re.compile(r"(?P<table>[a-zA-Z0-9_.-]{3,255})")
_ARN = re.compile(rf"table/{_NAME.pattern}(?P<stream>/stream/.+)?")


class DynamoDbStream:
    """The changes of a table's items. Workers of a group share the shards of its stream by lease.

    `table`: its name or ARN, then it is the stream that the table has when reading begins; or the ARN of a
    stream. `poll_interval`: seconds between two looks at a shard where nothing comes (on AWS it is a
    quarter). `on_position_lost`: what to do when records were removed, after 24 hours, before they were read:
    `fail`, or go on with the oldest (`trim_horizon`) or the next to come (`latest`), which is logged as an
    error.

    LATEST is settled when the group is new, as an instant. Changes are stamped with whole seconds: a worker
    that takes over a shard before its first commit may bring changes of that second which came before. A
    worker holds one answer, 1 MB at most, for each shard.
    """

    def __init__(
        self,
        table: str,
        *,
        poll_interval: float = 0.25,
        on_position_lost: str = "fail",
        clock: Clock = time.time,  # noqa: TID251 - where nobody gives one
        **options: Unpack[LeasedOptions],
    ) -> None:
        place = _place(table)
        found = (_ARN if place.arn else _NAME).fullmatch(place.name)
        if found is None or place.service != "dynamodb":
            raise ConfigurationError(
                f"{place.arn or place.name!r} names no table of DynamoDB",
                field="Source",
                fix="write dynamodb://TABLE, or the ARN of a table or of its stream",
            )
        self.table = found["table"]
        self._table = place.arn or place.name
        self._stream_arn = place.arn if place.arn and found["stream"] else None
        unknown(other_options(options), (*LEASE_TYPES, "state_dir"))
        self._connection = Connection.of(connection_options(options), place.region)
        self._leases = LeaseOptions.of(options)
        self._how = Reading(
            poll_interval=within("poll_interval", poll_interval, 0.05, 60),
            on_position_lost=one_of("on_position_lost", on_position_lost, ("fail", "trim_horizon", "latest")),
            clock=clock,
        )

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`dynamodb://TABLE?option=value`, or the ARN of the table or of its stream, with the options of the
        class.

        Of `options`, what the app knows: `state_dir` and `on_position_lost`. What the URI says goes first.
        """
        place, given = parsed_uri(uri, "Source", _TYPES)
        if place.account is not None and place.arn is None:
            raise ConfigurationError(
                "a table of another account is named by its ARN",
                field="Source",
                fix=f"write arn:aws:dynamodb:REGION:{place.account}:table/{place.name}",
            )
        return cls(place.arn or place.name, **{**of_the_app(options), **given})

    @property
    def name(self) -> str:
        return f"dynamodb://{self.table}"

    def __repr__(self) -> str:
        return f"<DynamoDbStream {self.name}>"

    @asynccontextmanager
    async def shards(self, subscription: Subscription) -> AsyncIterator[AsyncIterator[Assigned | Revoked]]:
        """The shards this reader has, as they come and go. Raises SourceError where the stream cannot be
        read, and ConfigurationError for AT_TIMESTAMP, which it does not know.
        """
        if subscription.starting_position is StartingPosition.AT_TIMESTAMP:
            raise ConfigurationError(
                f"{self.name} knows no AT_TIMESTAMP",
                field="StartingPosition",
                fix="take TRIM_HORIZON or LATEST",
            )
        async with self._opened() as stream:
            shards = DynamoDbShards(self.name, stream, self._how)
            async with leased_shards(
                self._leases, self._connection, shards, subscription, stream=stream.table_arn
            ) as changes:
                yield changes

    async def check(self) -> None:
        """Proves that the stream can be read. Raises SourceError or ConfigurationError naming the fix."""
        async with Api.shared(self._connection, "dynamodbstreams") as api:
            with checking(self.name, "Source"):
                stream = Stream(api, await self._arn())
                await stream.shards()
            if not stream.enabled:
                raise no_stream(self.name)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Stream]:
        async with Api.shared(self._connection, "dynamodbstreams") as api:
            try:
                with reading(self.name):
                    arn = await self._arn()
            except ConfigurationError as error:
                raise SourceError(str(error), retryable=False) from error
            yield Stream(api, arn)

    async def _arn(self) -> str:
        if self._stream_arn is not None:
            return self._stream_arn
        async with Api.shared(self._connection, "dynamodb") as api:
            return await stream_of(api, self._table, self.name)


def _place(table: str) -> Resource:
    if table.startswith("arn:"):
        return arn_of(table, "Source")
    return Resource("dynamodb", table)
