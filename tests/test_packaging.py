"""What is written down about the distribution in several places says the same in each."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOOL: dict[str, Any] = PROJECT["tool"]
PACKAGES: list[str] = TOOL["hatch"]["build"]["targets"]["wheel"]["packages"]
NAMES = {Path(package).name for package in PACKAGES}
ENTRY_POINTS: dict[str, dict[str, str]] = PROJECT["project"]["entry-points"]
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]

# Host names of package indexes, in pieces, so that this file does not contain what it looks for.
INDEX_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("registry", "npmjs", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
    )
]


def committed_files() -> list[Path]:
    """What is committed, or would be by `git add --all`."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return sorted(path for path in paths if path.is_file())


def pins(name: str) -> dict[str, str]:
    """Distribution to version, of one requirements file."""
    text = (ROOT / "requirements" / name).read_text()
    return {
        canonicalize_name(found[1]): found[2] for found in re.finditer(r"(?m)^([\w.-]+)==([^\s;]+)", text)
    }


def declared() -> dict[str, Requirement]:
    """The dependencies and those of the extras, without the project's own extras among them."""
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one for one in requirements if one.name != "streamfn"}


def wheel_files() -> set[str]:
    """Where each file would stand in the wheel."""
    builder = importlib.import_module("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    return {Path(file.distribution_path).as_posix() for file in builder.recurse_included_files()}


def test_the_wheel_lists_each_package_there_is() -> None:
    folders = {
        path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "connectors").glob("*/__init__.py")
    }
    assert set(PACKAGES) == {"streamfn", *folders}


def test_a_folder_of_connectors_is_a_package() -> None:
    with_code = {path.parent for path in (ROOT / "connectors").glob("*/*.py")}
    assert {folder.name for folder in with_code if not (folder / "__init__.py").is_file()} == set()
    assert list((ROOT / "connectors").glob("*.py")) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_the_wheel_holds_the_packages_whole_and_nothing_else() -> None:
    inside = wheel_files()
    assert {name.split("/")[0] for name in inside} == NAMES
    committed = {path.relative_to(ROOT).as_posix() for path in committed_files()}
    ours = {
        f"{Path(top).name}{name[len(top) :]}"
        for top in PACKAGES
        for name in committed
        if name.startswith(f"{top}/")
    }
    assert ours - inside == set()


def test_the_linters_look_at_each_package() -> None:
    assert set(TOOL["importlinter"]["root_packages"]) == NAMES
    assert set(TOOL["ruff"]["lint"]["isort"]["known-first-party"]) == NAMES
    assert set(TOOL["coverage"]["run"]["source_pkgs"]) == NAMES
    assert {"streamfn", "connectors"} <= set(TOOL["mypy"]["files"])


def test_each_connector_is_kept_to_the_surface_and_out_of_streamfn() -> None:
    contracts = {contract["id"]: contract for contract in TOOL["importlinter"]["contracts"]}
    connectors = NAMES - {"streamfn"}
    assert set(contracts["connectors"]["forbidden_modules"]) == connectors
    assert set(contracts["connector-surface"]["source_modules"]) == connectors
    assert connectors <= set(contracts["root"]["source_modules"])


GROUPS = {"sources", "destinations", "letters", "fetchers", "runtimes", "keys", "buckets", "secrets"}


@pytest.mark.parametrize(
    ("group", "kind", "target"),
    [(group, kind, target) for group, kinds in ENTRY_POINTS.items() for kind, target in kinds.items()],
)
def test_an_entry_point_leads_to_a_class_of_ours(group: str, kind: str, target: str) -> None:
    module, _, name = target.partition(":")
    assert group.removeprefix("streamfn.") in GROUPS
    assert module.split(".")[0] in NAMES
    assert isinstance(getattr(importlib.import_module(module), name), type)
    extra = module.split(".")[0].removeprefix("streamfn_")
    assert extra in EXTRAS, f"the extra that brings the client of {kind} is named like the connector"


def test_each_connector_has_an_entry_point() -> None:
    reached = {
        target.split(":")[0].split(".")[0] for kinds in ENTRY_POINTS.values() for target in kinds.values()
    }
    assert NAMES - {"streamfn"} <= reached


def test_the_script_is_there() -> None:
    module, _, name = PROJECT["project"]["scripts"]["streamfn"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_all_means_each_extra_but_testing() -> None:
    (everything,) = EXTRAS["all"]
    assert Requirement(everything).extras == set(EXTRAS) - {"all", "testing"}


def test_the_version_is_the_top_of_the_changelog() -> None:
    headings = re.findall(r"(?m)^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text())
    assert headings[0] == "Unreleased"
    assert headings[1] == importlib.import_module("streamfn").__version__


def test_the_changelog_uses_the_known_headings() -> None:
    known = {"Semantics", "Removed", "Deprecated", "Added", "Changed", "Fixed", "Security"}
    assert set(re.findall(r"(?m)^### (.+)$", (ROOT / "CHANGELOG.md").read_text())) <= known


def imported(package: str) -> set[str]:
    """The top-level names that a package of ours imports, wherever it does, other than the standard ones."""
    found: set[str] = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - NAMES


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_is_declared(package: str) -> None:
    provides = packages_distributions()
    unknown = imported(package) - set(provides)
    used = {canonicalize_name(provides[module][0]) for module in imported(package) - unknown}
    # pydantic itself pins pydantic-core to the very version that goes with it, and aiobotocore botocore;
    # yarl's URL is what aiohttp takes.
    assert used - {"pydantic-core", "botocore", "yarl"} <= set(declared())
    assert unknown == set(), "neither declared nor installed"


def test_the_lower_bounds_are_the_ones_that_are_tested() -> None:
    lowest = pins("lowest.txt")
    for name, requirement in declared().items():
        (bound,) = requirement.specifier
        assert bound.operator == ">=", requirement
        padded = (f"{bound.version}{tail}" for tail in ("", ".0", ".0.0"))
        assert lowest[name] in padded, f"{name}: run `make lock`"


def test_each_dependency_is_pinned_and_the_demo_runs_on_what_is_developed_on() -> None:
    dev, run = pins("dev.txt"), pins("run.txt")
    assert set(declared()) <= set(dev)
    assert run.items() <= dev.items()


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_each_pin_has_its_hashes_and_no_index(path: Path) -> None:
    blocks = re.split(r"(?m)^(?=\S)", re.sub(r"(?m)^#.*\n", "", path.read_text()))
    blocks = [block for block in blocks if block.strip()]
    assert blocks
    for block in blocks:
        assert re.match(r"[\w.-]+==\S+", block), f"not a pin: {block.splitlines()[0]}"
        assert "--hash=sha256:" in block, f"no hash: {block.splitlines()[0]}"


def test_no_committed_file_names_the_host_of_a_package_index() -> None:
    host = re.compile("|".join(map(re.escape, INDEX_HOSTS)))
    found = []
    for path in committed_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {hit[0]}" for hit in host.finditer(text)]
    assert found == []
