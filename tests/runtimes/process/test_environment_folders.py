"""The folder that environments have their `/tmp` in."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from streamfn.runtimes.process.workspace import Workspace, remove


def test_a_workspace_is_there_until_it_is_closed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "run")
    workspace.open()
    first, second = workspace.scratch(), workspace.scratch()
    assert first != second
    assert first.parent == second.parent == workspace.folder
    workspace.close()
    workspace.close()
    assert list((tmp_path / "run").iterdir()) == []


def test_those_of_processes_that_live_are_left_alone(tmp_path: Path) -> None:
    first, second = Workspace(tmp_path), Workspace(tmp_path)
    first.open()
    kept = first.scratch()
    second.open()
    assert kept.exists()
    second.close()
    first.close()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from streamfn.runtimes.process.workspace import Workspace
workspace = Workspace(Path({str(tmp_path)!r}))
workspace.open()
(workspace.scratch() / "file").touch()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "of somebody else").mkdir()
    workspace = Workspace(tmp_path)
    workspace.open()
    assert {path.name for path in tmp_path.iterdir()} == {workspace.folder.name, "of somebody else"}
    workspace.close()


def _closed(folder: Path) -> None:
    """A folder as a function may leave it: with closed folders in it, and a link that leads out."""
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").touch()
    (folder / "link").symlink_to(outside)
    (folder / "a" / "b").chmod(0)
    (folder / "a").chmod(0)


def test_folders_that_a_function_closed_are_removed_all_the_same(tmp_path: Path) -> None:
    _closed(tmp_path / "folder")
    remove(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (tmp_path / "outside" / "kept").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="runs as root only: as others the test above is this one")
def test_so_they_are_by_who_is_not_root() -> None:
    with tempfile.TemporaryDirectory() as place:  # which others can reach, unlike pytest's
        _closed(Path(place, "folder"))
        subprocess.run(["chown", "-R", "nobody", place], check=True)
        pid = os.fork()
        if pid == 0:
            os.setuid(65_534)
            remove(Path(place, "folder"))
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.listdir(place) == ["outside"]
        assert Path(place, "outside", "kept").exists()
