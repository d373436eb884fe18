"""What was done is written down, and known again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from streamfn.core.letters import Stored
from streamfn.errors import SourceError
from streamfn.letters import Audit, Done, Entry, Run, alone, new_run
from streamfn.letters.audit import FILE, key_of
from streamfn.testing.clock import clock
from tests.letters.made import AT


def run_of(number: int = 1) -> Run:
    return Run(f"r{number}", "redrive", "s", "--to x", "ann", "box", AT + number)


def entry(letter: str, stored_at: float | None, done: Done = Done.REDRIVEN, run: str = "r1") -> Entry:
    return Entry(run, "s", letter, stored_at, done, "local:orders", 1, AT)


async def test_nothing_is_made_before_something_is_written(tmp_path: Path) -> None:
    async with Audit.at(tmp_path / "st", clock) as audit:
        assert await audit.runs(10) == []
        assert await audit.run("r1") is None
        assert await audit.entries("r1", 0, 10) == []
        assert await audit.known("s", [Stored("1", b"")]) == {}
        await audit.record([])
    assert not (tmp_path / "st").exists()


async def test_a_letter_is_known_by_store_id_and_time(tmp_path: Path) -> None:
    async with Audit.at(tmp_path, clock) as audit:
        await audit.begin(run_of())
        await audit.record([entry("1", AT), entry("2", None), entry("3", AT, Done.PARTLY)])
        await audit.record([entry("3", AT, run="r2")])
    async with Audit.at(tmp_path, clock) as audit:
        asked = [Stored("1", b"", stored_at=AT), Stored("1", b"", stored_at=AT + 0.001), Stored("2", b"")]
        known = await audit.known("s", [*asked, Stored("3", b"", stored_at=AT)])
        assert [known.get(key_of(stored)) for stored in asked] == [entry("1", AT), None, entry("2", None)]
        assert known["3", AT] == entry("3", AT, run="r2")
        assert await audit.known("other", asked) == {}


async def test_runs_and_their_entries(tmp_path: Path) -> None:
    async with Audit.at(tmp_path, clock) as audit:
        for number in (1, 2, 3):
            await audit.begin(run_of(number))
        await audit.record([entry(str(number), AT) for number in range(5)])
        await audit.end(run_of(1), {"sent": 5})
        assert [run.id for run in await audit.runs(2)] == ["r3", "r2"]
        ended = await audit.run("r1")
        assert ended is not None
        assert (ended.user, ended.host, ended.counts, ended.asked) == ("ann", "box", {"sent": 5}, "--to x")
        assert ended.ended_at == pytest.approx(clock())
        last = await audit.run("r3")
        assert last is not None
        assert last.ended_at is None
        first = await audit.entries("r1", 0, 2)
        rest = await audit.entries("r1", first[-1][0], 10)
        assert [one.letter for _, one in (*first, *rest)] == ["0", "1", "2", "3", "4"]


async def test_a_file_that_is_none_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to look like a file of something")
    async with Audit.at(tmp_path, clock) as audit:
        with pytest.raises(OSError, match="damaged") as caught:
            await audit.begin(run_of())
        assert caught.value.errno == errno.EIO


def test_runs_have_names_of_their_own_that_sort_by_time() -> None:
    first, second = (new_run("purge", "s", "", ("u", "h"), AT + n) for n in (0, 1))
    assert first.id.startswith("20231114T221320-")
    assert first.id < second.id
    assert first.id != new_run("purge", "s", "", ("u", "h"), AT).id


def test_one_changes_letters_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path / "st"):
        with pytest.raises(SourceError, match="is at work in"), alone(tmp_path / "st"):
            pytest.fail("there were two")
        with alone(tmp_path / "other"):
            pass
    with alone(tmp_path / "st"):
        assert os.listdir(tmp_path / "st") == ["letters.lock"]
