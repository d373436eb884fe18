"""Functions that run in environments of their own, at work: versions, aliases, environments, changed code."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import anyio

from streamfn import plugins, shifting
from streamfn.building import Builder, Kept
from streamfn.core.admission import ScaleUp
from streamfn.core.deployments import LATEST
from streamfn.core.outcomes import Succeeded, Throttled
from streamfn.core.shifting import Guard
from streamfn.core.versions import Alias
from streamfn.engine.environments import Environments
from streamfn.engine.provisioning import ProvisionedStatus
from streamfn.errors import ConfigurationError, StreamfnError
from streamfn.provisioned import Provisioned
from streamfn.releases import Releases
from streamfn.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path
    from random import Random

    from anyio.abc import TaskGroup, TaskStatus

    from streamfn.building import Built
    from streamfn.config import Endpoint, FunctionConfig
    from streamfn.functions import FunctionSpec
    from streamfn.ports import Answer, Clock, Deployment, Published, Request, Runtime, Telemetry
    from streamfn.runtimes.process import Launchers, LogSink
    from streamfn.shifting import Ending

_LOOK: Final = 1.0
"""Seconds between looks at what other processes published, and at code that may have changed."""

_ENDING: Final = 30.0
"""Seconds that an invocation has beyond its timeout, before what is removed is cut off."""

_SHARE: Final = 100
"""Looks at code take at most one part in so many of the time."""


class Deployed:
    """The functions of an app that do not run in its process. It works while `run` does."""

    def __init__(
        self,
        configs: dict[str, FunctionConfig],
        state_dir: Path,
        *,
        changes: bool = False,
        endpoints: Iterable[Endpoint] = (),
        logs: str | Path | None,
        telemetry: Telemetry,
        clock: Clock,
        random: Random,
    ) -> None:
        """`configs`: of each function, kept up to date here. `changes`: there will be more of them.
        `endpoints`: where code is that lies in S3.
        """
        self._configs = configs
        self._changes = changes
        self._state_dir = state_dir
        self._logs = logs
        self._telemetry = telemetry
        self._clock = clock
        self._random = random
        self._builder = Builder(state_dir, endpoints)
        keys = {name: self._builder.key(config) for name, config in configs.items()}
        self.releases = Releases(state_dir, clock, keys)
        self._latest: dict[str, Built] = {}
        self._stamps: dict[str, str] = {}
        self._environments: dict[tuple[str, str], Environments] = {}
        self._provisioned = Provisioned(configs, self.releases, self._environments_of, clock)
        self._making = asyncio.Lock()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Changes to one function are made one after the other."""
        self._shifting: set[tuple[str, str]] = set()
        self.invocations: Counter[tuple[str, str]] = Counter()
        """By function and version, since the beginning."""
        self.errors: Counter[tuple[str, str]] = Counter()
        self._launchers: Launchers | None = None
        self._sink: LogSink | None = None
        self._tasks: TaskGroup

    # ------------------------------------------------------------------------------------------ life

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Owns all environments until it is cancelled.

        Raises ConfigurationError where a function, or an alias of one, cannot be made ready.
        """
        try:
            async with (
                self.releases,
                self._machinery(),
                anyio.create_task_group() as self._tasks,
            ):
                await self._begin()
                self._tasks.start_soon(self._follow_releases)
                self._tasks.start_soon(self._follow_code)
                task_status.started()
                await anyio.sleep_forever()
        finally:
            self._builder.close()

    @asynccontextmanager
    async def _machinery(self) -> AsyncIterator[None]:
        """What environments on this machine share; where all functions run elsewhere, nothing."""
        if not self._changes and all(config.runs_elsewhere for config in self._configs.values()):
            yield
            return
        from streamfn.runtimes.process import FolderSink, Launchers, LoggerSink

        self._sink = LoggerSink() if self._logs is None else FolderSink(self._logs, self._clock)
        try:
            async with Launchers(self._state_dir / "run" / "environments") as self._launchers:
                yield
        finally:
            self._sink.close()

    async def _begin(self) -> None:
        for name, config in self._configs.items():
            # First, so that what changes meanwhile is seen to have changed.
            self._stamps[name] = await self._builder.stamp(config)
            self._latest[name] = await self._builder.build(name, config)
        await self.releases.refresh()
        if not self._changes:
            await self.tidy()
        for name in self._configs:
            await self._release(name)
            await self._environments_of(name, LATEST)
        if self._launchers is not None:
            await self._say_what_is_missing(self._launchers)
        self._provisioned.arrange(self._tasks)
        self._carry_on()

    async def tidy(self) -> None:
        """Removes code that neither functions of now nor versions are made of."""
        kept = await self.releases.all_published()
        if kept is not None:
            await self._builder.tidy([built.deployment for built in self._latest.values()], kept)

    async def _say_what_is_missing(self, launchers: Launchers) -> None:
        """What functions have to do without on this machine is said before they run."""
        for name, config in self._configs.items():
            if not config.runs_elsewhere:
                await self._runtime(config, self._latest[name].deployment).check()
        for sentence in launchers.missing:
            logger()[0].warning("sandbox_incomplete", reason=sentence)

    async def _release(self, name: str) -> None:
        """Publishes what is new and sets aliases, as the function's configuration asks for."""
        config = self._configs[name]
        if config.auto_publish_alias is not None:
            published = await self.releases.publish(name, self._latest[name], config.description)
            await self._point(Alias(name, config.auto_publish_alias, published.version))
        for label, entry in config.aliases.items():
            if entry.function_version is not None:
                weights = dict(entry.additional_version_weights)
                await self._point(Alias(name, label, entry.function_version, weights))

    async def _point(self, alias: Alias) -> None:
        """Sets an alias, unless its traffic is being shifted: that ends by its own rules."""
        known = self.releases.aliases(alias.function).get(alias.name)
        if known is None or known.shift is None:
            await self.releases.put_alias(alias)

    def _carry_on(self) -> None:
        """Shifts of traffic that are under way, whoever began them."""
        for name in self._configs:
            for alias in self.releases.aliases(name).values():
                if alias.shift is not None and (name, alias.name) not in self._shifting:
                    self._tasks.start_soon(self._shift, alias)

    async def _shift(self, alias: Alias) -> Ending:
        place = (alias.function, alias.name)
        self._shifting.add(place)
        try:
            store = self.releases.store(alias.function)
            return await shifting.follow(store, alias, self._tally, clock=self._clock)
        finally:
            self._shifting.discard(place)

    def _tally(self, function: str, version: str) -> tuple[int, int]:
        return self.invocations[function, version], self.errors[function, version]

    async def _follow_releases(self) -> None:
        """What other processes publish and point to holds here as well."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                changed = await self.releases.refresh()
            except (OSError, StreamfnError) as error:
                logger()[0].error("releases_unreadable", reason=str(error))
                continue
            if changed:
                self._provisioned.arrange(self._tasks)
                self._carry_on()

    async def _follow_code(self) -> None:
        """Changed code and layers are for new environments; old ones finish with what they have."""
        now = asyncio.get_running_loop().time
        while True:
            begun = now()
            for name in list(self._configs):
                async with self._turns[name]:
                    config = self._configs.get(name)
                    if config is not None:
                        await self._look_at(name, config)
            await asyncio.sleep(max(_LOOK, _SHARE * (now() - begun)))

    async def _look_at(self, name: str, config: FunctionConfig) -> None:
        stamp = await self._builder.stamp(config)
        if stamp not in ("", self._stamps[name]):
            with suppress(_Unready):
                await self._change(name, config)
                self._stamps[name] = stamp

    async def _change(self, name: str, config: FunctionConfig) -> None:
        try:
            built = await self._builder.build(name, config)
            if built == self._latest[name]:
                await self._builder.release(built)
                return
            self._latest[name] = built
            await self._release(name)
        except (OSError, StreamfnError) as error:
            # Half written perhaps: what runs goes on with what it has.
            logger()[0].error("code_unready", function=name, reason=str(error))
            raise _Unready from error
        self._environments[name, LATEST].replace(self._kept(config, built))
        self._provisioned.arrange(self._tasks)
        logger()[0].info("code_changed", function=name, code_sha256=built.code_sha256)

    # -------------------------------------------------------------------------------------- invoking

    async def invoke(self, function: FunctionSpec, request: Request) -> tuple[Answer, str]:
        """Runs a request in an environment: the answer, and the version that gave it.

        Raises ConfigurationError for a version or an alias that there is not.
        """
        name, version = function.name, LATEST
        if function.qualifier:
            version = self.releases.version_of(name, function.qualifier, self._random.random())
        if request.stream is not None:
            request.stream.version = version
        place = (name, version)
        environments = self._environments.get(place) or await self._environments_of(name, version)
        answer = await environments.invoke(request)
        if not isinstance(answer.outcome, Throttled):
            self.invocations[place] += 1
            if not isinstance(answer.outcome, Succeeded):
                self.errors[place] += 1
        return answer, version

    def check(self, function: FunctionSpec) -> None:
        """Raises ConfigurationError where a function has no such version or alias."""
        if function.qualifier:
            self.releases.version_of(function.name, function.qualifier, 0.0)

    async def _environments_of(self, name: str, version: str) -> Environments:
        async with self._making:
            found = self._environments.get((name, version))
            if found is not None:
                return found
            config = self._config(name)
            if version == LATEST:
                runtime = self._kept(config, self._latest[name])
            else:
                self.releases.version_of(name, version, 0.0)
                runtime = self._runtime(config, self.releases.published(name)[version].deployment)
            made = Environments(
                runtime,
                function=name,
                version=version,
                telemetry=self._telemetry,
                capacity=self._latest[name].deployment.maximum_concurrency,
                idle_timeout=config.idle_timeout,
                scale_up=ScaleUp(config.scaling_rate),
            )
            await self._tasks.start(made.run)
            self._environments[name, version] = made
            return made

    def _config(self, name: str) -> FunctionConfig:
        config = self._configs.get(name)
        if config is None:
            raise ConfigurationError(f"Function not found: {name}", field="FunctionName")
        return config

    def _kept(self, config: FunctionConfig, built: Built) -> Runtime:
        return Kept(self._runtime(config, built.deployment), built, self._builder)

    def _runtime(self, config: FunctionConfig, deployment: Deployment) -> Runtime:
        return runtime_of(config, deployment, self._state_dir, self._launchers, self._clock, self._sink)

    # --------------------------------------------------------------------------------------- changes

    async def put(self, name: str, config: FunctionConfig) -> None:
        """Makes a function, or changes it. Returns when it can be invoked; what runs then ends as it began.

        Raises ConfigurationError, SourceError or OSError where it cannot run here; nothing has changed then.
        """
        async with self._turns[name]:
            # First, so that what changes meanwhile is seen to have changed.
            stamp = await self._builder.stamp(config)
            built = await self._builder.build(name, config)
            runtime = self._kept(config, built)
            try:
                if not config.runs_elsewhere:
                    await runtime.check()
                await self.releases.know(name, self._builder.key(config))
            except BaseException:
                await self._builder.release(built)
                raise
            self._configs[name], self._latest[name], self._stamps[name] = config, built, stamp
            environments = self._environments.get((name, LATEST))
            if environments is None:
                await self._environments_of(name, LATEST)
            else:
                environments.replace(runtime, config.idle_timeout, config.scaling_rate)
            await self._release(name)
            self._provisioned.arrange(self._tasks)

    async def remove(self, name: str) -> None:
        """Forgets a function, its versions and aliases. What is in flight ends. Raises ConfigurationError
        where there is none, and OSError.
        """
        async with self._turns[name], self._making:
            seconds = self._config(name).seconds
            await self.releases.forget(name)
            for known in (self._configs, self._latest, self._stamps):
                known.pop(name, None)
            self._provisioned.arrange(self._tasks)
            for place in [place for place in self._environments if place[0] == name]:
                self._tasks.start_soon(self._environments.pop(place).stop, seconds + _ENDING)

    async def delete_version(self, function: str, version: str) -> bool:
        """Whether it was there. What is in flight ends. Raises ConfigurationError while an alias points to
        it.
        """
        seconds = self._config(function).seconds
        async with self._making:
            deleted = await self.releases.delete_version(function, version)
            self._provisioned.arrange(self._tasks)
            environments = self._environments.pop((function, version), None)
            if environments is not None:
                self._tasks.start_soon(environments.stop, seconds + _ENDING)
        return deleted

    async def provision(self, function: str, qualifier: str, number: int | None) -> None:
        """Keeps so many environments of a version or an alias initialised; None ends that. Durable."""
        await self.releases.put_provisioned(function, qualifier, number)
        self._provisioned.arrange(self._tasks)

    def provisioned(self, function: str, qualifier: str) -> ProvisionedStatus | None:
        """How far that has come, where it was asked for."""
        asked = self.releases.provisioned(function).get(qualifier)
        if asked is None:
            return None
        environments = self._environments.get((function, self.releases.version_of(function, qualifier, 0.0)))
        found = None if environments is None else environments.statistics.provisioned
        if found is None or not found.status:
            return ProvisionedStatus(asked.number, 0, "IN_PROGRESS", "")
        return replace(found, requested=asked.number, available=min(asked.number, found.available))

    async def publish(self, function: str, description: str = "") -> Published:
        """A version of what `$LATEST` is now: the last one, where nothing has changed since."""
        self.releases.store(function)
        return await self.releases.publish(function, self._latest[function], description)

    async def put_alias(self, alias: Alias) -> Alias:
        """Makes or changes an alias; it holds from the next invocation on."""
        stored = await self.releases.put_alias(alias)
        self._provisioned.arrange(self._tasks)
        return stored

    async def delete_alias(self, function: str, name: str) -> bool:
        """Whether it was there. What is sent to it then is refused, and waits in its source."""
        deleted = await self.releases.delete_alias(function, name)
        self._provisioned.arrange(self._tasks)
        return deleted

    async def shift(self, function: str, alias: str, to: str, preference: str, error_rate: float) -> Ending:
        """Moves an alias to a version step by step, and back if more of its invocations fail than that share;
        returns when that is done. If this process ends meanwhile, the next one carries on.
        """
        store, guard = self.releases.store(function), Guard(error_rate)
        begun = await shifting.begin(store, function, alias, to, preference, clock=self._clock, guard=guard)
        await self.releases.refresh()
        ending = await self._shift(begun)
        await self.releases.refresh()
        self._provisioned.arrange(self._tasks)
        return ending

    def shown(self, function: str, *, values: bool = False) -> dict[str, Any]:
        """A function as it is listed: its variables by name, their values only where they are asked for."""
        latest = self._latest[function]
        published = self.releases.published(function)
        built = {LATEST: (latest.deployment, latest.code_sha256)}
        built |= {number: (each.deployment, each.code_sha256) for number, each in published.items()}
        return {
            "aliases": {
                name: list(alias.versions) for name, alias in self.releases.aliases(function).items()
            },
            "versions": [
                self._version_shown(version, deployment, code, values=values)
                for version, (deployment, code) in built.items()
            ],
        }

    def _version_shown(
        self, version: str, deployment: Deployment, code_sha256: str, *, values: bool
    ) -> dict[str, Any]:
        place = (deployment.function, version)
        environments = self._environments.get(place)
        statistics = environments.statistics if environments is not None else None
        variables = dict(deployment.environment)
        return {
            "version": version,
            "runtime": deployment.runtime or deployment.code,
            "handler": deployment.handler,
            "code_sha256": code_sha256,
            "memory_size": deployment.memory_size,
            "timeout": deployment.timeout,
            "environment": variables if values else dict.fromkeys(variables, "***"),
            "in_use": statistics.in_use if statistics else 0,
            "idle": statistics.idle if statistics else 0,
            "provisioned": statistics.provisioned.available if statistics else 0,
            "provisioned_status": statistics.provisioned.status if statistics else "",
            "provisioned_reason": statistics.provisioned.reason if statistics else "",
            "invocations": self.invocations[place],
            "errors": self.errors[place],
        }


def runtime_of(
    config: FunctionConfig,
    deployment: Deployment,
    state_dir: Path,
    launchers: Launchers | None,
    clock: Clock,
    sink: LogSink | None = None,
) -> Runtime:
    """What runs a deployment that was built. Packages need launchers. Raises ConfigurationError where nothing
    can.
    """
    if config.runs_elsewhere or launchers is None:
        known = {"state_dir": state_dir, "launchers": launchers, "clock": clock, "sink": sink}
        return plugins.runtime(deployment, known)
    from streamfn.runtimes.process import ProcessRuntime

    return ProcessRuntime(
        deployment,
        launchers,
        sink=sink,
        strict_runtime=config.strict_runtime,
        credentials=config.credentials,
        clock=clock,
    )


async def check(
    name: str, config: FunctionConfig, state_dir: Path, clock: Clock, endpoints: Iterable[Endpoint] = ()
) -> None:
    """Proves that a function can run here. Raises ConfigurationError, SourceError or OSError."""
    builder = Builder(state_dir, endpoints)
    try:
        async with AsyncExitStack() as stack:
            launchers = None
            if not config.runs_elsewhere:
                from streamfn.runtimes.process import Launchers

                made = Launchers(state_dir / "run" / "environments")
                launchers = await stack.enter_async_context(made)
            built = await builder.build(name, config)
            runtime = runtime_of(config, built.deployment, state_dir, launchers, clock)
            stack.push_async_callback(runtime.close)
            await runtime.check()
    finally:
        builder.close()


class _Unready(Exception):
    """The code that was found cannot run. It was said why."""
