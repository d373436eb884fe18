"""Where shards are shared by lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.core.leasing import Lease


class LeaseStore(Protocol):
    """Leases of a group, changed by compare-and-set on the counter: a commit is fenced by ownership."""

    async def list(self, group: str) -> Sequence[Lease]:
        """All leases of the group."""

    async def create(self, group: str, lease: Lease) -> bool:
        """Whether it was new. An existing one stays as it is."""

    async def update(self, group: str, lease: Lease, new: Lease) -> bool:
        """Replaces `lease` by `new` if its counter still stands. Of two writers exactly one succeeds."""

    async def delete(self, group: str, lease: Lease) -> bool:
        """Removes it if its counter still stands."""
