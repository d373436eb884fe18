"""Where the code of functions comes from, and how it is handed out."""

from __future__ import annotations

import errno
from functools import partial
from hashlib import sha256

import anyio
import pytest
from botocore.exceptions import ClientError

from streamfn.control.code import check_size, code_response
from streamfn.control.drafts import Draft
from streamfn.control.errors import ApiError
from streamfn.control.operations import Operating
from streamfn.control.plane import Plane
from streamfn.packages.tree import UNZIPPED_LIMIT, ZIPPED_LIMIT
from streamfn.ports import NoSuchBucket, Take
from tests.control.calling import Calls
from tests.control.function_calls import ONE, ROLE, TWO, active, create, hashed, refused, said
from tests.waiting import until

pytestmark = pytest.mark.anyio

IN_S3 = {"S3Bucket": "code", "S3Key": "orders.zip"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def uploads(plane: Plane) -> list[str]:
    """The zips that are kept, and those that are coming."""
    return sorted(path.name for path in (plane.state_dir / "uploads").iterdir())


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
    async def fetch(bucket: str, key: str, version: str | None, take: Take) -> None:
        if bucket != "code":
            raise NoSuchBucket(bucket)
        if (key, version) != ("orders.zip", "v1"):
            raise FileNotFoundError(key)
        await take(TWO[:100])
        await take(TWO[100:])

    plane.objects = fetch
    made = await create(call, Code=IN_S3 | {"S3ObjectVersion": "v1"})
    assert (made["CodeSha256"], made["CodeSize"]) == (hashed(TWO), len(TWO))
    await active(call)
    assert (await said(plane))["said"] == "two"
    with pytest.raises(ClientError, match="S3 Error Code: NoSuchKey"):
        await create(call, "other", Code={"S3Bucket": "code", "S3Key": "no.zip"})
    with pytest.raises(
        ClientError, match="NoSuchBucket. S3 Error Message: The specified bucket does not exist"
    ):
        await create(call, "other", Code={"S3Bucket": "none", "S3Key": "orders.zip"})
    location = (await call("GetFunction", FunctionName="orders"))["Code"]["Location"]
    response = await code_response(plane, location.removeprefix(plane.url))
    assert response is not None
    assert response.body == TWO
    assert uploads(plane) == [f"{sha256(TWO).hexdigest()}.zip"]


async def test_a_server_that_cannot_be_reached_is_said(call: Calls, plane: Plane) -> None:
    async def fetch(bucket: str, key: str, version: str | None, take: Take) -> None:
        await take(TWO[:100])
        raise ConnectionRefusedError("nobody is there")

    plane.objects = fetch
    with pytest.raises(ClientError, match="Error occurred while GetObject.*nobody is there"):
        await create(call, Code=IN_S3)
    assert uploads(plane) == []


async def test_what_comes_is_cut_off_where_it_is_too_large(call: Calls, plane: Plane) -> None:
    async def fetch(bucket: str, key: str, version: str | None, take: Take) -> None:
        await take(TWO)
        # Never written to, so that it takes no memory.
        await take(bytes(UNZIPPED_LIMIT - len(TWO)))
        raise AssertionError

    plane.objects = fetch
    with pytest.raises(ClientError, match="Unzipped size must be smaller than 262144000 bytes") as caught:
        await create(call, Code=IN_S3)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
    assert uploads(plane) == []


async def test_a_full_disk_is_no_fault_of_the_bucket(
    call: Calls, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch(bucket: str, key: str, version: str | None, take: Take) -> None:
        await take(TWO)

    def write(draft: Draft, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Draft, "write", write)
    plane.objects = fetch
    with pytest.raises(ClientError, match="could not be stored: .* No space left on device") as caught:
        await create(call, Code=IN_S3)
    assert caught.value.response["Error"]["Code"] == "ServiceException"
    assert uploads(plane) == []


async def test_only_what_is_sent_has_the_smaller_limit(call: Calls, plane: Plane) -> None:
    with pytest.raises(ClientError, match="Zipped size must be smaller than 52428800 bytes"):
        await create(call, data=bytes(ZIPPED_LIMIT))
    assert uploads(plane) == []


async def test_what_is_being_fetched_is_not_pruned_and_goes_when_it_is_stopped(
    call: Calls, plane: Plane, operating: Operating
) -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    async def fetch(bucket: str, key: str, version: str | None, take: Take) -> None:
        await take(TWO[:100])
        begun.set()
        await go_on.wait()
        await take(TWO[100:])

    plane.objects = fetch
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(create, call, Code=IN_S3))
        await begun.wait()
        # Prunes: nothing refers to what is coming.
        await create(call, "other")
        await active(call, "other")
        await call("DeleteFunction", FunctionName="other")
        await until(lambda: len(uploads(plane)) == 1)
        go_on.set()
    await active(call)
    assert (await said(plane))["said"] == "two"

    begun, go_on = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(create, call, "stopped", Code=IN_S3))
        await begun.wait()
        assert len(uploads(plane)) == 2
        tasks.cancel_scope.cancel()
    assert uploads(plane) == [f"{sha256(TWO).hexdigest()}.zip"]


async def test_what_a_killed_daemon_was_fetching_goes_at_the_next_start(plane: Plane) -> None:
    left = plane.state_dir / "uploads" / ".0123456789abcdef"
    left.parent.mkdir()
    left.write_bytes(b"half")
    await Operating(plane).restore()
    assert uploads(plane) == []


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
