"""Secrets by ARN or name: from a local file, or from AWS Secrets Manager."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
import yaml
from anyio import to_thread

from streamfn import addressing, plugins
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from streamfn.config import Endpoint
    from streamfn.config.access import SourceAccess

_log = structlog.get_logger("streamfn.secrets")

_FIELD: Final = "SourceAccessConfigurations"
_SUFFIX: Final = re.compile(r"-[A-Za-z0-9]{6}$")
"""What AWS puts behind a secret's name in its ARN."""
_OTHERS: Final = 0o004
"""The bit of a file's mode that lets everybody read it."""


class Secrets:
    """Gives secrets. It keeps none: a change is seen the next time one is asked for.

    `file`: YAML or JSON, the ARN or the name of each secret with its fields (`username`, `password`) or its
    text. Without one, AWS Secrets Manager is asked, where the endpoint map says.
    """

    def __init__(self, file: str | Path | None = None, endpoints: Iterable[Endpoint] = ()) -> None:
        self._file = None if file is None else Path(file)
        self._endpoints = tuple(endpoints)

    def __repr__(self) -> str:
        return f"<Secrets {self._file or 'AWS Secrets Manager'}>"

    def fetching(self, access: SourceAccess) -> Callable[[], Awaitable[Mapping[str, str]]] | None:
        """What fetches the options of a `kafka:` URI that SourceAccessConfigurations stand for, as `fields`
        does; None: they name no secret.
        """
        from streamfn.config.access import kafka_options, secrets_of

        wanted = secrets_of(access)

        async def fetch() -> Mapping[str, str]:
            return kafka_options({kind: await self.fields(name) for kind, name in wanted.items()})

        return fetch if wanted else None

    async def fields(self, name: str) -> Mapping[str, str]:
        """The fields of a secret; one that is text alone has it as `certificate`.

        Raises ConfigurationError where there is none, OSError where it cannot be had now. Neither repeats a
        value.
        """
        if self._file is not None:
            return _fields(await to_thread.run_sync(_look_up, self._file, name))
        arn = addressing.arn_of(name)
        if arn is None:
            uri = addressing.resolve_name("secretsmanager", name, self._endpoints)
        else:
            uri = addressing.with_options(
                name, addressing.connection_of(arn, addressing.found_for(arn, self._endpoints))
            )
        return _fields(await plugins.secret(uri).value())


def _look_up(file: Path, name: str) -> Any:
    try:
        if file.stat().st_mode & _OTHERS:
            _log.warning("secrets_readable_by_everybody", file=str(file), fix=f"chmod 600 {file}")
        # Its plain values are text whatever they look like: a password may be 0123 or on.
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(f"cannot be read: {reason}", where=str(file)) from None
    except yaml.YAMLError as error:
        # What the parser says may quote a value.
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise ConfigurationError("is neither YAML nor JSON", where=where) from None
    if not isinstance(data, dict):
        raise ConfigurationError(
            "must be a set of names and secrets",
            where=str(file),
            fix="write NAME: {username: …, password: …}",
        )
    for each in _names(name):
        if each in data:
            return data[each]
    raise ConfigurationError(
        f"there is no secret {name}",
        field=_FIELD,
        where=str(file),
        fix="write it down there by its ARN or name",
    )


def _names(name: str) -> list[str]:
    """What a secret may be called: its ARN, its name in it, and that without AWS's suffix."""
    arn = addressing.arn_of(name)
    if arn is None:
        return [name]
    short = arn.rest.removeprefix("secret:")
    return [name, short, _SUFFIX.sub("", short)]


def _fields(secret: Any) -> Mapping[str, str]:
    if isinstance(secret, str):
        try:
            read = json.loads(secret)
        except ValueError:
            read = None
        if not isinstance(read, dict):
            return {"certificate": secret}
        secret = read
    if not isinstance(secret, dict):
        raise ConfigurationError("a secret must be text or a set of fields", field=_FIELD)
    return {str(name): value for name, value in secret.items() if isinstance(value, str)}
