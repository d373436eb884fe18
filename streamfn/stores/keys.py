"""Keys for environment variables, and the text of a variable that is encrypted: `sealed:v1:...`.

AES-256 in Galois/Counter mode, by the package `cryptography`: what was sealed comes back as it was, under the
name it was sealed for, or not at all.
"""

from __future__ import annotations

import binascii
import os
import secrets
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from streamfn.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.ports import Key

SEALED: Final = "sealed:"
"""What a variable begins with whose value is encrypted."""

_FORM: Final = "sealed:v1:"
_KEY_SIZE: Final = 32
_NONCE_SIZE: Final = 12
_ID_SIZE: Final = 4
_LOCAL: Final = b"L"
"""The first byte of what a key of this machine sealed."""
_FIELD: Final = "KMSKeyArn"
_OWN: Final = Path("keys", "variables.key")


class Aes:
    """Encrypts and authenticates with one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        """Raises MissingExtra without the package `cryptography`."""
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ModuleNotFoundError as error:
            said = "encrypting environment variables needs cryptography: pip install 'streamfn[process]'"
            raise MissingExtra(said) from error
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, header: bytes) -> bytes:
        """`header` is not part of it, and has to be the same when it is unsealed."""
        nonce = secrets.token_bytes(_NONCE_SIZE)
        return nonce + self._cipher.encrypt(nonce, plain, header)

    def unseal(self, sealed: bytes, header: bytes) -> bytes:
        """Raises ConfigurationError for what this key did not seal so."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], header)
        except (InvalidTag, ValueError) as error:
            raise ConfigurationError("is changed or cut off", fix="seal it again") from error


class LocalKey:
    """A Key that is in a file or an environment variable: 32 bytes, or their base64 or hex."""

    def __init__(self, key: bytes, name: str) -> None:
        """Raises ConfigurationError for a key of another size."""
        if len(key) != _KEY_SIZE:
            raise _no_key(name)
        self.name = name
        self._aes = Aes(key)
        # Tells a wrong key from a changed text; says nothing of the key.
        self._header = _LOCAL + sha256(b"streamfn key" + key).digest()[:_ID_SIZE]

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`file:PATH` or `env:NAME`. Raises ConfigurationError where there is no key."""
        kind, _, place = uri.partition(":")
        if kind == "env":
            found = os.environb.get(place.encode())
            if found is None:
                said = f"the environment variable {place} is not set"
                raise ConfigurationError(said, field=_FIELD, fix=f"set {place}")
        else:
            try:
                found = Path(place).expanduser().read_bytes()
            except OSError as error:
                said = f"the key in {place} cannot be read: {error.strerror}"
                raise ConfigurationError(said, field=_FIELD, fix="check the path") from error
        return cls(_key_of(found, uri), uri)

    def __repr__(self) -> str:
        return f"<LocalKey {self.name}>"

    async def seal(self, plain: bytes) -> bytes:
        return self._header + self._aes.seal(plain, self._header)

    async def unseal(self, sealed: bytes) -> bytes:
        header, rest = sealed[: len(self._header)], sealed[len(self._header) :]
        if header != self._header:
            raise ConfigurationError(f"was sealed with another key than {self.name}", fix="name that key")
        return self._aes.unseal(rest, header)


def own_key(state_dir: Path) -> LocalKey:
    """The key of a state directory, in `keys/variables.key`; made by the first who asks. Raises OSError."""
    path = state_dir / _OWN
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(path, secrets.token_bytes(_KEY_SIZE))
    return LocalKey.from_uri(f"file:{path}", {})


def own_key_if_made(state_dir: Path) -> LocalKey | None:
    """The same, unless nobody has asked for it yet."""
    return own_key(state_dir) if (state_dir / _OWN).exists() else None


async def seal_text(name: str, value: str, key: Key) -> str:
    """A value as text that only the key opens, and only under this name. Raises OSError as the key does."""
    sealed = await key.seal(name.encode() + b"\0" + value.encode(errors="surrogatepass"))
    return _FORM + urlsafe_b64encode(sealed).rstrip(b"=").decode()


async def unseal_text(name: str, text: str, key: Key) -> str:
    """What was sealed under this name. Raises ConfigurationError that says what is wrong, and never what is
    in it; OSError as the key does.
    """
    if not text.startswith(_FORM):
        raise ConfigurationError(f"begins with {SEALED} and is not sealed as {_FORM}...", fix="seal it again")
    body = text.removeprefix(_FORM)
    try:
        sealed = urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError("is changed or cut off", fix="seal it again") from error
    known, _, value = (await key.unseal(sealed)).partition(b"\0")
    if known != name.encode():
        said = f"was sealed for {known.decode(errors='replace')}, and is not valid elsewhere"
        raise ConfigurationError(said, fix="seal it again under this name")
    return value.decode(errors="surrogatepass")


async def seal_variables(variables: Mapping[str, str], key: Key) -> dict[str, str]:
    """All values sealed, each under its name."""
    return {name: await seal_text(name, value, key) for name, value in variables.items()}


async def unseal_variables(variables: Mapping[str, str], key: Key | None) -> dict[str, str]:
    """The variables in plain text; those that are not sealed as they are.

    Raises ConfigurationError naming the variable that cannot be unsealed.
    """
    plain: dict[str, str] = {}
    for name, value in variables.items():
        if not value.startswith(SEALED):
            plain[name] = value
            continue
        field = f"Environment.{name}"
        if key is None:
            raise ConfigurationError("is sealed, and no key is given", field=field, fix=f"give {_FIELD}")
        try:
            plain[name] = await unseal_text(name, value, key)
        except MissingExtra:
            raise
        except ConfigurationError as error:
            raise ConfigurationError(error.problem, field=field, fix=error.fix) from error
    return plain


def _key_of(found: bytes, name: str) -> bytes:
    if len(found) == _KEY_SIZE:
        return found
    text = found.strip()
    if len(text) == 2 * _KEY_SIZE:
        with suppress(ValueError):
            return bytes.fromhex(text.decode("ascii"))
    with suppress(binascii.Error):
        return b64decode(text, validate=True)
    raise _no_key(name)


def _no_key(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} holds no key of {_KEY_SIZE} bytes",
        field=_FIELD,
        fix=f"make one with: openssl rand -base64 {_KEY_SIZE}",
    )


def _write_once(path: Path, content: bytes) -> None:
    """Makes a file with all of its content, unless it is there. Whoever loses a race finds the winner's."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
