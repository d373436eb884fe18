"""Settings of asynchronous invocation: put, merged, listed, deleted."""

from __future__ import annotations

from typing import Any

import checks
from checks import api, arn, create, refused

QUEUE = arn("", "done", "sqs")
TOPIC = arn("", "failed", "sns")


def check_a_config_is_put_whole_and_updated_in_part() -> None:
    name = create()
    put = api.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=1,
        MaximumEventAgeInSeconds=300,
        DestinationConfig={"OnSuccess": {"Destination": QUEUE}, "OnFailure": {"Destination": TOPIC}},
    )
    expected = {
        "FunctionArn": f"{arn('function', name)}:$LATEST",
        "MaximumRetryAttempts": 1,
        "MaximumEventAgeInSeconds": 300,
        "DestinationConfig": {"OnSuccess": {"Destination": QUEUE}, "OnFailure": {"Destination": TOPIC}},
    }
    assert {key: put.get(key) for key in expected} == expected, put
    assert put["LastModified"].tzinfo is not None
    found = api.get_function_event_invoke_config(FunctionName=name)
    assert {key: found.get(key) for key in expected} == expected, found
    merged = api.update_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    assert (merged["MaximumRetryAttempts"], merged["MaximumEventAgeInSeconds"]) == (0, 300), merged
    assert merged["DestinationConfig"]["OnSuccess"]["Destination"] == QUEUE
    whole = api.put_function_event_invoke_config(FunctionName=name, MaximumEventAgeInSeconds=60)
    assert whole["MaximumEventAgeInSeconds"] == 60
    assert "MaximumRetryAttempts" not in whole, whole
    assert "Destination" not in whole.get("DestinationConfig", {}).get("OnSuccess", {}), whole
    assert checks.status(api.delete_function_event_invoke_config(FunctionName=name)) == 204
    missing = f"The function {arn('function', name)}:$LATEST doesn't have an EventInvokeConfig"
    for operation in (api.get_function_event_invoke_config, api.delete_function_event_invoke_config):
        with refused("ResourceNotFoundException", missing, 404):
            operation(FunctionName=name)
    with refused("ResourceNotFoundException", missing, 404):
        api.update_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)


def check_configs_are_listed_by_pages() -> None:
    name = create(Publish=True)
    for alias in ("a", "b"):
        api.create_alias(FunctionName=name, Name=alias, FunctionVersion="1")
    for qualifier in ("$LATEST", "1", "a", "b"):
        api.put_function_event_invoke_config(FunctionName=name, Qualifier=qualifier, MaximumRetryAttempts=0)
    listed = checks.pages(
        "list_function_event_invoke_configs", "FunctionEventInvokeConfigs", FunctionName=name
    )
    assert {each["FunctionArn"].rsplit(":", 1)[1] for each in listed} == {"$LATEST", "1", "a", "b"}, listed
    assert len(listed) == 4


def check_configs_that_are_refused() -> None:
    name = create()
    put: Any = api.put_function_event_invoke_config
    invalid = "InvalidParameterValueException"
    with refused(invalid, "You must specify at least one of error handling or destination setting.", 400):
        put(FunctionName=name)
    with refused(invalid, "You can't specify the function as a destination for itself.", 400):
        put(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn("function", name)}})
    bad = arn("", "nothing", "ec2")
    with refused(invalid, f"The destination ARN {bad} is invalid.", 400):
        put(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": bad}})
    with refused("ValidationException", status=400):
        put(FunctionName=name, MaximumRetryAttempts=3)
    with refused("ValidationException", status=400):
        put(FunctionName=name, MaximumEventAgeInSeconds=59)
    gone = "The function doesn't exist."
    with refused("ResourceNotFoundException", gone, 404):
        put(FunctionName="nobody", MaximumRetryAttempts=0)
    with refused("ResourceNotFoundException", gone, 404):
        api.update_function_event_invoke_config(FunctionName="nobody", MaximumRetryAttempts=0)
    with refused("ResourceNotFoundException", gone, 404):
        api.list_function_event_invoke_configs(FunctionName="nobody")
    with refused("ResourceNotFoundException", gone, 404):
        put(FunctionName=name, Qualifier="nobody", MaximumRetryAttempts=0)


checks.run(globals())
