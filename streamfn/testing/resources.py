"""Resources in memory, which behave as in a real store."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamfn.ports.resources import Resource


class MemoryResourceStore:
    """A ResourceStore that ends with its process. Who opens it again sees what was written."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Resource] = {}
        """What it holds, by kind and key."""
        self.fails: Callable[[Sequence[Resource]], bool] = lambda changes: False
        """Whether these cannot be written, as on a disk that is full."""
        self.writes = 0

    async def resources(self) -> Sequence[Resource]:
        await checkpoint()
        return sorted(map(deepcopy, self.kept.values()), key=lambda one: one.kind)

    async def write(self, changes: Sequence[Resource]) -> None:
        await checkpoint()
        if self.fails(changes):
            raise OSError("no room is left")
        self.writes += 1
        for change in changes:
            if change.document is None:
                self.kept.pop((change.kind, change.key), None)
            else:
                self.kept[change.kind, change.key] = deepcopy(change)
