"""What every store of leases does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import pytest

from streamfn.ports import Checkpoint, Lease, LeaseStore
from streamfn.testing.conformance.features import LeaseStoreFeatures, needs
from streamfn.testing.conformance.reading import tasks

if TYPE_CHECKING:
    from streamfn.testing.conformance.harness import LeaseStoreHarness

GROUP = "conformance"


class LeaseStoreSuite:
    """All that is promised of a `LeaseStore`. Subclass it with `features` and a fixture `harness`."""

    POSITIONS: ClassVar = (10**56 * 2**24 + 1, 2**210, 2**63, -(2**63) - 1, -1_700_000_000_000)
    features: ClassVar[LeaseStoreFeatures] = LeaseStoreFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> LeaseStoreHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    async def only(self, store: LeaseStore, group: str = GROUP) -> Lease:
        (lease,) = await store.list(group)
        return lease

    async def test_a_group_nobody_knows_has_no_leases(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore.list: all leases of the group, of which there may be none."""
        assert list(await harness.store().list(GROUP)) == []

    async def test_a_lease_comes_back_as_it_was_created(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore.create and LeaseStore.list: every field, unicode and the longest note included."""
        leases = [
            Lease("shard-0"),
            Lease("shard-1", "worker-1", 7, Checkpoint(2**62, "n" * self.features.note)),
            # Kinesis's sequence numbers have up to 56 digits, and parts of aggregated records 24 bits more;
            # below -1 stand instants to begin at.
            *(Lease(f"wide-{number}", checkpoint=Checkpoint(number)) for number in self.POSITIONS),
            Lease(
                "Zürich/東京 'x' \"y\" %s", "ö", 1, Checkpoint(0, "✓\n"), ("shard-0", "shard-1"), ended=True
            ),
        ]
        for lease in leases:
            assert await harness.store().create(GROUP, lease)
        listed = await harness.store().list(GROUP)
        assert sorted(listed, key=lambda lease: lease.key) == sorted(leases, key=lambda lease: lease.key)

    async def test_an_existing_lease_is_not_created_again(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore.create: whether it was new; an existing one stays as it is."""
        store = harness.store()
        first = Lease("shard", "worker-1", 3, Checkpoint(10, "note"))
        assert await store.create(GROUP, first)
        for another in (Lease("shard", "worker-2"), replace(first, checkpoint=Checkpoint(99)), first):
            assert not await harness.store().create(GROUP, another)
            assert await self.only(store) == first

    async def test_an_update_replaces_the_lease(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore.update: replaces `lease` by `new` if its counter still stands, for all to see."""
        store, other = harness.store(), harness.store()
        lease = Lease("shard", parents=("parent",))
        await store.create(GROUP, lease)
        for counter in range(1, 4):
            new = replace(lease, owner=f"w{counter}", counter=counter, checkpoint=Checkpoint(counter, "note"))
            assert await store.update(GROUP, lease, new)
            assert await self.only(other) == new
            lease = new
        for position in self.POSITIONS:
            new = replace(lease, counter=lease.counter + 1, checkpoint=Checkpoint(position, "wide"))
            assert await store.update(GROUP, lease, new)
            assert await self.only(other) == new
            lease = new
        given_up = replace(lease, owner=None, counter=lease.counter + 1, ended=True)
        assert await other.update(GROUP, lease, given_up)
        assert await self.only(store) == given_up

    async def test_an_update_of_what_has_changed_fails(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore.update: who does not know the present counter changes nothing."""
        store = harness.store()
        old = Lease("shard", "worker-1", 1)
        await store.create(GROUP, old)
        new = replace(old, counter=2, checkpoint=Checkpoint(5))
        assert await store.update(GROUP, old, new)
        assert not await store.update(GROUP, old, replace(old, counter=2, checkpoint=Checkpoint(9, "lost")))
        assert not await store.update(GROUP, replace(old, counter=7), replace(old, counter=8))
        assert await self.only(store) == new

    async def test_the_counter_alone_decides(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore: compare-and-set on the counter, whatever else the writer believes of the lease."""
        store = harness.store()
        lease = Lease("shard", "worker-1", 1, Checkpoint(3, "x"))
        await store.create(GROUP, lease)
        believed = replace(lease, owner=None, checkpoint=Checkpoint(-1))
        new = replace(lease, counter=2)
        assert await store.update(GROUP, believed, new)
        assert await self.only(store) == new

    async def test_a_lease_that_is_not_there_is_not_updated(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore.update: makes no lease."""
        store = harness.store()
        lease = Lease("shard")
        assert not await store.update(GROUP, lease, replace(lease, counter=1))
        assert list(await store.list(GROUP)) == []

    async def test_of_two_writers_exactly_one_succeeds(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore.update: of two writers, and of fifty, exactly one succeeds, again and again."""
        await harness.store().create(GROUP, Lease("shard"))
        for round_number in range(5):
            lease = await self.only(harness.store())
            won: list[Lease] = []

            async def write(worker: int, lease: Lease = lease, won: list[Lease] = won) -> None:
                new = replace(lease, owner=f"worker-{worker}", counter=lease.counter + 1)
                if await harness.store().update(GROUP, lease, new):
                    won.append(new)

            async with harness.within(self.features.patience), tasks() as group:
                for worker in range(2 if round_number == 0 else 50):
                    group.start_soon(write, worker)
            assert len(won) == 1
            assert await self.only(harness.store()) == won[0]

    async def test_of_many_creators_exactly_one_succeeds(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore.create: whether it was new, for one of all who try at once."""
        won: list[Lease] = []

        async def create(worker: int) -> None:
            lease = Lease("shard", f"worker-{worker}")
            if await harness.store().create(GROUP, lease):
                won.append(lease)

        async with harness.within(self.features.patience), tasks() as group:
            for worker in range(20):
                group.start_soon(create, worker)
        assert [await self.only(harness.store())] == won

    async def test_a_lease_is_deleted_if_its_counter_stands(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore.delete: removes it if its counter still stands, and says whether it did."""
        store = harness.store()
        old = Lease("shard", "worker-1", 1)
        new = replace(old, counter=2)
        await store.create(GROUP, old)
        await store.update(GROUP, old, new)
        assert not await store.delete(GROUP, old)
        assert await self.only(store) == new
        assert await store.delete(GROUP, new)
        assert not await store.delete(GROUP, new)
        assert list(await store.list(GROUP)) == []
        assert await store.create(GROUP, old)

    async def test_groups_are_apart(self, harness: LeaseStoreHarness) -> None:
        """LeaseStore: leases of a group, which share nothing with those of another."""
        store = harness.store()
        one, two = Lease("shard", "one"), Lease("shard", "two")
        assert await store.create(GROUP, one)
        assert await store.create("another", two)
        assert await store.update(GROUP, one, replace(one, counter=1))
        assert await self.only(store, "another") == two
        assert await store.delete("another", two)
        assert (await self.only(store)).counter == 1

    async def test_leases_survive_their_store(self, harness: LeaseStoreHarness) -> None:
        """What was written is there when the store is opened again."""
        needs(self.features.reopening, "a store that can be opened again")
        store = harness.store()
        lease = Lease("shard", "worker", 1, Checkpoint(5, "note"))
        await store.create(GROUP, lease)
        new = replace(lease, counter=2, checkpoint=Checkpoint(6))
        await store.update(GROUP, lease, new)
        await harness.reopen()
        assert await self.only(harness.store()) == new
