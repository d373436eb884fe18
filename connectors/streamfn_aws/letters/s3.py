"""A bucket of S3 as a store of dead letters."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

import aiohttp
import anyio
from botocore.exceptions import BotoCoreError

from streamfn.core.letters import Stored
from streamfn.options import text
from streamfn_aws.errors import ServiceError, reading
from streamfn_aws.letters.asking import Asked, patiently
from streamfn_aws.letters.naming import STORE, named, split_uri
from streamfn_aws.options import Connection, ConnectionOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from streamfn_aws.api import Api

_AT_ONCE: Final = 16
"""Objects that are read at the same time, and held."""

_PAGE: Final = 1000
"""Keys of one listing or one deletion."""

_LOOK: Final = 60.0
"""Seconds that an object may take to arrive."""


class S3Letters:
    """The objects of a bucket as dead letters: `s3://BUCKET`, `s3://BUCKET/PREFIX` or `arn:aws:s3:::BUCKET`.

    They come in the order of their keys, which for on-failure records is that of time within one shard of one
    mapping. An object is one letter, and its key the letter's id. All below the prefix counts as letters,
    for `purge` too; without a prefix that is the whole bucket. Where it keeps versions, what is removed is
    only hidden.

    `expected_bucket_owner`: the account that has to own the bucket.
    """

    removes = True

    def __init__(
        self,
        bucket: str,
        *,
        expected_bucket_owner: str | None = None,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        place, _, prefix = bucket.partition("/")
        resource = named(place, "s3", STORE)
        self._bucket = resource.name
        self._prefix = f"{prefix}/" if prefix else ""
        self._place = {"Bucket": self._bucket}
        if expected_bucket_owner is not None:
            self._place["ExpectedBucketOwner"] = text("expected_bucket_owner", expected_bucket_owner)
        self._asked = Asked(Connection.of(connection, resource.region), "s3", self.name)

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`s3://BUCKET/PREFIX` or the bucket's ARN, with the options of the class as `?option=value`.

        Raises ConfigurationError naming the option and the fix.
        """
        place, given = split_uri(uri, STORE, {"expected_bucket_owner": str})
        return cls(place, **given)

    @property
    def name(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def __repr__(self) -> str:
        return f"<S3Letters {self.name}>"

    async def scan(self) -> AsyncIterator[Stored]:
        """All objects, in the order of their keys. Raises SourceError."""
        api = await self._asked.api()
        async for page in self._pages(api):
            for first in range(0, len(page), _AT_ONCE):
                for letter in await self._letters(api, page[first : first + _AT_ONCE]):
                    yield letter

    async def remove(self, letters: Sequence[Stored]) -> None:
        """Deletes objects; durable when it returns. Raises SourceError."""
        api = await self._asked.api()
        keys = [letter.id for letter in letters]
        for first in range(0, len(keys), _PAGE):
            await self._delete(api, keys[first : first + _PAGE])

    async def purge(self) -> int:
        """Deletes all objects below the prefix: how many. Raises SourceError."""
        api = await self._asked.api()
        count = 0
        async for page in self._pages(api):
            await self._delete(api, [item["Key"] for item in page])
            count += len(page)
        return count

    async def close(self) -> None:
        """Lets connections go. A scan has nothing in hand."""
        await self._asked.close()

    async def _pages(self, api: Api) -> AsyncIterator[list[dict[str, Any]]]:
        asked: dict[str, Any] = {**self._place, "Prefix": self._prefix, "MaxKeys": _PAGE}
        while True:
            with reading(self.name):
                answer = await patiently(partial(api.call, "ListObjectsV2", dict(asked)))
            # The console's folders are empty objects that end so.
            page = [item for item in answer.get("Contents") or () if not item["Key"].endswith("/")]
            if page:
                yield page
            if not answer.get("IsTruncated"):
                return
            asked["ContinuationToken"] = answer["NextContinuationToken"]

    async def _letters(self, api: Api, items: Sequence[Mapping[str, Any]]) -> list[Stored]:
        """The letters of a listing, in its order; without those that are gone by now."""
        found: dict[str, Stored] = {}
        errors: list[Exception] = []

        async def get(item: Mapping[str, Any]) -> None:
            key = item["Key"]
            try:
                body = await patiently(partial(self._body, api, key))
            except ServiceError as error:
                if error.code != "NoSuchKey":
                    errors.append(error)
            except OSError as error:
                errors.append(error)
            else:
                at = datetime.fromisoformat(item["LastModified"]).timestamp()
                found[key] = Stored(key, body, stored_at=at)

        async with anyio.create_task_group() as tasks:
            for item in items:
                tasks.start_soon(get, item)
        if errors:
            with reading(self.name):
                raise errors[0]
        return [found[item["Key"]] for item in items if item["Key"] in found]

    async def _body(self, api: Api, key: str) -> bytes:
        answer = await api.call("GetObject", {**self._place, "Key": key}, patience=_LOOK)
        try:
            async with answer["Body"] as body:
                with anyio.fail_after(_LOOK):
                    data: bytes = await body.read()
        except (BotoCoreError, aiohttp.ClientError, TimeoutError) as error:
            raise ServiceError(
                "GetObject", "IncompleteBody", f"{type(error).__name__}: {error}", 503
            ) from error
        return data

    async def _delete(self, api: Api, keys: Sequence[str]) -> None:
        with reading(self.name):
            await patiently(partial(self._delete_some, api, list(keys)))

    async def _delete_some(self, api: Api, keys: list[str]) -> None:
        """Leaves in the list what could not be deleted, and raises why."""
        if not keys:
            return
        wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        answer = await api.call("DeleteObjects", {**self._place, "Delete": wanted})
        failed = [error for error in answer.get("Errors") or () if error.get("Code") != "NoSuchKey"]
        keys[:] = [error["Key"] for error in failed]
        if failed:
            code, message = failed[0].get("Code", ""), failed[0].get("Message", "")
            status = 400 if code in ("AccessDenied", "MethodNotAllowed") else 500
            raise ServiceError("DeleteObjects", code, f"{len(failed)} objects: {message}", status)
