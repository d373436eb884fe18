"""An S3 bucket as a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Unpack
from uuid import uuid4

from streamfn.options import text
from streamfn_aws.destinations.destination import AwsDestination, format_of, named
from streamfn_aws.destinations.sending import Entry, Fault, Limits, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.ports import Message
    from streamfn_aws.api import Api
    from streamfn_aws.options import ConnectionOptions

_LONGEST_KEY = 1024
"""Bytes of an object's key."""


class S3Destination(AwsDestination):
    """Puts each message into a bucket as an object: `s3://BUCKET`, `s3://BUCKET/PREFIX` or
    `arn:aws:s3:::BUCKET`.

    An on-failure record is at `aws/lambda/MAPPING/SHARD/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-UUID`, that of an
    asynchronous invocation at `aws/lambda/async/FUNCTION/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-UUID`, as on AWS.
    Other messages have their key as the object's key, of which the last stays, or else a new UUID. Headers
    are not kept.

    `expected_bucket_owner`: the account that has to own the bucket. `failure_format`: payload, as on AWS,
    metadata or record.
    """

    service = "s3"
    limits = Limits(count=1, size=2**30, width=16)
    option_types: ClassVar[Mapping[str, type]] = {"expected_bucket_owner": str, "failure_format": str}

    def __init__(
        self,
        bucket: str,
        *,
        expected_bucket_owner: str | None = None,
        failure_format: str = "payload",
        timeout: float = 15.0,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        place, _, prefix = bucket.partition("/")
        super().__init__(named(place, "s3", "bucket"), timeout, connection)
        self.failure_format = format_of(failure_format)
        self._prefix = f"{prefix}/" if prefix else ""
        self._owner: dict[str, str] = {}
        if expected_bucket_owner is not None:
            self._owner["ExpectedBucketOwner"] = text("expected_bucket_owner", expected_bucket_owner)

    @property
    def name(self) -> str:
        return f"s3://{self._resource.name}/{self._prefix}".rstrip("/")

    def _entry(self, index: int, message: Message) -> Entry:
        key = self._prefix + (message.name or message.key or str(uuid4()))
        try:
            length = len(key.encode())
        except UnicodeEncodeError:
            raise Refused("the key is not UTF-8, which the key of an object has to be") from None
        if length > _LONGEST_KEY:
            raise Refused(f"the key has {length} bytes, above the {_LONGEST_KEY} of an object's key")
        return Entry(index, {"Key": key, "Body": message.body}, len(message.body), lane=key)

    async def _find(self, api: Api) -> str:
        return self._resource.name

    async def _look(self, api: Api, address: str) -> None:
        await api.call("HeadBucket", {"Bucket": address, **self._owner})

    async def _post(self, api: Api, address: str, batch: Sequence[Entry]) -> Mapping[int, Fault]:
        for entry in batch:
            put: dict[str, Any] = {"Bucket": address, **self._owner, **entry.request}
            await api.call("PutObject", put)
        return {}
