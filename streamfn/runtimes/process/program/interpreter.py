"""This interpreter, in a fork, made what a new one would be."""

from __future__ import annotations

import gc
import io
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OBEYED = {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
"""Variables that can be obeyed late. All others of Python's are read only when an interpreter starts."""
_READ_AT_START = ("PYTHON", "LD_", "GLIBC_TUNABLES", "MALLOC_")


def may_fork(environment: dict[str, str]) -> bool:
    """Whether a fork of this interpreter is what a new one would be with these variables."""
    for name, value in environment.items():
        if name in _OBEYED or not name.startswith(_READ_AT_START):
            continue
        # The dynamic loader keeps the path that it had at its start, which matters if there is a library.
        if name != "LD_LIBRARY_PATH" or any(map(_has_library, value.split(":"))):
            return False
    return True


def _has_library(folder: str) -> bool:
    if not folder or folder.startswith(("/lib", "/usr/lib")):
        return False  # where the loader looks anyway
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(".so" in name and ".cpython-" not in name and ".abi3." not in name for name in names)


def module(name: str, arguments: list[str], environment: dict[str, str]) -> Callable[[], None]:
    """What runs a module as `python -m` does. To be called when nothing else is left on the stack."""
    os.environ.clear()
    os.environ.update(environment)
    if "TZ" in environment:
        time.tzset()
    if environment.get("PYTHONDONTWRITEBYTECODE"):
        sys.dont_write_bytecode = True
    sys.stdout = _stream(1, environment)
    sys.stderr = _stream(2, environment)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]
    sys.path[:0] = [os.getcwd(), *filter(None, environment.get("PYTHONPATH", "").split(":"))]
    sys.argv[:] = ["-m", *arguments]
    sys.orig_argv = [sys.executable, "-m", name, *arguments]
    gc.enable()
    package = __package__ or ""
    for known in [known for known in sys.modules if known.partition(".")[0] == package]:
        del sys.modules[known]

    def run() -> None:
        import runpy

        main = sys.modules["__main__"].__dict__
        for key in [key for key in main if not key.startswith("__")]:
            del main[key]
        runpy._run_module_as_main(name)  # type: ignore[attr-defined]  # noqa: SLF001 - what `-m` calls

    return run


def _stream(descriptor: int, environment: dict[str, str]) -> io.TextIOWrapper:
    """As an interpreter makes it for a descriptor that is no terminal."""
    errors = "backslashreplace" if descriptor == 2 else "strict"
    unbuffered = bool(environment.get("PYTHONUNBUFFERED"))
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding="utf-8",
        errors=errors,
        line_buffering=descriptor == 2,
        write_through=unbuffered,
    )
