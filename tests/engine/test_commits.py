"""When checkpoints are written: as seldom as the shard asks for, and at once where it matters."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import anyio
import pytest

from streamfn import Batch
from streamfn.core.checkpoints import Progress
from streamfn.ports import Checkpoint
from streamfn.testing.clock import clock
from streamfn.testing.memory import MemoryShard, MemoryStream
from tests.engine.conftest import Bench, Calls

pytestmark = pytest.mark.anyio


class Commits:
    """What is committed, and when."""

    def __init__(self) -> None:
        self.made: list[tuple[float, Checkpoint]] = []

    @property
    def positions(self) -> list[int]:
        return [checkpoint.position for _, checkpoint in self.made]

    @property
    def pauses(self) -> list[float]:
        return [later - earlier for (earlier, _), (later, _) in pairwise(self.made)]


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> Commits:
    commits, commit = Commits(), MemoryShard.commit

    async def noted(shard: MemoryShard, checkpoint: Checkpoint) -> None:
        await commit(shard, checkpoint)
        commits.made.append((clock(), checkpoint))

    monkeypatch.setattr(MemoryShard, "commit", noted)
    return commits


async def a_record_a_second(stream: MemoryStream, seconds: int) -> None:
    for _ in range(seconds):
        stream.put([b"value"])
        await anyio.sleep(1)


async def test_commits_keep_the_interval_their_shard_asks_for(bench: Bench, commits: Commits) -> None:
    stream = MemoryStream(commit_interval=10.0)
    async with bench.running(Calls(), stream, batch_size=1):
        await a_record_a_second(stream, 60)
        # The first one when the shard is opened, and then one in ten seconds.
        assert len(commits.made) == 6
        assert all(pause >= 10.0 for pause in commits.pauses)
        assert commits.positions == sorted(commits.positions)


async def test_where_commits_are_cheap_each_record_is_one(bench: Bench, commits: Commits) -> None:
    stream = MemoryStream()
    async with bench.running(Calls(), stream, batch_size=1):
        await a_record_a_second(stream, 60)
        assert len(commits.made) == 61


async def test_a_shard_that_was_idle_for_long_is_committed_at_once(bench: Bench, commits: Commits) -> None:
    stream = MemoryStream(commit_interval=10.0)
    async with bench.running(Calls(), stream):
        await anyio.sleep(60)
        stream.put([b"value"])
        await anyio.sleep(0.1)
        assert commits.positions == [-1, 0]


async def test_a_worker_that_stops_commits_what_it_did_at_once(bench: Bench, commits: Commits) -> None:
    stream = MemoryStream(commit_interval=3600.0)
    app = bench.declare(Calls(), stream, batch_size=1)
    await app.start()
    await a_record_a_second(stream, 5)
    assert commits.positions == [-1]
    began = clock()
    assert await app.stop(grace=30) is True
    assert clock() - began < 1
    assert commits.positions == [-1, 4]
    assert Progress.decode(commits.made[-1][1].note, 4) == Progress(running=False)


async def test_what_may_kill_the_process_is_written_down_whatever_the_interval(
    bench: Bench, commits: Commits
) -> None:
    stream = MemoryStream(commit_interval=3600.0)
    stream.put([b"value"])
    async with bench.running(Calls(), stream):
        await anyio.sleep(1)
    commits.made.clear()
    # As an owner leaves it that was ended while it worked.
    stream._group(None).claims["shard-0"].checkpoint = Checkpoint(0, "sfn1 running")
    stream.put([b"value"])
    async with bench.running(Calls(), stream):
        await anyio.sleep(1)
        notes = [Progress.decode(checkpoint.note, checkpoint.position) for _, checkpoint in commits.made]
        assert [note.delivering for note in notes] == [False, True]
        assert all(at - commits.made[0][0] < 1 for at, _ in commits.made)


async def test_a_commit_that_failed_is_made_up_for_without_another_interval(
    bench: Bench, commits: Commits
) -> None:
    stream = MemoryStream(commit_interval=10.0)
    async with bench.running(Calls(), stream):
        stream.put([b"value"])
        await anyio.sleep(9)
        stream.fail_next_commits(2)
        await anyio.sleep(4)
        assert commits.positions == [-1, 0]


@pytest.mark.parametrize("interval", [0.0, 10.0])
async def test_reading_goes_on_when_a_note_that_was_too_long_fits_again(
    bench: Bench, commits: Commits, interval: float
) -> None:
    """Some records are slow while those between them are done: more than the note can say."""
    stream = MemoryStream(note_limit=30, commit_interval=interval)
    slow = {0, *Random(1).sample(range(200), 60)}
    stream.put([b"value"] * 200)
    over = anyio.Event()

    async def then(batch: Batch) -> None:
        if batch[0].position in slow:
            await over.wait()
            await anyio.sleep(batch[0].position * 0.0007)

    calls = Calls(then)
    async with bench.running(calls, stream, batch_size=1, ordering="none", maximum_concurrency=100):
        await anyio.sleep(20)
        # Ends the read that waits: the next one waits until the note fits.
        stream.put([b"value"])
        await anyio.sleep(10)
        assert set(commits.positions) == {-1}
        over.set()
        await anyio.sleep(30)
        assert commits.positions[-1] == 200
        stream.put([b"value"] * 5)
        with anyio.move_on_after(30):
            await stream.wait_done()
    assert len(set(calls.flat)) == 206
