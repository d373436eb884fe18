"""Folders with code: a copy that stays, whatever happens to them."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from streamfn.errors import ConfigurationError
from streamfn.packages import Code, CodeStore, InlineCode
from streamfn.packages import folder as folders
from streamfn.packages.tree import UNZIPPED_LIMIT
from tests.packages.made import contents, folder

FILES = {
    "app.py": "import package",
    "package/__init__.py": "",
    "run.sh": "#!/bin/sh",
    "package/same.py": "-> ../app.py",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return folder(tmp_path / "source", FILES)


async def add(store: CodeStore, source: Path) -> Code:
    return await store.add(source, "python3.12", "app.handler")


async def test_a_folder_is_copied(store: CodeStore, source: Path) -> None:
    (source / "empty").mkdir()
    code = await add(store, source)
    assert contents(code.folder) == {**FILES, "empty": "/"}
    assert code.size == sum(len(text) for text in FILES.values() if not text.startswith("-> "))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in code.folder.iterdir()}
    assert modes == {"app.py": 0o444, "run.sh": 0o555, "package": 0o555, "empty": 0o555}
    (source / "app.py").write_text("changed")
    assert (code.folder / "app.py").read_text() == "import package"


async def test_the_hash_is_of_names_modes_and_contents(
    store: CodeStore, source: Path, tmp_path: Path
) -> None:
    same = folder(tmp_path / "same", FILES)
    os.utime(same / "app.py", (0, 0))
    (same / "app.py").chmod(0o600)
    first = await add(store, source)
    assert await add(store, same) == first
    seen = {first.sha256}
    for change in (
        lambda: (same / "app.py").write_text("import packagE"),
        lambda: (same / "app.py").chmod(0o755),
        lambda: (same / "app.py").rename(same / "app2.py"),
        lambda: (same / "new").mkdir(),
        lambda: (same / "new").rmdir() or (same / "new").write_text(""),
        lambda: (same / "new").unlink() or (same / "new").symlink_to("app2.py"),
        lambda: (same / "new").unlink() or (same / "new").symlink_to("run.sh"),
        lambda: (same / "package" / "same.py").unlink(),
    ):
        change()
        seen.add((await add(store, same)).sha256)
    assert len(seen) == 9


async def test_what_belongs_to_tools_is_left_out(store: CodeStore, source: Path) -> None:
    before = await add(store, source)
    stamp = await store.stamp(source)
    folder(source, {".git/HEAD": "x", "__pycache__/app.pyc": "x", "package/__pycache__/x.pyc": "x"})
    assert await add(store, source) == before
    assert await store.stamp(source) == stamp
    folder(source, {"node_modules/x.js": "x", ".env": "x"})
    assert set(contents((await add(store, source)).folder)) == {*FILES, "node_modules/x.js", ".env"}


async def test_the_state_directory_is_no_part_of_the_code(source: Path) -> None:
    store = CodeStore(source / ".streamfn")
    first = await add(store, source)
    assert await add(store, source) == first
    assert contents(first.folder) == FILES
    stamp = await store.stamp(source)
    await store.add(InlineCode("x = 1"), "python3.12", "index.handler")
    assert await store.stamp(source) == stamp
    store.close()


async def test_a_relative_state_directory_gives_whole_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    store = CodeStore(Path("here"))
    code = await store.add(Path("source"), "python3.12", "app.handler")
    assert code.folder.parent == tmp_path / "here" / "code"
    store.close()


async def test_a_link_to_a_folder_is_that_folder(store: CodeStore, source: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("source")
    assert contents((await add(store, tmp_path / "current")).folder) == FILES


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "package/../../outside"])
async def test_links_that_lead_out_are_refused(store: CodeStore, source: Path, target: str) -> None:
    (source / "l").symlink_to(target)
    with pytest.raises(ConfigurationError, match="the link 'l' leads out of the package"):
        await add(store, source)


async def test_hard_links_are_files_of_their_own(store: CodeStore, source: Path) -> None:
    os.link(source / "app.py", source / "hard.py")
    code = await add(store, source)
    (source / "hard.py").write_text("changed")
    assert contents(code.folder) == {**FILES, "hard.py": FILES["app.py"]}


async def test_special_files_are_refused(store: CodeStore, source: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(ConfigurationError, match="pipe is neither a file nor a folder nor a link"):
        await add(store, source)
    (source / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(source, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    with pytest.raises(ConfigurationError, match="socket is neither"):
        await add(store, source)


async def test_a_folder_has_to_be_smaller_than_250_mb(store: CodeStore, source: Path) -> None:
    with (source / "large").open("wb") as file:
        file.truncate(UNZIPPED_LIMIT)
    with pytest.raises(ConfigurationError, match="Unzipped size must be smaller than 262144000 bytes"):
        await add(store, source)


@pytest.mark.parametrize("name", ["gone", "/dev/null"])
async def test_what_is_neither_folder_nor_zip_is_refused(store: CodeStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no folder and no zip. Fix: check the path"):
        await add(store, tmp_path / name)


@pytest.mark.parametrize("closed", ["app.py", "package", "."])
async def test_what_cannot_be_read_is_told(closed: str) -> None:
    with TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        source = folder(Path(place) / "source", FILES)
        (source / closed).chmod(0)
        root = os.geteuid() == 0
        if root:
            # All of this process, so that the store's thread may not read it either.
            os.seteuid(65534)
        store = CodeStore(Path(place) / "state")
        try:
            with pytest.raises(ConfigurationError, match="cannot be read. Fix: give the permission") as error:
                await add(store, source)
        finally:
            if root:
                os.seteuid(0)
            (source / closed).chmod(0o755)
        assert error.value.field == "CodeUri"


async def test_a_name_of_any_bytes_is_kept(store: CodeStore, source: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (source / name).write_text("x")
    (source / "l").symlink_to(name)
    assert contents((await add(store, source)).folder) == {**FILES, name: "x", "l": f"-> {name}"}


# ------------------------------------------------------------------------------------------ changes meanwhile


async def test_a_folder_that_changes_meanwhile_is_looked_at_again(
    store: CodeStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept was there as a whole at one time: never half of one deploy and half of the next."""
    copied = folders.copied
    files = iter(["new.py", "new2.py"])

    def changing(*arguments: object) -> bytes:
        for name in files:
            (source / name).write_text("written while it is copied")
            break
        return copied(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(folders, "copied", changing)
    code = await add(store, source)
    assert {"new.py", "new2.py"} <= set(contents(code.folder))


@pytest.mark.parametrize("becomes", ["nothing", "link", "folder", "pipe"])
async def test_a_file_that_becomes_something_else_is_not_followed(
    store: CodeStore, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    hashed = folders.hashed

    def changing(*arguments: object) -> bytes:
        if (source / "app.py").is_file() and not (source / "app.py").is_symlink():
            (source / "app.py").unlink()
            match becomes:
                case "link":
                    (source / "app.py").symlink_to(tmp_path / "secret")
                case "folder":
                    (source / "app.py").mkdir()
                case "pipe":
                    os.mkfifo(source / "app.py")
        return hashed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(folders, "hashed", changing)
    match becomes:
        case "nothing":
            (source / "package" / "same.py").unlink()
            assert "app.py" not in contents((await add(store, source)).folder)
        case "folder":
            assert contents((await add(store, source)).folder)["app.py"] == "/"
        case _:
            with pytest.raises(ConfigurationError, match="leads out|neither a file nor"):
                await add(store, source)


async def test_a_folder_that_never_rests_is_refused(
    store: CodeStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = folders.hashed

    def changing(*arguments: object) -> bytes:
        with (source / "app.py").open("a") as file:
            file.write("more")
        return hashed(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(folders, "hashed", changing)
        with pytest.raises(ConfigurationError, match="is being written to. Fix: deploy it when that is over"):
            await add(store, source)
    assert await add(store, source)


async def test_a_stamp_changes_with_the_code(store: CodeStore, source: Path) -> None:
    seen = [await store.stamp(source)]
    assert await store.stamp(source) == seen[0]

    def replaced() -> None:
        """By one of the same size and the same time, as a tool that keeps times does it."""
        there = (source / "app.py").stat()
        (source / "x").write_text("IMPORT package ")
        os.utime(source / "x", ns=(0, there.st_mtime_ns))
        (source / "x").rename(source / "app.py")

    for change in (
        lambda: (source / "app.py").write_text("import package "),
        lambda: (source / "package" / "new.py").write_text(""),
        lambda: (source / "package" / "new.py").rename(source / "new.py"),
        lambda: (source / "app.py").chmod(0o755),
        lambda: (source / "new.py").unlink(),
        # Same size, and the time of another file: as a tool that keeps times does it.
        replaced,
    ):
        change()
        seen.append(await store.stamp(source))
    assert len(set(seen)) == len(seen)


async def test_a_zip_has_a_stamp_too(store: CodeStore, tmp_path: Path) -> None:
    path = tmp_path / "code.zip"
    assert await store.stamp(path) == ""
    path.write_bytes(b"1")
    first = await store.stamp(path)
    (tmp_path / "next").write_bytes(b"2")
    (tmp_path / "next").rename(path)
    assert await store.stamp(path) not in ("", first)


# ------------------------------------------------------------------------------------------------ inline code


@pytest.mark.parametrize(
    ("runtime", "handler", "text", "name"),
    [
        ("python3.12", "index.handler", "def handler(event, context): ...", "index.py"),
        ("python3.9", "app.handler", "import json", "app.py"),
        ("python3.12", "../x.handler", "x", "index.py"),
        ("python3.12", "a/b.handler", "x", "index.py"),
        ("python3.12", "handler", "x", "index.py"),
        ("nodejs20.x", "index.handler", "exports.handler = async () => 1", "index.js"),
        ("nodejs20.x", "index.handler", "const x = require('x')\nimported = 1", "index.js"),
        ("nodejs22.x", "index.handler", "export const handler = async () => 1", "index.mjs"),
        ("nodejs22.x", "app.handler", "import fs from 'fs'", "app.mjs"),
        ("nodejs22.x", "app.handler", "import {a} from 'fs'", "app.mjs"),
        ("nodejs22.x", "app.handler", "import 'fs'", "app.mjs"),
    ],
)
async def test_text_becomes_a_file(
    store: CodeStore, runtime: str, handler: str, text: str, name: str
) -> None:
    code = await store.add(InlineCode(text), runtime, handler)
    assert contents(code.folder) == {name: text}
    assert code.size == len(text)
    assert await store.add(InlineCode(text), runtime, handler) == code
    assert await store.find(code.sha256) == code


async def test_the_same_text_in_a_folder_is_the_same_code(store: CodeStore, tmp_path: Path) -> None:
    inline = await store.add(InlineCode("x = 1"), "python3.12", "app.handler")
    assert await add(store, folder(tmp_path / "code", {"app.py": "x = 1"})) == inline


@pytest.mark.parametrize("runtime", ["", "provided.al2023", "java21"])
async def test_other_runtimes_take_no_text(store: CodeStore, runtime: str) -> None:
    with pytest.raises(ConfigurationError, match="inline code is for Python and Node.js"):
        await store.add(InlineCode("x"), runtime, "index.handler")
