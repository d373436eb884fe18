"""The interpreters of a machine, and which of them a runtime identifier stands for."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamfn.core.runtime_ids import RuntimeId

_LOG: Final = logging.getLogger("streamfn.runtimes.process")
_OLDEST_PYTHON: Final = (3, 9)
_ASK_PYTHON: Final = "import sys; print(sys.executable, sys.prefix, *sys.version_info[:3], sep='\\n')"
_SECONDS: Final = 10.0
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class Interpreter(NamedTuple):
    """A program that runs code of a language."""

    path: str
    prefix: str
    """The folder with all that belongs to it."""
    version: tuple[int, ...]

    @property
    def label(self) -> str:
        """`3.11.7`."""
        return ".".join(map(str, self.version))


def own_python() -> Interpreter:
    """The Python that streamfn runs on, without the packages of streamfn's virtual environment."""
    version = tuple(sys.version_info[:3])
    base = Path(sys.base_prefix)
    for path in (base / "bin" / f"python{version[0]}.{version[1]}", base / "bin" / "python3"):
        if path.exists():
            return Interpreter(str(path), str(base), version)
    return Interpreter(sys.executable, sys.prefix, version)


def find(runtime: RuntimeId, *, strict: bool = False) -> Interpreter:
    """The interpreter of a runtime. Blocks while programs are asked for their version, each once.

    Where the version is not on this machine, another one of the language runs the function, which is said
    once. Raises ConfigurationError where there is none, and if `strict` where it is another one.
    """
    found = _python(runtime.version[:2]) if runtime.family == "python" else _node(runtime.version[0])
    if found is None:
        raise ConfigurationError(
            f"no interpreter for {runtime.text} on this machine",
            field="Runtime",
            fix=f"install {'Python' if runtime.family == 'python' else 'Node.js'} {_wanted(runtime)}",
        )
    if found.version[: len(runtime.version)] != runtime.version:
        problem = f"{runtime.text} is not on this machine"
        if strict:
            raise ConfigurationError(
                problem, field="Runtime", fix=f"install {_wanted(runtime)}, or allow other versions"
            )
        _warn(f"{problem}: such functions run on {found.label}")
    return found


@cache
def _warn(text: str) -> None:
    _LOG.warning("%s", text)


def _wanted(runtime: RuntimeId) -> str:
    return ".".join(map(str, runtime.version))


@cache
def _python(version: tuple[int, ...]) -> Interpreter | None:
    own = own_python()
    if own.version[:2] == version:
        return own
    name = ".".join(map(str, version))
    for path in _places(f"python{name}", _python_folders(name)):
        asked = _ask(path, _read_python, "-I", "-S", "-c", _ASK_PYTHON)
        if asked is not None and asked.version[:2] == version:
            return asked
    return own if own.version >= _OLDEST_PYTHON else None


@cache
def _node(major: int) -> Interpreter | None:
    first: Interpreter | None = None
    home = os.environ.get("NVM_DIR") or str(Path.home() / ".nvm")
    versions = sorted(Path(home, "versions", "node").glob(f"v{major}.*/bin"), reverse=True)
    for path in _places("node", versions):
        asked = _ask(path, _read_node, "-p", "process.execPath + '\\n' + process.versions.node")
        if asked is not None and asked.version[0] == major:
            return asked
        first = first or asked
    return first


def _python_folders(name: str) -> Iterator[Path]:
    """Where tools that install Pythons put them."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    yield from sorted(pyenv.glob(f"{name}.*/bin"), reverse=True)
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local" / "share" / "uv" / "python")
    yield from sorted(uv.glob(f"cpython-{name}.*/bin"), reverse=True)


def _places(program: str, folders: Iterator[Path] | list[Path]) -> Iterator[str]:
    on_path = shutil.which(program)
    if on_path:
        yield on_path
    for folder in folders:
        if (folder / program).exists():
            yield str(folder / program)


def _ask(path: str, read: Callable[[list[str]], Interpreter], *arguments: str) -> Interpreter | None:
    """What a program says of itself; None if it says nothing, as a shim does that leads nowhere."""
    clean = {"PATH": os.environ.get("PATH", _PATH), "HOME": str(Path.home())}
    try:
        done = subprocess.run(
            [path, *arguments], env=clean, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        return read(done.stdout.splitlines())
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _read_python(lines: list[str]) -> Interpreter:
    return Interpreter(lines[0], lines[1], tuple(int(number) for number in lines[2:5]))


def _read_node(lines: list[str]) -> Interpreter:
    path = Path(lines[0])
    return Interpreter(str(path), str(path.parent.parent), tuple(map(int, re.findall(r"\d+", lines[1])[:3])))
