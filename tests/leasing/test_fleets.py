"""Fleets of two and of five workers on leases in memory, in virtual time: at hand, and far away."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamfn.stores import MemoryLeaseStore, SqliteLeaseStore
from tests.leasing import fleet
from tests.leasing.fakes import FarStore


@pytest.mark.parametrize("shards", [1, 2, 4, 5, 9, 16, 40])
@pytest.mark.parametrize("workers", [2, 5])
async def test_workers_share(workers: int, shards: int) -> None:
    await fleet.workers_share(MemoryLeaseStore(), workers, shards)


@pytest.mark.parametrize("shards", [1, 4, 7, 40])
@pytest.mark.parametrize("workers", [2, 5])
async def test_a_dead_worker_is_replaced(workers: int, shards: int) -> None:
    await fleet.a_dead_worker_is_replaced(MemoryLeaseStore(), workers, shards)


async def test_a_worker_that_lost_a_lease_commits_nothing() -> None:
    await fleet.a_worker_that_lost_a_lease_commits_nothing(MemoryLeaseStore())


@pytest.mark.parametrize("workers", [1, 2, 5])
async def test_children_follow_their_parents(workers: int) -> None:
    await fleet.children_follow_their_parents(MemoryLeaseStore(), workers)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("workers", [2, 5])
@pytest.mark.parametrize("store", [MemoryLeaseStore, FarStore])
async def test_workers_come_and_go(store: type[MemoryLeaseStore], seed: int, workers: int) -> None:
    await fleet.workers_come_and_go(store(), seed, workers, shards=seed * 3 + 1)


async def test_a_fleet_on_one_file(tmp_path: Path) -> None:
    async with SqliteLeaseStore.at(tmp_path / "leases.sqlite3") as store:
        await fleet.children_follow_their_parents(store, 2)


async def test_a_dead_worker_of_a_fleet_on_one_file(tmp_path: Path) -> None:
    async with SqliteLeaseStore.at(tmp_path / "leases.sqlite3") as store:
        await fleet.a_dead_worker_is_replaced(store, 2, 4)
