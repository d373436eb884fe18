"""TARGET: which app a command works on, and what is said when there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamfn.app import App
from streamfn.cli import target
from streamfn.errors import ConfigurationError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder; what is imported from it is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(path: str, text: str) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


ONE = "import streamfn\nflights = streamfn.App(name='flights')\n"


@pytest.mark.parametrize(
    "named",
    ["jobs:flights", "jobs", "jobs.py", "jobs.py:flights", "./jobs.py", "{}/jobs.py", "{}/jobs.py:flights"],
)
def test_an_app_is_found_in_a_module_or_a_file(folder: Path, named: str) -> None:
    write("jobs.py", ONE)
    assert target.load(named.format(folder)).app.name == "flights"


def test_a_file_of_a_package_may_import_relatively() -> None:
    write("pkg/__init__.py", "")
    write("pkg/names.py", "NAME = 'inner'\n")
    write("pkg/jobs.py", "import streamfn\nfrom .names import NAME\napp = streamfn.App(name=NAME)\n")
    assert target.load("pkg/jobs.py").app.name == "inner"
    assert target.load("pkg.jobs:app").app.name == "inner"


def test_an_app_may_be_an_attribute_of_something() -> None:
    write("jobs.py", "import streamfn\nclass Jobs:\n    app = streamfn.App(name='inside')\n")
    assert target.load("jobs:Jobs.app").app.name == "inside"


def test_the_state_directory_of_the_command_line_wins() -> None:
    write("jobs.py", ONE)
    assert target.load("jobs.py").app.state_dir == Path(".streamfn")
    assert target.load("jobs.py", "/var/lib/x").app.state_dir == Path("/var/lib/x")


def test_a_yaml_file_becomes_an_app() -> None:
    write("code/jobs.py", "class M: ...\nasync def work(event, context): ...\n")
    write(
        "code/streamfn.yaml",
        "name: flights\nstate_dir: st\nfunctions:\n"
        "  w: {handler: jobs:work, timeout: 3, reserved_concurrency: 2, each: jobs:M}\n"
        "event_source_mappings: [{function: w, source: local:x}]\nlogging: {level: error}\n",
    )
    loaded = target.load("code/streamfn.yaml")
    assert isinstance(loaded.app, App)
    assert (loaded.app.name, loaded.app.state_dir) == ("flights", Path("st"))
    spec = loaded.app.functions["w"]
    assert (spec.timeout, spec.reserved_concurrency, spec.each.__name__) == (3.0, 2, "M")
    assert list(loaded.app.declared) == ["w-x"]
    assert loaded.logging is not None
    assert loaded.logging.level == "error"


@pytest.mark.parametrize(
    ("files", "named", "message"),
    [
        (
            {},
            "missing.py",
            "missing.py: no such file. Fix: name module:app, path/to/file.py or streamfn.yaml",
        ),
        ({}, "missing.yaml", "missing.yaml: no such file. Fix: name module:app, a .py file or streamfn.yaml"),
        ({"sub/x": ""}, "./sub", "sub: is a folder. Fix: name module:app, path/to/file.py or streamfn.yaml"),
        ({"sub/x": ""}, "sub/x", "sub/x: not a Python file. Fix: name a .py file, or streamfn.yaml"),
        (
            {},
            "nothing:app",
            "nothing:app: there is no module 'nothing'. Fix: start from its folder, or install it",
        ),
        (
            {"p/__init__.py": ""},
            "p.q:app",
            "p.q:app: there is no module 'p.q'. Fix: start from its folder, or install it",
        ),
        (
            {},
            "no-module:app",
            "no-module:app: 'no-module' is neither a module nor a file. "
            "Fix: name module:app, path/to/file.py or streamfn.yaml",
        ),
        ({"a.py": "x = 1\n"}, "a.py", "a.py: has no App. Fix: write app = streamfn.App() in it"),
        ({"a.py": "x = 1\n"}, "a:x", "a:x: 'x' is no App but of type int. Fix: name one of its Apps: none"),
        (
            {"a.py": ONE + "trains = streamfn.App()\n"},
            "a",
            "a: has more than one App: flights, trains. Fix: name one: a:flights",
        ),
        ({"a.py": ONE}, "a:flight", "a:flight: a has no 'flight'. Fix: did you mean flights?"),
        ({"a.py": ONE}, "a:xyzzy", "a:xyzzy: a has no 'xyzzy'. Fix: name one of its Apps: flights"),
        (
            {"template.json": "{}"},
            "template.json",
            "template.json: the template has no resources. "
            "Fix: write Resources: with functions and event source mappings",
        ),
        (
            {"s.yaml": "functions:\n  f:\n    handler: nothing:f\n"},
            "s.yaml",
            "s.yaml:3: functions.f.handler: there is no module 'nothing'. "
            "Fix: start from its folder, or install it",
        ),
        (
            {"s.yaml": "functions:\n  f:\n    handler: a:wrk\n", "a.py": "def work(): ...\n"},
            "s.yaml",
            "s.yaml:3: functions.f.handler: a has no 'wrk'. Fix: did you mean a:work?",
        ),
        (
            {"s.yaml": "functions:\n  f:\n    handler: a:x\n", "a.py": "x = 1\n"},
            "s.yaml",
            "s.yaml:3: functions.f.handler: a:x is not a function but of type int",
        ),
        (
            {"s.yaml": "functions:\n  f:\n    handler: a:f\n    each: a:M\n", "a.py": "def f(): ...\n"},
            "s.yaml",
            "s.yaml:4: functions.f.each: a has no 'M'. Fix: it has: f",
        ),
    ],
)
def test_what_is_wrong_with_a_target_is_told(files: dict[str, str], named: str, message: str) -> None:
    for path, text in files.items():
        write(path, text)
    with pytest.raises(ConfigurationError) as caught:
        target.load(named)
    assert str(caught.value) == message


def test_a_failing_import_shows_what_is_the_users(folder: Path) -> None:
    write("inner.py", "def go():\n    raise ValueError('no luck')\n")
    write("jobs.py", "import inner\ninner.go()\n")
    with pytest.raises(target.ImportFailed) as caught:
        target.load("jobs.py")
    assert caught.value.where == f"{folder}/inner.py:2"
    assert caught.value.problem == "cannot be imported: ValueError: no luck"
    assert caught.value.trace == (
        "Traceback (most recent call last):\n"
        f'  File "{folder}/jobs.py", line 2, in <module>\n    inner.go()\n'
        f"  File \"{folder}/inner.py\", line 2, in go\n    raise ValueError('no luck')\n"
        "ValueError: no luck\n"
    )


def test_a_syntax_error_names_its_line(folder: Path) -> None:
    write("jobs.py", "x = 1\ndef f(:\n")
    with pytest.raises(target.ImportFailed) as caught:
        target.load("jobs.py")
    assert caught.value.where == f"{folder}/jobs.py:2"
    assert caught.value.problem == "cannot be imported: SyntaxError: invalid syntax"


def test_a_module_that_the_users_code_misses_is_named(folder: Path) -> None:
    write("jobs.py", "import pandas_that_is_not_there\n")
    with pytest.raises(target.ImportFailed, match="No module named 'pandas_that_is_not_there'") as caught:
        target.load("jobs")
    assert caught.value.where == f"{folder}/jobs.py:1"


def test_a_mistake_in_a_declaration_is_told_as_such(folder: Path) -> None:
    write(
        "jobs.py",
        ONE
        + "@flights.function\ndef f(e, c): ...\nflights.event_source_mapping(f, 'local:x', batch_size=0)\n",
    )
    with pytest.raises(ConfigurationError) as caught:
        target.load("jobs.py")
    assert str(caught.value) == "jobs.py:5: BatchSize: must be 1 to 10000, not 0"


def test_a_file_may_not_be_called_as_a_module_that_is_in_use() -> None:
    write("json.py", ONE)
    with pytest.raises(ConfigurationError, match="another module is called 'json'"):
        target.load("json.py")
