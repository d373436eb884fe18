"""Versions and aliases through the API."""

from __future__ import annotations

from typing import Any

import pytest

from streamfn.control.plane import Plane
from tests.control.calling import Calls
from tests.control.function_calls import ARN, TWO, active, create, hashed, refused, said

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def two_versions(call: Calls) -> None:
    await create(call, Publish=True)
    await call("UpdateFunctionCode", FunctionName="orders", ZipFile=TWO, Publish=True)


async def test_a_function_is_created_as_version_1(call: Calls, plane: Plane) -> None:
    made = await create(call, Publish=True, Description="first")
    assert (made["Version"], made["FunctionArn"]) == ("1", ARN)
    first = await call("GetFunctionConfiguration", FunctionName="orders", Qualifier="1")
    assert (first["Version"], first["FunctionArn"], first["State"]) == ("1", f"{ARN}:1", "Active")
    assert first["Description"] == "first"
    assert (await said(plane, qualifier="1"))["version"] == "1"


async def test_an_update_is_published(call: Calls, plane: Plane) -> None:
    await create(call, Publish=True, Timeout=7)
    updated = await call("UpdateFunctionCode", FunctionName="orders", ZipFile=TWO, Publish=True)
    assert (updated["Version"], updated["FunctionArn"], updated["CodeSha256"]) == (
        "2",
        f"{ARN}:2",
        hashed(TWO),
    )
    assert [(await said(plane, qualifier=each))["said"] for each in ("1", "2")] == ["one", "two"]
    listed = (await call("ListVersionsByFunction", FunctionName="orders"))["Versions"]
    assert [(each["Version"], each["FunctionArn"]) for each in listed] == [
        ("$LATEST", f"{ARN}:$LATEST"),
        ("1", f"{ARN}:1"),
        ("2", f"{ARN}:2"),
    ]
    # What has a version is handed out with it.
    first = await call("GetFunction", FunctionName=f"{ARN}:1")
    assert first["Configuration"]["Timeout"] == 7
    assert "Location" in first["Code"]


async def test_what_has_not_changed_is_not_published_again(call: Calls) -> None:
    await create(call)
    now = await active(call)
    first = await call("PublishVersion", FunctionName="orders", Description="first")
    again = await call(
        "PublishVersion", FunctionName="orders", Description="again", CodeSha256=now["CodeSha256"]
    )
    assert (first["Version"], again["Version"], again["Description"]) == ("1", "1", "first")
    await call("UpdateFunctionConfiguration", FunctionName="orders", Role=first["Role"] + "2")
    await active(call)
    changed = await call("PublishVersion", FunctionName="orders")
    assert (changed["Version"], changed["Role"]) == ("2", first["Role"] + "2")
    kept = await call("GetFunctionConfiguration", FunctionName="orders", Qualifier="1")
    assert kept["Role"] == first["Role"]
    # A description says nothing to the function, and is configuration all the same.
    await call("UpdateFunctionConfiguration", FunctionName="orders", Description="described")
    await active(call)
    described = await call("PublishVersion", FunctionName="orders")
    assert (described["Version"], described["Description"]) == ("3", "described")


async def test_other_code_than_was_expected_is_not_published(call: Calls) -> None:
    await create(call)
    now = await active(call)
    assert await refused(call, "PublishVersion", FunctionName="orders", CodeSha256=hashed(TWO)) == (
        "InvalidParameterValueException",
        f"CodeSHA256 ({hashed(TWO)}) is different from current CodeSHA256 in $LATEST ({now['CodeSha256']}). "
        "Please try again with the CodeSHA256 in $LATEST.",
    )


