"""Functions through the API: created, shown, listed, changed, deleted, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from streamfn.control.plane import Plane
from tests.control.calling import Calls
from tests.control.function_calls import ARN, ONE, ROLE, TWO, active, create, hashed, refused, said
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# ------------------------------------------------------------------------------------------------- creating


async def test_a_function_is_pending_and_then_active(call: Calls, plane: Plane) -> None:
    made = await create(call, Environment={"Variables": {"COLOUR": "red"}}, Description="Takes orders")
    assert (made["State"], made["StateReasonCode"]) == ("Pending", "Creating")
    assert made["StateReason"] == "The function is being created."
    assert (made["FunctionArn"], made["Version"]) == (ARN, "$LATEST")
    assert (made["CodeSha256"], made["CodeSize"]) == (hashed(ONE), len(ONE))
    now = await active(call)
    assert (now["State"], now["LastUpdateStatus"]) == ("Active", "Successful")
    assert now["RevisionId"] != made["RevisionId"]
    assert await said(plane) == {
        "said": "one",
        "env": "red",
        "version": "$LATEST",
        "region": "us-east-1",
    }


async def test_what_was_given_is_shown(call: Calls) -> None:
    given: dict[str, Any] = {
        "Description": "Takes orders",
        "Timeout": 7,
        "MemorySize": 256,
        "Architectures": ["arm64"],
        "EphemeralStorage": {"Size": 600},
        "KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k",
        "TracingConfig": {"Mode": "Active"},
        "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:lost"},
    }
    await create(
        call,
        **given,
        VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        Environment={"Variables": {"COLOUR": "sealed:v1:red"}},
        LoggingConfig={"LogFormat": "JSON", "LogGroup": "mine"},
        SnapStart={"ApplyOn": "PublishedVersions"},
        Tags={"team": "a"},
    )
    found = await call("GetFunction", FunctionName="orders")
    now = found["Configuration"]
    assert {name: now[name] for name in given} == given
    assert now["VpcConfig"] == {
        "SubnetIds": ["subnet-1"],
        "SecurityGroupIds": ["sg-1"],
        "VpcId": "",
        "Ipv6AllowedForDualStack": False,
    }
    assert now["Environment"] == {"Variables": {"COLOUR": "sealed:v1:red"}}
    assert now["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    assert now["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": "INFO",
        "SystemLogLevel": "INFO",
        "LogGroup": "mine",
    }
    assert found["Tags"] == {"team": "a"}
    assert (now["Role"], now["PackageType"], now["Runtime"]) == (ROLE, "Zip", "python3.11")


async def test_what_was_not_given_has_the_defaults_of_lambda(call: Calls) -> None:
    now = await create(call)
    assert (now["Timeout"], now["MemorySize"], now["Description"]) == (3, 128, "")
    assert (now["Architectures"], now["TracingConfig"]) == (["x86_64"], {"Mode": "PassThrough"})
    assert now["EphemeralStorage"] == {"Size": 512}
    assert now["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/aws/lambda/orders"}
    assert now["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    assert "Environment" not in now
    assert "VpcConfig" not in now


async def test_variables_are_sealed_where_they_are_stored(call: Calls, plane: Plane, tmp_path: Path) -> None:
    await create(call, Environment={"Variables": {"PASSWORD": "correct horse"}})
    document = plane.resources.get("function", "orders")
    assert document is not None
    assert document["Environment"]["PASSWORD"].startswith("sealed:v1:")


async def test_a_name_is_taken_once(call: Calls) -> None:
    await create(call)
    with pytest.raises(ClientError, match="Function already exist: orders") as caught:
        await create(call)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409


async def test_a_function_that_cannot_run_here_fails_and_can_be_mended(call: Calls, plane: Plane) -> None:
    await create(call, Runtime="java21")
    now = await active(call)
    assert (now["State"], now["StateReasonCode"]) == ("Failed", "InvalidRuntime")
    assert "java21" in now["StateReason"]
    await call("UpdateFunctionConfiguration", FunctionName="orders", Runtime="python3.11")
    assert (await active(call))["State"] == "Active"
    assert (await said(plane))["said"] == "one"


async def test_a_function_may_be_an_image(call: Calls) -> None:
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/orders:1"
    given = {"FunctionName": "orders", "Role": ROLE, "PackageType": "Image"}
    code = {"ImageUri": image}
    config = {"Command": ["app.handler"], "WorkingDirectory": "/srv"}
    await call("CreateFunction", **given, Code=code, ImageConfig=config)
    await active(call)
    found = await call("GetFunction", FunctionName="orders")
    assert found["Code"] == {"RepositoryType": "ECR", "ImageUri": image, "ResolvedImageUri": image}
    now = found["Configuration"]
    assert (now["PackageType"], now["ImageConfigResponse"]) == ("Image", {"ImageConfig": config})
    assert "Runtime" not in now
    assert await refused(call, "UpdateFunctionCode", FunctionName="orders", ZipFile=ONE) == (
        "InvalidParameterValueException",
        "Please provide ImageUri when updating a function with packageType Image.",
    )
    other = given | {"FunctionName": "other"}
    assert await refused(call, "CreateFunction", **other, Code={"ImageUri": "-v?x"}) == (
        "InvalidParameterValueException",
        "Source image -v?x is not valid. Provide a valid source image.",
    )


# ------------------------------------------------------------------------------------------------- changing


async def test_code_is_changed(call: Calls, plane: Plane) -> None:
    await create(call)
    before = await active(call)
    updated = await call("UpdateFunctionCode", FunctionName="orders", ZipFile=TWO, Architectures=["arm64"])
    assert (updated["State"], updated["LastUpdateStatus"]) == ("Active", "InProgress")
    assert updated["CodeSha256"] == hashed(TWO)
    assert updated["Architectures"] == ["arm64"]
    assert updated["RevisionId"] != before["RevisionId"]
    assert (await active(call))["LastUpdateStatus"] == "Successful"
    assert (await said(plane))["said"] == "two"


async def test_a_dry_run_changes_nothing(call: Calls, plane: Plane) -> None:
    await create(call)
    before = await active(call)
    dry = await call("UpdateFunctionCode", FunctionName="orders", ZipFile=TWO, DryRun=True)
    assert dry["CodeSha256"] == hashed(TWO)
    assert await active(call) == before
    assert [path.stem for path in (plane.state_dir / "uploads").iterdir()] == [
        hashlib.sha256(ONE).hexdigest()
    ]


async def test_configuration_is_changed_and_the_rest_stays(call: Calls, plane: Plane) -> None:
    await create(call, Timeout=7, Environment={"Variables": {"COLOUR": "red"}})
    await active(call)
    await call("UpdateFunctionConfiguration", FunctionName="orders", MemorySize=256)
    now = await active(call)
    assert (now["MemorySize"], now["Timeout"]) == (256, 7)
    assert (await said(plane))["env"] == "red"
    await call("UpdateFunctionConfiguration", FunctionName="orders", Environment={"Variables": {}})
    assert (await active(call))["Environment"] == {"Variables": {}}
    assert (await said(plane))["env"] is None


async def test_some_structures_are_changed_member_by_member(call: Calls) -> None:
    await create(
        call, LoggingConfig={"LogFormat": "JSON", "LogGroup": "/ours"}, TracingConfig={"Mode": "Active"}
    )
    assert "Environment" not in await active(call)
    levels = {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"}
    for given, shown in (
        ({"ApplicationLogLevel": "DEBUG"}, {"LogFormat": "JSON", **levels, "ApplicationLogLevel": "DEBUG"}),
        ({"LogFormat": "Text"}, {"LogFormat": "Text"}),
        ({"LogFormat": "JSON"}, {"LogFormat": "JSON", **levels}),
    ):
        await call(
            "UpdateFunctionConfiguration", FunctionName="orders", LoggingConfig=given, TracingConfig={}
        )
        now = await active(call)
        assert now["LoggingConfig"] == {**shown, "LogGroup": "/ours"}
        assert now["TracingConfig"] == {"Mode": "Active"}


async def test_a_change_that_fails_leaves_what_was(call: Calls, plane: Plane) -> None:
    await create(call)
    await active(call)
    await call("UpdateFunctionConfiguration", FunctionName="orders", Runtime="java21")
    now = await active(call)
    assert (now["State"], now["LastUpdateStatus"]) == ("Active", "Failed")
    assert now["LastUpdateStatusReasonCode"] == "InvalidRuntime"
    assert now["Runtime"] == "python3.11"
    assert (await said(plane))["said"] == "one"


async def test_changes_wait_for_one_another(call: Calls, plane: Plane) -> None:
    await create(call)
    begin = "The operation cannot be performed at this time."
    assert await refused(call, "UpdateFunctionCode", FunctionName="orders", ZipFile=TWO) == (
        "ResourceConflictException",
        f"{begin} The function is currently in the following state: Pending",
    )
    await active(call)
    await call("UpdateFunctionCode", FunctionName="orders", ZipFile=TWO)
    assert await refused(call, "UpdateFunctionConfiguration", FunctionName="orders", Timeout=9) == (
        "ResourceConflictException",
        f"{begin} An update is in progress for resource: {ARN}",
    )


async def test_a_revision_that_is_old_changes_nothing(call: Calls) -> None:
    old = (await create(call))["RevisionId"]
    new = (await active(call))["RevisionId"]
    for operation, more in (
        ("UpdateFunctionCode", {"ZipFile": TWO}),
        ("UpdateFunctionConfiguration", {"Timeout": 9}),
        ("PublishVersion", {}),
    ):
        params = {"FunctionName": "orders", "RevisionId": old, **more}
        assert await refused(call, operation, **params) == (
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias "
            "API to retrieve the latest Revision Id",
        )
    await call("UpdateFunctionCode", FunctionName="orders", ZipFile=TWO, RevisionId=new)


async def test_what_others_keep_of_a_function_stays_and_is_shown(call: Calls, plane: Plane) -> None:
    await create(call)
    document = plane.resources.get("function", "orders")
    assert document is not None
    await plane.resources.put("function", "orders", {**document, "Tags": {"team": "a"}})
    await active(call)
    await plane.app.reserve("orders", 7)
    await call("UpdateFunctionConfiguration", FunctionName="orders", Timeout=9)
    await active(call)
    found = await call("GetFunction", FunctionName="orders")
    assert (found["Tags"], found["Concurrency"]) == ({"team": "a"}, {"ReservedConcurrentExecutions": 7})


# ------------------------------------------------------------------------------------------------- deleting


async def test_a_deleted_function_is_gone(call: Calls, plane: Plane) -> None:
    await create(call, Publish=True)
    await call("CreateAlias", FunctionName="orders", Name="live", FunctionVersion="1")
    deleted = await call("DeleteFunction", FunctionName="orders")
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    for operation in ("GetFunction", "GetFunctionConfiguration", "DeleteFunction", "ListVersionsByFunction"):
        assert await refused(call, operation, FunctionName="orders") == (
            "ResourceNotFoundException",
            f"Function not found: {ARN}",
        )
    assert plane.app.functions == {}
    assert list((plane.state_dir / "uploads").iterdir()) == []
    # It may come again, and its versions have new numbers.
    await create(call, Publish=True)
    listed = await call("ListVersionsByFunction", FunctionName="orders")
    assert [each["Version"] for each in listed["Versions"]] == ["$LATEST", "2"]
    assert (await call("ListAliases", FunctionName="orders"))["Aliases"] == []


async def test_a_function_is_deleted_while_it_is_made(call: Calls, plane: Plane) -> None:
    await create(call)
    await call("DeleteFunction", FunctionName="orders")
    await until(lambda: plane.resources.get("function", "orders") is None)
    assert plane.app.functions == {}


# -------------------------------------------------------------------------------------------------- listing


async def test_functions_are_listed_in_pages(call: Calls) -> None:
    for name in ("a", "b", "c"):
        await create(call, name)
    first = await call("ListFunctions", MaxItems=2)
    assert [each["FunctionName"] for each in first["Functions"]] == ["a", "b"]
    assert "State" not in first["Functions"][0]
    second = await call("ListFunctions", MaxItems=2, Marker=first["NextMarker"])
    assert [each["FunctionName"] for each in second["Functions"]] == ["c"]
    assert "NextMarker" not in second


async def test_all_versions_are_listed(call: Calls) -> None:
    await create(call, Publish=True)
    listed = await call("ListFunctions", FunctionVersion="ALL")
    assert [each["FunctionArn"] for each in listed["Functions"]] == [f"{ARN}:$LATEST", f"{ARN}:1"]


@pytest.mark.parametrize("marker", ["nonsense", "W10=", "WzFd", "eyJhIjoxfQ=="])
async def test_a_marker_of_somebody_else_is_refused(call: Calls, marker: str) -> None:
    await create(call)
    code, _ = await refused(call, "ListFunctions", Marker=marker)
    assert code == "InvalidParameterValueException"


# ---------------------------------------------------------------------------------------------- the app's own


async def test_functions_of_the_app_are_shown_and_not_changed(call: Calls, plane: Plane) -> None:
    plane.app.function(name="own", timeout=5)(lambda event, context: event)
    found = (await call("GetFunction", FunctionName="own"))["Configuration"]
    assert (found["Timeout"], found["State"], found["LastUpdateStatus"]) == (5, "Active", "Successful")
    assert found["Runtime"].startswith("python3.")
    assert [each["FunctionName"] for each in (await call("ListFunctions"))["Functions"]] == ["own"]
    expected = (
        "ResourceConflictException",
        "The function own is declared by the app that runs here: change it there.",
    )
    assert await refused(call, "UpdateFunctionCode", FunctionName="own", ZipFile=ONE) == expected
    assert await refused(call, "UpdateFunctionConfiguration", FunctionName="own", Timeout=9) == expected
    assert await refused(call, "DeleteFunction", FunctionName="own") == expected
    code, message = await refused(call, "PublishVersion", FunctionName="own")
    assert (code, "it runs in the process" in message) == ("ResourceConflictException", True)
    code, message = await refused(
        call, "CreateAlias", FunctionName="own", Name="a", FunctionVersion="$LATEST"
    )
    assert code == "ResourceConflictException"
    with pytest.raises(ClientError, match="Function already exist: own"):
        await create(call, "own")
