"""Zips: what is deployed to Lambda comes out as it is, and what is wicked does not come out at all."""

from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
import zipfile
from base64 import b64encode
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import pytest
from anyio import to_thread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfn.errors import ConfigurationError
from streamfn.packages import Code, CodeStore
from streamfn.packages.archive import unpack
from streamfn.packages.tree import UNZIPPED_LIMIT, ZIPPED_LIMIT
from streamfn.packages.writing import Writer
from tests.packages.made import DOS, UNIX, contents, link, member, zipped

UNREADABLE = "Could not unzip uploaded file. Please check your file, then try to upload again."


async def add(store: CodeStore, data: bytes) -> Code:
    return await store.add(data, "python3.12", "app.handler")


async def refused(store: CodeStore, state_dir: Path, data: bytes) -> ConfigurationError:
    """It is, and nothing stays of it."""
    with pytest.raises(ConfigurationError) as error:
        await add(store, data)
    assert error.value.field == "CodeUri"
    assert list((state_dir / "code").glob("*")) == []
    return error.value


async def test_a_zip_comes_out_as_it_is(store: CodeStore, state_dir: Path) -> None:
    data = zipped(
        ("app.py", "def handler(event, context): ..."),
        ("package/__init__.py", ""),
        ("package/__pycache__/app.cpython-312.pyc", "compiled"),
        (member("empty/", stat.S_IFDIR | 0o700), b""),
        (member("bootstrap", stat.S_IFREG | 0o700), "#!/bin/sh"),
        (member("secret", stat.S_IFREG | 0o600), "x"),
        (link("package/same.py"), "../app.py"),
        ("Größe/東京.txt", "ü"),
    )
    code = await add(store, data)
    assert code.sha256 == b64encode(sha256(data).digest()).decode()
    assert code.folder == state_dir / "code" / sha256(data).hexdigest()
    assert contents(code.folder) == {
        "app.py": "def handler(event, context): ...",
        "package/__init__.py": "",
        "package/__pycache__/app.cpython-312.pyc": "compiled",
        "empty": "/",
        "bootstrap": "#!/bin/sh",
        "secret": "x",
        "package/same.py": "-> ../app.py",
        "Größe/東京.txt": "ü",
    }
    assert code.size == sum(info.file_size for info in zipfile.ZipFile(io.BytesIO(data)).infolist()) - len(
        "../app.py"
    )


async def test_all_may_read_it_and_nobody_may_write(store: CodeStore) -> None:
    data = zipped(
        (member("bootstrap", stat.S_IFREG | 0o100), "#!/bin/sh"),
        (member("setuid", stat.S_IFREG | 0o7777), ""),
        (member("closed/file", stat.S_IFREG), ""),
        (member("closed/", stat.S_IFDIR), ""),
    )
    folder = (await add(store, data)).folder
    modes = {path.name: oct(path.stat().st_mode & 0o7777) for path in [folder, *folder.rglob("*")]}
    assert modes == {
        folder.name: "0o555",
        "bootstrap": "0o555",
        "setuid": "0o555",
        "closed": "0o555",
        "file": "0o444",
    }
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o755


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
async def test_another_user_can_run_it_and_not_change_it() -> None:
    with TemporaryDirectory() as place:
        Path(place).chmod(0o711)
        store = CodeStore(Path(place))
        data = zipped((member("run", 0o100755), "#!/bin/sh\necho ran"), ("a/b", ""))
        folder = (await add(store, data)).folder

        async def run(script: str) -> bytes:
            other = {"user": 65534, "group": 65534, "extra_groups": []}
            ran = partial(subprocess.run, ["sh", "-c", script], cwd=folder, stdout=subprocess.PIPE, **other)
            return (await to_thread.run_sync(ran)).stdout

        assert await run("./run; cat a/b") == b"ran\n"
        for script in ("echo x > run", "echo x > new", "rm a/b", "mv a c", "chmod 777 .", "touch a/c"):
            assert await run(f"({script}) 2>/dev/null || echo refused") == b"refused\n"
        assert contents(folder) == {"run": "#!/bin/sh\necho ran", "a/b": ""}
        store.close()


