"""What is kept and given back: addresses, policies, tags, settings, and the account's numbers."""

from __future__ import annotations

import json
import urllib.parse

import checks
from checks import api, arn, create, refused, updated, zipped

MISSING = ("ResourceNotFoundException", "The resource you requested does not exist.", 404)


def check_the_config_of_an_address() -> None:
    name = create(Publish=True)
    cors = {"AllowOrigins": ["*"], "MaxAge": 60}
    made = api.create_function_url_config(FunctionName=name, AuthType="NONE", Cors=cors)
    assert checks.status(made) == 201
    assert made["FunctionArn"] == arn("function", name)
    assert (made["AuthType"], made["InvokeMode"], made["Cors"]) == ("NONE", "BUFFERED", cors), made
    assert urllib.parse.urlsplit(made["FunctionUrl"]).scheme in ("http", "https")
    with refused("ResourceConflictException", status=409):
        api.create_function_url_config(FunctionName=name, AuthType="NONE")
    changed = api.update_function_url_config(
        FunctionName=name, AuthType="AWS_IAM", InvokeMode="RESPONSE_STREAM"
    )
    assert (changed["AuthType"], changed["InvokeMode"], changed["Cors"]) == (
        "AWS_IAM",
        "RESPONSE_STREAM",
        cors,
    ), changed
    found = api.get_function_url_config(FunctionName=name)
    assert (found["FunctionUrl"], found["AuthType"]) == (made["FunctionUrl"], "AWS_IAM")
    assert found["CreationTime"] == made["CreationTime"]
    assert checks.status(api.delete_function_url_config(FunctionName=name)) == 204
    with refused(*MISSING):
        api.get_function_url_config(FunctionName=name)


def check_addresses_are_listed_by_pages() -> None:
    name = create(Publish=True)
    api.create_function_url_config(FunctionName=name, AuthType="NONE")
    for alias in ("a", "b"):
        api.create_alias(FunctionName=name, Name=alias, FunctionVersion="1")
        api.create_function_url_config(FunctionName=name, Qualifier=alias, AuthType="NONE")
    listed = checks.pages("list_function_url_configs", "FunctionUrlConfigs", FunctionName=name)
    assert {each["FunctionArn"] for each in listed} == {
        arn("function", name),
        f"{arn('function', name)}:a",
        f"{arn('function', name)}:b",
    }, listed
    assert len({each["FunctionUrl"] for each in listed}) == 3


def check_policies() -> None:
    name = create(Publish=True)
    api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    given = {
        "StatementId": "s3",
        "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
        "SourceArn": "arn:aws:s3:::bucket",
        "SourceAccount": checks.ACCOUNT,
    }
    said = json.loads(api.add_permission(FunctionName=name, **given)["Statement"])
    assert said == {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": arn("function", name),
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": checks.ACCOUNT},
            "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
        },
    }, said
    with refused(
        "ResourceConflictException",
        "The statement id (s3) provided already exists. Please provide a new statement id, or remove the "
        "existing statement.",
        409,
    ):
        api.add_permission(FunctionName=name, **given)
    found = api.get_policy(FunctionName=name)
    policy = json.loads(found["Policy"])
    assert policy["Statement"] == [said]
    assert policy["Version"] == "2012-10-17"
    assert found["RevisionId"]
    # An alias has a policy of its own.
    with refused(*MISSING):
        api.get_policy(FunctionName=name, Qualifier="live")
    said = json.loads(api.add_permission(FunctionName=name, Qualifier="live", **given)["Statement"])
    assert said["Resource"] == f"{arn('function', name)}:live"
    assert checks.status(api.remove_permission(FunctionName=name, StatementId="s3")) == 204
    with refused(*MISSING):
        api.get_policy(FunctionName=name)
    with refused("ResourceNotFoundException", status=404):
        api.remove_permission(FunctionName=name, StatementId="s3")


