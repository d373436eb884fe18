"""Resources in memory, which behave as in a real store."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.ports.resources import Resource


class MemoryResourceStore:
    """A ResourceStore that ends with its process. Who opens it again sees what was written."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str], Resource] = {}
        self.full = False
        """Whether nothing can be written any more, as on a disk that is full."""
        self.writes = 0

    async def resources(self) -> Sequence[Resource]:
        await checkpoint()
        return sorted(map(deepcopy, self._resources.values()), key=lambda one: one.kind)

    async def write(self, changes: Sequence[Resource]) -> None:
        await checkpoint()
        if self.full:
            raise OSError("no room is left")
        self.writes += 1
        for change in changes:
            if change.document is None:
                self._resources.pop((change.kind, change.key), None)
            else:
                self._resources[change.kind, change.key] = deepcopy(change)
