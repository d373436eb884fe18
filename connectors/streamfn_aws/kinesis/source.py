"""A Kinesis stream as a source: its shards are shared by lease."""

from __future__ import annotations

import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, Unpack

from streamfn.errors import ConfigurationError
from streamfn.options import one_of, text, unknown, within
from streamfn_aws.api import Api
from streamfn_aws.errors import checking, reading
from streamfn_aws.kinesis.shards import KinesisShards, Reading
from streamfn_aws.kinesis.stream import Stream
from streamfn_aws.leased import LEASE_TYPES, LeasedOptions, LeaseOptions, leased_shards, of_the_app
from streamfn_aws.options import (
    Connection,
    arn_of,
    connection_options,
    other_options,
    parsed_uri,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from streamfn.ports import Assigned, Clock, Revoked, Subscription
    from streamfn_aws.options import Resource

_TYPES: Mapping[str, type] = {
    **LEASE_TYPES,
    "consumer": str,
    "aggregated": bool,
    "poll_interval": float,
    "on_position_lost": str,
}
_NAMED = re.compile(r"stream/(?P<stream>[a-zA-Z0-9_.-]{1,128})(?P<consumer>/consumer/.+)?")


class KinesisStream:
    """The records of one Kinesis stream. Workers of a group share its shards by lease.

    `stream`: its name, or its ARN. `consumer`: reads by enhanced fan-out, through the consumer of that name,
    which is registered if it is not there, or of that ARN; without one the shards are polled. A consumer is
    one group's: of two that share one each would end the other's subscriptions.

    `aggregated`: records that the Kinesis Producer Library packed into one come one by one. All have the
    sequence number of that one, and none is left out for its explicit hash key, as AWS does. A failure that
    names the number begins with the first of them in the batch. `poll_interval`: seconds between two looks
    at a shard where nothing comes.

    `on_position_lost`: what to do when records were removed before they were read: `fail`, or go on with the
    oldest (`trim_horizon`) or the next to come (`latest`), which is logged as an error. Kinesis itself says
    nothing where records grew older than the stream keeps them, but begins with the oldest; what can be
    known is that a stream was made anew, or that a shard is gone.

    LATEST is settled when the group is new, as an instant: by this machine's clock, or by the service's
    where ours is more than a second ahead. A worker holds one answer for each shard, 10 MB at most. What is
    throttled, or out of reach for a while, is tried again and logged.
    """

    def __init__(
        self,
        stream: str,
        *,
        consumer: str | None = None,
        aggregated: bool = False,
        poll_interval: float = 1.0,
        on_position_lost: str = "fail",
        clock: Clock = time.time,  # noqa: TID251 - where nobody gives one
        **options: Unpack[LeasedOptions],
    ) -> None:
        place = _place(stream)
        self.stream, by_arn = _names(place)
        if by_arn is not None and consumer is not None:
            raise ConfigurationError(
                "is named twice: the ARN is a consumer's", field="consumer", fix="remove it"
            )
        unknown(other_options(options), (*LEASE_TYPES, "state_dir"))
        self._connection = Connection.of(connection_options(options), place.region)
        self._leases = LeaseOptions.of(options)
        self._named = (
            {"StreamName": self.stream}
            if place.arn is None
            else {"StreamARN": place.arn.partition("/consumer/")[0]}
        )
        self._consumer = by_arn if consumer is None else text("consumer", consumer)
        self._how = Reading(
            aggregated=aggregated,
            poll_interval=within("poll_interval", poll_interval, 0.2, 60),
            on_position_lost=one_of("on_position_lost", on_position_lost, ("fail", "trim_horizon", "latest")),
            silence=30.0,
            clock=clock,
        )

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`kinesis://name?option=value`, or the ARN of the stream or of a consumer, with the options of the
        class.

        Of `options`, what the app knows: `state_dir` and `on_position_lost`. What the URI says goes first.
        """
        place, given = parsed_uri(uri, "Source", _TYPES)
        if place.account is not None and place.arn is None:
            raise ConfigurationError(
                "a stream of another account is named by its ARN",
                field="Source",
                fix=f"write arn:aws:kinesis:REGION:{place.account}:stream/{place.name}",
            )
        return cls(place.arn or place.name, **{**of_the_app(options), **given})

    @property
    def name(self) -> str:
        return f"kinesis://{self.stream}"

    def __repr__(self) -> str:
        return f"<KinesisStream {self.name}>"

    @asynccontextmanager
    async def shards(self, subscription: Subscription) -> AsyncIterator[AsyncIterator[Assigned | Revoked]]:
        """The shards this reader has, as they come and go. Raises SourceError where the stream cannot be
        read.
        """
        async with Api.shared(self._connection, "kinesis") as api:
            with reading(self.name):
                stream = await Stream.found(api, self._named)
                consumer = None if self._consumer is None else await stream.consumer(self._consumer)
            shards = KinesisShards(self.name, stream, self._how, consumer)
            async with leased_shards(
                self._leases, self._connection, shards, subscription, stream=stream.arn
            ) as changes:
                yield changes

    async def check(self) -> None:
        """Proves that the stream can be read. Raises SourceError or ConfigurationError naming the fix."""
        async with Api.shared(self._connection, "kinesis") as api:
            with checking(self.name, "Source"):
                stream = await Stream.found(api, self._named)
                await stream.shards()
            if stream.status in ("CREATING", "DELETING"):
                raise ConfigurationError(
                    f"{self.name} is {stream.status}", field="Source", fix="wait until it is ACTIVE"
                )
            by_arn = self._consumer is not None and self._consumer.startswith("arn:")
            if self._consumer is not None:
                with checking(self.name, "consumer"):
                    found = await stream.has_consumer(self._consumer)
                if by_arn and not found:
                    raise ConfigurationError(
                        f"{self.name} has no consumer {self._consumer}",
                        field="consumer",
                        fix="name it by its name, and it is registered",
                    )


def _place(stream: str) -> Resource:
    if stream.startswith("arn:"):
        return arn_of(stream, "Source")
    return parsed_uri(f"kinesis://{stream}", "Source", {})[0]


def _names(place: Resource) -> tuple[str, str | None]:
    """The stream's name, and the consumer's ARN where it is one. Raises ConfigurationError."""
    found = _NAMED.fullmatch(place.name if place.arn else f"stream/{place.name}")
    if found is None or place.service != "kinesis" or (found["consumer"] and place.arn is None):
        raise ConfigurationError(
            f"{place.arn or place.name!r} names no stream of Kinesis",
            field="Source",
            fix="write kinesis://NAME or arn:aws:kinesis:REGION:ACCOUNT:stream/NAME",
        )
    return found["stream"], place.arn if found["consumer"] else None
