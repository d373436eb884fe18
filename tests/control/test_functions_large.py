"""Code that is too large to be sent, from a bucket of a real server."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator

import pytest

from streamfn.config import Endpoint
from streamfn.control.code import code_response
from streamfn.control.plane import Plane
from streamfn.objects import Objects
from streamfn.packages.tree import ZIPPED_LIMIT
from tests.control.calling import Calls
from tests.control.function_calls import active, create, hashed, said
from tests.servers.aws import KEY, SECRET, Ministack, run_ministack

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

CODE = "import os\ndef handler(event, context):\n    return {'said': os.path.getsize('data')}\n"
SIZE = 60_000_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    with run_ministack() as server:
        yield server


async def test_a_zip_of_60_mb_comes_from_a_bucket(call: Calls, plane: Plane, aws: Ministack) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("index.py", CODE)
        archive.writestr("data", os.urandom(SIZE))
    assert len(data.getvalue()) > ZIPPED_LIMIT
    bucket = aws.unique("code")
    async with aws.client("s3") as s3:
        await s3.create_bucket(Bucket=bucket)
        await s3.put_object(Bucket=bucket, Key="large.zip", Body=data.getvalue())
    place = Endpoint(url=aws.endpoint, region=aws.region, access_key_id=KEY, secret_access_key=SECRET)
    plane.objects = Objects([place])
    made = await create(call, Code={"S3Bucket": bucket, "S3Key": "large.zip"})
    assert (made["CodeSize"], made["CodeSha256"]) == (len(data.getvalue()), hashed(data.getvalue()))
    await active(call)
    assert (await said(plane))["said"] == SIZE
    location = (await call("GetFunction", FunctionName="orders"))["Code"]["Location"]
    response = await code_response(plane, location.removeprefix(plane.url))
    assert response is not None
    assert not isinstance(response.body, bytes)
    pieces = [piece async for piece in response.body]
    assert max(map(len, pieces)) <= 2**20
    assert b"".join(pieces) == data.getvalue()
