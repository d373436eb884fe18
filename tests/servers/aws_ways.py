"""How the servers for AWS tests can be had here: an address, a program put once into a cache, or Docker."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.servers import kafka_ways

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "servers.txt"
INSTALL_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Way:
    """How a server can be had here."""

    kind: Literal["external", "process", "docker"]
    address: str = ""
    """Of a server that runs already."""
    program: Path = Path()
    """An interpreter, or a folder with the program."""


def digest(*parts: Path | str) -> str:
    """Eight letters that change when a file or a word does."""
    summed = hashlib.sha256()
    for part in parts:
        summed.update(part.read_bytes() if isinstance(part, Path) else part.encode())
    return summed.hexdigest()[:8]


def cached(name: str, fill: Callable[[Path], str | None]) -> Path | str:
    """The folder ``name`` in the cache, filled once for all runs, or the reason why it can't be.

    ``fill`` gets an empty folder, which takes its place only when all is in it; it says what went wrong.
    """
    if sys.platform == "win32":  # narrows for the type checker: no fcntl there
        return "no file locks"
    import fcntl

    base = os.environ.get("XDG_CACHE_HOME")
    root = (Path(base) if base else Path.home() / ".cache") / "streamfn"
    target = root / name
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits while another run fills it
        if target.is_dir():
            return target
        for left in root.glob(f"{name}.tmp-*"):  # of a run that was interrupted
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{name}.tmp-", dir=root))
        try:
            reason = fill(work)
            if reason is None:
                work.rename(target)
            return reason or target
        finally:
            shutil.rmtree(work, ignore_errors=True)


def install(*command: str | Path) -> str | None:
    """Run an installer to its end; None, or what it said when it failed."""
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
        )
    except OSError as error:
        return f"{command[0]} does not run: {error}"
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {INSTALL_TIMEOUT:.0f} s"
    if done.returncode:
        return " | ".join((done.stderr + done.stdout).strip().splitlines()[-3:])
    return None


def node_modules(name: str, package: Path, lock: Path) -> Path | str:
    """The ``node_modules`` of a package and its lock in the cache, filled once; or why there are none."""
    if shutil.which("node") is None:
        return "no node on PATH"

    def fill(folder: Path) -> str | None:
        npm = shutil.which("npm")
        if npm is None:
            return "Node.js is here but not npm to fetch the package"
        shutil.copy(package, folder / "package.json")
        shutil.copy(lock, folder / "package-lock.json")
        failed = install(npm, "ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund")
        return f"npm could not fetch the package: {failed}" if failed else None

    folder = cached(f"{name}-{digest(package, lock)}", fill)
    return folder if isinstance(folder, str) else folder / "node_modules"


@functools.cache
def server_python() -> Path | str:
    """The python of an environment of its own with ``requirements/servers.txt`` in it, or why there is none.

    Of its own because ministack pins a botocore that is not ours. The first call fetches about 25 MB.
    """
    if os.name != "posix":
        return "a server of one's own needs POSIX signals and locks"
    if not REQUIREMENTS.is_file():
        return f"{REQUIREMENTS} is not there: only a checkout has it"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = f"aws-servers-py{version}-{digest(REQUIREMENTS, sys.base_prefix)}"
    folder = cached(name, _fill_environment)
    return folder if isinstance(folder, str) else folder / "bin" / "python"


def _fill_environment(folder: Path) -> str | None:
    failed = install(sys.executable, "-m", "venv", "--without-pip", folder)
    if failed:
        return f"no environment for the AWS servers: {failed}"
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet")
    failed = install(*pip, "--no-input", "--require-hashes", "-r", REQUIREMENTS)
    return f"pip could not install the AWS servers: {failed}" if failed else None


def find_way(
    what: str, address_env: str, program: Callable[[], Path | str], *, docker: bool = False
) -> Way | str:
    """The way to a server: an address, a program, Docker; or the reason (a ``str``) why there is none."""
    address = os.environ.get(address_env, "").strip()
    if address:
        return Way("external", address=address if "://" in address else f"http://{address}")
    found = program()
    if isinstance(found, Path):
        return Way("process", program=found)
    reasons = [f"no {what}: {address_env} is not set", found]
    if docker:
        missing = kafka_ways._docker_reason()
        if missing is None:
            return Way("docker")
        reasons.append(missing)
    return "; ".join(reasons)
