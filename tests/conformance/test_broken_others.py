"""The suites notice what is broken in destinations and stores of leases. Each test says what it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from anyio import lowlevel

from streamfn.ports import (
    Destination,
    Environment,
    EventQueue,
    EventShard,
    EventSource,
    FunctionStore,
    Key,
    LeaseStore,
    LetterFetcher,
    LetterStore,
    QueueShard,
    QueueSource,
    ResourceStore,
    Runtime,
    SendFailure,
    Shard,
    StreamShard,
    StreamSource,
)
from streamfn.stores.memory import MemoryLeaseStore
from streamfn.testing.clock import virtual_backend
from streamfn.testing.conformance import (
    DestinationSuite,
    EventQueueSuite,
    FunctionStoreSuite,
    KeySuite,
    LeaseStoreSuite,
    LetterFetcherSuite,
    LetterStoreSuite,
    QueueSourceSuite,
    ResourceStoreSuite,
    RuntimeSuite,
    StreamSourceSuite,
)
from streamfn.testing.memory import MemoryDestination
from tests.conformance.broken import assert_noticed, breaks
from tests.conformance.test_memory import (
    MemoryDestinationHarness,
    MemoryLeaseStoreHarness,
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


DESTINATIONS: list[Any] = []
LEASES: list[Any] = []

send = MemoryDestination.send


@breaks(DESTINATIONS, MemoryDestination, "send", "test_what_is_refused_is_named_by_its_place")
async def send_hides_failures(self: MemoryDestination, messages: Any) -> Any:
    await send(self, messages)
    return ()


@breaks(DESTINATIONS, MemoryDestination, "send", "test_what_is_refused_is_named_by_its_place")
async def send_gives_up_at_the_first(self: MemoryDestination, messages: Any) -> Any:
    for place, message in enumerate(messages):
        failures = await send(self, [message])
        if failures:
            return [replace(failures[0], index=place)]
    return ()


@breaks(DESTINATIONS, MemoryDestination, "send", "test_what_is_refused_is_named_by_its_place")
async def send_counts_from_one(self: MemoryDestination, messages: Any) -> Any:
    return [SendFailure(one.index + 1, one.reason, one.retryable) for one in await send(self, messages)]


@breaks(DESTINATIONS, MemoryDestination, "send", "test_what_is_refused_is_named_by_its_place")
async def send_says_try_again(self: MemoryDestination, messages: Any) -> Any:
    return [replace(one, retryable=True) for one in await send(self, messages)]


@breaks(DESTINATIONS, MemoryDestination, "send", "test_what_is_sent_is_durable_when_send_returns")
async def send_keeps_back(self: MemoryDestination, messages: Any) -> Any:
    return await send(self, messages[:-1])


@breaks(DESTINATIONS, MemoryDestination, "send", "test_sending_to_nobody_raises")
async def send_ignores_that_nobody_is_there(self: MemoryDestination, messages: Any) -> Any:
    return [SendFailure(0, "nobody")]


@breaks(DESTINATIONS, MemoryDestination, "close", "test_closing_ends_it_and_may_be_repeated")
async def close_once(self: MemoryDestination) -> None:
    assert not self.closed
    self.closed = True


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), DESTINATIONS)
async def test_a_broken_destination_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    monkeypatch.setattr(target, attribute, instead)
    await assert_noticed(DestinationSuite(), MemoryDestinationHarness(), test)


@breaks(LEASES, MemoryLeaseStore, "create", "test_an_existing_lease_is_not_created_again")
async def create_overwrites(self: MemoryLeaseStore, group: str, lease: Any) -> bool:
    new = lease.key not in self._groups[group]
    self._groups[group][lease.key] = lease
    return new


@breaks(LEASES, MemoryLeaseStore, "create", "test_a_lease_comes_back_as_it_was_created")
async def create_keeps_as_many_digits_as_a_float(self: MemoryLeaseStore, group: str, lease: Any) -> bool:
    place = replace(lease.checkpoint, position=int(float(lease.checkpoint.position)))
    return self._groups[group].setdefault(lease.key, replace(lease, checkpoint=place)) is not lease


@breaks(LEASES, MemoryLeaseStore, "create", "test_of_many_creators_exactly_one_succeeds")
async def create_races(self: MemoryLeaseStore, group: str, lease: Any) -> bool:
    new = lease.key not in self._groups[group]
    await lowlevel.checkpoint()
    if new:
        self._groups[group][lease.key] = lease
    return new


@breaks(LEASES, MemoryLeaseStore, "update", "test_of_two_writers_exactly_one_succeeds")
async def update_races(self: MemoryLeaseStore, group: str, lease: Any, new: Any) -> bool:
    stands = self._stands(group, lease)
    await lowlevel.checkpoint()
    if stands:
        self._groups[group][lease.key] = new
    return stands


@breaks(LEASES, MemoryLeaseStore, "delete", "test_a_lease_is_deleted_if_its_counter_stands")
async def delete_always(self: MemoryLeaseStore, group: str, lease: Any) -> bool:
    return self._groups[group].pop(lease.key, None) is not None


@breaks(LEASES, MemoryLeaseStore, "_stands", "test_the_counter_alone_decides")
def whole_lease(self: MemoryLeaseStore, group: str, lease: Any) -> bool:
    return self._groups[group].get(lease.key) == lease


@breaks(
    LEASES,
    MemoryLeaseStore,
    "_stands",
    "test_an_update_of_what_has_changed_fails",
    "test_a_lease_that_is_not_there_is_not_updated",
)
def blindly(self: MemoryLeaseStore, group: str, lease: Any) -> bool:
    return True


@breaks(LEASES, MemoryLeaseStore, "list", "test_a_lease_comes_back_as_it_was_created")
async def list_forgets_the_note(self: MemoryLeaseStore, group: str) -> Any:
    leases = self._groups[group].values()
    return [replace(lease, checkpoint=replace(lease.checkpoint, note="")) for lease in leases]


@breaks(LEASES, MemoryLeaseStore, "list", "test_groups_are_apart")
async def list_everything(self: MemoryLeaseStore, group: str) -> Any:
    return [lease for leases in self._groups.values() for lease in leases.values()]


@pytest.mark.parametrize(("test", "target", "attribute", "instead"), LEASES)
async def test_a_broken_lease_store_is_noticed(
    monkeypatch: pytest.MonkeyPatch, test: str, target: type, attribute: str, instead: Any
) -> None:
    monkeypatch.setattr(target, attribute, instead)
    await assert_noticed(LeaseStoreSuite(), MemoryLeaseStoreHarness(), test)


SUITES: list[type] = [
    StreamSourceSuite,
    QueueSourceSuite,
    DestinationSuite,
    LeaseStoreSuite,
    LetterStoreSuite,
    LetterFetcherSuite,
    EventQueueSuite,
    FunctionStoreSuite,
    KeySuite,
    ResourceStoreSuite,
    RuntimeSuite,
]


@pytest.mark.parametrize("suite", SUITES)
def test_each_test_says_which_promise_it_checks(suite: type) -> None:
    tests: list[Callable[..., Any]] = [
        getattr(suite, name) for name in dir(suite) if name.startswith("test_")
    ]
    assert tests
    assert [test.__name__ for test in tests if not test.__doc__] == []


def test_each_promise_of_the_ports_has_a_test() -> None:
    said = " ".join(
        getattr(suite, name).__doc__ or "" for suite in SUITES for name in dir(suite) if "test_" in name
    )
    ports = [
        StreamSource,
        Shard,
        StreamShard,
        QueueSource,
        QueueShard,
        Destination,
        LeaseStore,
        LetterStore,
        LetterFetcher,
        EventQueue,
        EventSource,
        EventShard,
        FunctionStore,
        Key,
        ResourceStore,
        Environment,
        Runtime,
    ]
    promised = {
        f"{port.__name__}.{name}" for port in ports for name in vars(port) if not name.startswith("_")
    }
    assert {name for name in promised if name not in said} == set()
