"""Deployments made ready to run: code and layers that will not change any more, variables in plain text."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from streamfn import plugins
from streamfn.core.variables import check_variables
from streamfn.errors import ConfigurationError
from streamfn.fetching import S3, fetched, local
from streamfn.objects import Objects
from streamfn.packages import CodeStore, InlineCode
from streamfn.stores.keys import SEALED, own_key, unseal_variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from streamfn.config import Endpoint, FunctionConfig
    from streamfn.core.deployments import Deployment
    from streamfn.packages import Code, Layers
    from streamfn.ports import Environment, Key, Published, Runtime


@dataclass(frozen=True, slots=True)
class Built:
    """A deployment that can run."""

    deployment: Deployment
    code_sha256: str
    """AWS's CodeSha256; empty for what runs elsewhere."""
    layers: tuple[str, ...] = ()
    """The same of each layer."""


class Builder:
    """Makes deployments of functions ready. Everything raises ConfigurationError naming the function."""

    def __init__(self, state_dir: Path, endpoints: Iterable[Endpoint] = ()) -> None:
        """`endpoints`: where S3 is."""
        self._state_dir = state_dir
        self._objects = Objects(endpoints)
        self._store = CodeStore(state_dir)
        self._given: dict[Path, tuple[Code | Layers, int]] = {}
        """Code and layers that are used here by their folders, and how often."""
        self._giving = anyio.Lock()

    def key(self, config: FunctionConfig) -> Key | None:
        """The key of a function's variables, where they are stored; None: that of the state directory."""
        if config.kms_key_arn is None:
            return None
        return plugins.key(config.kms_key_arn, {"state_dir": self._state_dir})

    async def build(self, name: str, config: FunctionConfig) -> Built:
        """What a function is now. Its code is copied, so that changes of it do not reach what runs."""
        deployment = config.deployment(name)
        variables = await self._variables(name, config)
        if config.runs_elsewhere:
            return Built(replace(deployment, environment=variables), "")
        try:
            async with AsyncExitStack() as files:
                code, layers = await self._taken(config, files)
        except ConfigurationError as error:
            raise _of(name, error) from error
        made = replace(
            deployment,
            code=str(code.folder),
            layers=str(layers.folder) if layers.folder is not None else "",
            environment=variables,
        )
        return Built(made, code.sha256, layers.hashes)

    async def _taken(self, config: FunctionConfig, files: AsyncExitStack) -> tuple[Code, Layers]:
        """Code and layers in the store, where they stay. `files`: holds what is fetched for it."""

        async def path(uri: str) -> Path:
            return await files.enter_async_context(fetched(uri, self._state_dir, self._objects))

        inline = config.inline_code
        source = InlineCode(inline) if inline is not None else await path(config.code_uri or "")
        below = [await path(layer) for layer in config.layers]
        async with self._giving:
            code = await self._store.add(source, config.runtime, config.handler)
            layers = await self._store.layers(below, code.size)
            self._give(code)
            self._give(layers)
        return code, layers

    async def release(self, built: Built) -> None:
        """What was built is used no more: once for each time that it was."""
        async with self._giving:
            for folder in (built.deployment.code, built.deployment.layers):
                given, count = self._given.pop(Path(folder), (None, 0))
                if given is None:
                    continue
                if count == 1:
                    self._store.release(given)
                else:
                    self._given[Path(folder)] = (given, count - 1)

    def _give(self, given: Code | Layers) -> None:
        if given.folder is not None:
            _, count = self._given.get(given.folder, (given, 0))
            self._given[given.folder] = (given, count + 1)

    async def stamp(self, config: FunctionConfig) -> str:
        """Another text when code or a layer has changed. Costs a look at each date; S3 is not asked."""
        if config.runs_elsewhere:
            return ""
        uris = (*([] if config.code_uri is None else [config.code_uri]), *config.layers)
        return "\n".join([await self._store.stamp(local(uri)) for uri in uris if not uri.startswith(S3)])

    async def tidy(self, latest: Iterable[Deployment], published: Iterable[Published]) -> None:
        """Removes code and layers of which nothing was published, and that no process uses."""
        published = list(published)
        layers = {Path(each.layers).name for each in latest if each.layers}
        layers |= {Path(each.deployment.layers).name for each in published if each.deployment.layers}
        await self._store.prune({each.code_sha256 for each in published if each.code_sha256}, layers)

    def close(self) -> None:
        """Nothing that was built is used any more."""
        self._store.close()

    async def _variables(self, name: str, config: FunctionConfig) -> Mapping[str, str]:
        try:
            variables = dict(config.environment)
            if any(value.startswith(SEALED) for value in variables.values()):
                variables = await unseal_variables(variables, self.key(config) or own_key(self._state_dir))
            check_variables(variables)
            return variables
        except ConfigurationError as error:
            raise _of(name, error) from error


class Kept:
    """A runtime with the code that it needs, which stays until the runtime is closed."""

    def __init__(self, runtime: Runtime, built: Built, builder: Builder) -> None:
        self._runtime = runtime
        self._built = built
        self._builder = builder

    @property
    def name(self) -> str:
        return self._runtime.name

    def environment(self, *, provisioned: bool = False) -> AbstractAsyncContextManager[Environment]:
        return self._runtime.environment(provisioned=provisioned)

    async def check(self) -> None:
        await self._runtime.check()

    async def close(self) -> None:
        try:
            await self._runtime.close()
        finally:
            await self._builder.release(self._built)


def _of(name: str, error: ConfigurationError) -> ConfigurationError:
    return ConfigurationError(
        error.problem, field=f"{name}.{error.field or 'CodeUri'}", where=error.where, fix=error.fix
    )
