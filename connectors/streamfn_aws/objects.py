"""Objects of S3 and secrets of AWS Secrets Manager, to be read."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self, Unpack
from urllib.parse import unquote

from aiohttp import ClientError
from botocore.exceptions import BotoCoreError

from streamfn.errors import ConfigurationError
from streamfn.ports import NoSuchBucket
from streamfn_aws.api import Api
from streamfn_aws.errors import ServiceError
from streamfn_aws.options import Connection, arn_of, parsed_uri

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from streamfn.ports import Take
    from streamfn_aws.options import ConnectionOptions

_PATIENCE: Final = 300.0
"""Seconds that an object may take to come."""
_CHUNK: Final = 2**20


class S3Bucket:
    """A `Bucket`: `s3://NAME`, or its ARN. s3:GetObject has to be allowed, and for versions
    s3:GetObjectVersion.
    """

    def __init__(self, bucket: str, **connection: Unpack[ConnectionOptions]) -> None:
        self._name = bucket
        self._connection = Connection.of(connection)

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """With the options of a connection as `?option=value`. Raises ConfigurationError naming the option
        and the fix.
        """
        resource, given = parsed_uri(uri, "S3Bucket", {})
        return cls(resource.name, **given)

    def __repr__(self) -> str:
        return f"<S3Bucket {self._name}>"

    async def fetch(self, key: str, version: str | None, take: Take) -> None:
        asked = {"Bucket": self._name, "Key": key} | ({"VersionId": version} if version else {})
        place = f"s3://{self._name}/{key}"
        try:
            with _explained(place, "S3Key"):
                async with asyncio.timeout(_PATIENCE), Api.shared(self._connection, "s3") as api:
                    answer = await api.call("GetObject", asked)
                    async with _closing(answer["Body"]) as body:
                        while piece := await _read(body, place):
                            await take(piece)
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"{place}: it did not come within {_PATIENCE:g} s") from error


async def _read(body: Any, place: str) -> bytes:
    """The next piece; empty at the end."""
    try:
        return bytes(await body.read(_CHUNK))
    except (BotoCoreError, ClientError) as error:
        raise OSError(f"{place}: it broke off: {error}") from error


@asynccontextmanager
async def _closing(body: Any) -> AsyncIterator[Any]:
    try:
        yield body
    finally:
        body.close()


class AwsSecret:
    """A `Secret`: its ARN, or `secretsmanager://NAME`. secretsmanager:GetSecretValue has to be allowed."""

    def __init__(self, secret: str, **connection: Unpack[ConnectionOptions]) -> None:
        region = arn_of(secret, _ROLE).region if secret.startswith("arn:") else None
        self._id = secret
        self._connection = Connection.of(connection, region)

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """With the options of a connection as `?option=value`. Raises ConfigurationError naming the option
        and the fix.
        """
        _, given = parsed_uri(uri, _ROLE, {})
        place = uri.partition("?")[0]
        if not place.startswith("arn:"):
            place = unquote(place.partition(":")[2].strip("/"))
        return cls(place, **given)

    def __repr__(self) -> str:
        return f"<AwsSecret {self._id}>"

    async def value(self) -> str:
        with _explained(self._id, _ROLE):
            async with Api.shared(self._connection, "secretsmanager") as api:
                answer = await api.call("GetSecretValue", {"SecretId": self._id})
        if "SecretString" in answer:
            return str(answer["SecretString"])
        try:
            return b64decode(answer["SecretBinary"]).decode()
        except UnicodeDecodeError:
            raise ConfigurationError(
                f"{self._id} is no text", field=_ROLE, fix="store it as SecretString"
            ) from None


_ROLE: Final = "SourceAccessConfigurations"


@contextmanager
def _explained(place: str, field: str) -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        if error.transient:
            raise OSError(f"{place}: {error}") from error
        if error.missing and field == "S3Key":
            missing = NoSuchBucket if error.code == "NoSuchBucket" else FileNotFoundError
            raise missing(f"{place}: {error}") from error
        fix = error.fix or "check name, region and endpoint_url"
        raise ConfigurationError(f"{place}: {error}", field=field, fix=fix) from error
