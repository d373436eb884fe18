"""What has to be started for a function: its language's runtime, or the `bootstrap` that it brings."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamfn.errors import ConfigurationError
from streamfn.runtimes.process.interpreters import Interpreter, find, own_python
from streamfn.runtimes.process.packages import BOOTSTRAPS
from streamfn.runtimes.process.sandbox import Module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.runtime_ids import RuntimeId
    from streamfn.ports import Deployment
    from streamfn.runtimes.process.sandbox import Layout

_LOG: Final = logging.getLogger("streamfn.runtimes.process")
_MODULE: Final = "awslambdaric"
_NODE_CLIENT: Final = Path("node_modules", "aws-lambda-ric")


@dataclass(frozen=True, slots=True)
class Start:
    """How a runtime is started. Its folders are named when they are known: `$task`, `$opt`, `$runtime`."""

    interpreter: Interpreter
    """Whose launcher starts it."""
    command: tuple[str, ...]
    label: str
    """What runs it, for logs: `python:3.11.7`."""
    module: str = ""
    """A Python module that the launcher runs with the command as its arguments."""
    packages: bool = False
    """Whether it needs awslambdaric in `/var/runtime`."""
    runtime: str = ""
    """The folder for `/var/runtime`."""
    readable: tuple[str, ...] = ()
    programs: str = ""
    """A folder that leads the PATH."""
    workers: bool = False
    """Whether invocations at a time have a process and a connection each."""

    def with_runtime(self, folder: str) -> Start:
        """The same, with a folder for `/var/runtime`."""
        return replace(self, runtime=folder)

    def rendered(self, layout: Layout) -> Sequence[str] | Module:
        """The command with the folders as the environment sees them."""
        places = {"$task": layout.task_root, "$opt": layout.opt, "$runtime": layout.runtime}
        command = tuple(_placed(part, places) for part in self.command)
        return Module(self.module, command) if self.module else command


def start_of(deployment: Deployment, runtime: RuntimeId, *, strict: bool = False) -> Start:
    """How a function is started. Blocks. Raises ConfigurationError where its code lacks what it takes, or the
    machine lacks its interpreter.
    """
    code = Path(deployment.code)
    if not code.is_dir():
        raise ConfigurationError(f"there is no folder {code}", field="Code", fix="create it, or name another")
    if deployment.layers and any(Path(deployment.layers).glob("extensions/*")):
        _LOG.warning("%s: extensions of layers are not started", deployment.function)
    if runtime.family == "python":
        _handled(deployment)
        return _python(deployment, find(runtime, strict=strict))
    if runtime.family == "nodejs":
        _handled(deployment)
        return _node(deployment, find(runtime, strict=strict))
    return _bootstrap(deployment, runtime)


def _handled(deployment: Deployment) -> None:
    if not deployment.handler:
        raise ConfigurationError(
            "no handler is named", field="Handler", fix="name it as file.function, such as index.handler"
        )


def _python(deployment: Deployment, interpreter: Interpreter) -> Start:
    start = Start(
        interpreter,
        (deployment.handler,),
        f"python:{interpreter.label}",
        module=_MODULE,
        packages=True,
        readable=(interpreter.prefix,),
        programs=os.path.dirname(interpreter.path),
        workers=deployment.maximum_concurrency > 1,
    )
    if _native_libraries(deployment):
        # The linker reads LD_LIBRARY_PATH when a program starts, and no more in a fork of one.
        command = (interpreter.path, "-s", "-m", _MODULE, deployment.handler)
        return replace(start, module="", command=command)
    return start


def _node(deployment: Deployment, interpreter: Interpreter) -> Start:
    start = Start(
        own_python(),
        (interpreter.path, "$runtime/bootstrap.mjs", deployment.handler),
        f"nodejs:{interpreter.label}",
        runtime=str(BOOTSTRAPS / "node"),
        readable=(interpreter.prefix, own_python().prefix),
        programs=os.path.dirname(interpreter.path),
    )
    layers = deployment.layers and os.path.join(deployment.layers, "nodejs")
    for place, folder in (("$task", deployment.code), ("$opt/nodejs", layers)):
        # Without its compiled part, which `npm --ignore-scripts` does not build, it does not start.
        client = Path(folder, _NODE_CLIENT)
        if folder and (client / "dist" / "rapid-client.node").is_file():
            brought = f"{place}/{_NODE_CLIENT}/bin/index.mjs"
            return replace(start, command=(interpreter.path, brought, deployment.handler))
    return start


def _bootstrap(deployment: Deployment, runtime: RuntimeId) -> Start:
    for place, folder in (("$task", deployment.code), ("$opt", deployment.layers)):
        path = Path(folder, "bootstrap")
        if folder and path.is_file():
            if not os.access(path, os.X_OK):
                raise ConfigurationError(
                    f"{path} is not executable", field="Code", fix=f"chmod +x {path.name} before it is packed"
                )
            return Start(own_python(), (f"{place}/bootstrap",), runtime.text)
    problem = "neither the code nor a layer has a file bootstrap"
    if not runtime.own:
        problem = f"{runtime.text} is not part of streamfn, and {problem}"
    raise ConfigurationError(
        problem, field="Runtime", fix="add an executable `bootstrap` that speaks the Lambda Runtime API"
    )


def _native_libraries(deployment: Deployment) -> bool:
    folders = (Path(deployment.code, "lib"), Path(deployment.layers, "lib") if deployment.layers else None)
    return "LD_LIBRARY_PATH" in deployment.environment or any(
        folder is not None and any(folder.glob("*.so*")) for folder in folders
    )


def _placed(part: str, places: dict[str, str]) -> str:
    name, slash, rest = part.partition("/")
    return f"{places[name]}{slash}{rest}" if name in places else part
