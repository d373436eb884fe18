"""Code of functions that lies in S3: fetched from where the endpoint map says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamfn import addressing, plugins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamfn.config import Endpoint
    from streamfn.ports import Take


class Objects:
    """Gives objects of S3: `await objects(bucket, key, version, take)`."""

    def __init__(self, endpoints: Iterable[Endpoint] = ()) -> None:
        self._endpoints = tuple(endpoints)

    async def __call__(self, bucket: str, key: str, version: str | None, take: Take) -> None:
        """Gives an object piece by piece; raises as `Bucket.fetch`."""
        uri = addressing.resolve_name("s3", bucket, self._endpoints)
        await plugins.bucket(uri).fetch(key, version, take)
