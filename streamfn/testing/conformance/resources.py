"""What every store of resources does."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import anyio
import pytest

from streamfn.ports.resources import Resource
from streamfn.testing.conformance.features import Has, Pace, needs
from streamfn.testing.conformance.harness import Harness

if TYPE_CHECKING:
    from streamfn.ports import ResourceStore

DOCUMENT: dict[str, Any] = {
    "name": "Bestellung ✓",
    "nothing": None,
    "numbers": [1, -1, 2**53, 0.5],
    "flags": {"yes": True, "no": False},
    "": {"deep": [{"er": []}]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStoreFeatures(Pace):
    """A store of resources."""

    reopening: Has = True
    """The harness can close the store and open it again."""
    unusable: Has = True
    """The harness can have the store refuse all writes."""


class ResourceStoreHarness(Harness, Protocol):
    """A place for resources, empty at first."""

    @abstractmethod
    def store(self) -> ResourceStore:
        """The store."""

    async def reopen(self) -> None:
        """Closes what holds the resources, and opens it again."""
        pytest.fail("the feature `reopening` needs this")

    async def fill(self) -> None:
        """From now on nothing more fits."""
        pytest.fail("the feature `unusable` needs this")


class ResourceStoreSuite:
    """All that is promised of a `ResourceStore`. Subclass it with `features` and a fixture `harness`."""

    features: ClassVar[ResourceStoreFeatures] = ResourceStoreFeatures()
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def harness(self) -> ResourceStoreHarness:
        pytest.fail("a suite is subclassed with a fixture `harness`")

    async def test_a_new_store_is_empty(self, harness: ResourceStoreHarness) -> None:
        """ResourceStore.resources: of what was never written there is nothing."""
        assert list(await harness.store().resources()) == []

    async def test_what_is_written_comes_back(self, harness: ResourceStoreHarness) -> None:
        """ResourceStore.write and ResourceStore.resources: the whole document, of any JSON."""
        kept = [Resource("function", "orders", DOCUMENT), Resource("function", "empty", {})]
        await harness.store().write(kept)
        assert list(await harness.store().resources()) == kept

    async def test_what_is_written_is_the_stores(self, harness: ResourceStoreHarness) -> None:
        """ResourceStore.write: as the document is now; what its owner does to it later is not seen."""
        document = {"tags": ["a"]}
        await harness.store().write([Resource("function", "orders", document)])
        document["tags"].append("b")
        (found,) = await harness.store().resources()
        assert found.document == {"tags": ["a"]}

    async def test_kinds_are_apart(self, harness: ResourceStoreHarness) -> None:
        """ResourceStore.write: a key is unique among those of its kind only."""
        await harness.store().write([Resource("a", "x", {"n": 1}), Resource("b", "x", {"n": 2})])
        await harness.store().write([Resource("a", "x", None)])
        assert list(await harness.store().resources()) == [Resource("b", "x", {"n": 2})]

    async def test_the_order_is_that_of_the_first_write(self, harness: ResourceStoreHarness) -> None:
        """ResourceStore.resources: ordered by kind and by when they were first written; what was gone is
        new.
        """
        for kind, key in (("b", "9"), ("a", "10"), ("b", "1"), ("a", "2"), ("b", "5")):
            await harness.store().write([Resource(kind, key, {"n": 1})])
        await harness.store().write([Resource("b", "9", {"n": 2})])
        await harness.store().write([Resource("b", "1", None)])
        await harness.store().write([Resource("b", "1", {"n": 3})])
        found = [(one.kind, one.key) for one in await harness.store().resources()]
        assert found == [("a", "10"), ("a", "2"), ("b", "9"), ("b", "5"), ("b", "1")]

    async def test_several_changes_are_one(self, harness: ResourceStoreHarness) -> None:
        """ResourceStore.write: all of them, in their order: the last change of one resource counts."""
        await harness.store().write([Resource("a", "gone", {}), Resource("a", "kept", {"n": 1})])
        await harness.store().write(
            [
                Resource("a", "gone", None),
                Resource("a", "never there", None),
                Resource("a", "kept", {"n": 2}),
                Resource("a", "new", {"n": 1}),
                Resource("a", "new", {"n": 2}),
            ]
        )
        await harness.store().write([])
        assert list(await harness.store().resources()) == [
            Resource("a", "kept", {"n": 2}),
            Resource("a", "new", {"n": 2}),
        ]

    async def test_writers_at_once_lose_nothing(self, harness: ResourceStoreHarness) -> None:
        """ResourceStore.write: of many that write at once each is done."""
        keys = {f"{number}" for number in range(50)}
        async with harness.within(self.features.patience), anyio.create_task_group() as group:
            for key in keys:
                group.start_soon(harness.store().write, [Resource("a", key, {"n": key})])
        assert {(one.key, (one.document or {})["n"]) for one in await harness.store().resources()} == {
            (key, key) for key in keys
        }

    async def test_what_is_written_is_durable(self, harness: ResourceStoreHarness) -> None:
        """ResourceStore.write: durable when it returns; order and documents are the same afterwards."""
        needs(self.features.reopening, "a store that can be opened again")
        written = [Resource("a", key, DOCUMENT) for key in ("2", "1", "3")]
        await harness.store().write(written)
        await harness.reopen()
        await harness.store().write([Resource("a", "0", {}), Resource("a", "2", DOCUMENT)])
        await harness.reopen()
        assert list(await harness.store().resources()) == [*written, Resource("a", "0", {})]

    async def test_what_raised_was_not_done(self, harness: ResourceStoreHarness) -> None:
        """ResourceStore.write: all of them or none; raises OSError where the store cannot be used."""
        needs(self.features.unusable, "a store that refuses writes")
        before = [Resource("a", "kept", {"n": 1}), Resource("a", "other", {"n": 1})]
        await harness.store().write(before)
        await harness.fill()
        changes = [
            Resource("a", "kept", {"n": 2}),
            Resource("a", "other", None),
            *(Resource("a", f"large {number}", {"text": "x" * 100_000}) for number in range(20)),
        ]
        with pytest.raises(OSError, match=r"."):
            await harness.store().write(changes)
        assert list(await harness.store().resources()) == before
