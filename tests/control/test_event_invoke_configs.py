"""FunctionEventInvokeConfig through the API."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from streamfn.control.event_invoke_configs import EventInvokeConfigs
from streamfn.control.functions import Functions
from streamfn.control.plane import Plane
from streamfn.testing.resources import MemoryResourceStore
from tests.control.calling import Calls
from tests.control.functions import ECHO, created, zipped

pytestmark = pytest.mark.anyio

ARN = "arn:aws:lambda:us-east-1:000000000000:function"
MISSING = ("ResourceNotFoundException", "The function doesn't exist.")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def do(call: Calls, verb: str, name: str = "echo", **params: Any) -> dict[str, Any]:
    return await call(f"{verb}FunctionEventInvokeConfig", FunctionName=name, **params)


async def refused(call: Calls, verb: str, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        await do(call, verb, **params)
    error: Any = caught.value.response["Error"]
    return error["Code"], error["Message"]


async def test_a_configuration_is_put_changed_and_deleted(call: Calls, plane: Plane) -> None:
    await created(call)
    put = await do(call, "Put", MaximumRetryAttempts=1)
    assert put["FunctionArn"] == f"{ARN}:echo:$LATEST"
    assert put["MaximumRetryAttempts"] == 1
    assert put["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {}}
    assert "MaximumEventAgeInSeconds" not in put
    assert put["LastModified"]
    changed = await do(call, "Update", MaximumEventAgeInSeconds=100)
    assert (changed["MaximumRetryAttempts"], changed["MaximumEventAgeInSeconds"]) == (1, 100)
    got = await do(call, "Get", Qualifier="$LATEST")
    assert {**got, "ResponseMetadata": None} == {**changed, "ResponseMetadata": None}
    assert plane.app.event_plan_of("echo").delivery.maximum_retry_attempts == 1
    again = await do(call, "Put", MaximumEventAgeInSeconds=200)
    assert "MaximumRetryAttempts" not in again
    await do(call, "Delete")
    assert plane.app.event_plan_of("echo").delivery.maximum_retry_attempts == 2
    for verb in ("Get", "Delete"):
        assert await refused(call, verb) == (
            "ResourceNotFoundException",
            f"The function {ARN}:echo:$LATEST doesn't have an EventInvokeConfig",
        )
    code, message = await refused(call, "Update", MaximumRetryAttempts=0)
    assert (code, message.endswith("doesn't have an EventInvokeConfig")) == (
        "ResourceNotFoundException",
        True,
    )


async def test_what_says_nothing_or_is_of_no_function_is_refused(call: Calls) -> None:
    for verb in ("Put", "Update"):
        assert await refused(call, verb, MaximumRetryAttempts=1) == MISSING
        assert await refused(call, verb) == (
            "InvalidParameterValueException",
            "You must specify at least one of error handling or destination setting.",
        )
    with pytest.raises(ClientError, match="The function doesn't exist"):
        await call("ListFunctionEventInvokeConfigs", FunctionName="echo")
    code, message = await refused(call, "Get")
    assert message == f"The function {ARN}:echo:$LATEST doesn't have an EventInvokeConfig"
    await created(call)
    assert await refused(call, "Put", Qualifier="7", MaximumRetryAttempts=1) == MISSING
    itself = {"OnFailure": {"Destination": f"{ARN}:echo"}}
    assert await refused(call, "Put", DestinationConfig=itself) == (
        "InvalidParameterValueException",
        "You can't specify the function as a destination for itself.",
    )
    assert await refused(call, "Get") == (code, message)


@pytest.mark.parametrize(
    ("side", "destination"),
    [
        ("OnFailure", f"{ARN}:nobody"),
        ("OnSuccess", f"{ARN}:other:nobody"),
        ("OnSuccess", f"{ARN.replace('us-east-1', 'eu-west-1')}:other"),
        ("OnSuccess", "arn:aws:s3:::bucket"),
        ("OnFailure", "arn:aws:kinesis:us-east-1:000000000000:stream/s"),
    ],
)
async def test_where_events_cannot_go(call: Calls, side: str, destination: str) -> None:
    await created(call)
    await created(call, "other")
    await do(call, "Put", DestinationConfig={"OnSuccess": {"Destination": f"{ARN}:other"}})
    for verb in ("Put", "Update"):
        assert await refused(call, verb, DestinationConfig={side: {"Destination": destination}}) == (
            "InvalidParameterValueException",
            f"The destination ARN {destination} is invalid.",
        )
    kept = (await do(call, "Get"))["DestinationConfig"]
    assert kept == {"OnSuccess": {"Destination": f"{ARN}:other"}, "OnFailure": {}}


async def test_events_may_go_to_a_function_that_is_being_made(call: Calls) -> None:
    await created(call)
    package = {"Role": "arn:aws:iam::000000000000:role/r", "Code": {"ZipFile": zipped(ECHO)}}
    made = await call(
        "CreateFunction", FunctionName="other", Runtime="python3.11", Handler="index.handler", **package
    )
    assert made["State"] == "Pending"
    put = await do(call, "Put", DestinationConfig={"OnSuccess": {"Destination": f"{ARN}:other"}})
    assert put["DestinationConfig"]["OnSuccess"] == {"Destination": f"{ARN}:other"}


async def test_each_version_and_alias_has_its_own_and_they_are_listed(call: Calls) -> None:
    await created(call)
    await call("PublishVersion", FunctionName="echo")
    await call("CreateAlias", FunctionName="echo", Name="prod", FunctionVersion="1")
    for qualifier in ("$LATEST", "1", "prod"):
        await do(call, "Put", Qualifier=qualifier, MaximumRetryAttempts=0)
    arns: list[str] = []
    marker: dict[str, str] = {}
    while True:
        found = await call("ListFunctionEventInvokeConfigs", FunctionName="echo", MaxItems=2, **marker)
        arns += [each["FunctionArn"] for each in found["FunctionEventInvokeConfigs"]]
        if "NextMarker" not in found:
            break
        marker = {"Marker": found["NextMarker"]}
    assert sorted(arns) == [f"{ARN}:echo:$LATEST", f"{ARN}:echo:1", f"{ARN}:echo:prod"]


async def test_it_is_durable_or_refused(call: Calls, plane: Plane, store: MemoryResourceStore) -> None:
    await created(call)
    await do(call, "Put", MaximumRetryAttempts=1)
    store.fails = lambda _: True
    code, _ = await refused(call, "Put", MaximumRetryAttempts=0)
    assert code == "ServiceException"
    store.fails = lambda _: False
    assert (await do(call, "Get"))["MaximumRetryAttempts"] == 1
    assert plane.app.event_plan_of("echo").delivery.maximum_retry_attempts == 1
    await plane.app.remove_event_invoke_config("echo")
    await EventInvokeConfigs(plane, Functions(plane)).restore()
    assert plane.app.event_plan_of("echo").delivery.maximum_retry_attempts == 1


async def test_functions_of_the_app_keep_what_they_declare(call: Calls, plane: Plane) -> None:
    plane.app.function(name="echo")(lambda event, context: None)
    code, message = await refused(call, "Put", MaximumRetryAttempts=1)
    assert (code, "declared by the app" in message) == ("ResourceConflictException", True)
