"""The suite notices what is broken in stores of resources. Each test says what it is for."""

from __future__ import annotations

from typing import Any

import pytest

from streamfn.ports import Resource, ResourceStore
from streamfn.testing.clock import clock, virtual_backend
from streamfn.testing.conformance import ResourceStoreFeatures, ResourceStoreHarness, ResourceStoreSuite
from streamfn.testing.resources import MemoryResourceStore
from tests.conformance.broken import assert_noticed, breaks


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


class MemoryHarness(ResourceStoreHarness):
    def __init__(self) -> None:
        self._store = MemoryResourceStore()

    def now(self) -> float:
        return clock()

    def store(self) -> ResourceStore:
        return self._store

    async def fill(self) -> None:
        self._store.fails = lambda changes: True


class TestMemoryResourceStore(ResourceStoreSuite):
    features = ResourceStoreFeatures(reopening="the memory of a process does not survive it")

    @pytest.fixture
    def harness(self) -> ResourceStoreHarness:
        return MemoryHarness()


STORES: list[Any] = []

write = MemoryResourceStore.write
resources = MemoryResourceStore.resources


@breaks(STORES, MemoryResourceStore, "write", "test_what_is_written_is_the_stores")
async def write_keeps_what_is_the_callers(self: Any, changes: Any) -> None:
    for change in changes:
        self.kept[change.kind, change.key] = change


@breaks(STORES, MemoryResourceStore, "write", "test_what_raised_was_not_done")
async def write_does_a_part(self: Any, changes: Any) -> None:
    fails, self.fails = self.fails, lambda changes: False
    full = fails(changes)
    await write(self, changes[:1] if full else changes)
    self.fails = fails
    if full:
        raise OSError("no room is left")


@breaks(STORES, MemoryResourceStore, "write", "test_what_raised_was_not_done")
async def write_says_nothing_of_a_full_disk(self: Any, changes: Any) -> None:
    if not self.fails(changes):
        await write(self, changes)


@breaks(STORES, MemoryResourceStore, "write", "test_several_changes_are_one")
async def write_the_first_of_each(self: Any, changes: Any) -> None:
    await write(self, list({(one.kind, one.key): one for one in reversed(changes)}.values()))


@breaks(STORES, MemoryResourceStore, "write", "test_kinds_are_apart", "test_several_changes_are_one")
async def write_takes_nothing_away(self: Any, changes: Any) -> None:
    await write(self, [one for one in changes if one.document is not None])


@breaks(STORES, MemoryResourceStore, "write", "test_the_order_is_that_of_the_first_write")
async def write_moves_to_the_end(self: Any, changes: Any) -> None:
    await write(self, [Resource(one.kind, one.key, None) for one in changes])
    await write(self, changes)


@breaks(STORES, MemoryResourceStore, "resources", "test_the_order_is_that_of_the_first_write")
async def resources_by_key(self: Any) -> Any:
    return sorted(await resources(self), key=lambda one: (one.kind, one.key))


@breaks(STORES, MemoryResourceStore, "resources", "test_kinds_are_apart")
async def resources_by_key_alone(self: Any) -> Any:
    return list({one.key: one for one in self.kept.values() if one.kind != "b"}.values())


@breaks(STORES, MemoryResourceStore, "resources", "test_what_is_written_comes_back")
async def resources_without_what_is_empty(self: Any) -> Any:
    return [one for one in await resources(self) if one.document]


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), STORES)
async def test_a_broken_store_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    monkeypatch.setattr(target, attribute, instead)
    await assert_noticed(ResourceStoreSuite(), MemoryHarness(), test)
