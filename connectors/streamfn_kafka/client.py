"""A member of a consumer group. The one module that knows what is inside aiokafka.

aiokafka's consumer does the fetching, the heartbeats and the rebalances. What it gets wrong is done here
instead:

- Committed offsets are asked for with the answer's own error looked at. aiokafka takes "the coordinator is
  still
  loading" for "nothing was ever committed" and would jump to a starting position.
- Commits carry the generation they were promised under, and are sent once per call. aiokafka's `commit` tries
  again for ever, and after being thrown out of the group it commits as nobody, which an empty group accepts.
- `take` never waits, so it is never stuck in a rebalance that does not end.
- `stop` ends in bounded time, whatever the brokers do, and leaves nothing open.
"""

# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]
from aiokafka.abc import ConsumerRebalanceListener  # type: ignore[import-untyped]
from aiokafka.client import ConnectionGroup  # type: ignore[import-untyped]
from aiokafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]
from aiokafka.errors import (  # type: ignore[import-untyped]
    GroupCoordinatorNotAvailableError,
    IllegalStateError,
    KafkaError,
    RequestTimedOutError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest  # type: ignore[import-untyped]
from aiokafka.protocol.group import (  # type: ignore[import-untyped]
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
)

from streamfn_kafka.contact import started

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from streamfn_kafka.contact import Contact

_LOADING, _NO_COORDINATOR, _NOT_COORDINATOR = 14, 15, 16
_TIMED_OUT, _NOT_ENOUGH_REPLICAS = 7, 19
_REBALANCING = 27
_GONE = frozenset({22, 25, 82})
"""Illegal generation, unknown member, fenced instance: somebody else has what we commit for."""

_AGAIN = frozenset(
    {_LOADING, _NO_COORDINATOR, _NOT_COORDINATOR, _TIMED_OUT, _NOT_ENOUGH_REPLICAS, _REBALANCING}
)
_MEMBERSHIP = (HeartbeatRequest, JoinGroupRequest, SyncGroupRequest)
_UNSET = -1
_TOPIC = 3.0
"""Seconds in which a topic may appear: where brokers make topics when asked for one, it takes a moment."""


class ClaimLost(Exception):
    """The group has gone on without us."""


class Refused(Exception):
    """The broker refuses a request, and would again."""


class Unavailable(Exception):
    """The broker cannot do it now."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a commit must show: the membership under which its partitions were assigned."""

    generation: int
    member: str


class GroupClient:
    """One member of one group, reading one topic."""

    def __init__(self, group: str, topic: str, contact: Contact, options: Mapping[str, Any]) -> None:
        self._topic = topic
        self._group = group
        self._contact = contact
        # Exactly one assignor, for aiokafka joins once for each. Range is among those of Java's default.
        self._consumer = AIOKafkaConsumer(
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            partition_assignment_strategy=(RangePartitionAssignor,),
            **options,
        )
        self._static = options.get("group_instance_id") is not None
        self._client = self._consumer._client
        self._request = self._client.send
        self._client.send = self._send
        self._subscription = self._consumer._subscription

    # -------------------------------------------------------------------------------------- membership

    async def start(self) -> None:
        """Connects, and makes sure that the topic exists. Does not join yet.

        Raises KafkaError, UnknownTopicOrPartitionError where there is no such topic.
        """
        await started(self._consumer.start())
        try:
            async with asyncio.timeout(_TOPIC):
                await self._client._wait_on_metadata(self._topic)
        except TimeoutError:
            raise UnknownTopicOrPartitionError from None

    def join(
        self,
        on_revoked: Callable[[], Awaitable[None]],
        on_assigned: Callable[[Collection[int]], None],
    ) -> None:
        """Joins in the background. `on_revoked` holds up the rebalance of the whole group; `on_assigned` runs
        while no heartbeats are sent, so it must return at once."""
        self._consumer.subscribe([self._topic], listener=_Listener(on_revoked, on_assigned))

    def claim(self) -> Claim:
        """The membership of now. For use in `on_assigned`."""
        coordinator = self._consumer._coordinator
        return Claim(coordinator.generation, coordinator.member_id)

    def holds(self, claim: Claim) -> bool:
        """Whether we are still the member that made the claim, as far as we were told."""
        return claim.generation > 0 and self.claim() == claim

    def check(self) -> None:
        """Raises KafkaError for what ended the membership for good. Also counts as a sign of life for
        `max_poll_interval_ms`, which is judged by the last fetch."""
        self._consumer._coordinator.check_errors()
        with self._subscription.fetch_context():
            pass

    async def stop(self, wait: float) -> None:
        """Leaves the group and closes everything. Takes `wait` seconds at most and a moment; never raises."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                stopped = asyncio.Event()
                tasks.start_soon(self._stop, stopped)
                with anyio.move_on_after(wait / 4):
                    await stopped.wait()
                if not stopped.is_set():
                    # It waits for a rebalance to end. The broker ends our part of it when we leave, which has
                    # to go by another connection: on each it answers one request at a time.
                    with anyio.move_on_after(wait / 2):
                        await self._leave()
                    with anyio.move_on_after(wait / 4):
                        await stopped.wait()
                tasks.cancel_scope.cancel()
            await self._end_tasks()
            # A stop that failed half way has left the connections and the metadata task behind.
            with anyio.move_on_after(1):
                await self._client.close()

    async def _stop(self, stopped: asyncio.Event) -> None:
        try:
            await self._consumer.stop()
        except asyncio.CancelledError:
            # Without a broker it cancels itself.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        except KafkaError:
            pass  # What is left open is closed next.
        finally:
            stopped.set()

    async def _end_tasks(self) -> None:
        """Ends what aiokafka has left running."""
        coordinator, fetcher = self._consumer._coordinator, self._consumer._fetcher
        tasks: set[asyncio.Task[Any] | None] = set()
        if coordinator is not None:
            tasks |= {
                coordinator._coordination_task,
                coordinator._heartbeat_task,
                coordinator._commit_refresh_task,
            }
        if fetcher is not None:
            tasks |= {fetcher._fetch_task, *fetcher._pending_tasks}
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1)
        for task in running:
            if task.done() and not task.cancelled():
                task.exception()  # Looked at, or Python tells of it on its own.

    async def _leave(self) -> None:
        coordinator = self._consumer._coordinator
        if (
            coordinator is None
            or self._static
            or not coordinator.member_id
            or coordinator.coordinator_id is None
        ):
            return
        request = LeaveGroupRequest(self._group, coordinator.member_id)
        try:
            await self._request(coordinator.coordinator_id, request, group=ConnectionGroup.DEFAULT)
        except (KafkaError, OSError):
            return

    # ----------------------------------------------------------------------------------------- offsets

    @property
    def partitions(self) -> frozenset[int]:
        """All partitions of the topic that are known."""
        return frozenset(self._consumer.partitions_for_topic(self._topic) or ())

    async def committed(self, partitions: Collection[int]) -> dict[int, tuple[int, str]]:
        """Offset and metadata of those of the partitions that have a commit.

        Raises Unavailable, and never takes a coordinator that is not ready for one that knows of nothing.
        """
        answer = await self._ask(OffsetFetchRequest(self._group, [(self._topic, sorted(partitions))]))
        self._judge(getattr(answer, "error_code", 0))
        found = {}
        for _, rows in answer.topics:
            for partition, offset, metadata, code in rows:
                self._judge(code)
                if offset != _UNSET:
                    found[partition] = offset, metadata or ""
        return found

    async def commit(self, claim: Claim, offsets: Mapping[int, tuple[int, str]]) -> None:
        """Stores offset and metadata of partitions, in one step. Durable when it returns.

        Raises ClaimLost, then nothing was stored; Unavailable; or Refused.
        """
        if not self.holds(claim):
            raise ClaimLost(f"generation {claim.generation} is over")
        rows = [(partition, *stored) for partition, stored in offsets.items()]
        request = OffsetCommitRequest(self._group, claim.generation, claim.member, -1, [(self._topic, rows)])
        answer = await self._ask(request)
        codes = {code for _, partitions in answer.topics for _, code in partitions}
        if codes & _GONE and self.holds(claim):
            self._consumer._coordinator.reset_generation()
        for code in sorted(codes):
            self._judge(code)

    async def bounds(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """The oldest offset there is and the next one to be written, of each partition."""
        of = [TopicPartition(self._topic, partition) for partition in partitions]
        first = await self._offsets(self._consumer.beginning_offsets(of))
        # The end after the beginning: the other way round a truncation could turn them about.
        end = await self._offsets(self._consumer.end_offsets(of))
        return {tp.partition: (first[tp], end[tp]) for tp in of}

    async def offsets_at(self, partitions: Collection[int], instant: float) -> dict[int, int]:
        """The first offset at or after an instant in epoch seconds; the end where there is none."""
        of = [TopicPartition(self._topic, partition) for partition in partitions]
        # The end first: a record that comes in between is then read, not passed over.
        end = await self._offsets(self._consumer.end_offsets(of))
        millis = max(0, int(instant * 1000))
        found = await self._offsets(self._consumer.offsets_for_times(dict.fromkeys(of, millis)))
        return {tp.partition: found[tp].offset if found.get(tp) else end[tp] for tp in of}

    async def _offsets(self, asked: Awaitable[Mapping[TopicPartition, Any]]) -> Mapping[TopicPartition, Any]:
        try:
            return await asked
        except KafkaError as error:
            raise _translated(error) from error

    async def _ask(self, request: Any) -> Any:
        """An answer of the group's coordinator."""
        coordinator = self._consumer._coordinator
        try:
            await coordinator.ensure_coordinator_known()
            return await coordinator._send_req(request)
        except KafkaError as error:
            raise _translated(error) from error

    def _judge(self, code: int) -> None:
        if code == 0:
            return
        if code in _GONE:
            raise ClaimLost(for_code(code).__name__)
        if code in (_NO_COORDINATOR, _NOT_COORDINATOR):
            self._consumer._coordinator.coordinator_dead()
        error = for_code(code)
        if code in _AGAIN or error.retriable:
            raise Unavailable(error.__name__)
        raise Refused(f"{error.__name__}: {error.description}")

    # ---------------------------------------------------------------------------------------- fetching

    def seek(self, partition: int, offset: int) -> bool:
        """Reads on from there; what was fetched already is forgotten. False when it is not ours any more."""
        try:
            self._consumer.seek(TopicPartition(self._topic, partition), offset)
        except IllegalStateError:
            return False
        return True

    async def take(self, partitions: Collection[int], limit: int) -> dict[int, list[Any]]:
        """Records of these partitions that were fetched already. Gives control to no other task.

        Raises KafkaError; OffsetOutOfRangeError tells which partition has nothing at its position.
        """
        if self._subscription.reassignment_in_progress:
            return {}
        self._consumer._coordinator.check_errors()
        wanted = {TopicPartition(self._topic, partition) for partition in partitions}
        with self._subscription.fetch_context():
            taken = await self._consumer._fetcher.fetched_records(wanted, 0, limit)
        return {tp.partition: records for tp, records in taken.items()}

    def when_fetched(self) -> asyncio.Future[None]:
        """Done when records come, or an error. Of any partition."""
        waiter: asyncio.Future[None] = self._consumer._fetcher._create_fetch_waiter()
        return waiter

    def reach(self, partition: int) -> tuple[int | None, int | None]:
        """The next offset to be taken, and the next to be written as of the last fetch."""
        assignment = self._subscription.subscription and self._subscription.subscription.assignment
        state = assignment and assignment.state_value(TopicPartition(self._topic, partition))
        if not state or not state.has_valid_position:
            return None, None
        return state.position, state.highwater

    async def _send(self, node: Any, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
        """Every request of the client, noted."""
        asked_at = asyncio.get_running_loop().time()
        try:
            answer = await self._request(node, request, group=group)
        except KafkaError as error:
            self._contact.failed(node, error)
            raise
        self._contact.answered(node, asked_at, as_member=isinstance(request, _MEMBERSHIP))
        return answer


def _translated(error: KafkaError) -> Exception:
    if error.retriable or isinstance(error, GroupCoordinatorNotAvailableError | RequestTimedOutError):
        return Unavailable(f"{type(error).__name__}: {error}")
    return Refused(f"{type(error).__name__}: {error}")


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(
        self,
        on_revoked: Callable[[], Awaitable[None]],
        on_assigned: Callable[[Collection[int]], None],
    ) -> None:
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._on_revoked()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._on_assigned([tp.partition for tp in assigned])
