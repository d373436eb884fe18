"""Redriving sequences: letters with what waits behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio

from streamfn.core.delivery import Discard
from streamfn.core.letters.envelope import given_up_again
from streamfn.core.outcomes import Condition
from streamfn.core.records import Batch
from streamfn.letters import (
    Audit,
    Box,
    Found,
    Order,
    Redrive,
    Report,
    Selection,
    new_run,
)
from streamfn.local import LocalSequences, SequenceLetters, opened_sequences
from streamfn.ports import Parked
from streamfn.testing.clock import clock
from tests.letters import made
from tests.letters.made import of_stream
from tests.letters.running import Memory, fates

GROUP = "sequence:shop.ship-orders"


async def closed(state_dir: Path, *numbers: int) -> LocalSequences:
    """A sequence of `k` that begins with the first of the records."""
    sequences = LocalSequences(state_dir, clock, "shop.ship-orders", 100)
    parked = [Parked("k", number, 1.0, of_stream(number=number)) for number in numbers]
    async with sequences.open():
        await sequences.bury("shard-0", parked[:1])
        assert await sequences.park("shard-0", parked[1:]) == []
    return sequences


async def delivered(state_dir: Path, *, fails: bool = False) -> list[str]:
    """What the mapping delivers of the sequences that are open; with `fails` it gives up the first."""
    seen: list[str] = []
    async with opened_sequences(state_dir, clock, "shop.ship-orders").open() as shard:
        while records := await shard.read(10, 0):
            for record in records:
                document = json.loads(record.value or b"")
                seen.append(document["deadLetter"]["recordId"])
                if fails:
                    batch = Batch([record], shard.shape)
                    discard = Discard(batch, Condition.RETRIES_EXHAUSTED, 1, made.BROKEN)
                    letter = given_up_again(document, discard, clock())
                    await shard.bury(record, json.dumps(letter).encode())  # type: ignore[arg-type]
                else:
                    await shard.ack([record])
    return seen


async def sequence(state_dir: Path) -> list[Found]:
    store = SequenceLetters.from_uri(GROUP, {"state_dir": state_dir, "clock": clock})
    async with Audit.at(state_dir, clock) as audit:
        found = [one async for chunk in Box(store, audit).letters(Selection()) for one in chunk]
    await store.close()
    return found


async def redriven_sequence(state_dir: Path, order: Order = Order(), **options: Any) -> Report:
    store = SequenceLetters.from_uri(GROUP, {"state_dir": state_dir, "clock": clock})
    async with Audit.at(state_dir, clock) as audit:
        run = new_run("redrive", store.name, "", ("a", "b"), clock())
        report = await Redrive(
            Box(store, audit), Memory(), Selection(), order, anyio.Event(), run, **options
        )()
    await store.close()
    return report


async def test_a_sequence_is_opened_again_and_delivered_in_order(tmp_path: Path) -> None:
    await closed(tmp_path, 0, 1, 2)
    assert [found.letter.behind for found in await sequence(tmp_path)] == [2]
    report = await redriven_sequence(tmp_path)
    assert (fates(report), report.targets) == ({"sent": 1}, {GROUP: 1})
    assert await delivered(tmp_path) == ["0", "1", "2"]
    assert fates(await redriven_sequence(tmp_path)) == {}


async def test_a_sequence_that_closes_again_can_be_opened_again_until_the_guard_ends_it(
    tmp_path: Path,
) -> None:
    await closed(tmp_path, 0, 1)
    for number in range(3):
        assert [found.letter.redrives for found in await sequence(tmp_path)] == [number]
        assert [found.is_done for found in await sequence(tmp_path)] == [False]
        assert fates(await redriven_sequence(tmp_path)) == {"sent": 1}
        assert await delivered(tmp_path, fails=True) == ["0"]
    assert fates(await redriven_sequence(tmp_path)) == {"refused": 1}
    assert fates(await redriven_sequence(tmp_path, Order("source", force=True))) == {"sent": 1}
    assert await delivered(tmp_path) == ["0", "1"]


async def test_what_is_sent_elsewhere_is_given_up_in_its_sequence(tmp_path: Path) -> None:
    await closed(tmp_path, 0, 1)
    await redriven_sequence(tmp_path)
    assert await delivered(tmp_path, fails=True) == ["0"]
    report = await redriven_sequence(tmp_path, Order("local:elsewhere"))
    assert (fates(report), report.targets) == ({"sent": 1}, {"local:elsewhere": 1})
    assert await delivered(tmp_path) == ["1"]
