"""Keys of AWS KMS for environment variables.

KMS gives data keys, which encrypt here (envelope encryption): a value of any size is sealed with one call,
many with the same one, and beside each stands its data key, which KMS alone can decrypt.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, Unpack
from urllib.parse import unquote

from streamfn.errors import ConfigurationError
from streamfn.stores.keys import Aes
from streamfn_aws.api import Api
from streamfn_aws.errors import ServiceError
from streamfn_aws.options import Connection, Resource, arn_of, parsed_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn_aws.options import ConnectionOptions

ROLE: Final = "KMSKeyArn"

_KMS: Final = b"K"
"""The first byte of what a key of KMS sealed; two with the length of the data key follow."""
_LENGTH: Final = 2
_CONTEXT: Final = {"streamfn": "environment"}
"""What KMS notes and checks with each call (encryption context): policies can ask for it."""
_LIFETIME: Final = 300.0
"""Seconds for which a data key is kept: as long, a permission that was taken away still holds."""
_MOST: Final = 64
"""Data keys that are kept at a time."""


class _DataKey(NamedTuple):
    header: bytes
    """Stands before what it sealed: its encrypted form."""
    aes: Aes
    until: float


class KmsKey:
    """A Key of AWS KMS: `kms:KEY_ID`, `kms:alias/NAME`, or the ARN of a key or an alias.

    It has to be symmetric, and kms:GenerateDataKey and kms:Decrypt have to be allowed.
    """

    def __init__(self, key: str, **connection: Unpack[ConnectionOptions]) -> None:
        self._resource = arn_of(key, ROLE) if key.startswith("arn:") else Resource("kms", key)
        if self._resource.service != "kms":
            fix = "write arn:aws:kms:REGION:ACCOUNT:key/ID"
            raise ConfigurationError(f"{key} is no key of KMS", field=ROLE, fix=fix)
        self._connection = Connection.of(connection, self._resource.region)
        self._id = key
        self._sealing: _DataKey | None = None
        self._known: dict[bytes, _DataKey] = {}

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """With the options of a connection as `?option=value`. Raises ConfigurationError naming the option
        and the fix.
        """
        _, given = parsed_uri(uri, ROLE, {})
        place = uri.partition("?")[0]
        if not place.startswith("arn:"):
            place = unquote(place.partition(":")[2].strip("/"))
        return cls(place, **given)

    @property
    def name(self) -> str:
        return self._id if self._id.startswith("arn:") else f"kms:{self._id}"

    def __repr__(self) -> str:
        return f"<KmsKey {self.name}>"

    async def seal(self, plain: bytes) -> bytes:
        key = self._sealing
        if key is None or key.until < _now():
            answer = await self._call("GenerateDataKey", {"KeySpec": "AES_256"})
            encrypted = b64decode(answer["CiphertextBlob"])
            key = self._sealing = self._kept(encrypted, answer)
        return key.header + key.aes.seal(plain, key.header)

    async def unseal(self, sealed: bytes) -> bytes:
        start = len(_KMS) + _LENGTH
        end = start + int.from_bytes(sealed[len(_KMS) : start])
        if not sealed.startswith(_KMS) or len(sealed) <= end:
            raise ConfigurationError(f"was sealed with another key than {self.name}", fix="name that key")
        key = self._known.get(sealed[start:end])
        if key is None or key.until < _now():
            answer = await self._call("Decrypt", {"CiphertextBlob": sealed[start:end]})
            key = self._kept(sealed[start:end], answer)
        return key.aes.unseal(sealed[end:], key.header)

    def _kept(self, encrypted: bytes, answer: Mapping[str, Any]) -> _DataKey:
        header = _KMS + len(encrypted).to_bytes(_LENGTH) + encrypted
        key = _DataKey(header, Aes(b64decode(answer["Plaintext"])), _now() + _LIFETIME)
        while len(self._known) >= _MOST:
            # The oldest, as a dict has them.
            del self._known[next(iter(self._known))]
        self._known[encrypted] = key
        return key

    async def _call(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        asked = {"KeyId": self._id, "EncryptionContext": _CONTEXT, **parameters}
        try:
            async with Api.shared(self._connection, "kms") as api:
                return await api.call(operation, asked)
        except ServiceError as error:
            if error.transient:
                raise OSError(f"{self.name}: {error}") from error
            if operation == "Decrypt" and error.code in _NOT_OURS:
                said = f"was not sealed with {self.name}, or is changed ({error})"
                raise ConfigurationError(said, fix="name that key, or seal it again") from error
            fix = error.fix or "allow kms:GenerateDataKey and kms:Decrypt, and see that the key is enabled"
            raise ConfigurationError(f"{self.name}: {error}", field=ROLE, fix=fix) from error


_NOT_OURS: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


def _now() -> float:
    return asyncio.get_running_loop().time()
