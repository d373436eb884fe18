"""What is refused of functions, in Lambda's words."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from streamfn.control.plane import Plane
from tests.control.calling import Calls
from tests.control.function_calls import ONE, ROLE, TWO, active, create, refused

pytestmark = pytest.mark.anyio

FILES = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (
            {"Code": {"ZipFile": b"no zip"}},
            "InvalidParameterValueException",
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ),
        ({"Code": {}}, "InvalidParameterValueException", "Please provide a source for function code."),
        (
            {"Code": {"ZipFile": ONE, "S3Bucket": "bucket", "S3Key": "key"}},
            "InvalidParameterValueException",
            "Please do not provide other FunctionCode parameters when providing a ZipFile.",
        ),
        (
            {"Handler": None},
            "InvalidParameterValueException",
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ),
        (
            {"Timeout": 901},
            "ValidationException",
            "1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: Member must "
            "have value less than or equal to 900",
        ),
        (
            {"MemorySize": 10241},
            "InvalidParameterValueException",
            "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to "
            "10240",
        ),
        (
            {"Environment": {"Variables": {"AWS_REGION": "x"}}},
            "InvalidParameterValueException",
            "Lambda was unable to configure your environment variables because the environment variables you "
            "have provided contains reserved keys that are currently not supported for modification. "
            "Reserved keys used in this request: AWS_REGION",
        ),
        (
            {"DurableConfig": {"ExecutionTimeout": 60}},
            "InvalidParameterValueException",
            "DurableConfig is not supported by streamfn: a function would not be the same without it.",
        ),
        (
            {"DeadLetterConfig": {"TargetArn": "arn:aws:nothing:us-east-1:000000000000:x"}},
            "InvalidParameterValueException",
            "The dead-letter target arn:aws:nothing:us-east-1:000000000000:x cannot be used",
        ),
        (
            {"DeadLetterConfig": {"TargetArn": "arn:aws:lambda:us-east-1:000000000000:function:x"}},
            "InvalidParameterValueException",
            "The dead-letter target arn:aws:lambda:us-east-1:000000000000:function:x cannot be used: it is "
            "neither a queue nor a topic.",
        ),
        (
            {"Tags": {"aws:mine": "x"}},
            "InvalidParameterValueException",
            "The tag aws:mine is one of AWS's own, which begin with aws:.",
        ),
        (
            {"Tags": {str(number): "x" for number in range(51)}},
            "InvalidParameterValueException",
            "Number of tags exceeds resource tag limit.",
        ),
        (
            {"PackageType": "Image"},
            "InvalidParameterValueException",
            "Please provide ImageUri when creating a function with packageType Image.",
        ),
        (
            {"Code": {"S3Bucket": "bucket", "S3Key": "key"}},
            "InvalidParameterValueException",
            "No server is known that code could be fetched from: name one for s3 in `endpoints`, send "
            "ZipFile, or name local code with S3Bucket __local__.",
        ),
    ],
)
async def test_what_cannot_be_is_refused_at_once(
    call: Calls, plane: Plane, more: dict[str, Any], code: str, message: str
) -> None:
    given = {"Runtime": "python3.11", "Handler": "index.handler", "Role": ROLE, "Code": {"ZipFile": ONE}}
    params = {name: value for name, value in (given | more).items() if value is not None}
    error, said = await refused(call, "CreateFunction", FunctionName="orders", **params)
    assert (error, said[: len(message)]) == (code, message)
    assert plane.resources.all("function") == {}


async def test_too_many_variables_are_refused(call: Calls) -> None:
    many = {"Variables": {"NAME": "x" * 5000}}
    with pytest.raises(ClientError, match="exceeded the 4KB limit"):
        await create(call, Environment=many)


@pytest.mark.parametrize(
    ("operation", "params", "message"),
    [
        (
            "UpdateFunctionConfiguration",
            {"FunctionName": "orders:1", "Timeout": 9},
            "This operation is permitted on unqualified functions only.",
        ),
        (
            "UpdateFunctionCode",
            {"FunctionName": "orders", "ImageUri": "orders:1"},
            "Please don't provide ImageUri when updating a function with packageType Zip.",
        ),
        (
            "UpdateFunctionCode",
            {"FunctionName": "orders"},
            "Please provide a source for function code.",
        ),
        (
            "UpdateFunctionCode",
            {"FunctionName": "orders", "ZipFile": TWO, "PublishTo": "LATEST_PUBLISHED"},
            "PublishTo is not supported by streamfn: a function would not be the same without it.",
        ),
        (
            "PublishVersion",
            {"FunctionName": "orders", "PublishTo": "LATEST_PUBLISHED"},
            "PublishTo is not supported by streamfn: a function would not be the same without it.",
        ),
        (
            "UpdateFunctionConfiguration",
            {"FunctionName": "orders", "FileSystemConfigs": [{"Arn": FILES, "LocalMountPath": "/mnt/a"}]},
            "FileSystemConfigs is not supported by streamfn: a function would not be the same without it.",
        ),
    ],
)
async def test_changes_that_cannot_be_are_refused(
    call: Calls, operation: str, params: dict[str, Any], message: str
) -> None:
    await create(call)
    before = await active(call)
    assert await refused(call, operation, **params) == ("InvalidParameterValueException", message)
    assert await active(call) == before


async def test_what_cannot_run_is_not_published(call: Calls) -> None:
    made = await create(call, Runtime="java21", Publish=True)
    assert (made["Version"], made["State"]) == ("$LATEST", "Failed")
    assert len((await call("ListVersionsByFunction", FunctionName="orders"))["Versions"]) == 1
    code, message = await refused(call, "PublishVersion", FunctionName="orders")
    assert code == "ResourceConflictException"
    assert "java21" in message


async def test_what_cannot_run_may_have_places(call: Calls) -> None:
    await create(call, Runtime="java21")
    await active(call)
    await call("PutFunctionConcurrency", FunctionName="orders", ReservedConcurrentExecutions=2)
    found = await call("GetFunction", FunctionName="orders")
    assert found["Configuration"]["State"] == "Failed"
    assert found["Concurrency"] == {"ReservedConcurrentExecutions": 2}
