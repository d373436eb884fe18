"""Policies of functions and layers through the API: kept, shown, and refused in AWS's words."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from botocore.exceptions import ClientError

from streamfn.control.plane import Plane
from streamfn.control.policies import FunctionPolicies
from tests.control.calling import Calls
from tests.control.function_calls import ARN, answered, refused

pytestmark = pytest.mark.anyio

LAYER = "arn:aws:lambda:us-east-1:000000000000:layer:shared"
GONE = ("ResourceNotFoundException", "The resource you requested does not exist.")
NO_POLICY = ("ResourceNotFoundException", "No policy is associated with the given resource.")
UNKNOWN = ("ResourceNotFoundException", f"Function not found: {ARN[:-6]}others")
STALE = "The Revision Id provided does not match the latest Revision Id. Call the "
REVISION = "00000000-0000-0000-0000-000000000000"


async def add(call: Calls, sid: str = "s3", **more: Any) -> dict[str, Any]:
    """Adds a statement, and gives it."""
    given = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"} | more
    found = await call("AddPermission", FunctionName="orders", StatementId=sid, **given)
    statement: dict[str, Any] = json.loads(found["Statement"])
    return statement


async def test_statements_are_added_shown_and_removed(call: Calls, orders: object) -> None:
    assert await refused(call, "GetPolicy", FunctionName="orders") == GONE
    first = await add(call, SourceArn="arn:aws:s3:::bucket", SourceAccount="123456789012")
    assert first == {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": ARN,
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": "123456789012"},
            "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
        },
    }
    second = await add(call, "all", Principal="*", InvokedViaFunctionUrl=True)
    assert second["Condition"] == {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}
    found = await call("GetPolicy", FunctionName="orders")
    assert json.loads(found["Policy"]) == {
        "Version": "2012-10-17",
        "Id": "default",
        "Statement": [first, second],
    }
    await call("RemovePermission", FunctionName="orders", StatementId="s3")
    left = await call("GetPolicy", FunctionName="orders")
    assert json.loads(left["Policy"])["Statement"] == [second]
    assert left["RevisionId"] != found["RevisionId"]
    await call("RemovePermission", FunctionName="orders", StatementId="all")
    assert await refused(call, "GetPolicy", FunctionName="orders") == GONE


@pytest.mark.parametrize(
    ("principal", "shown"),
    [
        ("*", "*"),
        ("123456789012", {"AWS": "arn:aws:iam::123456789012:root"}),
        ("arn:aws:iam::123456789012:user/me", {"AWS": "arn:aws:iam::123456789012:user/me"}),
        ("events.amazonaws.com", {"Service": "events.amazonaws.com"}),
        ("nobody", None),
        ("12345", None),
    ],
)
async def test_principals(call: Calls, orders: object, principal: str, shown: object) -> None:
    if shown is not None:
        assert (await add(call, Principal=principal))["Principal"] == shown
        return
    with pytest.raises(
        ClientError, match="The provided principal was invalid. Please check the principal and try"
    ):
        await add(call, Principal=principal)


async def test_statements_that_cannot_be(call: Calls, orders: object) -> None:
    await add(call)
    given = {
        "FunctionName": "orders",
        "StatementId": "s3",
        "Action": "lambda:InvokeFunction",
        "Principal": "*",
    }
    assert await refused(call, "AddPermission", **given) == (
        "ResourceConflictException",
        "The statement id (s3) provided already exists."
        " Please provide a new statement id, or remove the existing statement.",
    )
    assert await refused(call, "AddPermission", **given, Qualifier="$LATEST") == (
        "InvalidParameterValueException",
        "We currently do not support adding policies for $LATEST.",
    )
    assert await refused(call, "AddPermission", **given, FunctionUrlAuthType="NONE") == (
        "InvalidParameterValueException",
        "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
    )
    given["StatementId"] = "url"
    url = {**given, "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"}
    statement = json.loads((await call("AddPermission", **url))["Statement"])
    assert statement["Condition"] == {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}


async def test_a_policy_has_a_limit(call: Calls, orders: object) -> None:
    with pytest.raises(
        ClientError, match=r"The final policy size \(\d+\) is bigger than the limit \(20480\)"
    ):
        for number in range(3):
            await add(call, f"s{number}", SourceArn="arn:aws:s3:::" + "b" * 9000)
    policy = json.loads((await call("GetPolicy", FunctionName="orders"))["Policy"])
    assert len(policy["Statement"]) == 2


async def test_versions_and_aliases_have_policies_of_their_own(call: Calls, released: None) -> None:
    for qualifier in ("1", "live"):
        assert (await add(call, Qualifier=qualifier))["Resource"] == f"{ARN}:{qualifier}"
        assert "Policy" in await call("GetPolicy", FunctionName="orders", Qualifier=qualifier)
    assert await refused(call, "GetPolicy", FunctionName="orders") == GONE
    for qualifier, message in (
        ("2", f"Function not found: {ARN}:2"),
        ("none", f"Cannot find alias arn: {ARN}:none"),
        ("no-$", f"Function not found: {ARN}:no-$"),
    ):
        assert await refused(call, "GetPolicy", FunctionName="orders", Qualifier=qualifier) == GONE
        given = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "*"}
        assert await refused(call, "AddPermission", FunctionName="orders", Qualifier=qualifier, **given) == (
            "ResourceNotFoundException",
            message,
        )


async def test_policies_of_what_is_not_there(call: Calls, orders: object) -> None:
    given = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "*"}
    assert await refused(call, "AddPermission", FunctionName="others", **given) == UNKNOWN
    assert await refused(call, "GetPolicy", FunctionName="others") == UNKNOWN
    assert await refused(call, "RemovePermission", FunctionName="others", StatementId="s3") == (
        "ResourceNotFoundException",
        f"No policy found for: {ARN[:-6]}others",
    )
    assert await refused(call, "RemovePermission", FunctionName="orders", StatementId="s3") == NO_POLICY
    await add(call)
    assert await refused(call, "RemovePermission", FunctionName="orders", StatementId="s4") == (
        "ResourceNotFoundException",
        "Statement s4 is not found in resource policy.",
    )


async def test_a_policy_that_was_changed_meanwhile_is_not_changed(
    call: Calls, orders: dict[str, Any]
) -> None:
    with pytest.raises(ClientError, match=STALE):
        await add(call, RevisionId=REVISION)
    await add(call, RevisionId=orders["RevisionId"])  # before there is a policy, the function's counts
    read = (await call("GetPolicy", FunctionName="orders"))["RevisionId"]
    await add(call, "other", RevisionId=read)
    for operation, more in (
        ("AddPermission", {"StatementId": "x", "Action": "lambda:*", "Principal": "*"}),
        ("RemovePermission", {"StatementId": "s3"}),
    ):
        code, message = await refused(call, operation, FunctionName="orders", RevisionId=read, **more)
        assert code == "PreconditionFailedException"
        assert message.startswith(STALE + "GetFunction/GetAlias API")


@pytest.mark.parametrize("qualifier", [{}, {"Qualifier": "1"}, {"Qualifier": "live"}])
async def test_a_policy_has_the_revision_of_what_it_is_of(
    call: Calls, released: None, qualifier: dict[str, str]
) -> None:
    async def revision() -> str:
        if qualifier.get("Qualifier") == "live":
            found = await call("GetAlias", FunctionName="orders", Name="live")
        else:
            found = await call("GetFunctionConfiguration", FunctionName="orders", **qualifier)
        return str(found["RevisionId"])

    seen = [await revision()]
    for sid in ("one", "two"):
        await add(call, sid, RevisionId=seen[-1], **qualifier)
        seen.append(await revision())
        policy = await call("GetPolicy", FunctionName="orders", **qualifier)
        assert policy["RevisionId"] == seen[-1]
    assert len(set(seen)) == 3
    for stale in seen[:2]:
        with pytest.raises(ClientError, match=STALE):
            await add(call, "three", RevisionId=stale, **qualifier)
    given = {"FunctionName": "orders", **qualifier, "RevisionId": seen[-1]}
    await call("RemovePermission", StatementId="one", **given)
    code, _ = await refused(call, "RemovePermission", StatementId="two", **given)
    assert code == "PreconditionFailedException"


async def test_a_change_of_the_policy_is_one_of_what_it_is_of(call: Calls, released: None) -> None:
    function = (await call("GetFunctionConfiguration", FunctionName="orders"))["RevisionId"]
    alias = (await call("GetAlias", FunctionName="orders", Name="live"))["RevisionId"]
    await add(call)
    await add(call, Qualifier="live")
    change: dict[str, Any] = {"FunctionName": "orders", "Description": "other"}
    code, _ = await refused(call, "UpdateFunctionConfiguration", **change, RevisionId=function)
    assert code == "PreconditionFailedException"
    code, _ = await refused(call, "UpdateAlias", **change, Name="live", RevisionId=alias)
    assert code == "PreconditionFailedException"
    now = (await call("GetAlias", FunctionName="orders", Name="live"))["RevisionId"]
    changed = await call("UpdateAlias", **change, Name="live", RevisionId=now)
    policy = await call("GetPolicy", FunctionName="orders", Qualifier="live")
    assert policy["RevisionId"] == changed["RevisionId"] != now


async def test_statements_added_at_once_are_all_there(call: Calls, orders: object) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(add, call, f"s{number}")
    policy = json.loads((await call("GetPolicy", FunctionName="orders"))["Policy"])
    assert len(policy["Statement"]) == 10


async def test_a_whole_policy(call: Calls, orders: object) -> None:
    assert await refused(call, "GetResourcePolicy", ResourceArn=ARN) == NO_POLICY
    statement = {"Sid": "one", "Effect": "Deny", "Principal": "*", "Action": "lambda:*", "Resource": ARN}
    text = json.dumps({"Version": "2012-10-17", "Statement": statement})
    put = await answered(call, "PutResourcePolicy", ResourceArn=ARN, Policy=text)
    assert await answered(call, "GetResourcePolicy", ResourceArn=ARN) == put
    assert json.loads(put["Policy"]) == json.loads(text)
    await add(call)
    both = json.loads((await call("GetPolicy", FunctionName="orders"))["Policy"])
    assert [one["Sid"] for one in both["Statement"]] == ["one", "s3"]
    assert (await refused(call, "DeleteResourcePolicy", ResourceArn=ARN, RevisionId=put["RevisionId"]))[
        0
    ] == ("PreconditionFailedException")
    code, _ = await refused(
        call, "PutResourcePolicy", ResourceArn=ARN, Policy=text, RevisionId=put["RevisionId"]
    )
    assert code == "PreconditionFailedException"
    await call("DeleteResourcePolicy", ResourceArn=ARN)
    assert await refused(call, "DeleteResourcePolicy", ResourceArn=ARN) == NO_POLICY


@pytest.mark.parametrize(
    "text", ["{", "[]", "1", "{}", '{"Statement": 1}', '{"Statement": [1]}', '{"Statement": []}', "[" * 9000]
)
async def test_what_is_no_policy(plane: Plane, text: str) -> None:
    with pytest.raises(Exception, match="InvalidParameterValueException: The policy is not valid"):
        await FunctionPolicies(plane).put({"ResourceArn": ARN, "Policy": text})


async def test_whole_policies_of_what_is_not_there(call: Calls) -> None:
    other = ARN.replace("orders", "others")
    assert await refused(call, "GetResourcePolicy", ResourceArn=other) == UNKNOWN
    code, _ = await refused(call, "GetResourcePolicy", ResourceArn=ARN.replace("us-east-1", "eu-west-1"))
    assert code == "ResourceNotFoundException"
    runtime = ARN.replace("function:orders", "runtime/python")
    assert await refused(call, "GetResourcePolicy", ResourceArn=runtime) == GONE


async def test_policies_of_layers(call: Calls, plane: Plane) -> None:
    await plane.resources.put("layer-version", "shared:3", {"LayerName": "shared", "Version": 3})
    layer = {"LayerName": "shared", "VersionNumber": 3}
    given = {**layer, "Action": "lambda:GetLayerVersion", "Principal": "*"}
    assert await refused(call, "GetLayerVersionPolicy", **layer) == NO_POLICY
    first = await call("AddLayerVersionPermission", StatementId="one", OrganizationId="o-1234567890", **given)
    assert json.loads(first["Statement"]) == {
        "Sid": "one",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "lambda:GetLayerVersion",
        "Resource": f"{LAYER}:3",
        "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1234567890"}},
    }
    given["LayerName"] = LAYER
    code, _ = await refused(call, "AddLayerVersionPermission", StatementId="one", **given)
    assert code == "ResourceConflictException"
    stale = await refused(call, "AddLayerVersionPermission", StatementId="two", RevisionId=REVISION, **given)
    assert stale == (
        "PreconditionFailedException",
        STALE + "GetLayerPolicy API to retrieve the latest Revision Id",
    )
    second = await call(
        "AddLayerVersionPermission", StatementId="two", RevisionId=first["RevisionId"], **given
    )
    found = await call("GetLayerVersionPolicy", **layer)
    assert found["RevisionId"] == second["RevisionId"]
    assert [one["Sid"] for one in json.loads(found["Policy"])["Statement"]] == ["one", "two"]
    code, _ = await refused(
        call, "RemoveLayerVersionPermission", StatementId="one", RevisionId=first["RevisionId"], **layer
    )
    assert code == "PreconditionFailedException"
    for sid in ("one", "two"):
        await call("RemoveLayerVersionPermission", StatementId=sid, **layer)
    assert await refused(call, "RemoveLayerVersionPermission", StatementId="one", **layer) == (
        "ResourceNotFoundException",
        "Statement one is not found in resource policy.",
    )


async def test_policies_of_layers_that_are_not_there(call: Calls) -> None:
    for name in ("shared", LAYER):
        assert await refused(call, "GetLayerVersionPolicy", LayerName=name, VersionNumber=1) == (
            "ResourceNotFoundException",
            f"Layer version {LAYER}:1 does not exist.",
        )
