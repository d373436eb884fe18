"""Reserved and provisioned concurrency, and what the account has, through the API."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from botocore.exceptions import ClientError

from streamfn.control.concurrency import FunctionConcurrency
from streamfn.control.plane import Plane
from streamfn.testing.resources import MemoryResourceStore
from tests.control.calling import Calls
from tests.control.functions import created
from tests.waiting import until

pytestmark = pytest.mark.anyio

ARN = "arn:aws:lambda:us-east-1:000000000000:function"
NONE = (
    "ProvisionedConcurrencyConfigNotFoundException",
    "No Provisioned Concurrency Config found for this function",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def refused(call: Calls, operation: str, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        await call(operation, FunctionName="echo", **params)
    error: Any = caught.value.response["Error"]
    return error["Code"], error["Message"]


async def reserved(call: Calls) -> Any:
    return (await call("GetFunctionConcurrency", FunctionName="echo")).get("ReservedConcurrentExecutions")


async def test_places_are_reserved_and_given_back(
    call: Calls, plane: Plane, store: MemoryResourceStore
) -> None:
    missing = f"Function not found: {ARN}:echo"
    for operation, params, message in (
        ("PutFunctionConcurrency", {"ReservedConcurrentExecutions": 1}, f"{missing}:$LATEST"),
        ("GetFunctionConcurrency", {}, missing),
        ("DeleteFunctionConcurrency", {}, missing),
    ):
        assert await refused(call, operation, **params) == ("ResourceNotFoundException", message)
    await created(call)
    assert await reserved(call) is None
    put = await call("PutFunctionConcurrency", FunctionName="echo", ReservedConcurrentExecutions=900)
    assert put["ReservedConcurrentExecutions"] == await reserved(call) == 900
    assert ("reserved", "echo") in store.kept
    limit = (await call("GetAccountSettings"))["AccountLimit"]
    assert (limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]) == (1000, 100)
    assert await refused(call, "PutFunctionConcurrency", ReservedConcurrentExecutions=901) == (
        "InvalidParameterValueException",
        "Specified ReservedConcurrentExecutions for function decreases account's "
        "UnreservedConcurrentExecution below its minimum value of [100].",
    )
    store.fails = lambda _: True
    code, _ = await refused(call, "PutFunctionConcurrency", ReservedConcurrentExecutions=5)
    assert (code, await reserved(call)) == ("ServiceException", 900)
    store.fails = lambda _: False
    await call("DeleteFunctionConcurrency", FunctionName="echo")
    assert await reserved(call) is None
    assert ("reserved", "echo") not in store.kept
    assert plane.app.account.unreserved == 1000


async def test_what_was_reserved_comes_back(plane: Plane) -> None:
    await plane.resources.put("reserved", "echo", {"ReservedConcurrentExecutions": 900})
    await plane.resources.put("reserved", "other", {"ReservedConcurrentExecutions": 900})
    await FunctionConcurrency(plane).restore()
    assert plane.app.account.reserved == {"echo": 900}


async def test_functions_of_the_app_keep_what_they_declare(call: Calls, plane: Plane) -> None:
    plane.app.function(name="echo")(lambda event, context: None)
    code, message = await refused(call, "PutFunctionConcurrency", ReservedConcurrentExecutions=1)
    assert code == "ResourceConflictException"
    assert "declared by the app" in message


async def test_versions_are_kept_initialised(call: Calls) -> None:
    await created(call)
    await call("PublishVersion", FunctionName="echo")
    put = {"ProvisionedConcurrentExecutions": 1}
    await call("CreateAlias", FunctionName="echo", Name="newest", FunctionVersion="$LATEST")
    for qualifier in ("$LATEST", "newest"):
        assert await refused(call, "PutProvisionedConcurrencyConfig", Qualifier=qualifier, **put) == (
            "InvalidParameterValueException",
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
        )
    assert await refused(call, "PutProvisionedConcurrencyConfig", Qualifier="7", **put) == (
        "ResourceNotFoundException",
        f"Function not found: {ARN}:echo:7",
    )
    assert await refused(call, "GetProvisionedConcurrencyConfig", Qualifier="prod") == (
        "ResourceNotFoundException",
        f"Cannot find alias arn: {ARN}:echo:prod",
    )
    assert await refused(call, "GetProvisionedConcurrencyConfig", Qualifier="1") == NONE
    answer = await call("PutProvisionedConcurrencyConfig", FunctionName="echo", Qualifier="1", **put)
    assert answer["RequestedProvisionedConcurrentExecutions"] == 1
    assert answer["Status"] == "IN_PROGRESS"

    async def ready() -> bool:
        found = await call("GetProvisionedConcurrencyConfig", FunctionName="echo", Qualifier="1")
        return (found["Status"], found["AvailableProvisionedConcurrentExecutions"]) == ("READY", 1)

    await until(ready)
    (listed,) = (await call("ListProvisionedConcurrencyConfigs", FunctionName="echo"))[
        "ProvisionedConcurrencyConfigs"
    ]
    assert (listed["FunctionArn"], listed["Status"]) == (f"{ARN}:echo:1", "READY")
    assert listed["LastModified"].endswith("+0000")
    await call("CreateAlias", FunctionName="echo", Name="prod", FunctionVersion="1")
    code, _ = await refused(call, "PutProvisionedConcurrencyConfig", Qualifier="prod", **put)
    assert code == "ResourceConflictException"
    await call("PutFunctionConcurrency", FunctionName="echo", ReservedConcurrentExecutions=1)
    assert await refused(call, "PutFunctionConcurrency", ReservedConcurrentExecutions=0) == (
        "InvalidParameterValueException",
        " ReservedConcurrentExecutions  0 should not be lower than function's total provisioned concurrency "
        "[1].",
    )
    for _ in range(2):
        await call("DeleteProvisionedConcurrencyConfig", FunctionName="echo", Qualifier="1")
    assert await refused(call, "GetProvisionedConcurrencyConfig", Qualifier="1") == NONE
    answer = await call("PutProvisionedConcurrencyConfig", FunctionName="echo", Qualifier="prod", **put)
    assert answer["RequestedProvisionedConcurrentExecutions"] == 1
    code, _ = await refused(call, "PutProvisionedConcurrencyConfig", Qualifier="1", **put)
    assert code == "ResourceConflictException"


async def test_what_cannot_be_initialised_says_why(call: Calls) -> None:
    await created(call, text="raise RuntimeError('never')")
    await call("PublishVersion", FunctionName="echo")
    await call(
        "PutProvisionedConcurrencyConfig",
        FunctionName="echo",
        Qualifier="1",
        ProvisionedConcurrentExecutions=1,
    )

    async def failed() -> bool:
        found = await call("GetProvisionedConcurrencyConfig", FunctionName="echo", Qualifier="1")
        return (found["Status"], found.get("StatusReason")) == ("FAILED", "FUNCTION_ERROR_INIT_FAILURE")

    await until(failed)


async def test_the_account_counts_functions_and_code(call: Calls) -> None:
    assert (await call("GetAccountSettings"))["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}
    made = await created(call)
    await created(call, "same")
    await call("PublishVersion", FunctionName="same")
    with anyio.fail_after(5):
        usage = (await call("GetAccountSettings"))["AccountUsage"]
    assert usage == {"TotalCodeSize": 3 * made["CodeSize"], "FunctionCount": 2}
    await call("DeleteFunction", FunctionName="same")
    usage = (await call("GetAccountSettings"))["AccountUsage"]
    assert usage == {"TotalCodeSize": made["CodeSize"], "FunctionCount": 1}


async def test_places_are_of_a_whole_function(call: Calls) -> None:
    await created(call)
    with pytest.raises(ClientError) as caught:
        await call("PutFunctionConcurrency", FunctionName="echo:$LATEST", ReservedConcurrentExecutions=1)
    assert caught.value.response["Error"] == {
        "Code": "InvalidParameterValueException",
        "Message": "This operation is permitted on Lambda functions only. Aliases and versions do not "
        "support this operation. Please specify either a function name or an unqualified function ARN.",
    }
    assert await reserved(call) is None


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("PutProvisionedConcurrencyConfig", {"ProvisionedConcurrentExecutions": 1}),
        ("GetProvisionedConcurrencyConfig", {}),
        ("DeleteProvisionedConcurrencyConfig", {}),
    ],
)
async def test_of_an_unknown_function_the_release_is_named(
    call: Calls, operation: str, params: dict[str, int]
) -> None:
    for qualifier, begin in (("1", "Function not found"), ("live", "Cannot find alias arn")):
        assert await refused(call, operation, Qualifier=qualifier, **params) == (
            "ResourceNotFoundException",
            f"{begin}: {ARN}:echo:{qualifier}",
        )
