"""Where the code of functions comes from, and how it is handed out."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from streamfn.control.code import check_size, code_response
from streamfn.control.errors import ApiError
from streamfn.control.plane import Plane
from tests.control.calling import Calls
from tests.control.function_calls import ONE, ROLE, TWO, active, create, refused, said
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_code_is_handed_out(call: Calls, plane: Plane) -> None:
    await create(call)
    found = await call("GetFunction", FunctionName="orders")
    location = found["Code"]["Location"]
    assert found["Code"]["RepositoryType"] == "S3"
    path = location.removeprefix(plane.url)
    response = await code_response(plane, path)
    assert response is not None
    assert response.body == ONE
    assert await code_response(plane, path[:-1] + ("0" if path[-1] != "0" else "1")) is None
    assert await code_response(plane, "/_code/x.y.z") is None
    now = plane.clock()
    plane.clock = lambda: now + 700
    late = await code_response(plane, path)
    assert late is not None
    assert late.status == 403


async def test_local_code_is_taken_from_folders_that_are_allowed(call: Calls, plane: Plane) -> None:
    folder = plane.code_dirs[0] / "orders"
    folder.mkdir()
    (folder / "package").mkdir()
    (folder / "package" / "words.py").write_text("SAID = 'local'\n")
    (folder / "words.py").symlink_to("package/words.py")
    text = "import words\ndef handler(event, context):\n    return {'said': words.SAID}\n"
    (folder / "index.py").write_text(text)
    await create(call, Code={"S3Bucket": "__local__", "S3Key": str(folder)})
    now = await active(call)
    assert now["State"] == "Active"
    assert (await said(plane))["said"] == "local"
    location = (await call("GetFunction", FunctionName="orders"))["Code"]["Location"]
    response = await code_response(plane, location.removeprefix(plane.url))
    assert response is not None
    assert isinstance(response.body, bytes)
    await create(call, "copy", data=response.body)
    await active(call, "copy")
    assert (await said(plane, "copy"))["said"] == "local"
    # What is changed there runs from then on, as it is shown.
    (folder / "index.py").write_text("def handler(event, context):\n    return {'said': 'changed'}\n")

    async def has_changed() -> bool:
        return bool((await said(plane))["said"] == "changed")

    await until(has_changed)
    assert (await active(call))["CodeSha256"] != now["CodeSha256"]


@pytest.mark.parametrize("key", ["/etc", "orders", "../state", "{code}/../state", "{code}/link", "{code}/no"])
async def test_local_code_from_elsewhere_is_refused(call: Calls, plane: Plane, key: str) -> None:
    code = plane.code_dirs[0]
    (code / "link").symlink_to("/etc")
    place = key.format(code=code)
    error, message = await refused(
        call,
        "CreateFunction",
        FunctionName="orders",
        Runtime="python3.11",
        Handler="index.handler",
        Role=ROLE,
        Code={"S3Bucket": "__local__", "S3Key": place},
    )
    assert error == "InvalidParameterValueException"
    assert "--code-dir" in message


async def test_code_is_fetched(call: Calls, plane: Plane) -> None:
    async def fetch(bucket: str, key: str, version: str | None) -> bytes:
        if (bucket, key, version) != ("code", "orders.zip", "v1"):
            raise FileNotFoundError(key)
        return TWO

    plane.objects = fetch
    await create(call, Code={"S3Bucket": "code", "S3Key": "orders.zip", "S3ObjectVersion": "v1"})
    await active(call)
    assert (await said(plane))["said"] == "two"
    with pytest.raises(ClientError, match="S3 Error Code: NoSuchKey"):
        await create(call, "other", Code={"S3Bucket": "code", "S3Key": "no.zip"})


async def test_a_server_that_cannot_be_reached_is_said(call: Calls, plane: Plane) -> None:
    async def fetch(bucket: str, key: str, version: str | None) -> bytes:
        raise ConnectionRefusedError("nobody is there")

    plane.objects = fetch
    with pytest.raises(ClientError, match="Error occurred while GetObject.*nobody is there"):
        await create(call, Code={"S3Bucket": "code", "S3Key": "orders.zip"})


async def test_code_that_was_deleted_is_not_handed_out(call: Calls, plane: Plane) -> None:
    await create(call)
    location = (await call("GetFunction", FunctionName="orders"))["Code"]["Location"]
    await active(call)
    await call("DeleteFunction", FunctionName="orders")
    await plane.app.deployed.tidy()
    response = await code_response(plane, location.removeprefix(plane.url))
    assert response is not None
    assert response.status == 404


def test_code_and_layers_together_have_a_limit() -> None:
    check_size({"Unpacked": 60}, [{"Unpacked": 40}], 100)
    with pytest.raises(ApiError) as caught:
        check_size({"Unpacked": 60}, [{"Unpacked": 40}, {"Unpacked": 1}], 100)
    assert caught.value.message == (
        "Function code combined with layers exceeds the maximum allowed size of 100 bytes. The actual size "
        "is 101 bytes."
    )
