"""Code of functions that lies in S3: fetched from where the endpoint map says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamfn import addressing, plugins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamfn.config import Endpoint

LIMIT: Final = 262_144_000
"""Bytes of the largest object that is taken: 250 MB, as a package may have when it is unpacked."""


class Objects:
    """Gives objects of S3: `await objects(bucket, key, version)`."""

    def __init__(self, endpoints: Iterable[Endpoint] = ()) -> None:
        self._endpoints = tuple(endpoints)

    async def __call__(self, bucket: str, key: str, version: str | None = None) -> bytes:
        """An object, whole. Raises FileNotFoundError where there is none, OSError where it cannot be had now,
        ConfigurationError where only a person can help, also above the limit.
        """
        uri = addressing.resolve_name("s3", bucket, self._endpoints)
        return await plugins.bucket(uri).fetch(key, version, LIMIT)
