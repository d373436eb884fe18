"""All resources, in memory; what is changed is stored before anybody sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from streamfn.ports.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.ports.resources import ResourceStore


class Resources:
    """Documents by kind and key. Reading never waits; documents are not to be changed in place."""

    def __init__(self, store: ResourceStore) -> None:
        self._store = store
        self._kinds: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._writing = anyio.Lock()

    async def load(self) -> None:
        """Reads all that is stored. Raises OSError."""
        for resource in await self._store.resources():
            if resource.document is not None:
                self._kinds.setdefault(resource.kind, {})[resource.key] = resource.document

    def get(self, kind: str, key: str) -> Mapping[str, Any] | None:
        """A document, if there is one."""
        return self._kinds.get(kind, {}).get(key)

    def all(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """The documents of a kind by their keys, the oldest first."""
        return self._kinds.get(kind, {})

    async def put(self, kind: str, key: str, document: Mapping[str, Any]) -> None:
        """Stores one, and has it seen then. Raises OSError; nothing has changed then."""
        await self.write([Resource(kind, key, document)])

    async def remove(self, kind: str, key: str) -> None:
        """Takes one away, if it is there. Raises OSError."""
        await self.write([Resource(kind, key, None)])

    async def write(self, changes: list[Resource]) -> None:
        """Stores all changes or none. Raises OSError."""
        async with self._writing:
            await self._store.write(changes)
            for change in changes:
                documents = self._kinds.setdefault(change.kind, {})
                if change.document is None:
                    documents.pop(change.key, None)
                else:
                    documents[change.key] = change.document
