"""What the app declares that runs beside the API: seen, invoked, mapped, and changed where it is written."""

from __future__ import annotations

import json
import uuid
from typing import Any

import checks
from checks import api, arn, create, refused, until

CONFLICT = "ResourceConflictException"
NAME = "shipped"


def the_mapping() -> Any:
    (found,) = [
        each
        for each in api.list_event_source_mappings(FunctionName=NAME)["EventSourceMappings"]
        if each["BatchSize"] == 5
    ]
    return found


def check_a_declared_function_is_seen() -> None:
    found = api.get_function(FunctionName=NAME)["Configuration"]
    assert (found["FunctionName"], found["FunctionArn"]) == (NAME, arn("function", NAME)), found
    assert (found["Timeout"], found["State"]) == (7, "Active"), found
    assert NAME in [each["FunctionName"] for each in api.list_functions()["Functions"]]


def check_a_declared_function_is_invoked() -> None:
    said = api.invoke(FunctionName=NAME, Payload=b"[1]")
    assert json.loads(said["Payload"].read()) == {"shipped": [1]}
    assert said["ExecutedVersion"] == "$LATEST"
    said = api.invoke(FunctionName=NAME, Payload=b'"fail"')
    assert said["FunctionError"] == "Unhandled"
    assert json.loads(said["Payload"].read())["errorType"] == "ValueError"
    assert api.invoke(FunctionName=NAME, InvocationType="Event", Payload=b"{}")["StatusCode"] == 202


def check_a_declared_function_is_changed_where_it_is_written() -> None:
    with refused(CONFLICT, status=409):
        api.delete_function(FunctionName=NAME)
    with refused(CONFLICT, status=409):
        api.update_function_configuration(FunctionName=NAME, Timeout=9)
    with refused(CONFLICT, status=409):
        api.update_function_code(FunctionName=NAME, ZipFile=checks.zipped())
    with refused(CONFLICT, status=409):
        create(name=NAME)


def check_a_declared_mapping_can_be_paused_and_no_more() -> None:
    mapping = the_mapping()
    assert uuid.UUID(mapping["UUID"])
    assert mapping["FunctionArn"] == arn("function", NAME)
    changed = {"UUID": mapping["UUID"]}
    for enabled, state in ((False, "Disabled"), (True, "Enabled")):
        api.update_event_source_mapping(**changed, Enabled=enabled)
        until(lambda state=state: api.get_event_source_mapping(**changed)["State"] == state)
    with refused("ResourceInUseException", status=400):
        api.update_event_source_mapping(**changed, BatchSize=7)
    with refused("ResourceInUseException", status=400):
        api.delete_event_source_mapping(**changed)


def check_a_declared_function_is_mapped() -> None:
    made = api.create_event_source_mapping(
        FunctionName=NAME, EventSourceArn=arn("", checks.unique("queue"), "sqs")
    )
    until(lambda: api.get_event_source_mapping(UUID=made["UUID"])["State"] == "Enabled")
    api.delete_event_source_mapping(UUID=made["UUID"])


checks.run(globals())
