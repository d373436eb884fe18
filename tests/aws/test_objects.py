"""Objects and secrets on a real server: read whole, and refused with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streamfn import plugins
from streamfn.config import endpoints_of
from streamfn.errors import ConfigurationError
from streamfn.objects import Objects
from streamfn.ports import NoSuchBucket
from streamfn.secrets import Secrets
from streamfn_aws import AwsSecret, S3Bucket
from tests.servers.aws import KEY, SECRET, Ministack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CODE = bytes(range(256)) * 10_000


def options(server: Ministack) -> dict[str, Any]:
    return {
        "endpoint_url": server.endpoint,
        "region": server.region,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
    }


async def fetched(bucket: S3Bucket, key: str, version: str | None = None) -> bytes:
    pieces: list[bytes] = []

    async def take(piece: bytes) -> None:
        pieces.append(piece)

    await bucket.fetch(key, version, take)
    return b"".join(pieces)


@pytest.fixture
async def bucket(aws: Ministack) -> AsyncIterator[str]:
    name = aws.unique("code")
    async with aws.client("s3") as s3:
        await s3.create_bucket(Bucket=name)
        await s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        await s3.put_object(Bucket=name, Key="a/fn.zip", Body=CODE)
        yield name


async def test_an_object_comes_whole(aws: Ministack, bucket: str) -> None:
    assert await fetched(S3Bucket(bucket, **options(aws)), "a/fn.zip") == CODE


async def test_a_version_is_that_version(aws: Ministack, bucket: str) -> None:
    async with aws.client("s3") as s3:
        old = (await s3.put_object(Bucket=bucket, Key="x", Body=b"old"))["VersionId"]
        await s3.put_object(Bucket=bucket, Key="x", Body=b"new")
    there = S3Bucket(bucket, **options(aws))
    assert [await fetched(there, "x", version) for version in (old, None)] == [b"old", b"new"]


async def test_who_takes_it_may_end_it(aws: Ministack, bucket: str) -> None:
    sizes: list[int] = []

    async def take(piece: bytes) -> None:
        sizes.append(len(piece))
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        await S3Bucket(bucket, **options(aws)).fetch("a/fn.zip", None, take)
    assert len(sizes) == 1
    assert sizes[0] <= 2**20


async def test_what_is_not_there_is_no_file(aws: Ministack, bucket: str) -> None:
    with pytest.raises(FileNotFoundError, match="NoSuchKey"):
        await fetched(S3Bucket(bucket, **options(aws)), "b")
    with pytest.raises(NoSuchBucket, match="NoSuchBucket"):
        await fetched(S3Bucket(aws.unique("none"), **options(aws)), "b")


async def test_a_secret_has_its_text(aws: Ministack) -> None:
    name = aws.unique("secret")
    async with aws.client("secretsmanager") as manager:
        arn = (await manager.create_secret(Name=name, SecretString="hidden"))["ARN"]
        binary = (await manager.create_secret(Name=f"{name}-b", SecretBinary=b"bytes"))["ARN"]
    for named in (name, arn):
        secret = AwsSecret(named, **options(aws))
        assert await secret.value() == "hidden"
        assert "hidden" not in repr(secret)
    assert await AwsSecret(binary, **options(aws)).value() == "bytes"
    with pytest.raises(ConfigurationError, match="SourceAccessConfigurations: .*ResourceNotFoundException"):
        await AwsSecret(aws.unique("none"), **options(aws)).value()


async def test_a_server_that_is_away_is_no_wrong_configuration() -> None:
    nowhere = {"endpoint_url": "http://127.0.0.1:1", "region": "us-east-1"}
    keys: Any = nowhere | {"access_key_id": KEY, "secret_access_key": SECRET}
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1"):
        await AwsSecret("s", **keys).value()
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1"):
        await fetched(S3Bucket("b", **keys), "k")


async def test_the_endpoint_map_says_where(aws: Ministack, bucket: str) -> None:
    entry = {
        "region": aws.region,
        "url": aws.endpoint,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
    }
    endpoints = endpoints_of([entry])
    pieces: list[bytes] = []

    async def take(piece: bytes) -> None:
        pieces.append(piece)

    await Objects(endpoints)(bucket, "a/fn.zip", None, take)
    assert b"".join(pieces) == CODE
    name = aws.unique("secret")
    async with aws.client("secretsmanager") as manager:
        made = await manager.create_secret(Name=name, SecretString='{"username": "me", "password": "x"}')
    for named in (made["ARN"], name):
        assert await Secrets(None, endpoints).fields(named) == {"username": "me", "password": "x"}


@asynccontextmanager
async def answering(answer: bytes, asked: list[str]) -> AsyncIterator[S3Bucket]:
    """A bucket behind a server that gives one answer, whatever is asked."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        keys: Any = {"region": "us-east-1", "access_key_id": KEY, "secret_access_key": SECRET}
        yield S3Bucket("bucket", endpoint_url=f"http://localhost:{port}", **keys)


async def test_a_server_needs_no_name_for_each_bucket() -> None:
    asked: list[str] = []
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ncode"
    async with answering(answer, asked) as there:
        assert await fetched(there, "a/fn.zip") == b"code"
    assert asked[0].startswith("GET /bucket/a/fn.zip HTTP/1.1\r\n")


async def test_an_object_that_breaks_off_is_none() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\ncode"
    async with answering(answer, []) as there:
        with pytest.raises(OSError, match="s3://bucket/a/fn.zip: it broke off"):
            await fetched(there, "a/fn.zip")


def test_they_are_offered() -> None:
    assert plugins.kinds(plugins.BUCKETS) == {"s3": ["streamfn"]}
    assert plugins.kinds(plugins.SECRETS) == {"secretsmanager": ["streamfn"]}
