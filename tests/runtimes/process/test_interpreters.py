"""Which interpreter a runtime identifier stands for, and what is started for a function."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamfn.core.runtime_ids import parse
from streamfn.errors import ConfigurationError, MissingExtra
from streamfn.ports import Deployment
from streamfn.runtimes.process import interpreters, packages
from streamfn.runtimes.process.commands import start_of
from streamfn.runtimes.process.interpreters import find, own_python
from streamfn.runtimes.process.packages import provide
from streamfn.runtimes.process.sandbox import Layout, Module
from streamfn.runtimes.process.variables import variables


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """What was found is kept for the life of a process; tests change the machine."""
    for kept in (interpreters._python, interpreters._node, interpreters._warn):
        kept.cache_clear()
    yield
    for kept in (interpreters._python, interpreters._node, interpreters._warn):
        kept.cache_clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing but what a test puts into this folder, which is its PATH and its home."""
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "NVM_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def program(path: Path, *lines: str, status: int = 0) -> str:
    """A program that says something and ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = "".join(f"echo '{line}'\n" for line in lines)
    path.write_text(f"#!/bin/sh\n{said}exit {status}\n")
    path.chmod(0o755)
    return str(path)


OWN = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def test_our_own_version_is_our_own_python_without_our_packages() -> None:
    found = find(parse(OWN))
    assert found == own_python()
    asked = "import sys; print(sys.version_info[:3], sys.prefix == sys.base_prefix)"
    done = subprocess.run([found.path, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{tuple(sys.version_info[:3])} True"
    assert found.label == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    "place",
    [
        "python3.42",
        ".pyenv/versions/3.42.7/bin/python3.42",
        ".local/share/uv/python/cpython-3.42.1-x/bin/python3.42",
    ],
)
def test_other_versions_are_found_where_tools_put_them(machine: Path, place: str) -> None:
    path = program(machine / place, "/real/python3.42", "/real", "3", "42", "7")
    assert path
    found = find(parse("python3.42"), strict=True)
    assert found == ("/real/python3.42", "/real", (3, 42, 7))


def test_a_shim_that_leads_nowhere_is_passed_over(machine: Path) -> None:
    program(machine / "python3.42", "no such version", status=127)
    program(machine / ".pyenv/versions/3.42.7/bin/python3.42", "/real/python3.42", "/real", "3", "42", "7")
    assert find(parse("python3.42")).path == "/real/python3.42"


def test_another_version_runs_it_with_one_warning(machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    program(machine / "python3.42", "nonsense")
    assert find(parse("python3.42")) == find(parse("python3.42")) == own_python()
    assert [record.getMessage() for record in caplog.records] == [
        f"python3.42 is not on this machine: such functions run on {own_python().label}"
    ]
    with pytest.raises(
        ConfigurationError, match=r"python3.42 is not on this machine. Fix: install 3.42, or allow"
    ):
        find(parse("python3.42"), strict=True)


def test_node_of_the_version_before_any_other(machine: Path) -> None:
    program(machine / "node", "/a/bin/node", "20.1.0")
    program(machine / ".nvm/versions/node/v22.3.0/bin/node", "/b/bin/node", "22.3.0")
    assert find(parse("nodejs20.x")) == ("/a/bin/node", "/a", (20, 1, 0))
    assert find(parse("nodejs22.x"), strict=True) == ("/b/bin/node", "/b", (22, 3, 0))
    assert find(parse("nodejs24.x")).version == (20, 1, 0)
    with pytest.raises(ConfigurationError, match="nodejs24.x is not on this machine"):
        find(parse("nodejs24.x"), strict=True)


def test_no_node_at_all(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine))
    with pytest.raises(ConfigurationError, match="no interpreter for nodejs20.x .* install Node.js 20"):
        find(parse("nodejs20.x"))


# ---------------------------------------------------------------------------------------------- commands

INSIDE = Layout("/var/task", "/opt", "/var/runtime", "/tmp")


def deployed(folder: Path, runtime: str, **fields: str) -> Deployment:
    return Deployment("orders", str(folder), runtime, **{"handler": "index.handler", **fields})  # type: ignore[arg-type]


def test_python_is_a_module_of_the_launcher(tmp_path: Path) -> None:
    start = start_of(deployed(tmp_path, OWN), parse(OWN))
    assert start.rendered(INSIDE) == Module("awslambdaric", ("index.handler",))
    assert (start.packages, start.workers, start.label) == (True, False, f"python:{own_python().label}")


@pytest.mark.parametrize("place", ["lib/libx.so.1", "variable"])
def test_python_is_a_program_where_the_linker_has_to_look_for_libraries(tmp_path: Path, place: str) -> None:
    deployment = deployed(tmp_path, OWN)
    if place == "variable":
        deployment = Deployment(
            "orders", str(tmp_path), OWN, "index.handler", environment={"LD_LIBRARY_PATH": "/x"}
        )
    else:
        (tmp_path / "lib").mkdir()
        (tmp_path / place).touch()
    start = start_of(deployment, parse(OWN))
    assert start.rendered(INSIDE) == (own_python().path, "-s", "-m", "awslambdaric", "index.handler")


def test_a_bootstrap_of_the_code_comes_before_that_of_a_layer(tmp_path: Path) -> None:
    code, layers = tmp_path / "code", tmp_path / "layers"
    code.mkdir()
    program(layers / "bootstrap")
    deployment = deployed(code, "provided.al2023", layers=str(layers))
    assert start_of(deployment, parse("provided.al2023")).rendered(INSIDE) == ("/opt/bootstrap",)
    program(code / "bootstrap")
    assert start_of(deployment, parse("provided.al2023")).rendered(INSIDE) == ("/var/task/bootstrap",)
    assert start_of(deployed(code, "ruby3.4"), parse("ruby3.4")).rendered(INSIDE) == ("/var/task/bootstrap",)


def test_extensions_are_not_passed_over_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program(tmp_path / "layers" / "extensions" / "agent")
    start_of(deployed(tmp_path, OWN, layers=str(tmp_path / "layers")), parse(OWN))
    assert [record.getMessage() for record in caplog.records] == [
        "orders: extensions of layers are not started"
    ]


# ---------------------------------------------------------------------------------------------- packages


def test_another_version_gets_a_client_in_python(tmp_path: Path) -> None:
    other = own_python()._replace(version=(3, 9, 1))
    folder = Path(provide(tmp_path / "other", other))
    assert (folder / "runtime_client.py").exists()
    assert list((folder / "awslambdaric" / "__pycache__").glob("bootstrap.*.pyc"))
    own = Path(provide(tmp_path / "own", own_python()))
    assert list(own.glob("runtime_client.*.so"))
    command = [own_python().path, "-S", "-c", "import awslambdaric.bootstrap as b; print(b.__file__)"]
    for place in (folder, own):
        done = subprocess.run(
            command, env={"PYTHONPATH": str(place)}, capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(str(place))


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_MODULES", ("nowhere_at_all",))
    with pytest.raises(MissingExtra, match=r"need nowhere_at_all. Fix: pip install 'streamfn\[process\]'"):
        provide(tmp_path / "none", own_python())


# --------------------------------------------------------------------------------------------- variables


@pytest.mark.parametrize(
    ("runtime", "name", "value"),
    [
        (
            "nodejs20.x",
            "NODE_PATH",
            "/opt/nodejs/node20/node_modules:/opt/nodejs/node_modules:"
            "/var/runtime/node_modules:/var/runtime:/var/task",
        ),
        ("ruby3.4", "GEM_PATH", "/var/task/vendor/bundle/ruby/3.4.0:/opt/ruby/gems/3.4.0"),
        (
            "python3.12",
            "PYTHONPATH",
            "/mine:/opt/python:/opt/python/lib/python3.12/site-packages:/var/runtime",
        ),
        ("go1.x", "AWS_EXECUTION_ENV", "AWS_Lambda_go1.x"),
        ("provided.al2023", "AWS_EXECUTION_ENV", None),
        ("provided.al2023", "AWS_LAMBDA_MAX_CONCURRENCY", "7"),
    ],
)
def test_variables_of_languages(runtime: str, name: str, value: str | None) -> None:
    deployment = Deployment(
        "orders", "/code", runtime, "h", environment={"PYTHONPATH": "/mine"}, maximum_concurrency=7
    )
    found = variables(deployment, parse(runtime), INSIDE, stream="s", initialization_type="on-demand")
    assert found.get(name) == value


def test_a_folder_for_temporary_files_elsewhere_is_named() -> None:
    layout = Layout("/code", "", "", "/scratch")
    found = variables(
        deployed(Path("/code"), "provided"), parse("provided"), layout, stream="", initialization_type=""
    )
    assert (found["TMPDIR"], found["LAMBDA_TASK_ROOT"]) == ("/scratch", "/code")
