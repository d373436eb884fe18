"""Function URLs, tags and settings through the API: kept, shown, and refused in AWS's words."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from streamfn import App
from streamfn.control.daemon import ApiOptions, serve_api
from streamfn.control.plane import Plane
from streamfn.control.resources import Resources
from streamfn.testing.resources import MemoryResourceStore
from tests.control.calling import Calls
from tests.control.function_calls import ARN, answered, refused

pytestmark = pytest.mark.anyio

MAPPING = "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:"
UUID = "0a0a0a0a-1111-2222-3333-444444444444"
GONE = ("ResourceNotFoundException", "The resource you requested does not exist.")
NOWHERE = ("ResourceNotFoundException", "Function does not exist")
UNKNOWN = ("ResourceNotFoundException", f"Function not found: {ARN[:-6]}others")


async def again(plane: Plane, store: MemoryResourceStore) -> Resources:
    """What the next process finds."""
    resources = Resources(store)
    await resources.load()
    assert resources.all("url") == plane.resources.all("url")
    return resources


# ------------------------------------------------------------------------------------------------------ URLs


async def test_a_url_is_made_changed_and_taken_away(
    call: Calls, plane: Plane, store: MemoryResourceStore, orders: object
) -> None:
    plane.url = "http://127.0.0.1:9123"
    cors = {"AllowOrigins": ["https://example.com"], "MaxAge": 5}
    made = await answered(
        call, "CreateFunctionUrlConfig", FunctionName="orders", AuthType="AWS_IAM", Cors=cors
    )
    assert made["FunctionUrl"].startswith("http://")
    assert made["FunctionUrl"].endswith(".lambda-url.us-east-1.localhost:9123/")
    assert 40 <= len(made["FunctionUrl"]) <= 100
    assert (made["FunctionArn"], made["AuthType"], made["Cors"]) == (ARN, "AWS_IAM", cors)
    assert made["InvokeMode"] == "BUFFERED"
    found = await answered(call, "GetFunctionUrlConfig", FunctionName=ARN)
    assert found == {**made, "LastModifiedTime": made["CreationTime"]}
    changed = await answered(
        call, "UpdateFunctionUrlConfig", FunctionName="orders", AuthType="NONE", InvokeMode="RESPONSE_STREAM"
    )
    assert changed | {"LastModifiedTime": ""} == found | {
        "AuthType": "NONE",
        "InvokeMode": "RESPONSE_STREAM",
        "LastModifiedTime": "",
    }
    assert (await again(plane, store)).get("url", "orders") is not None
    await call("DeleteFunctionUrlConfig", FunctionName="orders")
    assert await refused(call, "GetFunctionUrlConfig", FunctionName="orders") == GONE
    assert (await again(plane, store)).get("url", "orders") is None


async def test_a_url_is_not_served_and_says_so(tmp_path: Path) -> None:
    app = App(state_dir=tmp_path, serves_api=True)
    resources = Resources(MemoryResourceStore())
    await resources.load()
    options = ApiOptions("127.0.0.1:0")
    async with app, serve_api(app, resources, options, app._clock) as url:
        port = urlsplit(url).port
        assert port is not None
        for host in (f"{'0a' * 16}.lambda-url.us-east-1.localhost:{port}", f"127.0.0.1:{port}"):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                head = f"POST /orders HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close"
                await stream.send(f"{head}\r\n\r\n".encode())
                answer = b"".join([piece async for piece in stream]).decode()
            assert answer.startswith("HTTP/1.1 404 ")
            assert ("serves none: call Invoke" in answer) == ("lambda-url" in host)


async def test_a_function_and_each_alias_have_one_url(call: Calls, released: None) -> None:
    for more in ({}, {"Qualifier": "live"}):
        await call("CreateFunctionUrlConfig", FunctionName="orders", AuthType="NONE", **more)
    code, message = await refused(
        call, "CreateFunctionUrlConfig", FunctionName="orders", AuthType="NONE", Qualifier="live"
    )
    assert code == "ResourceConflictException"
    assert message == (
        f"Failed to create function url config for [functionArn = {ARN}:live]."
        " Error message:  FunctionUrlConfig exists for this Lambda function"
    )
    first = await answered(call, "ListFunctionUrlConfigs", FunctionName="orders", MaxItems=1)
    then = await answered(call, "ListFunctionUrlConfigs", FunctionName="orders", Marker=first["NextMarker"])
    assert "NextMarker" not in then
    arns = [one["FunctionArn"] for page in (first, then) for one in page["FunctionUrlConfigs"]]
    assert arns == [ARN, f"{ARN}:live"]


async def test_urls_of_what_is_not_there(call: Calls, orders: object) -> None:
    for operation, more in (
        ("CreateFunctionUrlConfig", {"AuthType": "NONE"}),
        ("ListFunctionUrlConfigs", {}),
    ):
        assert await refused(call, operation, FunctionName="others", **more) == NOWHERE
    assert await refused(call, "UpdateFunctionUrlConfig", FunctionName="others") == NOWHERE
    given = {"FunctionName": "orders", "Qualifier": "none"}
    assert await refused(call, "CreateFunctionUrlConfig", AuthType="NONE", **given) == NOWHERE
    assert await refused(call, "UpdateFunctionUrlConfig", **given) == NOWHERE
    for operation in ("GetFunctionUrlConfig", "DeleteFunctionUrlConfig"):
        assert await refused(call, operation, **given) == GONE
    assert await refused(call, "UpdateFunctionUrlConfig", FunctionName="orders") == GONE
    assert await refused(call, "DeleteFunctionUrlConfig", FunctionName="others") == GONE


async def test_a_url_below_a_unix_socket_has_no_port(call: Calls, plane: Plane, orders: object) -> None:
    plane.url = "unix:/run/streamfn.sock"
    made = await call("CreateFunctionUrlConfig", FunctionName="orders", AuthType="NONE")
    assert made["FunctionUrl"].endswith(".localhost/")


async def test_urls_and_policies_go_with_their_function(call: Calls, plane: Plane, orders: object) -> None:
    await call("CreateFunctionUrlConfig", FunctionName="orders", AuthType="NONE")
    given = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "*"}
    await call("AddPermission", FunctionName="orders", **given)
    await call("DeleteFunction", FunctionName="orders")
    assert dict(plane.resources.all("url")) == {}
    assert dict(plane.resources.all("policy")) == {}


# ------------------------------------------------------------------------------------------------------ tags


async def test_tags_of_a_function(
    call: Calls, plane: Plane, store: MemoryResourceStore, orders: object
) -> None:
    assert (await call("ListTags", Resource=ARN))["Tags"] == {}
    await call("TagResource", Resource=ARN, Tags={"team": "a", "stage": "test"})
    await call("TagResource", Resource=ARN, Tags={"team": "b"})
    assert (await call("ListTags", Resource=ARN))["Tags"] == {"team": "b", "stage": "test"}
    assert (await call("GetFunction", FunctionName="orders"))["Tags"] == {"team": "b", "stage": "test"}
    await call("UntagResource", Resource=ARN, TagKeys=["stage", "never"])
    document = (await again(plane, store)).get("function", "orders")
    assert document is not None
    assert document["Tags"] == {"team": "b"}
    await call("UntagResource", Resource=ARN, TagKeys=["team"])
    assert (await call("ListTags", Resource=ARN))["Tags"] == {}


async def test_tags_of_a_mapping(call: Calls, plane: Plane) -> None:
    await plane.resources.put("mapping", UUID, {"UUID": UUID, "Tags": {"a": "1"}, "BatchSize": 10})
    await call("TagResource", Resource=MAPPING + UUID.upper(), Tags={"b": "2"})
    assert (await call("ListTags", Resource=MAPPING + UUID))["Tags"] == {"a": "1", "b": "2"}
    assert (plane.resources.get("mapping", UUID) or {})["BatchSize"] == 10
    await plane.resources.put("mapping", UUID, {"UUID": UUID, "Deleting": True})
    assert await refused(call, "ListTags", Resource=MAPPING + UUID) == GONE


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({}, "An error occurred and the request cannot be processed."),
        ({f"k{number}": "" for number in range(51)}, "Number of tags exceeds resource tag limit."),
        ({"aws:mine": ""}, "The tag aws:mine is one of AWS's own, which begin with aws:."),
    ],
)
async def test_tags_that_cannot_be(call: Calls, orders: object, tags: dict[str, str], message: str) -> None:
    code, said = await refused(call, "TagResource", Resource=ARN, Tags=tags)
    assert code == "InvalidParameterValueException"
    assert said == message


async def test_tags_of_what_has_none(call: Calls, plane: Plane) -> None:
    versions = "Tags on function aliases and versions are not supported. Please specify a function ARN."
    assert await refused(call, "ListTags", Resource=f"{ARN}:1") == (
        "InvalidParameterValueException",
        versions,
    )
    assert await refused(call, "ListTags", Resource=ARN.replace("orders", "others")) == UNKNOWN
    elsewhere = ARN.replace("us-east-1", "eu-west-1")
    assert await refused(call, "ListTags", Resource=elsewhere) == (
        "ResourceNotFoundException",
        f"Function not found: {elsewhere}",
    )
    for other in (
        MAPPING + UUID,
        MAPPING.replace("event-source-mapping", "code-signing-config") + "csc-" + "a" * 17,
    ):
        assert await refused(call, "TagResource", Resource=other, Tags={"a": "1"}) == GONE
    code, _ = await refused(call, "ListTags", Resource="orders")
    assert code == "ValidationException"


async def test_a_function_of_the_app_is_tagged_there(call: Calls, plane: Plane) -> None:
    @plane.app.function()
    async def declared(event: object) -> None: ...

    arn = ARN.replace("orders", "declared")
    assert (await call("ListTags", Resource=arn))["Tags"] == {}
    assert await refused(call, "TagResource", Resource=arn, Tags={"a": "1"}) == (
        "ResourceConflictException",
        "The function declared is declared by the app that runs here: change it there.",
    )


# -------------------------------------------------------------------------------------------------- settings


async def test_runtime_updates(call: Calls, released: None) -> None:
    automatic = await answered(call, "GetRuntimeManagementConfig", FunctionName="orders")
    assert automatic == {"UpdateRuntimeOn": "Auto", "FunctionArn": ARN}
    version = "arn:aws:lambda:us-east-1::runtime:" + "0" * 64
    given = {"FunctionName": "orders", "Qualifier": "1"}
    put = await answered(
        call, "PutRuntimeManagementConfig", UpdateRuntimeOn="Manual", RuntimeVersionArn=version, **given
    )
    assert put == {"UpdateRuntimeOn": "Manual", "RuntimeVersionArn": version, "FunctionArn": f"{ARN}:1"}
    assert await answered(call, "GetRuntimeManagementConfig", **given) == put
    assert (await call("GetRuntimeManagementConfig", FunctionName="orders"))["UpdateRuntimeOn"] == "Auto"
    for wrong in ({"UpdateRuntimeOn": "Manual"}, {"UpdateRuntimeOn": "Auto", "RuntimeVersionArn": version}):
        code, _ = await refused(call, "PutRuntimeManagementConfig", **given, **wrong)
        assert code == "InvalidParameterValueException"
    code, message = await refused(call, "GetRuntimeManagementConfig", FunctionName="orders", Qualifier="9")
    assert (code, message) == ("ResourceNotFoundException", f"Function not found: {ARN}:9")


async def test_what_loops_is_always_stopped(call: Calls, orders: object) -> None:
    terminate = {"RecursiveLoop": "Terminate"}
    assert await answered(call, "GetFunctionRecursionConfig", FunctionName="orders") == terminate
    assert await answered(call, "PutFunctionRecursionConfig", FunctionName="orders", **terminate) == terminate
    code, message = await refused(
        call, "PutFunctionRecursionConfig", FunctionName="orders", RecursiveLoop="Allow"
    )
    assert code == "InvalidParameterValueException"
    assert message == "RecursiveLoop Allow is not supported by streamfn: what loops is stopped."


async def test_no_code_is_signed(call: Calls, orders: object) -> None:
    arn = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-" + "a" * 17
    assert await answered(call, "GetFunctionCodeSigningConfig", FunctionName="orders") == {}
    code, message = await refused(
        call, "PutFunctionCodeSigningConfig", FunctionName="orders", CodeSigningConfigArn=arn
    )
    assert code == "CodeSigningConfigNotFoundException"
    assert message.endswith(f"Check that the provided configuration is not deleted: {arn}.")
    assert await answered(call, "DeleteFunctionCodeSigningConfig", FunctionName="orders") == {}
    for operation in (
        "GetFunctionCodeSigningConfig",
        "DeleteFunctionCodeSigningConfig",
        "GetFunctionRecursionConfig",
    ):
        assert await refused(call, operation, FunctionName="others") == UNKNOWN