async def test_the_same_zip_is_kept_once(store: CodeStore, state_dir: Path, tmp_path: Path) -> None:
    data = zipped(("app.py", "1"))
    path = tmp_path / "code.zip"
    path.write_bytes(data)
    first = await add(store, data)
    made = first.folder.stat().st_ino
    assert await store.add(path, "python3.12", "app.handler") == first
    other = CodeStore(state_dir)
    assert await add(other, data) == first
    assert await other.find(first.sha256) == first
    other.close()
    assert first.folder.stat().st_ino == made
    assert [path.name for path in (state_dir / "code").iterdir()] == [first.folder.name]


@pytest.mark.parametrize("unknown", ["", "x", "AAAA", b64encode(b"x" * 32).decode(), "äöü="])
async def test_what_was_never_added_is_not_found(store: CodeStore, unknown: str) -> None:
    assert await store.find(unknown) is None


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "//etc/passwd", "..", "a/..", "/", "./../x", "a/b/../../../x"],
)
async def test_names_that_lead_out_are_refused(store: CodeStore, state_dir: Path, name: str) -> None:
    error = await refused(store, state_dir, zipped(("app.py", ""), (name, "evil")))
    assert error.problem == f"the package holds {name!r}, which leads out of it"


@pytest.mark.parametrize("name", ["..\\x", "a\\..\\..\\x", "\\x", "C:\\x", "c:x", "..\\../x"])
async def test_so_are_those_of_windows(store: CodeStore, state_dir: Path, name: str) -> None:
    error = await refused(store, state_dir, zipped((member(name, system=DOS), "evil")))
    assert "leads out" in error.problem


async def test_backslashes_are_separators_where_windows_made_them(store: CodeStore) -> None:
    data = zipped(
        (member("a\\b.py", system=DOS), "1"),
        (member("folder\\", system=DOS), ""),
        (member("lib/dev\\x2dnull", system=UNIX), "2"),
    )
    assert contents((await add(store, data)).folder) == {
        "a/b.py": "1",
        "folder": "/",
        "lib/dev\\x2dnull": "2",
    }


async def test_dots_and_doubled_slashes_mean_nothing(store: CodeStore) -> None:
    data = zipped(("./app.py", "1"), ("a//b/./c.py", "2"), (member("./", stat.S_IFDIR | 0o755), ""))
    assert contents((await add(store, data)).folder) == {"app.py": "1", "a/b/c.py": "2"}


@pytest.mark.parametrize("name", ["a\0b", "x" * 256, "/".join(["x" * 200] * 16), "ü" * 128])
async def test_names_that_no_file_can_have_are_refused(store: CodeStore, state_dir: Path, name: str) -> None:
    data = zipped((name.replace("\0", "N"), "")).replace(name.replace("\0", "N").encode(), name.encode())
    assert "no name of a file" in (await refused(store, state_dir, data)).problem


async def test_a_file_without_a_name_is_refused(store: CodeStore, state_dir: Path) -> None:
    assert "without a name" in (await refused(store, state_dir, zipped((".", "x")))).problem


async def test_names_in_the_bytes_of_a_unix_file_system_are_utf_8(store: CodeStore) -> None:
    data = zipped(("Gr__e.txt", "1"), ("na___ve.txt", "2"))
    # As tools write them that do not say so: the flag for UTF-8 is not set.
    data = data.replace(b"Gr__e.txt", b"Gr\xc3\xb6e.txt").replace(b"na___ve.txt", b"na\xff\xfe\xffve.txt")
    assert set(contents((await add(store, data)).folder)) == {"Gröe.txt", "na\xa0■\xa0ve.txt"}


async def test_of_two_files_with_one_name_the_last_counts(store: CodeStore) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped(("app.py", "first"), ("b", ""), ("app.py", "last"), ("./app.py", "very last"))
    assert contents((await add(store, data)).folder) == {"app.py": "very last", "b": ""}


