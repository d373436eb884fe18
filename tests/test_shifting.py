"""Traffic moves from one version to another, in virtual time, and back when the new one fails."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest

from streamfn.core.shifting import Guard
from streamfn.errors import ConfigurationError
from streamfn.ports import Alias, Deployment, PreconditionFailed
from streamfn.shifting import Ending, begin, follow
from streamfn.testing.clock import clock, virtual_backend
from streamfn.testing.functions_store import MemoryFunctionStore

NAME = "orders"
CANARY = "Canary10Percent5Minutes"
LINEAR = "Linear25PercentEvery1Minute"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return virtual_backend


class Counts:
    """What was invoked, and what of it failed."""

    def __init__(self) -> None:
        self.invoked = Counter[str]()
        self.failed = Counter[str]()

    def tally(self, function: str, version: str) -> tuple[int, int]:
        assert function == NAME
        return self.invoked[version], self.failed[version]

    def add(self, version: str, invocations: int, errors: int = 0) -> None:
        self.invoked[version] += invocations
        self.failed[version] += errors


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
async def store() -> MemoryFunctionStore:
    store = MemoryFunctionStore()
    for number in range(3):
        await store.publish(Deployment(NAME, "http://127.0.0.1/"), code_sha256=str(number))
    await store.put_alias(Alias(NAME, "live", "1", description="kept"))
    return store


async def live(store: MemoryFunctionStore) -> Alias:
    (alias,) = await store.aliases(NAME)
    return alias


async def test_a_canary_has_its_share_and_then_all(store: MemoryFunctionStore, counts: Counts) -> None:
    alias = await begin(store, NAME, "live", "2", CANARY, clock=clock)
    start = clock()
    assert (alias.version, alias.additional) == ("1", {"2": 0.1})
    assert await live(store) == alias
    assert await follow(store, alias, counts.tally, clock=clock) is Ending.DONE
    assert clock() - start == pytest.approx(300, abs=2)
    assert replace(await live(store), revision_id="") == Alias(NAME, "live", "2", {}, "kept")


async def test_a_linear_move_takes_step_after_step(store: MemoryFunctionStore, counts: Counts) -> None:
    alias = await begin(store, NAME, "live", "2", LINEAR, clock=clock)
    seen: list[tuple[float, Sequence[tuple[str, float]]]] = []
    start = clock()

    async def look() -> None:
        while (found := await live(store)).shift is not None:
            shares = tuple(found.additional.items())
            if not seen or seen[-1][1] != shares:
                seen.append((round((clock() - start) / 60), shares))
            await anyio.sleep(0.5)

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        assert await follow(store, alias, counts.tally, clock=clock) is Ending.DONE
    assert seen == [(0, (("2", 0.25),)), (1, (("2", 0.5),)), (2, (("2", 0.75),))]
    assert (await live(store)).version == "2"


async def test_all_at_once_is_over_when_it_begins(store: MemoryFunctionStore, counts: Counts) -> None:
    alias = await begin(store, NAME, "live", "2", "AllAtOnce", clock=clock)
    assert (alias.version, alias.additional, alias.shift) == ("2", {}, None)
    assert await follow(store, alias, counts.tally, clock=clock) is Ending.DONE


async def test_to_where_it_is_already_nothing_moves(store: MemoryFunctionStore) -> None:
    before = await live(store)
    assert await begin(store, NAME, "live", "1", CANARY, clock=clock) == before


async def test_a_version_that_fails_goes_back(store: MemoryFunctionStore, counts: Counts) -> None:
    # What it did before does not count.
    counts.add("2", 1000, 1000)
    guard = Guard(error_rate=0.1, invocations=10)
    alias = await begin(store, NAME, "live", "2", CANARY, clock=clock, guard=guard)
    start = clock()
    async with anyio.create_task_group() as group:

        async def use() -> None:
            await anyio.sleep(10)
            counts.add("2", 9, 9)
            await anyio.sleep(10)
            assert (await live(store)).shift is not None
            counts.add("2", 1)

        group.start_soon(use)
        assert await follow(store, alias, counts.tally, clock=clock) is Ending.ROLLED_BACK
    assert 20 <= clock() - start <= 21.1
    assert replace(await live(store), revision_id="") == Alias(NAME, "live", "1", {}, "kept")


async def test_errors_of_the_old_version_and_few_of_the_new_one_change_nothing(
    store: MemoryFunctionStore, counts: Counts
) -> None:
    alias = await begin(store, NAME, "live", "2", CANARY, clock=clock, guard=Guard(0.1, 10))
    async with anyio.create_task_group() as group:

        async def use() -> None:
            await anyio.sleep(5)
            counts.add("1", 1000, 1000)
            counts.add("2", 100, 10)

        group.start_soon(use)
        assert await follow(store, alias, counts.tally, clock=clock) is Ending.DONE


async def test_what_a_dead_process_began_is_carried_on(store: MemoryFunctionStore, counts: Counts) -> None:
    alias = await begin(store, NAME, "live", "2", LINEAR, clock=clock)
    start = clock()
    with anyio.move_on_after(70):
        await follow(store, alias, counts.tally, clock=clock)
    found = await live(store)
    assert found.additional == {"2": 0.5}
    assert await follow(store, found, Counts().tally, clock=clock) is Ending.DONE
    assert clock() - start == pytest.approx(180, abs=1.1)
    assert (await live(store)).version == "2"


async def test_after_a_long_time_it_is_where_it_should_be(store: MemoryFunctionStore, counts: Counts) -> None:
    alias = await begin(store, NAME, "live", "2", LINEAR, clock=clock)
    await anyio.sleep(80_000)
    assert await follow(store, alias, counts.tally, clock=clock) is Ending.DONE
    assert (await live(store)).version == "2"


@pytest.mark.parametrize("failing", [False, True])
async def test_several_follow_the_same_move(store: MemoryFunctionStore, failing: bool) -> None:
    alias = await begin(store, NAME, "live", "2", LINEAR, clock=clock, guard=Guard(0.1, 10))
    endings: list[Ending] = []

    async def run(counts: Counts) -> None:
        endings.append(await follow(store, alias, counts.tally, clock=clock))

    each = [Counts() for _ in range(3)]
    async with anyio.create_task_group() as group:
        for counts in each:
            group.start_soon(run, counts)
        await anyio.sleep(70)
        # Only one of them sees the errors.
        each[1].add("2", 10, 10 * failing)
    wanted = Ending.ROLLED_BACK if failing else Ending.DONE
    assert endings == [wanted] * 3
    assert (await live(store)).version == ("1" if failing else "2")
    assert (await live(store)).shift is None


@pytest.mark.parametrize("failing", [False, True])
async def test_a_store_out_of_reach_is_asked_again(
    store: MemoryFunctionStore, counts: Counts, monkeypatch: pytest.MonkeyPatch, failing: bool
) -> None:
    alias = await begin(store, NAME, "live", "2", CANARY, clock=clock, guard=Guard(0.1, 10))
    start, put_alias = clock(), store.put_alias
    wanted_at: list[float] = []

    async def away(wanted: Alias, revision_id: str | None = None) -> Alias:
        wanted_at.append(clock() - start)
        if clock() - start < 400:
            raise OSError(errno.EBUSY, "is locked by another process")
        return await put_alias(wanted, revision_id)

    monkeypatch.setattr(store, "put_alias", away)

    async def use() -> None:
        await anyio.sleep(30.5)
        counts.add("2", 10, 10 * failing)

    async with anyio.create_task_group() as group:
        group.start_soon(use)
        ending = await follow(store, alias, counts.tally, clock=clock)
    assert ending is (Ending.ROLLED_BACK if failing else Ending.DONE)
    assert wanted_at[0] == pytest.approx(31 if failing else 300, abs=2)
    assert wanted_at[-1] == pytest.approx(400, abs=1.1)
    assert (await live(store)).version == ("1" if failing else "2")


@pytest.mark.parametrize("change", ["weights", "version", "removed", "other move"])
async def test_whoever_changes_the_alias_has_the_last_word(
    store: MemoryFunctionStore, counts: Counts, change: str
) -> None:
    alias = await begin(store, NAME, "live", "2", LINEAR, clock=clock)
    endings: list[Ending] = []

    async def run() -> None:
        endings.append(await follow(store, alias, counts.tally, clock=clock))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await anyio.sleep(30)
        match change:
            case "weights":
                await store.put_alias(Alias(NAME, "live", "1", {"2": 0.4}))
            case "version":
                await store.put_alias(Alias(NAME, "live", "3"))
            case "removed":
                await store.delete_alias(NAME, "live")
            case _:
                await begin(store, NAME, "live", "3", LINEAR, clock=clock)
    assert endings == [Ending.REPLACED]
    left = await store.aliases(NAME)
    assert [(one.version, dict(one.additional)) for one in left] == {
        "weights": [("1", {"2": 0.4})],
        "version": [("3", {})],
        "removed": [],
        "other move": [("1", {"3": 0.25})],
    }[change]


async def test_what_cannot_move_is_refused(store: MemoryFunctionStore) -> None:
    before = await live(store)
    for alias, version, preference, guard, said in (
        ("dead", "2", CANARY, Guard(), "function orders has no alias dead"),
        ("live", "7", CANARY, Guard(), "function orders has no version 7"),
        ("live", "$LATEST", CANARY, Guard(), "is not supported for an alias pointing to more than 1"),
        ("live", "2", "Slowly", Guard(), "says nothing of how traffic moves"),
        ("live", "2", CANARY, Guard(2.0), "must be a number from 0 to 1"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            await begin(store, NAME, alias, version, preference, clock=clock, guard=guard)
    assert await live(store) == before


async def test_of_two_who_begin_one_has_to_look_again(
    store: MemoryFunctionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    aliases = store.aliases

    async def changed_meanwhile(function: str) -> Sequence[Alias]:
        found = await aliases(function)
        await store.put_alias(replace(found[0], version="3"))
        return found

    monkeypatch.setattr(store, "aliases", changed_meanwhile)
    with pytest.raises(PreconditionFailed):
        await begin(store, NAME, "live", "2", CANARY, clock=clock)