async def test_versions_are_deleted(call: Calls) -> None:
    await two_versions(call)
    await call("CreateAlias", FunctionName="orders", Name="live", FunctionVersion="1")
    assert await refused(call, "DeleteFunction", FunctionName="orders", Qualifier="1") == (
        "ResourceConflictException",
        "Unable to delete version because the following aliases reference it: [live]",
    )
    assert await refused(call, "DeleteFunction", FunctionName="orders", Qualifier="live") == (
        "InvalidParameterValueException",
        "Deletion of aliases is not currently supported.",
    )
    await call("DeleteAlias", FunctionName="orders", Name="live")
    await call("DeleteFunction", FunctionName="orders", Qualifier="live")
    for _ in range(2):  # Of what is not there, it says the same.
        deleted = await call("DeleteFunction", FunctionName="orders", Qualifier="1")
        assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    listed = (await call("ListVersionsByFunction", FunctionName="orders"))["Versions"]
    assert [each["Version"] for each in listed] == ["$LATEST", "2"]
    assert await refused(call, "GetFunction", FunctionName="orders", Qualifier="1") == (
        "ResourceNotFoundException",
        f"Function not found: {ARN}:1",
    )
    _, message = await refused(call, "DeleteFunction", FunctionName="orders", Qualifier="$LATEST")
    assert message == "$LATEST version cannot be deleted without deleting the function."


@pytest.mark.parametrize(
    ("qualifier", "operation", "gone"),
    [
        ("1", "DeleteFunction", {"Qualifier": "1"}),
        ("live", "DeleteAlias", {"Name": "live"}),
    ],
)
async def test_what_was_put_for_one_goes_with_it(
    call: Calls, plane: Plane, qualifier: str, operation: str, gone: dict[str, str]
) -> None:
    await two_versions(call)
    one: dict[str, Any] = {"FunctionName": "orders", "Qualifier": qualifier}
    if qualifier == "live":
        await call("CreateAlias", FunctionName="orders", Name="live", FunctionVersion="2")
        await call("CreateFunctionUrlConfig", **one, AuthType="NONE")
    else:
        await call("PutRuntimeManagementConfig", **one, UpdateRuntimeOn="FunctionUpdate")
    await call("PutFunctionEventInvokeConfig", **one, MaximumRetryAttempts=0)
    await call("PutFunctionEventInvokeConfig", FunctionName="orders", MaximumRetryAttempts=1)
    given = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "*"}
    await call("AddPermission", **one, **given)
    await call(operation, FunctionName="orders", **gone)
    kinds = ("event-invoke-config", "policy", "runtime-management", "url")
    left = {key for kind in kinds for key in plane.resources.all(kind)}
    assert left == set(plane.app.event_invoke_configs) == {"orders"}
    listed = await call("ListFunctionEventInvokeConfigs", FunctionName="orders")
    assert [each["FunctionArn"] for each in listed["FunctionEventInvokeConfigs"]] == [f"{ARN}:$LATEST"]


async def test_aliases_are_made_changed_and_deleted(call: Calls, plane: Plane) -> None:
    await two_versions(call)
    given: dict[str, Any] = {"FunctionName": "orders", "Name": "live"}
    made = await call("CreateAlias", **given, FunctionVersion="1", Description="what runs")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["AliasArn"], made["FunctionVersion"], made["Description"]) == (
        f"{ARN}:live",
        "1",
        "what runs",
    )
    assert "RoutingConfig" not in made
    assert (await said(plane, qualifier="live"))["said"] == "one"
    weights = {"AdditionalVersionWeights": {"2": 0.25}}
    changed = await call("UpdateAlias", **given, RoutingConfig=weights, RevisionId=made["RevisionId"])
    assert (changed["RoutingConfig"], changed["Description"]) == (weights, "what runs")
    assert changed["RevisionId"] != made["RevisionId"]
    assert (await call("GetAlias", **given))["RoutingConfig"] == weights
    assert await refused(
        call, "UpdateAlias", **given, FunctionVersion="2", RevisionId=made["RevisionId"]
    ) == (
        "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API "
        "to retrieve the latest Revision Id",
    )
    shown = await call("GetFunctionConfiguration", FunctionName="orders", Qualifier="live")
    assert (shown["FunctionArn"], shown["Version"]) == (f"{ARN}:live", "1")
    cleared = await call("UpdateAlias", **given, FunctionVersion="2", RoutingConfig={})
    assert "RoutingConfig" not in cleared
    assert (await said(plane, qualifier="live"))["said"] == "two"
    for _ in range(2):  # Of what is not there, it says the same.
        deleted = await call("DeleteAlias", **given)
        assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert await refused(call, "GetAlias", **given) == (
        "ResourceNotFoundException",
        f"Cannot find alias arn: {ARN}:live",
    )


