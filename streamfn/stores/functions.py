"""Published versions and aliases in a SQLite file: for the processes of one machine."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import anyio.to_thread
import orjson

from streamfn.core.deployments import Deployment
from streamfn.core.versions import PreconditionFailed
from streamfn.errors import ConfigurationError
from streamfn.ports import Published
from streamfn.stores import function_rows as rows
from streamfn.stores.database import Database
from streamfn.stores.keys import own_key, own_key_if_made, seal_text, unseal_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from streamfn.core.versions import Alias
    from streamfn.ports import Clock, Key

FILE: Final = "functions.db"
"""In the state directory."""

_FOLDERS: Final = ("code", "layers")


class SqliteFunctionStore:
    """A FunctionStore in `STATE_DIR/functions.db`. Environment variables are encrypted there.

    Without a key the state directory has one of its own, made when it is first needed; what that one sealed
    can be read later too, when another is given. Raises ConfigurationError where variables were sealed with
    neither.
    """

    def __init__(
        self,
        database: Database,
        state_dir: Path,
        key: Key | None = None,
        clock: Clock = time.time,  # noqa: TID251 - where nobody gives one
    ) -> None:
        self._database = database
        self._state_dir = state_dir.absolute()
        self._key = key
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def at(
        cls,
        state_dir: Path,
        key: Key | None = None,
        clock: Clock = time.time,  # noqa: TID251 - where nobody gives one
    ) -> AsyncIterator[SqliteFunctionStore]:
        """The store of a state directory, made if need be."""
        database = Database(state_dir / FILE, (rows.FUNCTION_SCHEMA,))
        await database.open()
        try:
            yield cls(database, state_dir, key, clock)
        finally:
            await database.close()

    async def publish(
        self,
        deployment: Deployment,
        *,
        code_sha256: str = "",
        layers: Sequence[str] = (),
        description: str = "",
        revision_id: str | None = None,
    ) -> Published:
        function = deployment.function
        while True:
            last, newest = await self._database.read(partial(rows.newest_of, function=function))
            if revision_id is not None and (newest is None or newest.revision_id != revision_id):
                raise PreconditionFailed("GetFunction")
            if newest is not None and newest.number == last:
                known = await self._published(function, newest)
                same = replace(deployment, version=known.version)
                if (known.deployment, known.code_sha256, known.layers) == (same, code_sha256, tuple(layers)):
                    return known
            made = Published(
                replace(deployment, version=str(last + 1)),
                code_sha256,
                tuple(layers),
                description,
                str(uuid4()),
                self._clock(),
            )
            # Sealing may ask a server, so it is done outside of the transaction, which looks again.
            row = await self._row(made)
            if await self._database.write(partial(rows.insert, row=row, last=last, newest=newest)):
                return made

    async def published(self, function: str) -> Sequence[Published]:
        found = await self._database.read(partial(rows.versions, function=function))
        return [await self._published(function, row) for row in found]

    async def delete_version(self, function: str, version: str) -> bool:
        return await self._database.write(partial(rows.delete_version, function=function, version=version))

    async def put_alias(self, alias: Alias, revision_id: str | None = None) -> Alias:
        return await self._database.write(partial(rows.put_alias, alias=alias, revision_id=revision_id))

    async def aliases(self, function: str) -> Sequence[Alias]:
        return await self._database.read(partial(rows.aliases, function=function))

    async def delete_alias(self, function: str, name: str, revision_id: str | None = None) -> bool:
        return await self._database.write(
            partial(rows.delete_alias, function=function, name=name, revision_id=revision_id)
        )

    async def put_provisioned(
        self, function: str, qualifier: str, setting: Mapping[str, object] | None
    ) -> None:
        await self._database.write(
            partial(rows.provision, function=function, qualifier=qualifier, setting=setting)
        )

    async def provisioned(self, function: str) -> Mapping[str, Mapping[str, object]]:
        return await self._database.read(partial(rows.provisioned, function=function))

    async def functions(self) -> Sequence[str]:
        return await self._database.read(rows.functions)

    def changes(self) -> int:
        return self._database.version()

    # -------------------------------------------------------------------------------------------- sealing

    async def _sealing(self) -> Key:
        if self._key is None:
            self._key = await anyio.to_thread.run_sync(own_key, self._state_dir)
        return self._key

    async def _unsealed(self, context: str, text: str) -> str:
        key = await self._sealing()
        try:
            return await unseal_text(context, text, key)
        except ConfigurationError:
            own = await anyio.to_thread.run_sync(own_key_if_made, self._state_dir)
            if own is None or own.name == key.name:
                raise
            with suppress(ConfigurationError):
                return await unseal_text(context, text, own)
            raise

    async def _row(self, made: Published) -> tuple[Any, ...]:
        deployment = made.deployment
        sealed = ""
        if deployment.environment:
            plain = orjson.dumps(dict(deployment.environment)).decode()
            sealed = await seal_text(_context(deployment.function), plain, await self._sealing())
        return (
            deployment.function,
            int(made.version),
            self._written(deployment),
            sealed,
            made.code_sha256,
            orjson.dumps(made.layers).decode(),
            made.description,
            made.revision_id,
            made.published_at,
        )

    async def _published(self, function: str, row: rows.VersionRow) -> Published:
        environment: dict[str, str] = {}
        if row.environment:
            try:
                plain = await self._unsealed(_context(function), row.environment)
            except ConfigurationError as error:
                raise ConfigurationError(
                    f"the environment of version {row.number} of {function} {error.problem}",
                    field="KMSKeyArn",
                    fix=error.fix,
                ) from error
            environment = orjson.loads(plain)
        deployment = replace(
            self._read(row.deployment), function=function, version=str(row.number), environment=environment
        )
        layers = tuple(orjson.loads(row.layers))
        return Published(
            deployment, row.code_sha256, layers, row.description, row.revision_id, row.published_at
        )

    def _written(self, deployment: Deployment) -> str:
        """As JSON; what is in the state directory relative to it, which may be moved."""
        left_out = ("function", "version", "environment")
        known = {one.name: getattr(deployment, one.name) for one in fields(deployment)}
        document = {name: value for name, value in known.items() if name not in left_out}
        inside = [name for name in _FOLDERS if Path(document[name]).is_relative_to(self._state_dir)]
        for name in inside:
            document[name] = str(Path(document[name]).relative_to(self._state_dir))
        return orjson.dumps({**document, "inside": inside}).decode()

    def _read(self, text: str) -> Deployment:
        document = orjson.loads(text)
        for name in document.pop("inside"):
            document[name] = str(self._state_dir / document[name])
        known = {one.name for one in fields(Deployment)}
        given = {name: value for name, value in document.items() if name in known}
        return Deployment("", **given)


def _context(function: str) -> str:
    # No variable has a space in its name: neither is taken for the other.
    return f"function {function}"
