"""Functions: made, listed, changed, deleted; what they are refused for; the waiters."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from pathlib import Path
from typing import Any

import checks
from checks import RUNTIME, SOON, api, arn, client, create, refused, unique, updated, zipped

ONE = "def handler(event, context):\n    return 1\n"
TWO = "def handler(event, context):\n    return 2\n"
ENVIRONMENT = """
import os

def handler(event, context):
    return {"name": os.environ["NAME"], "memory": int(context.memory_limit_in_mb)}
"""


def answer(name: str, event: Any = None, **options: Any) -> Any:
    said = api.invoke(FunctionName=name, Payload=json.dumps(event).encode(), **options)
    assert "FunctionError" not in said, said["Payload"].read()
    return json.loads(said["Payload"].read())


def check_a_new_function_has_what_was_not_given() -> None:
    name, code = unique("f"), zipped()
    made = api.create_function(
        FunctionName=name, Runtime=RUNTIME, Role=checks.ROLE, Handler="index.handler", Code={"ZipFile": code}
    )
    assert checks.status(made) == 201
    expected = {
        "FunctionName": name,
        "FunctionArn": arn("function", name),
        "Runtime": RUNTIME,
        "Role": checks.ROLE,
        "Handler": "index.handler",
        "CodeSize": len(code),
        "CodeSha256": base64.b64encode(hashlib.sha256(code).digest()).decode(),
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Version": "$LATEST",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Pending",
        "StateReasonCode": "Creating",
    }
    assert {key: made.get(key) for key in expected} == expected, made
    assert made["LastModified"].endswith("+0000")
    assert len(made["RevisionId"]) == 36
    api.get_waiter("function_exists").wait(FunctionName=name, WaiterConfig=SOON)
    api.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=SOON)
    api.get_waiter("function_active").wait(FunctionName=name, WaiterConfig=SOON)
    api.get_waiter("function_updated").wait(FunctionName=name, WaiterConfig=SOON)
    found = api.get_function_configuration(FunctionName=name)
    assert (found["State"], found["LastUpdateStatus"]) == ("Active", "Successful"), found
    assert "StateReason" not in found
    assert answer(name, {"a": [1, "ü"]}) == {"a": [1, "ü"]}


def check_all_that_is_given_is_given_back() -> None:
    given = {
        "Description": "what it is for",
        "Timeout": 17,
        "MemorySize": 256,
        "Environment": {"Variables": {"NAME": "worth keeping", "EMPTY": ""}},
        "DeadLetterConfig": {"TargetArn": arn("", "dead", "sqs")},
        "TracingConfig": {"Mode": "Active"},
        "EphemeralStorage": {"Size": 1024},
        "LoggingConfig": {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "LogGroup": "/elsewhere"},
        "Architectures": ["x86_64"],
    }
    name = create(ENVIRONMENT, **given, Tags={"team": "a", "cost centre": "7/b"})
    found = api.get_function(FunctionName=name)
    configuration = found["Configuration"]
    for key, value in given.items():
        kept = configuration[key]
        assert {**kept, **value} == kept if isinstance(value, dict) else kept == value, (key, kept)
    assert found["Tags"] == {"team": "a", "cost centre": "7/b"}
    assert found["Code"]["RepositoryType"] == "S3"
    assert answer(name) == {"name": "worth keeping", "memory": 256}


def check_the_code_can_be_fetched_by_its_location() -> None:
    code = zipped(ONE)
    name = create(ONE)
    location = api.get_function(FunctionName=name)["Code"]["Location"]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(location, timeout=10) as response:
        assert response.read() == code


def check_a_function_is_named_in_every_way() -> None:
    name = create()
    whole = arn("function", name)
    for way in (name, whole, f"{checks.ACCOUNT}:function:{name}", f"{whole}:$LATEST"):
        assert api.get_function_configuration(FunctionName=way)["FunctionName"] == name, way
        assert answer(way, 5) == 5
    assert api.get_function(FunctionName=name, Qualifier="$LATEST")["Configuration"]["Version"] == "$LATEST"


def check_functions_are_listed_by_pages() -> None:
    names = {create(Publish=True) for _ in range(3)}
    listed = checks.pages("list_functions", "Functions")
    assert names <= {each["FunctionName"] for each in listed}
    assert len({each["FunctionName"] for each in listed}) == len(listed)
    both = checks.pages("list_functions", "Functions", FunctionVersion="ALL")
    mine = {(each["FunctionName"], each["Version"]) for each in both if each["FunctionName"] in names}
    assert mine == {(name, version) for name in names for version in ("$LATEST", "1")}


def check_new_code_replaces_the_old() -> None:
    name = create(ONE)
    before = api.get_function_configuration(FunctionName=name)
    assert answer(name) == 1
    said = api.update_function_code(FunctionName=name, ZipFile=zipped(TWO))
    assert said["LastUpdateStatus"] in ("InProgress", "Successful"), said
    assert said["CodeSha256"] != before["CodeSha256"]
    assert said["RevisionId"] != before["RevisionId"]
    updated(name)
    assert answer(name) == 2


def check_a_dry_run_changes_no_code() -> None:
    name = create(ONE)
    before = api.get_function_configuration(FunctionName=name)
    said = api.update_function_code(FunctionName=name, ZipFile=zipped(TWO), DryRun=True)
    assert said["CodeSha256"] != before["CodeSha256"]
    assert api.get_function_configuration(FunctionName=name)["CodeSha256"] == before["CodeSha256"]
    assert answer(name) == 1


def check_a_new_configuration_replaces_the_old() -> None:
    name = create(ENVIRONMENT, Environment={"Variables": {"NAME": "old"}}, Description="kept")
    assert answer(name)["name"] == "old"
    said = api.update_function_configuration(
        FunctionName=name, Environment={"Variables": {"NAME": "new"}}, MemorySize=192, Timeout=5
    )
    assert (said["MemorySize"], said["Timeout"], said["Description"]) == (192, 5, "kept"), said
    updated(name)
    assert answer(name) == {"name": "new", "memory": 192}


def check_a_stale_revision_is_refused() -> None:
    name = create()
    stale = api.get_function_configuration(FunctionName=name)["RevisionId"]
    api.update_function_configuration(FunctionName=name, Description="newer", RevisionId=stale)
    updated(name)
    with refused("PreconditionFailedException", status=412):
        api.update_function_configuration(FunctionName=name, Description="other", RevisionId=stale)
    with refused("PreconditionFailedException", status=412):
        api.update_function_code(FunctionName=name, ZipFile=zipped(TWO), RevisionId=stale)


def check_code_from_a_folder_that_is_allowed() -> None:
    folder = Path(checks.os.environ["CODE_DIR"], unique("local"))
    folder.mkdir()
    (folder / "index.py").write_text(TWO)
    name = create(Code={"S3Bucket": "__local__", "S3Key": str(folder)})
    assert answer(name) == 2
    with refused("InvalidParameterValueException", status=400):
        create(Code={"S3Bucket": "__local__", "S3Key": "/etc"})
    with refused("InvalidParameterValueException", status=400):
        create(Code={"S3Bucket": "__local__", "S3Key": f"{folder}/../../state"})


def check_a_package_with_folders() -> None:
    name = create({"app/__init__.py": "", "app/main.py": TWO}, Handler="app.main.handler")
    assert answer(name) == 2


def check_a_function_that_fails_to_start_is_seen() -> None:
    name = create("raise RuntimeError('no')\n")
    said = api.invoke(FunctionName=name)
    assert said["FunctionError"] == "Unhandled", said
    assert json.loads(said["Payload"].read())["errorType"] == "RuntimeError"


def check_deleted_functions_are_gone() -> None:
    name = create()
    assert checks.status(api.delete_function(FunctionName=name)) == 204
    missing = f"Function not found: {arn('function', name)}"
    for operation in (api.get_function, api.get_function_configuration, api.delete_function):
        with refused("ResourceNotFoundException", missing, 404):
            operation(FunctionName=name)
    with refused("ResourceNotFoundException", status=404):
        api.update_function_configuration(FunctionName=name, Timeout=4)
    with refused("ResourceNotFoundException", status=404):
        api.update_function_code(FunctionName=name, ZipFile=zipped())
    again = create(TWO, name=name)
    assert answer(again) == 2


def check_a_name_is_taken_once() -> None:
    name = create()
    with refused("ResourceConflictException", f"Function already exist: {name}", 409):
        create(name=name)


def check_bad_input_is_refused_in_words() -> None:
    invalid = "InvalidParameterValueException"
    with refused("ValidationException", "1 validation error detected: Value 'r' at 'role' failed...", 400):
        create(Role="r")
    with refused(invalid, status=400):
        create(Runtime="python1.0")
    with refused(invalid, "Could not unzip uploaded file...", 400):
        create(Code={"ZipFile": b"this is no zip"})
    with refused("ValidationException", status=400):
        create(Timeout=901)
    with refused("ValidationException", status=400):
        create(MemorySize=64)
    with refused(invalid, status=400):
        create(Environment={"Variables": {"AWS_REGION": "x"}})
    with refused("ValidationException", status=400):
        create(name="no spaces please")
    with refused(invalid, status=400):
        create(name="x" * 65)
    with refused(invalid, status=400):
        api.update_function_code(FunctionName=create())
    with refused(invalid, "$LATEST version cannot be deleted...", 400):
        api.delete_function(FunctionName=create(), Qualifier="$LATEST")


def check_code_of_more_than_the_limit_is_refused() -> None:
    large = b"PK" + bytes(52_428_801)
    with refused("InvalidParameterValueException", status=400):
        create(Code={"ZipFile": large})


def check_what_is_not_there_is_refused_and_never_a_500() -> None:
    with refused("InvalidParameterValueException", status=400):
        api.list_code_signing_configs()
    with refused("InvalidParameterValueException", status=400):
        create(PackageType="Image", Code={"ImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/x:1"})
    assert client().meta.service_model.operation_names


checks.run(globals())
