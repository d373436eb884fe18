"""One reader of one group: which partitions it has, what it reads of them, and how it lets them go."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import anyio
import structlog
from aiokafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from streamfn.core.events.kafka import KafkaShape
from streamfn.errors import PositionLost, SourceError, StreamfnError
from streamfn.ports import Assigned, Checkpoint, Reason, Revoked
from streamfn_kafka.client import Claim, ClaimLost, Refused
from streamfn_kafka.commits import Commits
from streamfn_kafka.positions import Start
from streamfn_kafka.shard import KafkaShard

if TYPE_CHECKING:
    from collections.abc import Collection

    from streamfn_kafka.client import GroupClient
    from streamfn_kafka.contact import Contact
    from streamfn_kafka.positions import Positions
    from streamfn_kafka.source import Limits

_TURN = 500
"""Records taken at once: about two milliseconds of the loop."""

_TOPIC_GONE = 5.0
"""Seconds without the topic in the cluster's metadata after which it counts as deleted: leaders move, too."""

_WATCH = 0.1
"""Seconds between looks at whether we are still a member, while partitions are being given back."""


class Membership:
    """The partitions of one reader, as they come and go.

    Three tasks: one fetches for all partitions, one commits for all, one finds where new partitions begin.
    The rebalance itself runs in aiokafka's own task and calls `_revoked`, which it awaits with heartbeats
    going on, and `_assigned`, which it calls without; so the one waits for the workers and the other only
    leaves word.
    """

    def __init__(
        self,
        client: GroupClient,
        contact: Contact,
        positions: Positions,
        limits: Limits,
        *,
        topic: str,
        servers: str,
        arn: str | None,
        name: str,
    ) -> None:
        self._client = client
        self._contact = contact
        self._positions = positions
        self._limits = limits
        self._topic = topic
        self._servers = servers
        self._arn = arn
        self._log = structlog.get_logger("streamfn.kafka").bind(source=name)
        self._commits = Commits(client, limits.commit_timeout, self._lost)
        self._claim: Claim | None = None
        """The membership of now, from an assignment to its revocation."""
        self._granted: Collection[int] = ()
        """Its partitions, until the attending task takes them up."""
        self._shards: dict[int, KafkaShard] = {}
        """Partitions we read."""
        self._open: dict[int, KafkaShard] = {}
        """Shards that a worker has and has not closed yet, ours or not."""
        self._next: dict[int, KafkaShard] = {}
        """Shards that wait for an open one of their partition to be closed."""
        self._troubled: deque[tuple[KafkaShard, int]] = deque()
        """Shards with nothing at the offset that was asked for."""
        self._news: deque[Assigned | Revoked] = deque()
        self._told = asyncio.Event()
        self._hunger = asyncio.Event()
        self._to_attend = asyncio.Event()
        self._given_back = asyncio.Event()
        self._attending = anyio.CancelScope()
        self._failure: StreamfnError | None = None
        self._leaving = False
        self._topic_gone_at: float | None = None

    # ---------------------------------------------------------------------------------------- the tasks

    async def run(self) -> None:
        """Joins the group and works until it is cancelled. What goes wrong is told to those who read."""
        self._client.join(self._revoked, self._assigned)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._commits.work)
            tasks.start_soon(self._attend)
            tasks.start_soon(self._fetch)

    def leave(self) -> None:
        """Nobody reads any more: rebalances need not wait for anyone."""
        self._leaving = True
        self._given_back.set()
        for shard in self._open.values():
            shard.lose()

    async def _fetch(self) -> None:
        """Brings what was fetched to the shards that have room for it."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] | None = None
        while self._failure is None:
            self._hunger.clear()
            if waiter is None or waiter.done():
                # Made before looking, so that nothing comes unseen.
                waiter = self._client.when_fetched()
                waiter.add_done_callback(self._on_fetched)
            hungry = [partition for partition, shard in self._shards.items() if shard.hungry]
            try:
                taken = await self._client.take(hungry, _TURN) if hungry else {}
                if not taken:
                    self._client.check()
            except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
                self._misplaced(error)
                continue
            except Exception as error:  # noqa: BLE001 - what the client held may be gone: read no more
                self._fail(_explained(error))
                return
            for partition, records in taken.items():
                shard = self._shards.get(partition)
                if shard is not None:
                    shard.feed(records)
            if taken:
                await asyncio.sleep(0)
                continue
            self._contact.watch(holding=bool(self._shards))
            self._look_for_topic(loop.time())
            timer = loop.call_later(self._limits.look, self._hunger.set)
            await self._hunger.wait()
            timer.cancel()

    def _on_fetched(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.cancelled():
            # Errors of the coordinator come by this way too; `check` raises them.
            waiter.exception()
        self._hunger.set()

    def _look_for_topic(self, now: float) -> None:
        """A topic that was deleted leaves its readers without partitions and without a word."""
        if self._client.partitions:
            self._topic_gone_at = None
        elif self._topic_gone_at is None:
            self._topic_gone_at = now
        elif now - self._topic_gone_at > _TOPIC_GONE:
            self._fail(SourceError(f"there is no topic {self._topic} any more"))

    def _misplaced(self, error: KafkaError) -> None:
        """There is nothing at the offset asked for, of one partition or more."""
        if isinstance(error, NoOffsetForPartitionError):
            # It looked before we had said where to begin. Now we have; where not, we still will.
            for tp in error.args:
                shard = self._shards.get(tp.partition)
                if shard is not None:
                    self._client.seek(tp.partition, shard.next_fetch)
            return
        for tp, offset in error.args[0].items():
            shard = self._shards.get(tp.partition)
            if shard is not None:
                shard.stalled = True
                self._troubled.append((shard, offset))
                self._to_attend.set()

    async def _attend(self) -> None:
        """Finds where partitions begin, or go on. A rebalance cuts it short."""
        while True:
            await self._to_attend.wait()
            self._to_attend.clear()
            claim = self._claim
            if claim is None:
                self._troubled.clear()
                continue
            with anyio.CancelScope() as self._attending:
                try:
                    granted, self._granted = self._granted, ()
                    if granted:
                        await self._take_up(claim, granted)
                    while self._troubled:
                        await self._recover(claim, *self._troubled[0])
                        self._troubled.popleft()
                except ClaimLost:
                    self._lost(claim)
                except Refused as error:
                    self._fail(SourceError(_with_fix(str(error)), retryable=False))

    async def _take_up(self, claim: Claim, partitions: Collection[int]) -> None:
        found = await self._positions.find(claim, partitions)
        starts = await self._positions.checked(found)
        if self._claim is not claim:
            return
        for partition, start in sorted(starts.items()):
            if isinstance(start, PositionLost):
                # With the position it had: the worker may well commit it again.
                shard = self._new_shard(partition, found[partition], claim)
                shard.stalled = True
                shard.fail(start)
            else:
                if not self._client.seek(partition, start.offset):
                    return
                shard = self._new_shard(partition, start, claim)
            self._announce(shard)
        self._hunger.set()

    async def _recover(self, claim: Claim, shard: KafkaShard, offset: int) -> None:
        try:
            target = await self._positions.recover(shard.partition, offset)
        except PositionLost as error:
            shard.fail(error)
            return
        if self._claim is not claim or shard.is_lost or not self._client.seek(shard.partition, target):
            return
        if target >= shard.next_fetch:
            shard.stalled = False
        else:
            # Back, in a topic that was made anew: its positions have nothing to do with those known so far.
            shard.lose()
            self._tell(Revoked(shard.id, Reason.LOST))
            self._announce(self._new_shard(shard.partition, Start(target), claim))
        self._hunger.set()

    def _new_shard(self, partition: int, start: Start, claim: Claim) -> KafkaShard:
        shape = KafkaShape(self._topic, partition, self._servers, self._arn)
        shard = KafkaShard(
            partition,
            Checkpoint(start.offset - 1, start.note),
            claim,
            self,
            shape,
            note_limit=self._limits.note,
            most_records=self._limits.buffer_records,
            most_bytes=self._limits.buffer_bytes,
        )
        self._shards[partition] = shard
        return shard

    # ------------------------------------------------------------------------------------- rebalances

    async def _revoked(self) -> None:
        """Has the workers finish and close. The group waits for us, so only for so long."""
        claim, self._claim = self._claim, None
        self._attending.cancel()
        shards, self._shards = self._shards, {}
        self._next.clear()
        self._news = deque(news for news in self._news if not isinstance(news, Assigned))
        if claim is None:
            return
        waited_for = [shard for shard in shards.values() if shard is self._open.get(shard.partition)]
        for shard in shards.values():
            shard.stalled = True
        if self._client.holds(claim):
            for shard in waited_for:
                self._tell(Revoked(shard.id, Reason.REQUESTED))
            await self._all_closed(claim, waited_for)
        for shard in shards.values():
            shard.lose()
        late = [shard for shard in waited_for if not shard.is_closed]
        for shard in late:
            self._tell(Revoked(shard.id, Reason.LOST))
        if late and not self._leaving:
            self._log.warning("kafka_partitions_lost", partitions=[shard.partition for shard in late])

    async def _all_closed(self, claim: Claim, shards: Collection[KafkaShard]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.revocation
        while (
            not all(shard.is_closed for shard in shards)
            and not self._leaving
            and self._client.holds(claim)
            and loop.time() < deadline
        ):
            self._given_back.clear()
            timer = loop.call_later(_WATCH, self._given_back.set)
            await self._given_back.wait()
            timer.cancel()

    def _assigned(self, partitions: Collection[int]) -> None:
        self._claim = self._client.claim()
        self._granted = list(partitions)
        self._to_attend.set()

    def _lost(self, claim: Claim) -> None:
        """The group has gone on without us: nothing under that membership may be committed any more."""
        if self._claim is claim:
            self._claim = None
            self._attending.cancel()
        for partition, shard in list(self._shards.items()):
            if shard.claim == claim:
                del self._shards[partition]
                self._next.pop(partition, None)
                shard.lose()
                if self._open.get(partition) is shard:
                    self._tell(Revoked(shard.id, Reason.LOST))

    # -------------------------------------------------------------------------------- what shards ask

    @property
    def is_member(self) -> bool:
        return self._contact.is_member

    def has_room(self) -> None:
        self._hunger.set()

    def lag(self, shard: KafkaShard) -> int | None:
        fetched, end = self._client.reach(shard.partition)
        if fetched is None or end is None or self._shards.get(shard.partition) is not shard:
            return None
        # With nothing buffered, what is between is gaps that the client has passed over.
        return max(0, end - (shard.next_read if shard.buffered else fetched))

    async def commit(self, shard: KafkaShard, checkpoint: Checkpoint) -> None:
        await self._commits.commit(shard, checkpoint)

    def closed(self, shard: KafkaShard) -> None:
        if self._open.get(shard.partition) is shard:
            del self._open[shard.partition]
        self._given_back.set()
        successor = self._next.pop(shard.partition, None)
        if successor is not None and not successor.is_lost:
            self._announce(successor)

    # ------------------------------------------------------------------------------------------- news

    def _announce(self, shard: KafkaShard) -> None:
        """Tells of a shard, once no worker has an older one of its partition."""
        if shard.partition in self._open:
            self._next[shard.partition] = shard
        else:
            self._tell(Assigned(shard))

    def _tell(self, news: Assigned | Revoked) -> None:
        self._news.append(news)
        self._told.set()

    def _fail(self, error: StreamfnError) -> None:
        """Nothing is read any more: all who read are told why."""
        self._failure = self._failure or error
        self._told.set()
        for shard in self._open.values():
            shard.fail(error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Assigned | Revoked:
        while True:
            if self._news:
                news = self._news.popleft()
                if isinstance(news, Assigned):
                    shard: Any = news.shard
                    self._open[shard.partition] = shard
                return news
            if self._failure is not None:
                raise self._failure
            if self._leaving:
                raise StopAsyncIteration
            self._told.clear()
            await self._told.wait()


def _explained(error: Exception) -> StreamfnError:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, KafkaError):
        return SourceError(_with_fix(text), retryable=bool(error.retriable))
    return SourceError(text)


def _with_fix(text: str) -> str:
    if "GroupAuthorization" in text:
        return f"{text}. Fix: grant the user READ on the consumer group"
    if "TopicAuthorization" in text:
        return f"{text}. Fix: grant the user READ and DESCRIBE on the topic"
    return text
