"""What stands in the tables of published versions and aliases. Works within a transaction, in a thread."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson

from streamfn.core.shifting import Guard, Shift
from streamfn.core.versions import Alias, PreconditionFailed, check_alias, check_unused
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from streamfn.stores.database import Transaction

FUNCTION_SCHEMA: Final = """
CREATE TABLE functions (
  name TEXT PRIMARY KEY,
  last INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE versions (
  function TEXT NOT NULL,
  number INTEGER NOT NULL,
  deployment TEXT NOT NULL,
  environment TEXT NOT NULL,
  code_sha256 TEXT NOT NULL,
  layers TEXT NOT NULL,
  description TEXT NOT NULL,
  revision_id TEXT NOT NULL,
  published_at REAL NOT NULL,
  PRIMARY KEY (function, number)
) WITHOUT ROWID;
CREATE TABLE aliases (
  function TEXT NOT NULL,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  additional TEXT NOT NULL,
  description TEXT NOT NULL,
  shift TEXT NOT NULL,
  revision_id TEXT NOT NULL,
  PRIMARY KEY (function, name)
) WITHOUT ROWID;
CREATE TABLE provisioned (
  function TEXT NOT NULL,
  qualifier TEXT NOT NULL,
  setting TEXT NOT NULL,
  PRIMARY KEY (function, qualifier)
) WITHOUT ROWID
"""
"""`last` outlives the versions: a number is given once."""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A published version as it stands there: structures as JSON, the environment sealed."""

    number: int
    deployment: str
    environment: str
    code_sha256: str
    layers: str
    description: str
    revision_id: str
    published_at: float


_COLUMNS: Final = ", ".join(one.name for one in fields(VersionRow))
_ALIAS: Final = "function, name, version, additional, description, shift, revision_id"


def versions(connection: sqlite3.Connection, function: str) -> list[VersionRow]:
    """All of a function, by their numbers."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM versions WHERE function = ? ORDER BY number", (function,)
    )
    return [VersionRow(*row) for row in found]


def newest_of(connection: sqlite3.Connection, function: str) -> tuple[int, VersionRow | None]:
    """The last number given, and the newest version that is there."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM versions WHERE function = ? ORDER BY number DESC LIMIT 1", (function,)
    ).fetchone()
    last = connection.execute("SELECT last FROM functions WHERE name = ?", (function,)).fetchone()
    return last[0] if last else 0, VersionRow(*row) if row else None


def insert(transaction: Transaction, row: tuple[Any, ...], last: int, newest: VersionRow | None) -> bool:
    """Whether nothing else was published or deleted since `last` and `newest` were read."""
    connection = transaction.connection
    function, number, *rest = row
    if newest_of(connection, function) != (last, newest):
        return False
    connection.execute("INSERT OR REPLACE INTO functions VALUES (?, ?)", (function, number))
    marks = ", ".join("?" * (len(rest) + 2))
    connection.execute(f"INSERT INTO versions (function, {_COLUMNS}) VALUES ({marks})", row)
    return True


def delete_version(transaction: Transaction, function: str, version: str) -> bool:
    """Whether it was there. Raises ConfigurationError while an alias points to it."""
    check_unused(version, aliases(transaction.connection, function))
    return _delete(transaction, "versions", "number", function, version)


def put_alias(transaction: Transaction, alias: Alias, revision_id: str | None) -> Alias:
    """As FunctionStore.put_alias."""
    connection = transaction.connection
    known = _alias(connection, alias.function, alias.name)
    _check_revision(known, revision_id)
    numbers = connection.execute("SELECT number FROM versions WHERE function = ?", (alias.function,))
    check_alias(alias, {str(number) for (number,) in numbers})
    if known is not None and known == replace(alias, revision_id=known.revision_id):
        return known
    made = replace(alias, revision_id=str(uuid4()))
    connection.execute(
        f"INSERT OR REPLACE INTO aliases ({_ALIAS}) VALUES (?, ?, ?, ?, ?, ?, ?)", _alias_row(made)
    )
    return made


