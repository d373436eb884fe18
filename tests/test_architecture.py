"""Rules on the shape of the code that no linter knows."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path
    for top in ("streamfn", "connectors", "tests", "benchmarks", "examples")
    for path in (ROOT / top).rglob("*.py")
)
CORE = sorted((ROOT / "streamfn" / "core").rglob("*.py"))

MAX_LINES = 500
IMPORT_SECONDS = 0.150
IMPORT_TRIES = 7
# Connectors, client libraries, and what only tests need: nobody pays for these by importing streamfn.
UNWANTED = {"aiobotocore", "aiokafka", "botocore", "hypothesis", "pytest", "testcontainers", "uvloop"} | {
    path.parent.name for path in (ROOT / "connectors").glob("*/__init__.py")
}
PROBE = """
import json, sys, time
began = time.process_time()
import streamfn
took = time.process_time() - began
print(json.dumps([took, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def asynchronous(source: str) -> list[int]:
    """The lines on which something asynchronous stands."""
    kinds = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def foreign_imports(source: str) -> set[str]:
    """What is imported, within functions too, that is neither the standard library nor core or errors."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = ("streamfn.core", "streamfn.errors")
    standard = {one for one in found if one.partition(".")[0] in sys.stdlib_module_names}
    return {one for one in found - standard if not f"{one}.".startswith(tuple(f"{top}." for top in ours))}


def undocumented(protocol: type) -> list[str]:
    """The members that a Protocol declares itself without a docstring of their own."""
    missing = [] if "__doc__" in vars(protocol) and protocol.__doc__ else [protocol.__qualname__]
    for member, value in vars(protocol).items():
        function = value.fget if isinstance(value, property) else value
        if inspect.isfunction(function) and not member.startswith("_") and not function.__doc__:
            missing.append(f"{protocol.__qualname__}.{member}")
    return missing


def protocols() -> Iterator[type]:
    ports = importlib.import_module("streamfn.ports")
    for value in vars(ports).values():
        if (
            isinstance(value, type)
            and value.__module__.startswith(ports.__name__)
            and getattr(value, "_is_protocol", False)
        ):
            yield value


@pytest.fixture(scope="module")
def imports() -> list[tuple[float, list[str]]]:
    """The processor time that `import streamfn` took in fresh processes, and what it brought along."""
    runs = []
    for _ in range(IMPORT_TRIES):
        done = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, check=True)
        took, modules = json.loads(done.stdout)
        runs.append((took, modules))
    return runs


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_module_is_a_missing_noun(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name(path)} has {lines} lines"


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_is_synchronous(path: Path) -> None:
    assert asynchronous(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_imports_the_standard_library_only(path: Path) -> None:
    assert foreign_imports(path.read_text(encoding="utf-8")) == set()


def test_importing_streamfn_brings_no_connector_and_no_client(imports: list[tuple[float, list[str]]]) -> None:
    for _, modules in imports:
        assert UNWANTED & set(modules) == set()


# Processor time, since a busy machine makes no import slower; the best of several, since disks have moods.
@pytest.mark.timeout(60)
def test_importing_streamfn_is_quick(imports: list[tuple[float, list[str]]]) -> None:
    assert min(took for took, _ in imports) < IMPORT_SECONDS


@pytest.mark.parametrize("protocol", list(protocols()), ids=lambda protocol: protocol.__name__)
def test_each_method_of_a_port_says_what_it_promises(protocol: type) -> None:
    assert undocumented(protocol) == []


def test_there_is_something_to_check() -> None:
    assert FILES
    assert CORE
    assert list(protocols())


class Undocumented:
    def method(self) -> None: ...

    @property
    def attribute(self) -> int:
        return 0


def test_these_checks_see_what_they_look_for() -> None:
    assert asynchronous("def a(): ...\nasync def b(): ...") == [2]
    assert foreign_imports("def f():\n import orjson\n from anyio import sleep") == {"orjson", "anyio.sleep"}
    assert foreign_imports("from streamfn import ports, core\nimport streamfn.engine") == {
        "streamfn.ports",
        "streamfn.engine",
    }
    assert foreign_imports("import json\nfrom streamfn.core.records import Record\nfrom . import x") == set()
    assert undocumented(Undocumented) == ["Undocumented", "Undocumented.method", "Undocumented.attribute"]