async def test_aliases_that_cannot_be_are_refused(call: Calls) -> None:
    await two_versions(call)
    given = {"FunctionName": "orders", "Name": "live"}
    await call("CreateAlias", **given, FunctionVersion="1")
    assert await refused(call, "CreateAlias", **given, FunctionVersion="1") == (
        "ResourceConflictException",
        f"Alias already exists: {ARN}:live",
    )
    other = given | {"Name": "other"}
    assert await refused(call, "CreateAlias", **other, FunctionVersion="9") == (
        "ResourceNotFoundException",
        f"Function not found: {ARN}:9",
    )
    assert await refused(call, "CreateAlias", FunctionName="nobody", Name="live", FunctionVersion="1") == (
        "ResourceNotFoundException",
        f"Function not found: {ARN.replace('orders', 'nobody')}:1",
    )
    for version, weights, message in (
        (
            "1",
            {"1": 0.5},
            "Invalid function version 1. Function version 1 is already included in routing configuration.",
        ),
        ("1", {"2": 0.1, "3": 0.1}, "Number of items in AdditionalVersionWeights cannot be greater than 1"),
        ("$LATEST", {"2": 0.1}, "$LATEST is not supported for an alias pointing to more than 1 version"),
    ):
        routing = {"AdditionalVersionWeights": weights}
        assert await refused(
            call, "CreateAlias", **other, FunctionVersion=version, RoutingConfig=routing
        ) == (
            "InvalidParameterValueException",
            message,
        )


@pytest.mark.parametrize(
    "other",
    [
        {"Role": "arn:aws:iam::000000000000:role/other"},
        {"DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:lost"}},
    ],
)
async def test_versions_that_share_an_alias_are_alike(call: Calls, other: dict[str, Any]) -> None:
    await two_versions(call)
    await call("UpdateFunctionConfiguration", FunctionName="orders", **other)
    await active(call)
    await call("PublishVersion", FunctionName="orders")
    given: dict[str, Any] = {"FunctionName": "orders", "Name": "live", "FunctionVersion": "1"}
    assert await refused(
        call, "CreateAlias", **given, RoutingConfig={"AdditionalVersionWeights": {"3": 0.5}}
    ) == (
        "InvalidParameterValueException",
        "Function versions 1 and 3 cannot share an alias: they have different roles or dead-letter queues.",
    )
    await call("CreateAlias", **given, RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})


async def test_aliases_are_listed(call: Calls) -> None:
    await two_versions(call)
    for name, version in (("a", "1"), ("b", "2"), ("c", "1")):
        await call("CreateAlias", FunctionName="orders", Name=name, FunctionVersion=version)
    first = await call("ListAliases", FunctionName="orders", MaxItems=2)
    assert [each["Name"] for each in first["Aliases"]] == ["a", "b"]
    second = await call("ListAliases", FunctionName="orders", Marker=first["NextMarker"])
    assert [each["Name"] for each in second["Aliases"]] == ["c"]
    of_one = await call("ListAliases", FunctionName="orders", FunctionVersion="1")
    assert [each["Name"] for each in of_one["Aliases"]] == ["a", "c"]


async def test_an_alias_may_be_made_while_the_function_is(call: Calls) -> None:
    await create(call)
    made = await call("CreateAlias", FunctionName="orders", Name="live", FunctionVersion="$LATEST")
    assert made["FunctionVersion"] == "$LATEST"
