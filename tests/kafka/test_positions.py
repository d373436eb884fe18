"""Where reading begins, decided by several readers at once. No broker, and no time passes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import anyio
import pytest

from streamfn.core.policies import StartingPosition
from streamfn.ports import Subscription
from streamfn.testing.clock import virtual_backend
from streamfn_kafka.client import Claim, ClaimLost, Unavailable
from streamfn_kafka.positions import Positions, Start

pytestmark = pytest.mark.anyio

CLAIM = Claim(1, "me")
END = 100
"""Of every partition. They all begin at 10."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


class Group:
    """What the brokers know of a group, and a client to ask them."""

    def __init__(self, partitions: int, committed: Mapping[int, int] | None = None) -> None:
        self.partitions = frozenset(range(partitions))
        self.stored = {partition: (offset, "") for partition, offset in (committed or {}).items()}
        self.asked = 0
        self.busy = 0
        self.commits: list[dict[int, int]] = []

    async def committed(self, partitions: Collection[int]) -> dict[int, tuple[int, str]]:
        await anyio.sleep(0.01)
        self.asked += 1
        if self.busy:
            self.busy -= 1
            raise Unavailable("loading")
        return {partition: stored for partition, stored in self.stored.items() if partition in partitions}

    async def commit(self, claim: Claim, offsets: Mapping[int, tuple[int, str]]) -> None:
        await anyio.sleep(0.01)
        if claim != CLAIM:
            raise ClaimLost("gone")
        self.stored.update(offsets)
        self.commits.append({partition: offset for partition, (offset, _) in offsets.items()})

    async def bounds(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        await anyio.sleep(0.01)
        return dict.fromkeys(partitions, (10, END))

    async def offsets_at(self, partitions: Collection[int], instant: float) -> dict[int, int]:
        await anyio.sleep(0.01)
        return dict.fromkeys(partitions, int(instant))

    async def find(
        self, *partitions: int, position: StartingPosition = StartingPosition.LATEST, claim: Claim = CLAIM
    ) -> dict[int, Start]:
        positions = Positions(
            self,  # type: ignore[arg-type]
            "kafka://h/t",
            Subscription("group", position, 42.0),
            on_position_lost="fail",
            read_committed=False,
            clock=asyncio.get_running_loop().time,
        )
        return await positions.find(claim, partitions)


async def test_the_owner_of_the_first_partition_decides_for_all() -> None:
    group = Group(4)
    assert await group.find(0, 1) == {0: Start(END), 1: Start(END)}
    assert group.commits == [dict.fromkeys(range(4), END)]
    assert await group.find(2, 3) == {2: Start(END), 3: Start(END)}
    assert len(group.commits) == 1


async def test_the_others_wait_for_it() -> None:
    """Were they to begin on their own, the group would look old to the first, who would read everything."""
    group = Group(4)
    found: dict[int, Start] = {}

    async def other() -> None:
        found.update(await group.find(2, 3))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await anyio.sleep(5)
        assert group.asked > 5
        assert not group.commits
        found.update(await group.find(0, 1))
    assert found == {partition: Start(END) for partition in range(4)}


async def test_they_do_not_wait_for_ever() -> None:
    """The first partition may be of a program that never commits it."""
    group = Group(2)
    began = anyio.current_time()
    assert await group.find(1) == {1: Start(END)}
    assert group.commits == [{1: END}]
    assert 10 < anyio.current_time() - began < 20


@pytest.mark.parametrize("known", [0, 1])
async def test_what_an_old_group_does_not_know_is_read_from_its_beginning(known: int) -> None:
    group = Group(2, {known: 50})
    assert await group.find(0, 1) == {known: Start(50), 1 - known: Start(10)}


async def test_a_partition_that_came_later_needs_no_owner_of_the_first() -> None:
    group = Group(3, {0: 50, 1: 50})
    assert await group.find(2) == {2: Start(10)}


async def test_a_partition_may_be_assigned_before_it_is_known() -> None:
    group = Group(2, {0: 50, 1: 50})
    assert await group.find(1, 2) == {1: Start(50), 2: Start(10)}


async def test_a_time_holds_for_a_new_group_only() -> None:
    at = StartingPosition.AT_TIMESTAMP
    assert await Group(2).find(0, 1, position=at) == {0: Start(42), 1: Start(42)}
    assert await Group(2, {0: 50}).find(0, 1, position=at) == {0: Start(50), 1: Start(10)}


async def test_a_coordinator_that_loads_is_waited_for() -> None:
    group = Group(1, {0: 50})
    group.busy = 20
    assert await group.find(0) == {0: Start(50)}
    assert group.asked == 21
    assert not group.commits


async def test_who_was_thrown_out_decides_nothing() -> None:
    group = Group(1)
    with pytest.raises(ClaimLost):
        await group.find(0, claim=Claim(0, "other"))
    assert not group.commits