async def test_names_that_differ_in_case_are_two(store: CodeStore) -> None:
    data = zipped(("App.py", "1"), ("app.py", "2"))
    assert contents((await add(store, data)).folder) == {"App.py": "1", "app.py": "2"}


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c/d", "a/b")])
async def test_no_file_stands_where_a_folder_has_to(
    store: CodeStore, state_dir: Path, names: tuple[str, str]
) -> None:
    error = await refused(store, state_dir, zipped(*((name, "x") for name in names)))
    assert "is no folder" in error.problem


# ------------------------------------------------------------------------------------------------ links


@pytest.mark.parametrize(
    "entries",
    [
        {"l": "/etc/passwd"},
        {"l": "../x"},
        {"a/l": "../../x"},
        {"l": "a/../../x"},
        {"l": ""},
        # Each stays inside by its text alone, and leads out through the other.
        {"a/b/c/l": "../../..", "m": "a/b/c/l/../.."},
        {"m": "n", "n": "o", "o": "../x"},
        {"l": "l"},
        {"l": "m", "m": "l"},
    ],
    ids=str,
)
async def test_links_that_lead_out_are_refused(
    store: CodeStore, state_dir: Path, entries: dict[str, str]
) -> None:
    error = await refused(store, state_dir, zipped(*((link(name), to) for name, to in entries.items())))
    assert "leads out" in error.problem or "leads in a circle" in error.problem


async def test_links_within_stay(store: CodeStore) -> None:
    links = {"a/l": "../b", "m": "a/l/c", "gone": "nowhere", "root": ".", "a/up": "../a/./l"}
    data = zipped(("b/c", "x"), *((link(name), to) for name, to in links.items()))
    folder = (await add(store, data)).folder
    assert contents(folder) == {"b/c": "x", **{name: f"-> {to}" for name, to in links.items()}}
    assert (folder / "m").read_text() == "x"


async def test_links_that_take_too_long_to_follow_are_refused(store: CodeStore, state_dir: Path) -> None:
    # Each leads through the next one, after a long walk on the spot.
    walk = "./" * 1900
    chain = [(link(f"l{number}"), f"{walk}l{number + 1}") for number in range(39)]
    data = zipped(*chain, *((link(f"m{number}"), "l0") for number in range(100)), ("l39", ""))
    assert "lead too far" in (await refused(store, state_dir, data)).problem


async def test_folders_are_not_too_deep(store: CodeStore, state_dir: Path) -> None:
    assert (await add(store, zipped(("a/" * 199 + "b", "x")))).size == 1
    await store.prune([])
    with pytest.raises(ConfigurationError, match="is more than 200 folders deep"):
        await add(store, zipped(("a/" * 200 + "b", "x")))


