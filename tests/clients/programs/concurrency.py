"""Reserved and provisioned concurrency, and what the account has left."""

from __future__ import annotations

import checks
from checks import api, arn, create, refused, until

INVALID = "InvalidParameterValueException"
PROVISIONED = "ProvisionedConcurrencyConfigNotFoundException"


def check_reserved_concurrency() -> None:
    name = create()
    before = api.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    put = api.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)
    assert put["ReservedConcurrentExecutions"] == 5
    assert api.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 5
    assert api.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 5}
    after = api.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    assert after == before - 5
    assert checks.status(api.delete_function_concurrency(FunctionName=name)) == 204
    assert "ReservedConcurrentExecutions" not in api.get_function_concurrency(FunctionName=name)
    assert "Concurrency" not in api.get_function(FunctionName=name)


def check_a_reservation_of_zero_turns_a_function_off() -> None:
    name = create()
    api.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with refused("TooManyRequestsException", "Rate Exceeded.", 429):
        api.invoke(FunctionName=name)
    api.delete_function_concurrency(FunctionName=name)
    assert api.invoke(FunctionName=name)["StatusCode"] == 200


def check_reservations_that_are_refused() -> None:
    name = create()
    floor = (
        "Specified ReservedConcurrentExecutions for function decreases account's "
        "UnreservedConcurrentExecution below its minimum value of [100]."
    )
    with refused(INVALID, floor, 400):
        api.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=901)
    with refused("ValidationException", status=400):
        api.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=-1)
    for operation in (api.get_function_concurrency, api.delete_function_concurrency):
        with refused("ResourceNotFoundException", status=404):
            operation(FunctionName="nobody")
    with refused("ResourceNotFoundException", status=404):
        api.put_function_concurrency(FunctionName="nobody", ReservedConcurrentExecutions=1)


def check_provisioned_concurrency() -> None:
    name = create(Publish=True)
    api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    given = {"FunctionName": name, "Qualifier": "live"}
    put = api.put_provisioned_concurrency_config(**given, ProvisionedConcurrentExecutions=1)
    assert checks.status(put) == 202
    assert (put["RequestedProvisionedConcurrentExecutions"], put["Status"]) == (1, "IN_PROGRESS"), put
    found = until(
        lambda: (
            found if (found := api.get_provisioned_concurrency_config(**given))["Status"] == "READY" else None
        )
    )
    assert found["AllocatedProvisionedConcurrentExecutions"] == 1, found
    assert found["AvailableProvisionedConcurrentExecutions"] == 1, found
    assert api.invoke(**given)["ExecutedVersion"] == "1"
    assert checks.status(api.delete_provisioned_concurrency_config(**given)) == 204
    with refused(PROVISIONED, "No Provisioned Concurrency Config found for this function", 404):
        api.get_provisioned_concurrency_config(**given)


def check_provisioned_concurrency_is_listed_by_pages() -> None:
    name = create(Publish=True)
    for alias in ("a", "b", "c"):
        api.create_alias(FunctionName=name, Name=alias, FunctionVersion="1")
        api.put_provisioned_concurrency_config(
            FunctionName=name, Qualifier=alias, ProvisionedConcurrentExecutions=1
        )
    listed = checks.pages(
        "list_provisioned_concurrency_configs", "ProvisionedConcurrencyConfigs", FunctionName=name
    )
    assert {each["FunctionArn"] for each in listed} == {f"{arn('function', name)}:{each}" for each in "abc"}
    for alias in ("a", "b", "c"):
        api.delete_provisioned_concurrency_config(FunctionName=name, Qualifier=alias)


def check_provisioned_concurrency_that_is_refused() -> None:
    name = create(Publish=True)
    put = api.put_provisioned_concurrency_config
    unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    with refused(INVALID, unpublished, 400):
        put(FunctionName=name, Qualifier="$LATEST", ProvisionedConcurrentExecutions=1)
    with refused("ResourceNotFoundException", status=404):
        put(FunctionName=name, Qualifier="9", ProvisionedConcurrentExecutions=1)
    with refused("ValidationException", status=400):
        put(FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=0)
    with refused(INVALID, status=400):
        put(FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=2000)
    api.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    with refused(INVALID, status=400):
        put(FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=2)


checks.run(globals())
