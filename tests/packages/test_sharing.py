"""Several processes with one store, some of which are killed, and a disk that is full."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from streamfn.packages import CodeStore, InlineCode
from streamfn.packages import shelf as shelves
from streamfn.packages.shelf import Shelf
from tests.packages.made import contents, folder, zipped
from tests.waiting import until

PROGRAM = Path(__file__).with_name("program.py")
FILES = 1500


class Adder:
    """A process that adds code."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None
        self.process = process
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def says(self) -> str:
        with anyio.fail_after(30):
            return (await self._lines.receive_until(b"\n", 10_000)).decode()

    async def adds(self, times: int) -> list[Path]:
        """The folders that it was given."""
        given = []
        for _ in range(times):
            assert await self.says() == "begins"
            given.append(Path(await self.says()))
        return given

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def started(state_dir: Path, seed: int, times: int = 1, files: int = FILES) -> AsyncIterator[Adder]:
    words = [str(state_dir), str(seed), str(files), str(times)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, str(PROGRAM), *words]
    async with await anyio.open_process(command, stderr=None, env=environment) as process:
        try:
            yield Adder(process)
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()


def drafts(state_dir: Path) -> list[Path]:
    return list((state_dir / "code").glob(".draft-*"))


def complete(place: Path) -> bool:
    """Whether all files of one zip are there."""
    files = list(place.rglob("*.py"))
    return len(files) == FILES and len({path.read_text() for path in files}) == 1


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
async def test_what_was_killed_half_way_leaves_nothing(
    store: CodeStore, state_dir: Path, share: float
) -> None:
    async with started(state_dir, 1) as adder:
        assert await adder.says() == "begins"

        def half_way() -> bool:
            written = [sum(len(files) for _, _, files in os.walk(draft)) for draft in drafts(state_dir)]
            # Looked at too late, it is done: that is a moment to be killed at as well.
            done = any((state_dir / "code").glob("[!.]*"))
            return done or any(count >= FILES * share for count in written)

        await until(half_way)
        await adder.kill()
    assert all(complete(place) for place in (state_dir / "code").glob("[!.]*"))
    # The next who comes takes away what is left, and does it itself.
    async with started(state_dir, 1) as adder:
        (place,) = await adder.adds(1)
        assert complete(place)
    assert drafts(state_dir) == []
    assert list((state_dir / "code").iterdir()) == [place]


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_killed_at_any_time_what_has_a_name_is_complete(state_dir: Path) -> None:
    for number in range(8):
        async with started(state_dir, 100 * number, times=50) as adder:
            assert await adder.says() == "begins"
            with anyio.move_on_after(0.07 * number):
                while await adder.says() != "done":
                    pass
            await adder.kill()
        assert all(complete(place) for place in (state_dir / "code").glob("[!.]*"))
        assert len(drafts(state_dir)) <= 1


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_processes_add_the_same_at_once(state_dir: Path) -> None:
    async with (
        started(state_dir, 1, 3) as one,
        started(state_dir, 1, 3) as two,
        started(state_dir, 1, 3) as three,
    ):
        given = [await adder.adds(3) for adder in (one, two, three)]
    assert given[0] == given[1] == given[2]
    assert sorted((state_dir / "code").iterdir()) == sorted(given[0])
    assert all(complete(place) for place in given[0])


async def test_the_draft_of_a_living_process_stays(state_dir: Path) -> None:
    async with started(state_dir, 1, files=20_000) as adder:
        assert await adder.says() == "begins"
        await until(lambda: drafts(state_dir))
        store = CodeStore(state_dir)
        await store.add(InlineCode("x = 1"), "python3.12", "index.handler")
        assert len(drafts(state_dir)) == 1
        await adder.kill()
        await store.add(InlineCode("x = 2"), "python3.12", "index.handler")
        # It has looked once; another that comes looks again.
        store.close()
        another = CodeStore(state_dir)
        await another.add(InlineCode("x = 3"), "python3.12", "index.handler")
        another.close()
        assert drafts(state_dir) == []


