"""What Lambda has in `/var/runtime` for Python: awslambdaric and what it needs, out of this environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamfn.errors import MissingExtra

if TYPE_CHECKING:
    from streamfn.runtimes.process.interpreters import Interpreter

BOOTSTRAPS: Final = Path(__file__).parent / "bootstraps"

_MODULES: Final = ("awslambdaric", "simplejson", "snapshot_restore_py")
_CLIENT: Final = "runtime_client"
_COMPILE_SECONDS: Final = 60.0


def provide(folder: Path, interpreter: Interpreter) -> str:
    """Fills a new folder, and gives its path. Blocks. Raises MissingExtra where there is no awslambdaric.

    awslambdaric's client of the Runtime API is compiled for one version of Python; for others, a client in
    Python stands in.
    """
    folder.mkdir(mode=0o755)
    for name in _MODULES:
        _copy(_found(name), folder)
    same = interpreter.version[:2] == sys.version_info[:2]
    client = find_spec(_CLIENT) if same else None
    origin = client.origin if client is not None else None
    _copy(Path(origin) if origin else BOOTSTRAPS / "python" / f"{_CLIENT}.py", folder)
    if not same or not any((folder / _MODULES[0] / "__pycache__").glob("*.pyc")):
        # The folder is read-only for functions: what is not compiled now would be at each cold start.
        command = [interpreter.path, "-I", "-S", "-m", "compileall", "-q", str(folder)]
        subprocess.run(command, check=False, timeout=_COMPILE_SECONDS, stdout=subprocess.DEVNULL)
    return str(folder)


def _found(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise MissingExtra(
            f"functions in Python need {name}", field="Runtime", fix="pip install 'streamfn[process]'"
        )
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin


def _copy(source: Path, folder: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("tests"))
    else:
        shutil.copy2(source, folder)
        cached = source.parent / "__pycache__"
        for compiled in cached.glob(f"{source.stem}.*.pyc"):
            (folder / "__pycache__").mkdir(exist_ok=True)
            shutil.copy2(compiled, folder / "__pycache__")