def delete_alias(transaction: Transaction, function: str, name: str, revision_id: str | None) -> bool:
    """Whether it was there. Raises PreconditionFailed where it is another one by now."""
    _check_revision(_alias(transaction.connection, function, name), revision_id)
    return _delete(transaction, "aliases", "name", function, name)


def functions(connection: sqlite3.Connection) -> list[str]:
    """All that have versions or aliases."""
    found = connection.execute("SELECT function FROM versions UNION SELECT function FROM aliases ORDER BY 1")
    return [name for (name,) in found]


def provision(
    transaction: Transaction, function: str, qualifier: str, setting: Mapping[str, object] | None
) -> None:
    """As FunctionStore.put_provisioned."""
    connection = transaction.connection
    if setting is None:
        connection.execute(
            "DELETE FROM provisioned WHERE function = ? AND qualifier = ?", (function, qualifier)
        )
        return
    there = connection.execute(
        "SELECT 1 FROM versions WHERE function = ? AND CAST(number AS TEXT) = ? "
        "UNION SELECT 1 FROM aliases WHERE function = ? AND name = ?",
        (function, qualifier, function, qualifier),
    ).fetchone()
    if there is None:
        raise ConfigurationError(
            f"function {function} has no version or alias {qualifier}",
            field="Qualifier",
            fix="publish a version, or make the alias, first",
        )
    connection.execute(
        "INSERT OR REPLACE INTO provisioned VALUES (?, ?, ?)",
        (function, qualifier, orjson.dumps(dict(setting)).decode()),
    )


def provisioned(connection: sqlite3.Connection, function: str) -> dict[str, dict[str, object]]:
    """What is to be provisioned, by qualifier."""
    found = connection.execute(
        "SELECT qualifier, setting FROM provisioned WHERE function = ? ORDER BY qualifier", (function,)
    )
    return {qualifier: orjson.loads(setting) for qualifier, setting in found}


def aliases(connection: sqlite3.Connection, function: str) -> list[Alias]:
    """All of a function, by name."""
    found = connection.execute(f"SELECT {_ALIAS} FROM aliases WHERE function = ? ORDER BY name", (function,))
    return [_read_alias(row) for row in found]


def _alias(connection: sqlite3.Connection, function: str, name: str) -> Alias | None:
    row = connection.execute(
        f"SELECT {_ALIAS} FROM aliases WHERE function = ? AND name = ?", (function, name)
    ).fetchone()
    return _read_alias(row) if row else None


def _alias_row(alias: Alias) -> tuple[str, ...]:
    shift = orjson.dumps(alias.shift).decode() if alias.shift is not None else ""
    additional = orjson.dumps(dict(alias.additional)).decode()
    return (
        alias.function,
        alias.name,
        alias.version,
        additional,
        alias.description,
        shift,
        alias.revision_id,
    )


def _read_alias(row: Sequence[Any]) -> Alias:
    function, name, version, additional, description, text, revision_id = row
    shift = None
    if text:
        document = orjson.loads(text)
        shift = Shift(**{**document, "guard": Guard(**document["guard"])})
    return Alias(function, name, version, orjson.loads(additional), description, revision_id, shift)


def _check_revision(known: Alias | None, revision_id: str | None) -> None:
    if revision_id is not None and (known is None or known.revision_id != revision_id):
        raise PreconditionFailed("GetAlias")


def _delete(transaction: Transaction, table: str, column: str, function: str, value: str) -> bool:
    connection = transaction.connection
    found = connection.execute(
        f"DELETE FROM {table} WHERE function = ? AND CAST({column} AS TEXT) = ?", (function, value)
    )
    if found.rowcount:
        connection.execute("DELETE FROM provisioned WHERE function = ? AND qualifier = ?", (function, value))
    return found.rowcount == 1
