"""Provisioned concurrency of an app: which versions have environments kept initialised, and how many."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import anyio

from streamfn.core.deployments import LATEST
from streamfn.core.provisioning import Provisioning
from streamfn.engine.provisioning import follow
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import TaskGroup

    from streamfn.config import FunctionConfig
    from streamfn.engine.environments import Environments
    from streamfn.ports import Clock
    from streamfn.releases import Releases

Find: TypeAlias = "Callable[[str, str], Awaitable[Environments]]"
"""The environments of a version, made if need be. Raises ConfigurationError where there is none."""


class Provisioned:
    """Keeps environments initialised where functions and aliases ask for them, and follows the aliases."""

    def __init__(
        self, configs: Mapping[str, FunctionConfig], releases: Releases, find: Find, clock: Clock
    ) -> None:
        self._configs = configs
        self._releases = releases
        self._find = find
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[Provisioning, anyio.CancelScope]] = {}
        """By function and version."""

    def arrange(self, tasks: TaskGroup) -> None:
        """Keeps them where they are asked for now, and nowhere else. `tasks` outlives it."""
        wanted = self._wanted()
        for place, (provisioning, scope) in list(self._kept.items()):
            if wanted.get(place) != provisioning:
                scope.cancel()
                del self._kept[place]
                if place not in wanted:
                    tasks.start_soon(self._end, place)
        for place, provisioning in wanted.items():
            if place not in self._kept:
                scope = anyio.CancelScope()
                self._kept[place] = (provisioning, scope)
                tasks.start_soon(self._keep, place, provisioning, scope)

    def _wanted(self) -> dict[tuple[str, str], Provisioning]:
        wanted: dict[tuple[str, str], Provisioning] = {}
        for name, config in self._configs.items():
            if config.provisioned_concurrency is not None:
                wanted[name, LATEST] = config.provisioned_concurrency.provisioning()
            for label, entry in config.aliases.items():
                alias = self._releases.aliases(name).get(label)
                if entry.provisioned_concurrency is None or alias is None:
                    continue
                # Of a version that two aliases stand for, the one that asks for most is heard.
                asked = entry.provisioned_concurrency.provisioning()
                known = wanted.get((name, alias.version), Provisioning())
                wanted[name, alias.version] = max(known, asked, key=lambda one: one.most)
        for name, numbers in self._releases.all_provisioned().items():
            for qualifier, number in numbers.items():
                version = self._version(name, qualifier)
                if version is not None:
                    asked, known = Provisioning(number), wanted.get((name, version), Provisioning())
                    wanted[name, version] = max(known, asked, key=lambda one: one.most)
        return wanted

    def _version(self, name: str, qualifier: str) -> str | None:
        alias = self._releases.aliases(name).get(qualifier)
        if alias is not None:
            return alias.version
        return qualifier if qualifier in self._releases.published(name) else None

    async def _keep(
        self, place: tuple[str, str], provisioning: Provisioning, scope: anyio.CancelScope
    ) -> None:
        # It raises where its function was removed meanwhile: then nothing is kept.
        with scope, suppress(ConfigurationError):
            await follow(await self._find(*place), provisioning, self._clock)

    async def _end(self, place: tuple[str, str]) -> None:
        with suppress(ConfigurationError):
            environments = await self._find(*place)
            if place in self._kept:
                return
            environments.provision(0)