def test_a_draft_that_was_taken_for_an_orphan_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may see it before its maker has locked it."""
    other, taken = Shelf(tmp_path), []

    def seen_at_once(*arguments: Any, **named: Any) -> str:
        made = mkdtemp(*arguments, **named)
        if len(taken) < 3:
            taken.append(made)
            if len(taken) == 1:
                other._open()
            elif len(taken) == 2:
                # Replaced by another of the same name between two looks.
                held.append(shelves._locked(Path(made), fcntl.LOCK_EX))
            else:
                Path(made).rmdir()
        return made

    held: list[int | None] = []
    monkeypatch.setattr(shelves, "mkdtemp", seen_at_once)
    shelf = Shelf(tmp_path)
    assert shelf.fill(lambda draft: (draft / "a").write_text("x") and "name") == "name"
    assert len(taken) == 3
    assert shelf.hold("name") == tmp_path / "name"
    assert (tmp_path / "name" / "a").read_text() == "x"
    shelf.close()
    for lock in held:
        assert lock is not None
        os.close(lock)


def test_of_two_makers_the_first_one_stays(tmp_path: Path) -> None:
    one, two = Shelf(tmp_path), Shelf(tmp_path)

    def make(draft: Path) -> str:
        (draft / "a").write_text("second")
        one.fill(lambda inner: (inner / "a").write_text("first") and "name")
        return "name"

    assert two.fill(make) == "name"
    assert (tmp_path / "name" / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_what_raises_leaves_nothing(tmp_path: Path) -> None:
    def make(draft: Path) -> str:
        (draft / "a").mkdir(mode=0o500)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Shelf(tmp_path).fill(make)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_what_did_not_reach_the_disk_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def failing(_: int) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(syncfs=failing))
    with pytest.raises(OSError, match=os.strerror(number)) as error:
        Shelf(tmp_path).fill(lambda _: "name")
    assert error.value.errno == number
    assert list(tmp_path.iterdir()) == []


def test_without_syncfs_all_disks_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    assert Shelf(tmp_path).fill(lambda _: "name") == "name"
    assert synced == [True]


# ------------------------------------------------------------------------------------------------ pruning


async def test_code_that_nobody_uses_is_pruned(state_dir: Path, tmp_path: Path) -> None:
    old, new = CodeStore(state_dir), CodeStore(state_dir)
    codes = [await old.add(InlineCode(f"x = {number}"), "python3.12", "index.handler") for number in range(3)]
    layer = await old.layers([folder(tmp_path / "layer", {"a": "x"})], 0)
    assert layer.folder is not None
    # All of it is in use, by another store.
    assert await new.prune([]) == 0
    old.close()
    assert await new.find(codes[1].sha256) == codes[1]
    assert await new.prune([codes[0].sha256], [layer.folder.name]) == 2
    assert sorted((state_dir / "code").iterdir()) == sorted(code.folder for code in codes[:2])
    assert contents(layer.folder) == {"a": "x"}
    assert await new.find(codes[2].sha256) is None
    assert await new.prune([]) == 2
    assert (await new.add(InlineCode("x = 2"), "python3.12", "index.handler")) == codes[2]
    assert contents(codes[2].folder) == {"index.py": "x = 2"}
    new.close()


async def test_what_an_earlier_process_was_given_can_be_held(state_dir: Path, tmp_path: Path) -> None:
    earlier = CodeStore(state_dir)
    code = await earlier.add(InlineCode("x = 1"), "python3.12", "index.handler")
    layers = await earlier.layers([folder(tmp_path / "layer", {"a": "x"})], 0)
    assert layers.folder is not None
    earlier.close()
    store, other = CodeStore(state_dir), CodeStore(state_dir)
    assert await store.hold(code.folder)
    assert await store.hold(layers.folder)
    assert await other.prune([]) == 1
    assert sorted(path.name for path in (code.folder, layers.folder) if path.exists()) == sorted(
        [code.folder.name, layers.folder.name]
    )
    for unknown in (tmp_path / "layer", state_dir / "code" / "gone", state_dir):
        assert not await store.hold(unknown)
    store.close()
    assert await other.prune([]) == 2


async def test_what_was_released_is_pruned_here_too(
    store: CodeStore, state_dir: Path, tmp_path: Path
) -> None:
    old = await store.add(InlineCode("x = 1"), "python3.12", "index.handler")
    new = await store.add(InlineCode("x = 2"), "python3.12", "index.handler")
    layers = await store.layers([folder(tmp_path / "layer", {"a": "x"})], 0)
    store.release(old)
    store.release(old)
    assert await store.prune([]) == 1
    assert not old.folder.exists()
    assert new.folder.exists()
    (state_dir / "code" / "README").write_text("somebody else's")
    store.release(layers)
    store.release(await store.layers([], 0))
    assert await store.prune([]) == 1
    assert await store.add(InlineCode("x = 1"), "python3.12", "index.handler") == old
    assert contents(old.folder) == {"index.py": "x = 1"}


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_what_another_process_uses_is_not_pruned(store: CodeStore, state_dir: Path) -> None:
    async with started(state_dir, 1, times=2) as adder:
        given = await adder.adds(2)
        assert await adder.says() == "done"
        assert await store.prune([]) == 0
        assert all(complete(place) for place in given)
        await adder.kill()
    assert await store.prune([]) == 2
    assert list((state_dir / "code").iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_adding_and_pruning_at_once_gives_what_is_there(state_dir: Path) -> None:
    pruner = CodeStore(state_dir)
    async with (
        started(state_dir, 1, times=5, files=200) as one,
        started(state_dir, 1, times=5, files=200) as two,
    ):
        given: list[Path] = []

        async def listen(adder: Adder) -> None:
            given.extend(await adder.adds(5))

        async with anyio.create_task_group() as group:
            for adder in (one, two):
                group.start_soon(listen, adder)
            while len(given) < 10:
                await pruner.prune([])
        # Whoever was given a folder holds it.
        assert all(len(list(place.rglob("*.py"))) == 200 for place in given)
    pruner.close()


# ------------------------------------------------------------------------------------------------ full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=200", "tmpfs", place])
    if mounted.returncode:
        pytest.skip("only root can mount a file system")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize(
    "files",
    [
        {"large": "x" * 3_000_000},
        {f"f{number}": "x" for number in range(300)},
        {"a": "x" * 1_500_000, "b": "x" * 1_500_000},
    ],
    ids=["bytes", "inodes", "two"],
)
async def test_a_full_disk_raises_and_nothing_stays(
    small_disk: Path, tmp_path: Path, files: dict[str, str]
) -> None:
    store = CodeStore(small_disk)
    for source in (zipped(*files.items()), folder(tmp_path / "source", files)):
        with pytest.raises(OSError, match="No space left") as error:
            await store.add(source, "python3.12", "app.handler")
        assert error.value.errno == errno.ENOSPC
        assert list((small_disk / "code").iterdir()) == []
    code = await store.add(InlineCode("x = 1"), "python3.12", "index.handler")
    assert contents(code.folder) == {"index.py": "x = 1"}
    store.close()