@pytest.mark.parametrize("first", ["link", "file"])
async def test_nothing_is_written_through_a_link(
    store: CodeStore, state_dir: Path, tmp_path: Path, first: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    entries = [(link("l"), "inside"), (member("l/evil"), "x")]
    if first == "file":
        entries.reverse()
    assert "is no folder" in (await refused(store, state_dir, zipped(*entries))).problem
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zipped((link("l"), str(outside)), (link("l"), str(outside)), ("l/evil", "x"))
    await refused(store, state_dir, twice)
    assert list(outside.iterdir()) == []


async def test_a_link_that_became_a_file_is_one(store: CodeStore) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped((link("l"), "/etc/passwd"), ("l", "x"))
    assert contents((await add(store, data)).folder) == {"l": "x"}


async def test_a_link_that_is_too_long_is_refused(store: CodeStore, state_dir: Path) -> None:
    await refused(store, state_dir, zipped((link("l"), "a/" * 500_000)))


async def test_a_hard_link_is_a_file_of_its_own(store: CodeStore) -> None:
    # PKWARE's Unix field names what it is a link to; its data is there all the same.
    hard = member("b", extra=struct.pack("<HHIIHH", 0x000D, 18, 0, 0, 0, 0) + b"a.txt\0")
    folder = (await add(store, zipped(("a.txt", "first"), (hard, "second")))).folder
    assert contents(folder) == {"a.txt": "first", "b": "second"}
    assert (folder / "a.txt").stat().st_nlink == 1


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
async def test_special_files_are_refused(store: CodeStore, state_dir: Path, kind: int) -> None:
    error = await refused(store, state_dir, zipped((member("dev", kind | 0o666), "")))
    assert error.problem == "'dev' is neither a file nor a folder nor a link"


# ------------------------------------------------------------------------------------------------ sizes


@pytest.mark.slow
async def test_code_has_to_be_smaller_than_250_mb(store: CodeStore, state_dir: Path) -> None:
    error = await refused(store, state_dir, zipped(("a", bytes(UNZIPPED_LIMIT - 1)), ("b", b"x")))
    assert error.problem == "Unzipped size must be smaller than 262144000 bytes"
    code = await add(store, zipped(("a", bytes(UNZIPPED_LIMIT - 1))))
    assert code.size == UNZIPPED_LIMIT - 1


async def test_a_zip_that_is_sent_has_to_be_smaller_than_50_mb(store: CodeStore, state_dir: Path) -> None:
    error = await refused(store, state_dir, bytes(ZIPPED_LIMIT))
    assert error.problem == "Zipped size must be smaller than 52428800 bytes"


async def test_a_zip_in_a_file_may_be_larger(store: CodeStore, tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a", bytes(ZIPPED_LIMIT))
    code = await store.add(path, "python3.12", "app.handler")
    assert code.size == ZIPPED_LIMIT
    with path.open("rb") as file:
        assert code.sha256 == b64encode(file_digest(file, "sha256").digest()).decode()


async def test_no_file_is_read_that_cannot_be_small_enough(
    store: CodeStore, state_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "huge.zip"
    with path.open("wb") as file:
        file.truncate(UNZIPPED_LIMIT * 1000)
    with pytest.raises(ConfigurationError, match="Unzipped size must be smaller than 262144000 bytes"):
        await store.add(path, "python3.12", "app.handler")
    assert list((state_dir / "code").glob("*")) == []


async def test_a_zip_that_changes_while_it_is_read_is_refused(
    store: CodeStore, state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "code.zip"
    path.write_bytes(zipped(("app.py", "1")))

    def changing(file: BinaryIO, writer: Writer) -> None:
        with path.open("r+b") as other:
            other.write(zipped(("app.py", "2")))
        unpack(file, writer)

    monkeypatch.setattr("streamfn.packages.store.unpack", changing)
    with pytest.raises(ConfigurationError, match="is being written to"):
        await store.add(path, "python3.12", "app.handler")
    assert list((state_dir / "code").glob("*")) == []


def lying(data: bytes, size: int) -> bytes:
    """A zip whose headers say that its only file has another size."""
    there = zipfile.ZipFile(io.BytesIO(data)).infolist()[0].file_size
    return data.replace(struct.pack("<I", there), struct.pack("<I", size))


@pytest.mark.slow
async def test_a_bomb_that_lies_about_its_size_is_refused(store: CodeStore, state_dir: Path) -> None:
    bomb = zipped(("bomb", bytes(400_000_000)))
    assert len(bomb) < 500_000
    for said in (10, 1_000_000, 400_000_001, 2**32 - 2):
        await refused(store, state_dir, lying(bomb, said))


@pytest.mark.parametrize("said", [0, 1, 999, 1001, 100_000_000])
async def test_headers_that_lie_are_refused(store: CodeStore, state_dir: Path, said: int) -> None:
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        data = zipped((member("app.py", compress_type=method), os.urandom(1000)))
        assert UNREADABLE in (await refused(store, state_dir, lying(data, said))).problem


async def test_overlapping_files_count_as_often_as_they_come_out(store: CodeStore, state_dir: Path) -> None:
    # Many entries that share one file's bytes: a few kilobytes that say they are gigabytes.
    one = zipped(("a", bytes(10_000_000)))
    start = one.index(b"PK\x01\x02")
    end = one.index(b"PK\x05\x06")
    entries = b"".join(one[start:end][:-1] + bytes([65 + number]) for number in range(50))
    data = one[:start] + entries + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 50, 50, len(entries), start, 0)
    await refused(store, state_dir, data)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_twenty_thousand_files_come_out(store: CodeStore) -> None:
    data = zipped(*((f"package{number % 100}/module{number}.py", b"") for number in range(20_000)))
    code = await add(store, data)
    assert sum(len(files) for _, _, files in os.walk(code.folder)) == 20_000


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_too_many_are_refused_before_any_is_read(store: CodeStore, state_dir: Path) -> None:
    head = zipped(("a", b""))
    start = head.index(b"PK\x01\x02")
    entry = head[start : head.index(b"PK\x05\x06")]
    entries = entry * 250_001
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entries), start, 0)
    error = await refused(store, state_dir, head[:start] + entries + end)
    assert error.problem == "a package may hold 250000 files, folders and links at most"


@pytest.mark.slow
async def test_folders_that_go_unsaid_count_too(store: CodeStore, state_dir: Path) -> None:
    data = zipped(*((f"{number}/" + "x/" * 190 + "f", b"") for number in range(1400)))
    assert "at most" in (await refused(store, state_dir, data)).problem


async def test_zip64_is_understood(store: CodeStore) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open(member("app.py"), "w", force_zip64=True) as file:
        file.write(b"x = 1")
    data = out.getvalue()
    end = data.index(b"PK\x05\x06")
    start, size = struct.unpack("<I", data[end + 16 : end + 20])[0], end
    record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 1, 1, size - start, start)
    locator = struct.pack("<IIQI", 0x07064B50, 0, end, 1)
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    assert contents((await add(store, data[:end] + record + locator + tail)).folder) == {"app.py": "x = 1"}


