"""Provisioned concurrency of an app: which versions have environments kept initialised, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import anyio

from streamfn.core.deployments import LATEST
from streamfn.core.provisioning import Provisioning
from streamfn.engine.provisioning import follow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import TaskGroup

    from streamfn.config import FunctionConfig
    from streamfn.engine.environments import Environments
    from streamfn.ports import Clock
    from streamfn.releases import Releases

Find: TypeAlias = "Callable[[str, str], Awaitable[Environments]]"
"""The environments of a function's version, made if need be."""


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
        return wanted

    async def _keep(
        self, place: tuple[str, str], provisioning: Provisioning, scope: anyio.CancelScope
    ) -> None:
        with scope:
            await follow(await self._find(*place), provisioning, self._clock)

    async def _end(self, place: tuple[str, str]) -> None:
        environments = await self._find(*place)
        if place not in self._kept:
            environments.provision(0)
