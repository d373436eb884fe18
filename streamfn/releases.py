"""Published versions and aliases of an app's functions, as they are known in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Self

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

_NUMBER: Final = "ProvisionedConcurrentExecutions"
_SINCE: Final = "LastModified"


class Asked(NamedTuple):
    """How many environments are to be kept initialised, and since when, in epoch seconds."""

    number: int
    since: float

    @classmethod
    def read(cls, setting: Mapping[str, object]) -> Self | None:
        """Out of the store; None for what is none of ours."""
        number, since = setting.get(_NUMBER), setting.get(_SINCE, 0.0)
        return cls(number, since) if isinstance(number, int) and isinstance(since, int | float) else None

    def written(self) -> Mapping[str, object]:
        """For the store."""
        return {_NUMBER: self.number, _SINCE: self.since}


class Releases:
    """Knows what is stored, and looks again when asked to. An asynchronous context manager.

    Several processes may share a state directory: what one of them publishes, the others see with their next
    `refresh`.
    """

    def __init__(self, state_dir: Path, clock: Clock, keys: Mapping[str, Key | None]) -> None:
        """`keys`: of the variables of each function that may have releases; None: the state directory's."""
        self._database = Database(state_dir / FILE, (function_rows.FUNCTION_SCHEMA,))
        self._state_dir = state_dir
        self._clock = clock
        self._stores = {name: self._made(key) for name, key in keys.items()}
        self._changes: int | None = None
        self._published: dict[str, dict[str, Published]] = {name: {} for name in keys}
        self._aliases: dict[str, dict[str, Alias]] = {name: {} for name in keys}
        self._provisioned: dict[str, dict[str, Asked]] = {}

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
        for name, store in list(self._stores.items()):
            await self._read_one(name, store)

    async def _read_one(self, name: str, store: FunctionStore) -> None:
        published = {each.version: each for each in await store.published(name)}
        aliases = {each.name: each for each in await store.aliases(name)}
        provisioned = {
            qualifier: asked
            for qualifier, setting in (await store.provisioned(name)).items()
            if (asked := Asked.read(setting)) is not None
        }
        if self._stores.get(name) is store:  # Nobody has taken it away meanwhile.
            self._published[name], self._aliases[name] = published, aliases
            self._provisioned[name] = provisioned

    def _made(self, key: Key | None) -> FunctionStore:
        return SqliteFunctionStore(self._database, self._state_dir, key, self._clock)

    async def know(self, function: str, key: Key | None) -> None:
        """One more function may have releases, or they are under another key. Raises ConfigurationError where
        those that it has cannot be read with it, and OSError; then nothing has changed.
        """
        store, known = self._made(key), self._stores.get(function)
        self._stores[function] = store
        try:
            await self._read_one(function, store)
        except BaseException:
            if known is None:
                del self._stores[function]
            else:
                self._stores[function] = known
            raise

    async def forget(self, function: str) -> None:
        """Removes what was released of a function, and knows it no more. Raises OSError."""
        store = self.store(function)
        for alias in await store.aliases(function):
            await store.delete_alias(function, alias.name)
        for published in await store.published(function):
            await store.delete_version(function, published.version)
        for known in (self._stores, self._published, self._aliases, self._provisioned):
            known.pop(function, None)

    def version_of(self, function: str, qualifier: str, roll: float) -> str:
        """The version that a qualifier stands for now. Raises ConfigurationError where it stands for none."""
        self.store(function)
        return resolve(function, qualifier, self._published[function], self._aliases[function], roll)

    async def all_published(self) -> list[Published] | None:
        """The versions of all functions there are, also of other apps; None where some have a key that is
        not known here.
        """
        store = next(iter(self._stores.values()), None) or self._made(None)
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

    def provisioned(self, function: str) -> Mapping[str, Asked]:
        """What is to be kept initialised for versions and aliases, by qualifier, as it was put; that which
        the function is declared with is not among it.
        """
        return self._provisioned.get(function, {})

    def all_provisioned(self) -> Mapping[str, Mapping[str, int]]:
        """How many of each, by function and qualifier."""
        return {
            name: {qualifier: each.number for qualifier, each in asked.items()}
            for name, asked in self._provisioned.items()
            if asked
        }

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
        self._provisioned.get(function, {}).pop(name, None)
        return deleted

    async def delete_version(self, function: str, version: str) -> bool:
        """Whether it was there. Raises ConfigurationError while an alias points to it."""
        deleted = await self.store(function).delete_version(function, version)
        self._published[function].pop(version, None)
        self._provisioned.get(function, {}).pop(version, None)
        return deleted

    async def put_provisioned(self, function: str, qualifier: str, number: int | None) -> None:
        """So many environments are to be kept of a version or an alias; None ends that. Raises
        ConfigurationError where it is not there.
        """
        asked = None if number is None else Asked(number, self._clock())
        setting = None if asked is None else asked.written()
        await self.store(function).put_provisioned(function, qualifier, setting)
        kept = self._provisioned.setdefault(function, {})
        if asked is None:
            kept.pop(qualifier, None)
        else:
            kept[qualifier] = asked
