"""Published versions and aliases of an app's functions, as they are known in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from streamfn.core.versions import Alias, resolve
from streamfn.errors import ConfigurationError
from streamfn.stores import function_rows
from streamfn.stores.database import Database
from streamfn.stores.functions import FILE, SqliteFunctionStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from streamfn.building import Built
    from streamfn.ports import Clock, FunctionStore, Key, Published


class Releases:
    """Knows what is stored, and looks again when asked to. An asynchronous context manager.

    Several processes may share a state directory: what one of them publishes, the others see with their next
    `refresh`.
    """

    def __init__(self, state_dir: Path, clock: Clock, keys: Mapping[str, Key | None]) -> None:
        """`keys`: of the variables of each function that may have releases; None: the state directory's."""
        self._database = Database(state_dir / FILE, (function_rows.FUNCTION_SCHEMA,))
        self._stores: dict[str, FunctionStore] = {
            name: SqliteFunctionStore(self._database, state_dir, key, clock) for name, key in keys.items()
        }
        self._changes: int | None = None
        self._published: dict[str, dict[str, Published]] = {name: {} for name in keys}
        self._aliases: dict[str, dict[str, Alias]] = {name: {} for name in keys}

    async def __aenter__(self) -> Self:
        await self._database.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._database.close()

    async def refresh(self) -> bool:
        """Looks whether anything has changed. Raises OSError where the store is out of reach."""
        for store in self._stores.values():
            changes = store.changes()
            if changes >= 0 and changes == self._changes:
                return False
            await self._read()
            self._changes = changes
            return True
        return False

    async def _read(self) -> None:
        for name, store in self._stores.items():
            self._published[name] = {each.version: each for each in await store.published(name)}
            self._aliases[name] = {each.name: each for each in await store.aliases(name)}

    def version_of(self, function: str, qualifier: str, roll: float) -> str:
        """The version that a qualifier stands for now. Raises ConfigurationError where it stands for none."""
        return resolve(function, qualifier, self._published[function], self._aliases[function], roll)

    async def all_published(self) -> list[Published] | None:
        """The versions of all functions there are, also of other apps; None where some have a key that is
        not known here.
        """
        store = next(iter(self._stores.values()))
        try:
            return [each for name in await store.functions() for each in await store.published(name)]
        except ConfigurationError:
            return None

    def published(self, function: str) -> Mapping[str, Published]:
        """The versions of a function, by their numbers."""
        return self._published[function]

    def aliases(self, function: str) -> Mapping[str, Alias]:
        """The aliases of a function, by their names."""
        return self._aliases[function]

    def store(self, function: str) -> FunctionStore:
        """Where the releases of a function are kept. Raises ConfigurationError for one that has none."""
        store = self._stores.get(function)
        if store is None:
            raise ConfigurationError(
                f"{function} is no function that is deployed here",
                field="FunctionName",
                fix=f"take one of: {', '.join(sorted(self._stores)) or 'none is'}",
            )
        return store

    async def publish(self, function: str, built: Built, description: str = "") -> Published:
        """A version of what was built: the last one, where nothing has changed since."""
        published = await self.store(function).publish(
            built.deployment, code_sha256=built.code_sha256, layers=built.layers, description=description
        )
        self._published[function][published.version] = published
        return published

    async def put_alias(self, alias: Alias) -> Alias:
        """Makes or changes an alias; it holds from the next invocation on."""
        stored = await self.store(alias.function).put_alias(alias)
        self._aliases[alias.function][stored.name] = stored
        return stored

    async def delete_alias(self, function: str, name: str) -> bool:
        """Whether it was there."""
        deleted = await self.store(function).delete_alias(function, name)
        self._aliases[function].pop(name, None)
        return deleted
