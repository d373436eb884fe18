"""The access keys that requests may be signed with, from a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from streamfn.errors import ConfigurationError
from streamfn.telemetry import logger

_FIELD: Final = "--api-keys"
_FIX: Final = (
    "write a list of {access_key_id: …, secret_access_key: …}, with read_only: true if it may only look"
)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One key."""

    access_key_id: str
    secret: str = field(repr=False)
    read_only: bool = False


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    access_key_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
    secret_access_key: Annotated[SecretStr, Field(min_length=1)]
    """Itself, or `env:NAME`, or `file:PATH` beside the file of keys."""
    read_only: bool = False


_ENTRIES: Final[TypeAdapter[list[_Entry]]] = TypeAdapter(Annotated[list[_Entry], Field(min_length=1)])


class AccessKeys:
    """Keys by their ids."""

    def __init__(self, keys: Iterable[AccessKey]) -> None:
        self._keys = {key.access_key_id: key for key in keys}

    def get(self, access_key_id: str) -> AccessKey | None:
        """The key, if there is one of that id."""
        return self._keys.get(access_key_id)

    @classmethod
    def read(cls, path: Path, environment: Mapping[str, str] = os.environ) -> AccessKeys:
        """Those of a file, YAML or JSON. Raises ConfigurationError, which never repeats a secret.

        A file that everybody may read is taken, with a warning.
        """
        try:
            data = yaml.safe_load(_text(path))
            entries = _ENTRIES.validate_python(data)
        except yaml.YAMLError:
            raise ConfigurationError("is neither YAML nor JSON", field=_FIELD, where=str(path)) from None
        except ValidationError as error:
            raise _misformed(path, error) from None
        ids = [entry.access_key_id for entry in entries]
        for one in ids:
            if ids.count(one) > 1:
                raise ConfigurationError(f"{one} is there twice", field=_FIELD, where=str(path))
        return cls(
            AccessKey(one.access_key_id, _secret(one, path, environment), one.read_only) for one in entries
        )


def _misformed(path: Path, error: ValidationError) -> ConfigurationError:
    found = error.errors(include_input=False, include_url=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"])
    return ConfigurationError(
        f"{place.lstrip('.') or 'the file'}: {found['msg']}", field=_FIELD, where=str(path), fix=_FIX
    )


def _secret(entry: _Entry, path: Path, environment: Mapping[str, str]) -> str:
    written = entry.secret_access_key.get_secret_value()
    kind, _, name = written.partition(":")
    if kind == "env":
        secret = environment.get(name, "")
    elif kind == "file":
        secret = _text(path.parent / Path(name).expanduser()).strip()
    else:
        secret = written
    if not secret:
        raise ConfigurationError(
            f"the secret of {entry.access_key_id} is empty", field=_FIELD, where=str(path), fix=f"set {name}"
        )
    return secret


def _text(path: Path) -> str:
    try:
        if path.stat().st_mode & 0o004:
            log, _ = logger()
            log.warning("api_keys_readable_by_everybody", path=str(path), fix=f"chmod 600 {path}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read: {error.strerror}", field=_FIELD, where=str(path)
        ) from error
    except UnicodeDecodeError:
        raise ConfigurationError("is no UTF-8 text", field=_FIELD, where=str(path)) from None
