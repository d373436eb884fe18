"""Functions in container images, as a runtime: `docker:IMAGE`, `podman:IMAGE`."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import parse_qsl
from uuid import uuid4

from anyio import CancelScope

from streamfn.core.reports import Platform
from streamfn.core.runtime_ids import parse
from streamfn.errors import ConfigurationError, SourceError
from streamfn.options import text, unknown
from streamfn.runtimes.contained import ContainerProcess, Engine
from streamfn.runtimes.process.api import RuntimeApi
from streamfn.runtimes.process.environment import ON_DEMAND, PROVISIONED, ProcessEnvironment
from streamfn.runtimes.process.logs import LoggerSink, LogSink, LogStream, Output
from streamfn.runtimes.process.sandbox import Layout
from streamfn.runtimes.process.session import Session
from streamfn.runtimes.process.variables import variables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from streamfn.ports import Clock, Deployment
    from streamfn.runtimes.process.launcher import Process

FIELD: Final = "Code"

_INIT_SECONDS: Final = 10.0
_PROVISIONED_SECONDS: Final = 130.0
_MB_OF_A_CPU: Final = 1769
"""MB of memory that come with one vCPU (Developer Guide: configuration-memory)."""
_OPTIONS: Final = ("command", "entrypoint", "workdir")
_OF_THE_IMAGE: Final = frozenset({"PATH", "LD_LIBRARY_PATH", "LANG", "TZ"})
"""Variables that images set for themselves."""
_TMP: Final = "/tmp"  # noqa: S108 - the container's own
_NO_MORE: Final = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only")
_LIMITS: Final = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--pids-limit", "1024")
"""As on Lambda (Developer Guide: gettingstarted-limits)."""


class ContainerRuntime:
    """Runs an image that implements the Runtime API, as those for Lambda do, one container an environment.

    Containers have the memory, the share of CPU, the files, processes and `/tmp` of the function, a file
    system that is read-only otherwise, no capabilities, and the network of this machine, where the engine has
    to be too. What a function that was cut off or died left in `/tmp` is gone, unlike on Lambda: a new
    container follows it.
    What is printed comes through the engine, and may come too late for the log of its own invocation.

    `entrypoint`, `command` and `workdir`: instead of the image's own (`ImageConfig`), the first two as a
    shell would take them.
    """

    def __init__(
        self,
        image: str,
        deployment: Deployment,
        *,
        engine: str = "docker",
        entrypoint: str | None = None,
        command: str | None = None,
        workdir: str | None = None,
        sink: LogSink | None = None,
        clock: Clock = time.time,  # noqa: TID251 - where nobody gives one
    ) -> None:
        if not image or image.startswith("-"):
            raise ConfigurationError(f"{image!r} is no image", field=FIELD, fix=f"write {engine}:NAME:TAG")
        if deployment.network:
            raise ConfigurationError(
                "containers have the network of this machine", field="network", fix="remove it"
            )
        self._image = image
        self._deployment = deployment
        self._engine = Engine(engine)
        self._entrypoint = _words("entrypoint", entrypoint)
        self._command = _words("command", command)
        self._workdir = None if workdir is None else text("workdir", workdir)
        self._sink = sink if sink is not None else LoggerSink()
        self._clock = clock

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`docker:IMAGE?option=value` or `podman:IMAGE`, with the options of the class. Among the `options`,
        `deployment` is what it is the code of, and `sink` is where its log goes.

        Raises ConfigurationError naming the option and the fix.
        """
        place, _, query = uri.partition("?")
        engine, _, image = place.partition(":")
        given: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
        unknown(given, _OPTIONS, "of containers")
        given |= {name: options[name] for name in ("sink", "clock") if name in options}
        return cls(image, cast("Deployment", options["deployment"]), engine=engine.lower(), **given)

    @property
    def name(self) -> str:
        return f"{self._engine.program}:{self._image}"

    def __repr__(self) -> str:
        return f"<ContainerRuntime {self.name}>"

    @asynccontextmanager
    async def environment(self, *, provisioned: bool = False) -> AsyncIterator[ProcessEnvironment]:
        """A new container. Raises OSError where the engine can start none."""
        kind = PROVISIONED if provisioned else ON_DEMAND
        day = datetime.fromtimestamp(self._clock(), UTC)
        deployment = self._deployment
        stream = f"{day:%Y/%m/%d}/[{deployment.version}]{uuid4().hex}"
        log = LogStream(self._sink, deployment.function, deployment.version, stream)
        platform = Platform(deployment.function, deployment.version, self.name, deployment.log_format)
        opened = partial(self._open, log, self._variables(stream, kind))
        made = ProcessEnvironment(deployment, opened, log, platform, self._clock, provisioned=provisioned)
        try:
            await made.initialise(self._limit(provisioned))
            yield made
        finally:
            with CancelScope(shield=True):
                await made.close()

    async def check(self) -> None:
        """Proves that the engine answers and has the image. Raises SourceError or ConfigurationError."""
        program = self._engine.program
        if shutil.which(program) is None:
            raise ConfigurationError(f"there is no {program} here", field=FIELD, fix=f"install {program}")
        status, said = await self._engine.ask("image", "inspect", "--format", "{{.Id}}", self._image)
        if status == 0:
            return
        reachable, why = await self._engine.ask("info")
        if reachable != 0:
            raise SourceError(f"{self.name}: {why or said}")
        raise ConfigurationError(
            f"there is no image {self._image}", field=FIELD, fix=f"{program} pull {self._image}"
        )

    async def close(self) -> None:
        """Nothing is shared."""

    def _limit(self, provisioned: bool) -> float:
        return max(_PROVISIONED_SECONDS, self._deployment.timeout) if provisioned else _INIT_SECONDS

    def _variables(self, stream: str, kind: str) -> dict[str, str]:
        own = self._deployment.environment
        made = variables(
            self._deployment,
            parse("provided.al2023"),
            Layout("/var/task", "/opt", "/var/runtime", _TMP),
            stream=stream,
            initialization_type=kind,
        )
        # A handler is named by the image's command, unless the function names one.
        without = _OF_THE_IMAGE if self._deployment.handler else _OF_THE_IMAGE | {"_HANDLER"}
        return {name: value for name, value in made.items() if name in own or name not in without}

    async def _open(self, log: LogStream, environment: Mapping[str, str]) -> Session:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        output = Output(reading, log.write)
        process = ContainerProcess(self._engine)
        try:
            api = {"AWS_LAMBDA_RUNTIME_API": process.api}
            await process.start(self._arguments(), {**environment, **api}, writing)
        except BaseException:
            output.close()
            process.abandon()
            raise
        finally:
            os.close(writing)
        served = RuntimeApi(self._deployment.maximum_concurrency, process.owns)
        # A session asks nothing else of a process than a container can do.
        session = Session(cast("Process", process), served, output)
        if process.listener.fileno() >= 0:
            await served.open(process.listener)
        return session

    def _arguments(self) -> list[str]:
        deployment = self._deployment
        memory = f"{deployment.memory_size}m"
        arguments = [*_NO_MORE, *_LIMITS, "--network", "host", "--memory", memory]
        arguments += ["--cpus", f"{max(deployment.memory_size / _MB_OF_A_CPU, 0.01):.2f}"]
        arguments += ["--tmpfs", f"{_TMP}:rw,exec,mode=1777,size={deployment.ephemeral_storage}m"]
        if self._workdir is not None:
            arguments += ["--workdir", self._workdir]
        if self._entrypoint:
            arguments += ["--entrypoint", self._entrypoint[0]]
        return [*arguments, self._image, *self._entrypoint[1:], *self._command]


def _words(name: str, given: str | None) -> Sequence[str]:
    if given is None:
        return ()
    try:
        return shlex.split(text(name, given))
    except ValueError as error:
        raise ConfigurationError(f"{given!r}: {error}", field=name, fix="quote it as for a shell") from None