# ------------------------------------------------------------------------------------------------ damage


async def test_an_encrypted_zip_is_refused(store: CodeStore, state_dir: Path) -> None:
    data = zipped(("app.py", "x"))
    for place in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data = data[:place] + b"\x01" + data[place + 1 :]
    assert (await refused(store, state_dir, data)).problem == "'app.py' is encrypted"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
async def test_other_ways_to_compress_are_refused(store: CodeStore, state_dir: Path, method: int) -> None:
    error = await refused(store, state_dir, zipped((member("app.py", compress_type=method), "x")))
    assert "compressed in a way that Lambda does not know" in error.problem


@pytest.mark.parametrize("data", [b"", b"x", b"PK\x05\x06", b"PK\x03\x04" + b"x" * 100, b"x" * 10_000])
async def test_what_is_no_zip_is_refused(store: CodeStore, state_dir: Path, data: bytes) -> None:
    assert (await refused(store, state_dir, data)).problem.startswith(UNREADABLE)


async def test_contents_that_were_changed_are_refused(store: CodeStore, state_dir: Path) -> None:
    data = zipped((member("app.py", compress_type=zipfile.ZIP_STORED), "the code"))
    error = await refused(store, state_dir, data.replace(b"the code", b"the c0de"))
    assert "Bad CRC-32" in error.problem


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
async def test_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes changed or cut anywhere: it is refused, or all that came out is inside."""
    good = zipped(("app.py", "x" * 50), (link("l"), "app.py"), (member("a/b", 0o755), b"y" * 30))
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    state_dir = tmp_path_factory.mktemp("state")
    store = CodeStore(state_dir)
    for bad in (bytes(changed), good[:cut]):
        try:
            folder = (await add(store, bad)).folder
        except ConfigurationError:
            continue
        for path in folder.rglob("*"):
            assert path.resolve().is_relative_to(folder.resolve())
    store.close()
