"""Layers: merged in order, within the limit that they share with the function."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from streamfn.errors import ConfigurationError
from streamfn.packages import CodeStore, Layers
from streamfn.packages.tree import UNZIPPED_LIMIT
from tests.packages.made import contents, folder, link, zipped


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    packed = tmp_path / "second.zip"
    packed.write_bytes(
        zipped(
            ("python/shared.py", "second"),
            ("python/second.py", "2"),
            ("python/__pycache__/x.pyc", "kept: the zip has it"),
            (link("bin/tool"), "../python/second.py"),
        )
    )
    first = {"python/shared.py": "first", "python/first.py": "1", "bin/run": "#!/bin/sh", "bin/tool": "old"}
    return [folder(tmp_path / "first", first), packed]


async def test_no_layers_are_no_folder(store: CodeStore) -> None:
    assert await store.layers([], 10) == Layers(None, ())


async def test_of_the_same_file_the_last_ones_counts(
    store: CodeStore, state_dir: Path, layers: list[Path]
) -> None:
    merged = await store.layers(layers, 10)
    assert merged.folder is not None
    assert merged.folder.parent == state_dir / "layers"
    assert contents(merged.folder) == {
        "python/shared.py": "second",
        "python/first.py": "1",
        "python/second.py": "2",
        "python/__pycache__/x.pyc": "kept: the zip has it",
        "bin/run": "#!/bin/sh",
        "bin/tool": "-> ../python/second.py",
    }
    assert os.access(merged.folder / "bin" / "run", os.X_OK)
    assert oct((merged.folder / "python").stat().st_mode & 0o777) == "0o555"
    assert merged.hashes == tuple([(await store.add(path, "", "")).sha256 for path in layers])
    assert await store.layers(layers, 10) == merged


async def test_their_order_makes_another_folder(store: CodeStore, layers: list[Path]) -> None:
    one, other = await store.layers(layers, 0), await store.layers(layers[::-1], 0)
    assert one.folder is not None
    assert other.folder is not None
    assert (other.folder / "python" / "shared.py").read_text() == "first"
    assert (other.folder / "bin" / "tool").read_text() == "old"
    assert (one.folder / "python" / "shared.py").read_text() == "second"


async def test_files_are_not_kept_twice(store: CodeStore, layers: list[Path]) -> None:
    merged = await store.layers(layers, 0)
    code = await store.add(layers[0], "", "")
    assert merged.folder is not None
    assert (merged.folder / "python" / "first.py").samefile(code.folder / "python" / "first.py")


async def test_without_hard_links_they_are_copied(
    store: CodeStore, state_dir: Path, layers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", no_links)
        copied = (await store.layers(layers, 0)).folder
    assert copied is not None
    assert (copied / "bin" / "run").read_text() == "#!/bin/sh"
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in copied.rglob("*") if path.is_file()}
    assert modes["run"] == "0o555"
    assert modes["shared.py"] == "0o444"
    assert (copied / "python" / "first.py").stat().st_nlink == 1


async def test_a_full_disk_is_no_lack_of_links(
    store: CodeStore, state_dir: Path, layers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        await store.layers(layers, 0)
    assert list((state_dir / "layers").iterdir()) == []


async def test_there_are_five_at_most(store: CodeStore, tmp_path: Path) -> None:
    made = [folder(tmp_path / str(number), {f"f{number}": "x"}) for number in range(6)]
    merged = await store.layers(made[:5], 0)
    assert merged.folder is not None
    assert len(contents(merged.folder)) == 5
    with pytest.raises(ConfigurationError, match=r"Layers: Cannot reference more than 5 layers\."):
        await store.layers(made, 0)


async def test_function_and_layers_share_a_limit(store: CodeStore, state_dir: Path, tmp_path: Path) -> None:
    layer = folder(tmp_path / "layer", {"a": "x" * 100})
    other = folder(tmp_path / "other", {"a": "y" * 100})
    assert (await store.layers([layer, other], UNZIPPED_LIMIT - 200)).folder
    with pytest.raises(ConfigurationError) as error:
        await store.layers([layer, other], UNZIPPED_LIMIT - 199)
    assert error.value.field == "Layers"
    assert error.value.problem == (
        "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. The actual "
        "size is 262144001 bytes."
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a/b": "x"}, {"a": "x"}),
        ({"a": "x"}, {"a/b": "x"}),
        ({"a/b": "x"}, {"a": "-> ."}),
        # Neither leads out alone: the second makes a link of what is no folder in the first.
        ({"m": "-> a/l/../..", "a/x": ""}, {"a/l": "-> ..", "a/x": ""}),
    ],
    ids=str,
)
async def test_layers_that_contradict_each_other_are_refused(
    store: CodeStore, state_dir: Path, tmp_path: Path, first: dict[str, str], second: dict[str, str]
) -> None:
    made = [folder(tmp_path / "1", first), folder(tmp_path / "2", second)]
    with pytest.raises(ConfigurationError):
        await store.layers(made, 0)
    assert list((state_dir / "layers").iterdir()) == []


async def test_what_is_wrong_with_a_layer_is_told_of_it(store: CodeStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"Layers: {tmp_path}/gone: .* is no folder and no zip"):
        await store.layers([tmp_path / "gone"], 0)
