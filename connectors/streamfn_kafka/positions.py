"""Where the reading of a partition begins: what was committed, or a first position, committed at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
import structlog

from streamfn.core.policies import StartingPosition
from streamfn.errors import PositionLost
from streamfn.ports import Checkpoint
from streamfn_kafka.client import Claim, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from streamfn.ports import Subscription
    from streamfn_kafka.client import GroupClient

T = TypeVar("T")

_PAUSE = 0.1

_FIRST = 0
"""The partition whose owner decides for a new group. There is always one."""

_PATIENCE = 15.0
"""Seconds that the others wait for it to decide: if it is not streamfn, it never will."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where one partition is read from."""

    offset: int
    note: str = ""

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.offset - 1, self.note)


class Positions:
    """Finds first positions, and new ones where records are gone."""

    def __init__(
        self,
        client: GroupClient,
        name: str,
        subscription: Subscription,
        *,
        on_position_lost: str,
        read_committed: bool,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._name = name
        self._subscription = subscription
        self._on_position_lost = on_position_lost
        self._read_committed = read_committed
        self._clock = clock
        self._log = structlog.get_logger("streamfn.kafka").bind(source=name, group=subscription.group)

    async def find(self, claim: Claim, partitions: Collection[int]) -> dict[int, Start]:
        """Where to read the partitions from. What was not committed yet is now: a restart skips nothing.

        In a group that has commits, a partition without one has come later and is read from its beginning.
        Only a group without any is new, and takes the starting position. The owner of the first partition
        decides which it is, for all partitions and in one commit: were each member to decide for its own, the
        commit of the first would make the group look old to the second. The others wait for that commit.

        Goes on trying while the brokers are away: cancel it. Raises ClaimLost and Refused.
        """
        waiting_since = self._clock()
        while True:
            # Others may know of new partitions before we do, and we be assigned one of them.
            every = self._client.partitions | set(partitions)
            committed = await patiently(partial(self._client.committed, every))
            missing = every - committed.keys()
            if missing.isdisjoint(partitions):
                return {partition: Start(*committed[partition]) for partition in partitions}
            decides = _FIRST in partitions and _FIRST in missing
            if decides or _FIRST in committed or self._clock() - waiting_since > _PATIENCE:
                ours = missing if decides else missing & set(partitions)
                await self._begin(claim, ours, new_group=not committed)
            else:
                await anyio.sleep(_PAUSE)

    async def _begin(self, claim: Claim, partitions: Collection[int], *, new_group: bool) -> None:
        position = self._subscription.starting_position if new_group else StartingPosition.TRIM_HORIZON
        match position:
            case StartingPosition.AT_TIMESTAMP:
                instant = self._subscription.starting_at or 0.0
                offsets = await patiently(lambda: self._client.offsets_at(partitions, instant))
            case _:
                bounds = await patiently(lambda: self._client.bounds(partitions))
                end = position is StartingPosition.LATEST
                offsets = {partition: bound[end] for partition, bound in bounds.items()}
        starts = {partition: (offset, "") for partition, offset in offsets.items()}
        await patiently(lambda: self._client.commit(claim, starts))
        self._log.info("kafka_group_begins", position=position.value, offsets=offsets)

    async def recover(self, partition: int, offset: int) -> int:
        """The offset to go on at, where there is nothing at the one wanted. Raises PositionLost by policy.

        What is lost is always told of.
        """
        first, end = (await patiently(lambda: self._client.bounds((partition,))))[partition]
        return self._recovered(partition, offset, first, end)

    async def checked(self, starts: dict[int, Start]) -> dict[int, Start | PositionLost]:
        """The starts, with those that lie outside of what there is replaced as `recover` does."""
        bounds = await patiently(lambda: self._client.bounds(starts))
        found: dict[int, Start | PositionLost] = {}
        for partition, start in starts.items():
            first, end = bounds[partition]
            # With read_committed the end is that of the oldest open transaction, which a position may be
            # beyond.
            if first <= start.offset and (start.offset <= end or self._read_committed):
                found[partition] = start
                continue
            try:
                # The note speaks of records that are gone, so it goes with them.
                found[partition] = Start(self._recovered(partition, start.offset, first, end))
            except PositionLost as error:
                found[partition] = error
        return found

    def _recovered(self, partition: int, offset: int, first: int, end: int) -> int:
        where = f"{self._name}: partition {partition} of group {self._subscription.group}"
        if offset < first:
            what = f"the records {offset} to {first - 1} were removed before they were read"
        else:
            what = f"its position {offset} is beyond its end {end}: the topic was made anew, or cut off"
        there = f"there are {first} to {end - 1}" if end > first else f"it is empty, at {end}"
        if self._on_position_lost == "fail":
            raise PositionLost(
                f"{where}: {what}; {there}. Go on with on_position_lost: trim_horizon or latest, "
                f"or reset the offsets of the group"
            )
        target = end if self._on_position_lost == "latest" else first
        self._log.error(
            "kafka_records_lost",
            partition=partition,
            position=offset,
            first_kept=first,
            end=end,
            goes_on_at=target,
            policy=self._on_position_lost,
            problem=what,
        )
        return target


async def patiently(action: Callable[[], Awaitable[T]]) -> T:
    """The result of something, tried again for as long as the brokers cannot do it. Cancel it to give up."""
    while True:
        try:
            return await action()
        except Unavailable:
            await anyio.sleep(_PAUSE)
