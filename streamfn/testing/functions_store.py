"""Published versions and aliases in memory, which behave as in a real store."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from anyio.lowlevel import checkpoint

from streamfn.core.versions import PreconditionFailed, check_alias, check_unused
from streamfn.errors import ConfigurationError
from streamfn.ports import Alias, Deployment, Published
from streamfn.testing.clock import clock as _virtual

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.ports import Clock


class MemoryFunctionStore:
    """A FunctionStore that ends with its process. Who shares the object shares the functions."""

    def __init__(self, clock: Clock = _virtual) -> None:
        self._clock = clock
        self._last: defaultdict[str, int] = defaultdict(int)
        self._versions: defaultdict[str, dict[str, Published]] = defaultdict(dict)
        self._aliases: defaultdict[str, dict[str, Alias]] = defaultdict(dict)
        self._provisioned: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._changes = 0

    async def publish(
        self,
        deployment: Deployment,
        *,
        code_sha256: str = "",
        layers: Sequence[str] = (),
        description: str = "",
        revision_id: str | None = None,
    ) -> Published:
        await checkpoint()
        function = deployment.function
        versions = self._versions[function]
        newest = next(reversed(versions.values()), None)
        if revision_id is not None and (newest is None or newest.revision_id != revision_id):
            raise PreconditionFailed("GetFunction")
        if newest is not None and newest.version == str(self._last[function]):
            same = replace(deployment, version=newest.version)
            known = newest.deployment, newest.code_sha256, newest.layers
            if known == (same, code_sha256, tuple(layers)):
                return newest
        self._last[function] += 1
        number = str(self._last[function])
        kept = replace(deployment, version=number, environment=dict(deployment.environment))
        made = Published(kept, code_sha256, tuple(layers), description, str(uuid4()), self._clock())
        versions[number] = made
        self._changes += 1
        return made

    async def published(self, function: str) -> Sequence[Published]:
        await checkpoint()
        return list(self._versions[function].values())

    async def delete_version(self, function: str, version: str) -> bool:
        await checkpoint()
        check_unused(version, self._aliases[function].values())
        return self._deleted(self._versions[function], function, version)

    async def put_alias(self, alias: Alias, revision_id: str | None = None) -> Alias:
        await checkpoint()
        known = self._aliases[alias.function].get(alias.name)
        self._check(known, revision_id)
        check_alias(alias, self._versions[alias.function])
        if known is not None and known == replace(alias, revision_id=known.revision_id):
            return known
        made = replace(alias, revision_id=str(uuid4()), additional=dict(alias.additional))
        self._aliases[alias.function][alias.name] = made
        self._changes += 1
        return made

    async def aliases(self, function: str) -> Sequence[Alias]:
        await checkpoint()
        return sorted(self._aliases[function].values(), key=lambda alias: alias.name)

    async def delete_alias(self, function: str, name: str, revision_id: str | None = None) -> bool:
        await checkpoint()
        self._check(self._aliases[function].get(name), revision_id)
        return self._deleted(self._aliases[function], function, name)

    async def put_provisioned(
        self, function: str, qualifier: str, setting: Mapping[str, object] | None
    ) -> None:
        await checkpoint()
        if setting is None:
            self._changes += self._provisioned[function].pop(qualifier, None) is not None
            return
        if qualifier not in self._versions[function] and qualifier not in self._aliases[function]:
            raise ConfigurationError(
                f"function {function} has no version or alias {qualifier}", field="Qualifier"
            )
        self._provisioned[function][qualifier] = json.dumps(dict(setting))
        self._changes += 1

    async def provisioned(self, function: str) -> Mapping[str, Mapping[str, object]]:
        await checkpoint()
        return {
            qualifier: json.loads(setting)
            for qualifier, setting in sorted(self._provisioned[function].items())
        }

    async def functions(self) -> Sequence[str]:
        await checkpoint()
        return sorted({name for kept in (self._versions, self._aliases) for name in kept if kept[name]})

    def changes(self) -> int:
        return self._changes

    @staticmethod
    def _check(known: Alias | None, revision_id: str | None) -> None:
        if revision_id is not None and (known is None or known.revision_id != revision_id):
            raise PreconditionFailed("GetAlias")

    def _deleted(self, kept: dict[str, Published] | dict[str, Alias], function: str, name: str) -> bool:
        if kept.pop(name, None) is None:
            return False
        self._provisioned[function].pop(name, None)
        self._changes += 1
        return True
