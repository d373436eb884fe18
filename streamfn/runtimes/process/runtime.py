"""The process runtime: environments that are processes of this machine, under the Lambda Runtime API."""

from __future__ import annotations

import os
import platform
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from anyio import CancelScope, to_thread

from streamfn.core.reports import Platform
from streamfn.core.runtime_ids import parse
from streamfn.errors import ConfigurationError, SourceError
from streamfn.runtimes.process.commands import Start, start_of
from streamfn.runtimes.process.environment import ON_DEMAND, PROVISIONED, ProcessEnvironment
from streamfn.runtimes.process.logs import LoggerSink, LogSink, LogStream
from streamfn.runtimes.process.sandbox import Sandbox
from streamfn.runtimes.process.session import Session
from streamfn.runtimes.process.variables import checked, variables
from streamfn.runtimes.process.workspace import remove

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from streamfn.ports import Clock, Deployment, Environment
    from streamfn.runtimes.process.launcher import Launcher
    from streamfn.runtimes.process.launchers import Launchers

INIT_SECONDS: Final = 10.0
"""For an initialisation before there is an invocation."""
PROVISIONED_SECONDS: Final = 130.0


class ProcessRuntime:
    """Runs one version of a function, unmodified."""

    def __init__(
        self,
        deployment: Deployment,
        launchers: Launchers,
        *,
        sink: LogSink | None = None,
        strict_runtime: bool = False,
        credentials: Mapping[str, str] | None = None,
        init_timeout: float = INIT_SECONDS,
        clock: Clock = time.time,  # noqa: TID251 - where nobody gives one
    ) -> None:
        """`launchers` is shared by the functions of an app, and outlives this. `strict_runtime` refuses an
        interpreter of another version than the function's. `credentials`: variables `AWS_...` that it gets.

        Raises ConfigurationError for a runtime that does not exist, and for what is no credential.
        """
        if platform.system() != "Linux":
            said = (
                f"packages run in processes of their own, which is built for Linux, not {platform.system()}"
            )
            fix = "run streamfn in a Linux container, or the function behind http://"
            raise ConfigurationError(said, field="Runtime", fix=fix)
        self._deployment = replace(
            deployment,
            code=os.path.abspath(deployment.code),
            layers=deployment.layers and os.path.abspath(deployment.layers),
        )
        self._launchers = launchers
        self._runtime = parse(deployment.runtime)
        self._sink = sink if sink is not None else LoggerSink()
        self._strict = strict_runtime
        self._credentials = checked(credentials or {})
        self._init_timeout = init_timeout
        self._clock = clock
        self._found: Start | None = None

    @property
    def name(self) -> str:
        """`python3.12`."""
        return self._runtime.text

    @asynccontextmanager
    async def environment(self, *, provisioned: bool = False) -> AsyncIterator[Environment]:
        """A new environment: see the port."""
        start = await self._start()
        launcher = await self._launchers.get(start.interpreter)
        async with AsyncExitStack() as stack:
            scratch = await self._launchers.scratch()
            stack.push_async_callback(_shielded, scratch)
            environment = self._made(start, launcher, scratch, provisioned)
            stack.push_async_callback(_close, environment)
            await environment.initialise(self._limit(provisioned))
            yield environment

    async def check(self) -> None:
        """Proves that environments can be made. Raises ConfigurationError, SourceError."""
        start = await self._start()
        try:
            await self._launchers.get(start.interpreter)
        except OSError as error:
            raise SourceError(f"{self.name}: no launcher can be started: {error}") from error

    async def close(self) -> None:
        """Launchers belong to the app."""

    def _limit(self, provisioned: bool) -> float:
        if provisioned:
            return max(PROVISIONED_SECONDS, self._deployment.timeout)
        return self._init_timeout

    async def _start(self) -> Start:
        if self._found is None:
            find = partial(start_of, self._deployment, self._runtime, strict=self._strict)
            found = await to_thread.run_sync(find)
            if found.packages:
                found = found.with_runtime(await self._launchers.packages(found.interpreter))
            self._found = found
        return self._found

    def _made(self, start: Start, launcher: Launcher, scratch: Path, provisioned: bool) -> ProcessEnvironment:
        deployment = self._deployment
        sandbox = Sandbox(
            task_root=deployment.code,
            scratch=str(scratch),
            layers=deployment.layers,
            runtime=start.runtime,
            readable=start.readable,
            memory_size=deployment.memory_size,
            ephemeral_storage=deployment.ephemeral_storage,
            network=deployment.network,
        )
        layout = launcher.layout(sandbox)
        log = LogStream(self._sink, deployment.function, deployment.version, self._stream_name())
        environment = variables(
            deployment,
            self._runtime,
            layout,
            stream=log.name,
            initialization_type=PROVISIONED if provisioned else ON_DEMAND,
            programs=start.programs,
            credentials=self._credentials,
        )
        open_session = partial(
            Session.open,
            launcher,
            start.rendered(layout),
            environment,
            sandbox,
            log,
            deployment.maximum_concurrency,
            workers=start.workers,
        )
        said = Platform(deployment.function, deployment.version, start.label, deployment.log_format)
        return ProcessEnvironment(deployment, open_session, log, said, self._clock, provisioned=provisioned)

    def _stream_name(self) -> str:
        day = datetime.fromtimestamp(self._clock(), UTC)
        return f"{day:%Y/%m/%d}/[{self._deployment.version}]{uuid4().hex}"


async def _close(environment: ProcessEnvironment) -> None:
    with CancelScope(shield=True):
        await environment.close()


async def _shielded(scratch: Path) -> None:
    with CancelScope(shield=True):
        await to_thread.run_sync(remove, scratch)
