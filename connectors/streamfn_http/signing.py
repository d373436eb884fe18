"""Signatures of the Standard Webhooks specification, version 1.0.0. Pure."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from hashlib import sha256
from hmac import digest
from typing import TYPE_CHECKING, Final

from streamfn.errors import ConfigurationError
from streamfn.options import secret, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamfn.ports import Message

_MARK: Final = "whsec_"
_SHORTEST, _LONGEST = 24, 64
"""Bytes of a secret."""


def message_id(message: Message) -> str:
    """The same for the same message, whenever it is sent: of its name, key, headers and body."""
    found = sha256()
    parts = [_bytes(message.name), _bytes(message.key)]
    for name, value in message.headers:
        parts += [_bytes(name), value]
    for part in (*parts, message.body):
        found.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return f"msg_{found.hexdigest()[:32]}"


def signatures(keys: Sequence[bytes], identifier: str, timestamp: int, body: bytes) -> str:
    """One signature for each key, with spaces between: receivers take any that they can verify."""
    signed = b"%b.%d.%b" % (identifier.encode(), timestamp, body)
    return " ".join(f"v1,{b64encode(digest(key, signed, 'sha256')).decode()}" for key in keys)


def keys_of(given: str | Sequence[str] | None) -> tuple[bytes, ...]:
    """The keys of secrets `whsec_BASE64`, or of `env:NAME` where some stand, with spaces between.

    Raises ConfigurationError, which never repeats a secret.
    """
    if given is None:
        return ()
    written = given if isinstance(given, list | tuple) else [given]
    named = (secret("secret", one) for said in written for one in text("secret", said).split())
    keys = tuple(_key(one) for found in named for one in found.split())
    if not keys:
        raise ConfigurationError(
            "there is none", field="secret", fix="write secret=env:VARIABLE, or remove it"
        )
    return keys


def _key(written: str) -> bytes:
    try:
        key = b64decode(written.removeprefix(_MARK), validate=True) if written.startswith(_MARK) else b""
    except binascii.Error:
        key = b""
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ConfigurationError(
            f"is not {_MARK} and {_SHORTEST} to {_LONGEST} bytes in base64",
            field="secret",
            fix=f"write secret=env:VARIABLE, and there {_MARK} before what `openssl rand -base64 32` prints; "
            "in a URI itself, + as %2B",
        )
    return key


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")
