"""Sequences in the embedded broker: closing, parking, opening again, and one of each key at a time."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfn import plugins
from streamfn.core.events import EventRecord
from streamfn.core.letters import Stored
from streamfn.errors import ConfigurationError, SequenceFull
from streamfn.local import Broker, LocalSequences, SequenceLetters, opened_sequences
from streamfn.local.events import LocalEventShard
from streamfn.ports import Parked, SequencedStore, Sequences
from streamfn.testing.clock import clock, virtual_backend

GROUP = "app.m"
SHARD = "shard-0"
KEYS = ["a", "", "ключ", "\udcff\udc80raw", "x/y:1", "a\x00b"]
"""Of all kinds: also of no text, and of no length."""


def parked(key: str, position: int, arrived_at: float = 1.0) -> Parked:
    return Parked(key, position, arrived_at, orjson.dumps({"payload": position}))


class Sequenced:
    """The sequences of one mapping by all three of their ends."""

    def __init__(self, folder: Path, sequences: LocalSequences, shard: LocalEventShard) -> None:
        self.folder = folder
        self.sequences = sequences
        self.shard = shard
        self.store = SequenceLetters(GROUP, state_dir=folder, clock=clock)

    async def bury(self, *letters: Parked, shard: str = SHARD) -> None:
        await self.sequences.bury(shard, letters)

    async def park(self, *records: Parked, shard: str = SHARD) -> list[int]:
        """Those that were not parked."""
        return [record.position for record in await self.sequences.park(shard, records)]

    async def letters(self) -> dict[str | None, Stored]:
        found = [stored async for stored in self.store.scan()]
        assert len({stored.key for stored in found}) == len(found)
        return {stored.key: stored for stored in found}

    async def reopen(self, key: str) -> int:
        return await self.store.reopen([(await self.letters())[key]])

    async def take(self, limit: int = 100, wait: float = 0.0) -> list[EventRecord]:
        return [record for record in await self.shard.read(limit, wait) if isinstance(record, EventRecord)]

    async def drain(self) -> list[tuple[str | None, int]]:
        """All that is due, one after the other."""
        found = []
        while records := await self.take(1):
            found.append((records[0].key, what(records[0])))
            await self.shard.ack(records)
        return found


def what(record: EventRecord) -> int:
    return int(orjson.loads(record.value)["payload"])


@asynccontextmanager
async def sequenced(folder: Path, limit: int = 100) -> AsyncIterator[Sequenced]:
    sequences = LocalSequences(folder, clock, GROUP, limit)
    async with sequences.open(), opened_sequences(folder, clock, GROUP).open() as shard:
        one = Sequenced(folder, sequences, shard)
        try:
            yield one
        finally:
            await one.store.close()


async def test_they_are_what_the_ports_say(tmp_path: Path) -> None:
    sequences: Sequences = LocalSequences(tmp_path, clock, GROUP, 1)
    store = plugins.letters(f"sequence:{GROUP}", {"state_dir": tmp_path})
    assert isinstance(store, SequenceLetters)
    of_sequences: SequencedStore = store
    assert sequences.name == of_sequences.name == f"sequence:{GROUP}"
    await store.close()


async def test_a_store_names_a_mapping_that_has_been_here(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="names no mapping"):
        SequenceLetters("", state_dir=tmp_path)
    store = SequenceLetters("app.other", state_dir=tmp_path, clock=clock)
    with pytest.raises(ConfigurationError, match="there is no sequence:app.other"):
        await store.purge()
    await store.close()


async def test_looking_for_one_makes_no_file(tmp_path: Path) -> None:
    store = SequenceLetters(GROUP, state_dir=tmp_path / "none", clock=clock)
    with pytest.raises(ConfigurationError, match="there is no sequence:app.m"):
        await store.reopen([])
    assert not (tmp_path / "none").exists()


async def test_nothing_goes_on_outside_its_time(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="is not open"):
        await LocalSequences(tmp_path, clock, GROUP, 1).refresh()


@pytest.mark.parametrize("key", KEYS)
async def test_a_key_closes_and_drains_in_order_and_is_open_again(tmp_path: Path, key: str) -> None:
    async with sequenced(tmp_path) as s:
        assert not s.sequences.holds(key)
        await s.bury(parked(key, 1))
        assert s.sequences.holds(key)
        assert not s.sequences.holds(None)
        assert await s.park(parked(key, 2), parked(key, 3), parked("other", 4)) == [4]
        (letter,) = (await s.letters()).values()
        assert (letter.key, letter.behind, letter.body) == (key, 2, parked(key, 1).body)
        assert await s.drain() == []
        assert await s.reopen(key) == 1
        assert await s.letters() == {}
        assert await s.park(parked(key, 5)) == []
        assert await s.drain() == [(key, 1), (key, 2), (key, 3), (key, 5)]
        assert await s.park(parked(key, 6)) == [6]
        assert not s.sequences.holds(key)


async def test_one_of_a_key_is_in_hand_at_a_time_and_keys_go_abreast(tmp_path: Path) -> None:
    async with sequenced(tmp_path) as s:
        await s.bury(parked("a", 1), parked("b", 2), parked("a", 3))
        await s.park(parked("b", 4))
        assert {key: letter.behind for key, letter in (await s.letters()).items()} == {"a": 1, "b": 1}
        await s.reopen("a")
        await s.reopen("b")
        first = await s.take()
        assert sorted(map(what, first)) == [1, 2]
        assert await s.take() == []
        await s.shard.ack([record for record in first if record.key == "b"])
        (then,) = await s.take()
        assert what(then) == 4
        await s.shard.remember([record for record in first if record.key == "a"], 5.0)
        began = clock()
        (again,) = await s.take(wait=60)
        assert what(again) == 1
        assert clock() - began == pytest.approx(5, abs=0.1)


async def test_one_given_up_once_more_closes_its_key_again(tmp_path: Path) -> None:
    async with sequenced(tmp_path) as s:
        await s.bury(parked("a", 1))
        await s.park(parked("a", 2))
        await s.reopen("a")
        (record,) = await s.take()
        await s.shard.bury(record, b'{"payload": 100}')
        assert await s.drain() == []
        assert await s.park(parked("a", 3)) == []
        letter = (await s.letters())["a"]
        assert (letter.body, letter.behind, letter.id) == (b'{"payload": 100}', 2, record.id)
        await s.reopen("a")
        assert await s.drain() == [("a", 100), ("a", 2), ("a", 3)]


async def test_a_letter_that_is_removed_is_given_up_alone(tmp_path: Path) -> None:
    async with sequenced(tmp_path) as s:
        await s.bury(parked("a", 1), parked("b", 2))
        await s.park(parked("a", 3))
        await s.store.remove([(await s.letters())["a"]])
        assert await s.drain() == [("a", 3)]
        assert (await s.letters()).keys() == {"b"}
        assert await s.store.purge() == 1
        assert await s.park(parked("b", 4)) == [4]


async def test_what_was_opened_meanwhile_is_not_removed_from_under_its_delivery(tmp_path: Path) -> None:
    async with sequenced(tmp_path) as s:
        await s.bury(parked("a", 1))
        await s.park(parked("a", 2))
        letter = (await s.letters())["a"]
        await s.store.reopen([letter])
        assert await s.store.reopen([letter]) == 0
        (record,) = await s.take()
        await s.store.remove([letter])
        assert await s.take() == []
        await s.shard.ack([record])
        assert await s.drain() == [("a", 2)]


async def test_the_limit_holds_for_what_is_parked_and_not_for_letters(tmp_path: Path) -> None:
    async with sequenced(tmp_path, limit=3) as s:
        await s.bury(parked("a", 1))
        with pytest.raises(SequenceFull, match="1 records wait behind dead letters, and SequencedLimit is 3"):
            await s.park(*(parked("a", position) for position in range(2, 5)))
        assert await s.park(parked("a", 2), parked("a", 3)) == []
        assert await s.park(parked("a", 2), parked("a", 3)) == []  # they are inside already
        await s.bury(parked("b", 5), parked("c", 6))
        with pytest.raises(SequenceFull):
            await s.park(parked("b", 7))
        await s.store.remove([(await s.letters())[key] for key in "bc"])
        await s.reopen("a")
        await s.drain()
        await s.bury(parked("a", 8))
        assert await s.park(parked("a", 9)) == []


async def test_what_is_read_again_after_a_crash_is_parked_once(tmp_path: Path) -> None:
    async with sequenced(tmp_path) as s:
        await s.bury(parked("a", 1), parked("a", 2))
        await s.park(parked("a", 3))
        assert await s.park(parked("a", 1), parked("a", 2), parked("a", 3), parked("a", 4)) == []
        await s.bury(parked("a", 3))
        assert (await s.letters())["a"].behind == 3
        await s.reopen("a")
        assert [position for _, position in await s.drain()] == [1, 2, 3, 4]


async def test_one_that_comes_late_is_not_taken_for_one_that_is_inside(tmp_path: Path) -> None:
    """Given up out of order, of another shard, or of a stream that was made anew: none may be lost."""
    async with sequenced(tmp_path) as s:
        await s.bury(parked("a", 5))
        assert await s.park(parked("a", 3)) == []
        assert await s.park(parked("a", 3), parked("a", 5)) == []
        assert await s.park(parked("a", 5), shard="shard-1") == []
        assert await s.park(parked("a", 5), parked("a", 6)) == []
        assert await s.park(parked("a", 5, arrived_at=2.0)) == []
        await s.reopen("a")
        assert [position for _, position in await s.drain()] == [5, 3, 5, 6, 5]


async def test_processes_learn_of_each_others_keys(tmp_path: Path) -> None:
    async with sequenced(tmp_path) as s:
        await s.bury(parked("\udcff", 1), parked("", 2))
        other = LocalSequences(tmp_path, clock, GROUP, 10)
        async with other.open():
            assert not other.holds("\udcff")
            await other.refresh()
            assert other.holds("\udcff")
            assert other.holds("")
            await s.reopen("")
            await s.drain()
            (free,) = await other.park(SHARD, [parked("", 3), parked("\udcff", 4)])
            assert free.position == 3
            assert (other.holds(""), other.holds("\udcff")) == (False, True)


async def test_what_a_reader_had_in_hand_goes_on_when_it_is_closed(tmp_path: Path) -> None:
    async with sequenced(tmp_path) as s:
        await s.bury(parked("a", 1))
        await s.park(parked("a", 2))
        await s.reopen("a")
        async with opened_sequences(tmp_path, clock, GROUP).open() as other:
            assert len(await other.read(10, 0)) == 1
            assert await s.take() == []
        assert await s.drain() == [("a", 1), ("a", 2)]


# ----------------------------------------------------------------------------------- against a model of it


class Model:
    """What has to be so: lists, and whether their first may go."""

    def __init__(self) -> None:
        self.inside: dict[str, list[int]] = {}
        self.closed: set[str] = set()
        self.in_hand: dict[str, EventRecord] = {}
        self.next = 1

    def position(self) -> int:
        self.next += 1
        return self.next

    def gone(self, key: str) -> None:
        self.inside[key].pop(0)
        if not self.inside[key]:
            del self.inside[key]

    @property
    def ready(self) -> set[str]:
        return self.inside.keys() - self.closed - self.in_hand.keys()


STEPS = st.tuples(
    st.sampled_from(["bury", "park", "park", "reread", "reopen", "remove", "take", "done", "done", "again"]),
    st.lists(st.sampled_from(KEYS[:4]), min_size=1, max_size=4),
)


async def _step(s: Sequenced, model: Model, action: str, keys: Sequence[str]) -> None:
    key = keys[0]
    match action:
        case "bury":
            letters = [parked(key, model.position()) for key in keys]
            await s.bury(*letters)
            for letter in letters:
                if letter.key not in model.inside:
                    model.closed.add(letter.key)
                model.inside.setdefault(letter.key, []).append(letter.position)
        case "park":
            records = [parked(key, model.position()) for key in keys]
            free = await s.park(*records)
            assert free == [record.position for record in records if record.key not in model.inside]
            for record in records:
                if record.key in model.inside:
                    model.inside[record.key].append(record.position)
        case "reread" if key in model.inside:
            assert await s.park(*(parked(key, position) for position in model.inside[key])) == []
        case "reopen" if key in model.closed:
            assert await s.reopen(key) == 1
            model.closed.discard(key)
        case "remove" if key in model.closed:
            await s.store.remove([(await s.letters())[key]])
            model.closed.discard(key)
            model.gone(key)
        case "take":
            taken = await s.take(len(keys))
            assert len(taken) == min(len(keys), len(model.ready))
            for one in taken:
                assert one.key in model.ready
                assert what(one) == model.inside[one.key][0]
                model.in_hand[one.key] = one
        case "done" if key in model.in_hand:
            await s.shard.ack([model.in_hand.pop(key)])
            model.gone(key)
        case "again" if key in model.in_hand:
            failed = model.in_hand.pop(key)
            await s.shard.bury(failed, failed.value)
            model.closed.add(key)
    for name in KEYS[:4]:
        assert s.sequences.holds(name) or name not in model.inside
    found = await s.letters()
    assert {name: letter.behind + 1 for name, letter in found.items()} == {
        name: len(model.inside[name]) for name in model.closed
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=25))
def test_they_do_as_lists_do(steps: list[tuple[str, list[str]]]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with sequenced(Path(folder), limit=10_000) as s:
                model = Model()
                for action, keys in steps:
                    await _step(s, model, action, keys)
                await s.shard.ack(list(model.in_hand.values()))
                for key in list(model.in_hand):
                    model.gone(key)
                await s.store.reopen(list((await s.letters()).values()))
                left: dict[Any, list[int]] = {}
                for name, position in await s.drain():
                    left.setdefault(name, []).append(position)
                assert left == model.inside

    anyio.run(run, backend=virtual_backend[0], backend_options=virtual_backend[1])
