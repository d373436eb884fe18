"""Leases in memory: for tests, and for a single process that need not remember."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.leasing import Lease


class MemoryLeaseStore:
    """A LeaseStore that ends with its process. Workers that share the object share the leases."""

    def __init__(self) -> None:
        self._groups: defaultdict[str, dict[str, Lease]] = defaultdict(dict)

    async def list(self, group: str) -> Sequence[Lease]:
        await checkpoint()
        return tuple(self._groups[group].values())

    async def create(self, group: str, lease: Lease) -> bool:
        await checkpoint()
        rows = self._groups[group]
        if lease.key in rows:
            return False
        rows[lease.key] = lease
        return True

    async def update(self, group: str, lease: Lease, new: Lease) -> bool:
        await checkpoint()
        if not self._stands(group, lease):
            return False
        self._groups[group][lease.key] = new
        return True

    async def delete(self, group: str, lease: Lease) -> bool:
        await checkpoint()
        if not self._stands(group, lease):
            return False
        del self._groups[group][lease.key]
        return True

    def _stands(self, group: str, lease: Lease) -> bool:
        found = self._groups[group].get(lease.key)
        return found is not None and found.counter == lease.counter