def check_whole_policies() -> None:
    name = create()
    resource = arn("function", name)
    statement = {
        "Sid": "s",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": resource,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    put = api.put_resource_policy(ResourceArn=resource, Policy=policy)
    assert json.loads(put["Policy"])["Statement"] == [statement], put
    found = api.get_resource_policy(ResourceArn=resource)
    assert found["RevisionId"] == put["RevisionId"]
    assert json.loads(api.get_policy(FunctionName=name)["Policy"])["Statement"] == [statement]
    assert checks.status(api.delete_resource_policy(ResourceArn=resource)) == 204
    with refused("ResourceNotFoundException", status=404):
        api.get_resource_policy(ResourceArn=resource)


def check_code_is_signed_by_nobody() -> None:
    name = create()
    assert "CodeSigningConfigArn" not in api.get_function_code_signing_config(FunctionName=name)
    nobody = arn("code-signing-config", "csc-0123456789abcdef0")
    with refused("CodeSigningConfigNotFoundException", status=404):
        api.put_function_code_signing_config(FunctionName=name, CodeSigningConfigArn=nobody)
    assert checks.status(api.delete_function_code_signing_config(FunctionName=name)) == 204


def check_policies_of_layers() -> None:
    name = checks.unique("layer")
    content = {"ZipFile": zipped({"python/a.py": ""})}
    number = api.publish_layer_version(LayerName=name, Content=content)["Version"]
    layer = {"LayerName": name, "VersionNumber": number}
    given = {"StatementId": "all", "Action": "lambda:GetLayerVersion", "Principal": "*"}
    said = json.loads(api.add_layer_version_permission(**layer, **given)["Statement"])
    assert (said["Sid"], said["Resource"]) == ("all", f"{arn('layer', name)}:1"), said
    assert json.loads(api.get_layer_version_policy(**layer)["Policy"])["Statement"] == [said]
    removed = api.remove_layer_version_permission(**layer, StatementId="all")
    assert checks.status(removed) == 204


def check_tags() -> None:
    name = create(Tags={"a": "1"})
    resource = arn("function", name)
    assert checks.status(api.tag_resource(Resource=resource, Tags={"b": "2", "c d": "ü/3"})) == 204
    assert api.list_tags(Resource=resource)["Tags"] == {"a": "1", "b": "2", "c d": "ü/3"}
    assert checks.status(api.untag_resource(Resource=resource, TagKeys=["a", "c d"])) == 204
    assert api.list_tags(Resource=resource)["Tags"] == {"b": "2"}
    assert api.get_function(FunctionName=name)["Tags"] == {"b": "2"}
    with refused("ResourceNotFoundException", status=404):
        api.list_tags(Resource=arn("function", "nobody"))
    with refused("InvalidParameterValueException", status=400):
        api.tag_resource(Resource=resource, Tags={str(number): "" for number in range(51)})


def check_settings_that_are_kept() -> None:
    name = create()
    put = api.put_function_recursion_config(FunctionName=name, RecursiveLoop="Terminate")
    assert put["RecursiveLoop"] == "Terminate"
    other = create()
    assert api.get_function_recursion_config(FunctionName=other)["RecursiveLoop"] == "Terminate"
    with refused("InvalidParameterValueException", status=400):
        api.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    managed = api.put_runtime_management_config(FunctionName=name, UpdateRuntimeOn="FunctionUpdate")
    assert managed["UpdateRuntimeOn"] == "FunctionUpdate"
    found = api.get_runtime_management_config(FunctionName=name)
    assert found["UpdateRuntimeOn"] == "FunctionUpdate"
    assert api.get_runtime_management_config(FunctionName=other)["UpdateRuntimeOn"] == "Auto"


def check_what_a_deleted_function_leaves() -> None:
    """Nothing: a new one of the same name has none of it."""
    name = create(Tags={"a": "1"}, Publish=True)
    api.create_function_url_config(FunctionName=name, AuthType="NONE")
    api.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    api.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    api.add_permission(
        FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
    )
    api.delete_function(FunctionName=name)
    create(name=name)
    assert not api.get_function(FunctionName=name).get("Tags")
    assert "ReservedConcurrentExecutions" not in api.get_function_concurrency(FunctionName=name)
    with refused(*MISSING):
        api.get_function_url_config(FunctionName=name)
    with refused(*MISSING):
        api.get_policy(FunctionName=name)
    with refused("ResourceNotFoundException", status=404):
        api.get_function_event_invoke_config(FunctionName=name)


def check_account_settings() -> None:
    before = api.get_account_settings()
    limit = before["AccountLimit"]
    assert limit["ConcurrentExecutions"] == 1000
    assert (limit["CodeSizeUnzipped"], limit["CodeSizeZipped"]) == (262_144_000, 52_428_800), limit
    name = create()
    after = api.get_account_settings()
    assert after["AccountUsage"]["FunctionCount"] == before["AccountUsage"]["FunctionCount"] + 1
    size = api.get_function_configuration(FunctionName=name)["CodeSize"]
    assert after["AccountUsage"]["TotalCodeSize"] >= before["AccountUsage"]["TotalCodeSize"]
    api.update_function_configuration(FunctionName=name, Description="no code")
    updated(name)
    assert api.get_account_settings()["AccountUsage"]["TotalCodeSize"] >= size


checks.run(globals())
