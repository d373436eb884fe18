"""Which operations of Lambda's API are served, and what is said of the others."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from streamfn.control.operations import Operating
from streamfn.control.service import service_model
from tests.control.calling import Calls

pytestmark = pytest.mark.anyio

NOT_SERVED = {
    # Code signing: Put, Get and Delete of a function's are served, for there is none ever.
    "CreateCodeSigningConfig",
    "DeleteCodeSigningConfig",
    "GetCodeSigningConfig",
    "ListCodeSigningConfigs",
    "ListFunctionsByCodeSigningConfig",
    "UpdateCodeSigningConfig",
    # Managed instances.
    "CreateCapacityProvider",
    "DeleteCapacityProvider",
    "GetCapacityProvider",
    "GetFunctionScalingConfig",
    "ListCapacityProviders",
    "ListFunctionVersionsByCapacityProvider",
    "PutFunctionScalingConfig",
    "UpdateCapacityProvider",
    # Durable executions.
    "CheckpointDurableExecution",
    "GetDurableExecution",
    "GetDurableExecutionHistory",
    "GetDurableExecutionState",
    "ListDurableExecutionsByFunction",
    "SendDurableExecutionCallbackFailure",
    "SendDurableExecutionCallbackHeartbeat",
    "SendDurableExecutionCallbackSuccess",
    "StopDurableExecution",
}


async def test_all_operations_are_served_but_those_of_what_there_is_not(operating: Operating) -> None:
    assert set(service_model().operations) - set(operating.operations()) == NOT_SERVED
    assert not set(operating.operations()) - set(service_model().operations)


@pytest.mark.parametrize("operation", sorted(NOT_SERVED))
async def test_what_is_not_served_says_so(call: Calls, operation: str) -> None:
    path = service_model().operations[operation]
    response = await call.send(path.method, path.path.partition("?")[0].replace("{", "").replace("}", ""))
    assert response.status == 400
    assert isinstance(response.body, bytes)
    assert f"{operation} is not supported by streamfn." in response.body.decode()


async def test_an_empty_api_lists_nothing(operating: Operating, call: Calls) -> None:
    await operating.restore()  # of nothing
    lists = {
        "ListEventSourceMappings": "EventSourceMappings",
        "ListFunctions": "Functions",
        "ListLayers": "Layers",
    }
    for operation, member in lists.items():
        answer = await call(operation)
        assert answer[member] == []
        assert "NextMarker" not in answer


async def test_what_belongs_to_no_function_is_not_found(call: Calls) -> None:
    for operation in (
        "GetPolicy",
        "GetFunctionConcurrency",
        "GetFunctionUrlConfig",
        "ListVersionsByFunction",
    ):
        with pytest.raises(ClientError) as caught:
            await call(operation, FunctionName="nothing")
        assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
