"""What the account may use, and what it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamfn.control.function_catalog import Catalog
from streamfn.packages.tree import UNZIPPED_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamfn.control.plane import Operations, Params, Plane, Result

_TOTAL_CODE_SIZE: Final = 80_530_636_800
"""Bytes, as AWS answers it (75 GB). Nothing is refused for it here."""
_ZIPPED_LIMIT: Final = 52_428_800
"""Bytes of a package in a request (Developer Guide: gettingstarted-limits)."""


class AccountSettings:
    """GetAccountSettings."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._catalog = Catalog(plane)

    def operations(self) -> Operations:
        return {"GetAccountSettings": self.get}

    async def get(self, params: Params) -> Result:
        account = self._plane.app.account
        sizes = (code.get("CodeSize", 0) for code in self._code())
        return {
            "AccountLimit": {
                "TotalCodeSize": _TOTAL_CODE_SIZE,
                "CodeSizeUnzipped": UNZIPPED_LIMIT,
                "CodeSizeZipped": _ZIPPED_LIMIT,
                "ConcurrentExecutions": account.limit,
                "UnreservedConcurrentExecutions": account.unreserved,
            },
            "AccountUsage": {"TotalCodeSize": sum(sizes), "FunctionCount": len(self._catalog.names())},
        }

    def _code(self) -> Iterator[Mapping[str, Any]]:
        """Each version counts by itself, also where its code is another's."""
        for name in self._catalog.names():
            yield (self._catalog.stored(name) or {}).get("Code", {})
            for published in self._catalog.versions(name).values():
                yield published.deployment.settings.get("Code", {})
        for document in self._plane.resources.all("layer-version").values():
            yield document.get("Content", {})
