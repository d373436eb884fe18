"""A Kafka topic as a source: its partitions are shards, shared out by Kafka's own group protocol."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, Unpack

import anyio
from aiokafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from anyio import to_thread

from streamfn.errors import SourceError
from streamfn.options import one_of, within
from streamfn_kafka.client import GroupClient
from streamfn_kafka.contact import Contact, ration_client_logs
from streamfn_kafka.membership import Membership
from streamfn_kafka.options import Connection, ConnectionOptions, parsed_uri, topic_name
from streamfn_kafka.positions import Positions
from streamfn_kafka.reaching import check_topic, explain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from streamfn.ports import Assigned, Revoked, Subscription

_LONGEST = 2**31 - 1
_NOTE = 4096
"""Characters of commit metadata that brokers take, unless `offset.metadata.max.bytes` says otherwise."""
_STOP = 4.0
_CONNECT = 10.0
_MARGIN = 5.0
"""Seconds before the group's patience ends in which what is not given back is given up."""

_TYPES: Mapping[str, type] = {
    "event_source_arn": str,
    "on_position_lost": str,
    "isolation_level": str,
    "group_instance_id": str,
    "session_timeout": float,
    "rebalance_timeout": float,
    "max_poll_interval": float,
    "fetch_max_bytes": int,
    "max_partition_fetch_bytes": int,
    "fetch_max_wait": float,
    "buffer_records": int,
    "metadata_max_age": float,
    "request_timeout": float,
    "commit_timeout": float,
    "note_limit": int,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one reader holds, and how long it waits."""

    buffer_records: int
    buffer_bytes: int
    note: int
    commit_timeout: float
    revocation: float
    look: float


class KafkaSource:
    """The records of one topic. Each mapping is a consumer group, and its committed offsets are the group's.

    Readers of a group share the partitions, other programs that use the group included. With a group that is
    new, reading begins at the starting position, which is committed at once; a partition that is added later
    is read from its beginning.

    Durations are in seconds. `session_timeout`: after it the partitions of a reader that died go to others.
    `rebalance_timeout`: how long the group waits for a reader to finish; keep it well above the mapping's
    RevokeGrace. `max_poll_interval`: a reader whose fetch loop stands still for that long leaves; slow
    functions do not count. `request_timeout`: after it a broker that took a request and is silent counts as
    away. `commit_timeout`: how long one commit is tried; the mapping then says so and tries again.
    `group_instance_id` (static membership) is safe only where the platform runs one process for each id.
    `on_position_lost`: what to do when records were removed before they were read: `fail`, or go on with the
    oldest (`trim_horizon`) or the next to come (`latest`), which is logged as an error with the range.

    A reader holds, for each partition, `buffer_records` or `max_partition_fetch_bytes` of read-ahead and as
    much again within the client.
    """

    def __init__(
        self,
        topic: str,
        bootstrap_servers: str | Sequence[str],
        *,
        event_source_arn: str | None = None,
        on_position_lost: str = "fail",
        isolation_level: str = "read_uncommitted",
        group_instance_id: str | None = None,
        session_timeout: float = 10.0,
        rebalance_timeout: float = 60.0,
        max_poll_interval: float | None = None,
        fetch_max_bytes: int = 50 * 2**20,
        max_partition_fetch_bytes: int = 2**20,
        fetch_max_wait: float = 0.1,
        buffer_records: int = 1000,
        metadata_max_age: float = 60.0,
        request_timeout: float = 40.0,
        commit_timeout: float = 10.0,
        note_limit: int = _NOTE,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        self.topic = topic_name(topic, "Source")
        self._connection = Connection.of(bootstrap_servers, connection)
        self._arn = event_source_arn
        self._on_position_lost = one_of(
            "on_position_lost", on_position_lost, ("fail", "trim_horizon", "latest")
        )
        levels = ("read_uncommitted", "read_committed")
        self._isolation_level = one_of("isolation_level", isolation_level, levels)
        self._session_timeout = within("session_timeout", session_timeout, 0.5, 1800)
        rebalance_timeout = within("rebalance_timeout", rebalance_timeout, 1, 3700)
        wait = within("fetch_max_wait", fetch_max_wait, 0.001, 10)
        partition_bytes = int(within("max_partition_fetch_bytes", max_partition_fetch_bytes, 1024, 2**31 - 1))
        self._options: dict[str, Any] = {
            "group_instance_id": group_instance_id,
            "isolation_level": isolation_level,
            "session_timeout_ms": _millis(session_timeout),
            # It is also how late a reader hears of a rebalance.
            "heartbeat_interval_ms": _millis(min(3.0, session_timeout * 0.3)),
            "rebalance_timeout_ms": _millis(rebalance_timeout),
            "max_poll_interval_ms": _LONGEST
            if max_poll_interval is None
            else _millis(within("max_poll_interval", max_poll_interval, 0.1, 2_000_000)),
            "request_timeout_ms": _millis(within("request_timeout", request_timeout, 1, 600)),
            "fetch_max_bytes": int(within("fetch_max_bytes", fetch_max_bytes, 1024, 2**31 - 1)),
            "max_partition_fetch_bytes": partition_bytes,
            "fetch_max_wait_ms": _millis(wait),
            "metadata_max_age_ms": _millis(within("metadata_max_age", metadata_max_age, 0.1, 86_400)),
        }
        self._limits = Limits(
            buffer_records=int(within("buffer_records", buffer_records, 1, 1_000_000)),
            buffer_bytes=partition_bytes,
            note=int(within("note_limit", note_limit, 16, 2**20)),
            commit_timeout=within("commit_timeout", commit_timeout, 0.1, 600),
            revocation=max(rebalance_timeout - _MARGIN, rebalance_timeout * 0.6),
            look=1.0 if max_poll_interval is None else min(1.0, max_poll_interval / 4),
        )

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`kafka://host:9092,other:9092/topic?option=value`, with the options of the class.

        Of `options`, what the app knows: `on_position_lost`, and `revoke_grace`, above which the rebalance
        timeout is kept unless it is given. What the URI says goes first.
        """
        topic, servers, given = parsed_uri(uri, "Source", _TYPES)
        if "on_position_lost" in options:
            given.setdefault("on_position_lost", options["on_position_lost"])
        grace = options.get("revoke_grace")
        if isinstance(grace, int | float):
            given.setdefault("rebalance_timeout", max(60.0, grace + 2 * _MARGIN))
        return cls(topic, servers, **given)

    @property
    def name(self) -> str:
        return f"kafka://{','.join(self.bootstrap_servers)}/{self.topic}"

    @property
    def bootstrap_servers(self) -> tuple[str, ...]:
        """The brokers that are asked first."""
        return self._connection.bootstrap_servers

    def __repr__(self) -> str:
        return f"<KafkaSource {self.name}>"

    @asynccontextmanager
    async def shards(self, subscription: Subscription) -> AsyncIterator[AsyncIterator[Assigned | Revoked]]:
        """The partitions this reader has, as they come and go.

        Leaving it gives them up, within a few seconds whatever the brokers do. Raises SourceError where the
        brokers cannot be reached or the topic does not exist.
        """
        ration_client_logs()
        options = {**self._options, **await to_thread.run_sync(self._connection.client_options)}
        contact = Contact(self.name, self._session_timeout, asyncio.get_running_loop().time)
        client = GroupClient(subscription.group, self.topic, contact, options)
        try:
            await self._start(client)
            positions = Positions(
                client,
                self.name,
                subscription,
                on_position_lost=self._on_position_lost,
                read_committed=self._isolation_level == "read_committed",
                clock=asyncio.get_running_loop().time,
            )
            membership = Membership(
                client,
                contact,
                positions,
                self._limits,
                topic=self.topic,
                servers=",".join(self.bootstrap_servers),
                arn=self._arn,
                name=self.name,
            )
            async with _beside(membership.run):
                try:
                    yield membership
                finally:
                    membership.leave()
        finally:
            await client.stop(_STOP)

    async def check(self) -> None:
        """Proves that the topic can be reached. Raises SourceError or ConfigurationError naming the fix."""
        await check_topic(self._connection, self.topic, self.name, "Source")

    async def _start(self, client: GroupClient) -> None:
        try:
            async with asyncio.timeout(_CONNECT):
                await client.start()
        except TimeoutError as error:
            raise SourceError(f"{self.name}: no answer within {_CONNECT:g} s") from error
        except UnknownTopicOrPartitionError as error:
            raise SourceError(f"{self.name}: there is no such topic. Fix: create it") from error
        except TopicAuthorizationFailedError as error:
            fix = "grant the user READ and DESCRIBE on the topic"
            raise SourceError(f"{self.name}: access is denied. Fix: {fix}", retryable=False) from error
        except KafkaError as error:
            raise SourceError(f"{self.name}: {await explain(self._connection, error)}") from error


@asynccontextmanager
async def _beside(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Work that goes on while the block lasts. What the block raises comes out as it is, not in a group."""
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            yield
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from None
        raise


def _millis(seconds: float) -> int:
    return max(1, round(seconds * 1000))
